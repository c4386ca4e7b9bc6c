#include "kernels/kernels_bf16.h"

#include <algorithm>

namespace collegium::core {
namespace {
#include "kernels/kernels_bf16.inc"
}  // namespace

void pack_panels_bf16(const float* w, std::size_t ldw, std::size_t n, std::size_t k,
                      std::uint16_t* panels) noexcept {
  const std::size_t depth = bf16_depth(k);
  std::fill_n(panels, bf16_panel_size(n, k), std::uint16_t{0});
  for (std::size_t j = 0; j < n; ++j) {
    std::uint16_t* out = panels + j / kPanelWidth * kPanelWidth * depth + j % kPanelWidth * 2;
    const float* row = w + j * ldw;
    for (std::size_t i = 0; i < k; ++i) {
      const std::uint32_t rounded = rounded_to_bf16(__builtin_bit_cast(std::uint32_t, row[i]));
      out[i / 2 * 2 * kPanelWidth + i % 2] = static_cast<std::uint16_t>(rounded >> 16);
    }
  }
}

bool all_finite_bf16(const std::uint16_t* numbers, std::size_t count) noexcept {
  return std::none_of(numbers, numbers + count,
                      [](std::uint16_t bits) { return (bits & 0x7f80u) == 0x7f80u; });
}

}  // namespace collegium::core
