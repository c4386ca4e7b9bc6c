#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace collegium::core {

// The largest distance of two rows of `dim`, relative to the second's length.
inline double relative_error(const std::vector<float>& seen, const std::vector<float>& expected,
                             std::size_t dim) {
  EXPECT_EQ(seen.size(), expected.size());
  if (seen.size() != expected.size() || seen.size() % dim != 0) return 1.0;
  double worst = 0.0;
  for (std::size_t begin = 0; begin < seen.size(); begin += dim) {
    double difference = 0.0, length = 0.0;
    for (std::size_t i = begin; i < begin + dim; ++i) {
      const double d = static_cast<double>(seen[i]) - expected[i];
      difference += d * d;
      length += static_cast<double>(expected[i]) * expected[i];
    }
    worst = std::max(worst, std::sqrt(difference / length));
  }
  return worst;
}

}  // namespace collegium::core
