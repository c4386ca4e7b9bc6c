#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace collegium::router {

// At most `at_most` of the positions 0 .. n-1, evenly spread, ascending.
inline std::vector<std::size_t> evenly(std::size_t n, std::size_t at_most) {
  const std::size_t count = std::min(n, at_most);
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < count; ++i) positions.push_back(i * n / count);
  return positions;
}

}  // namespace collegium::router
