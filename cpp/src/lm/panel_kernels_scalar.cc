// The scalar twin: what the other levels must equal to the last bit.
#include <cmath>
#include <cstddef>

#include "kernels/kernels.h"
#include "lm/panel_kernels.h"

namespace collegium::core {
namespace {

// Calls take(k, row, weight) for each weight, k ascending within a row.
template <GgmlType type, typename Take>
void for_each_weight(const std::byte* rows, std::size_t row_bytes, std::size_t k, Take take) {
  constexpr bool kSuper =
      type == GgmlType::kQ4_K || type == GgmlType::kQ5_K || type == GgmlType::kQ6_K;
  constexpr std::size_t kBlock = kSuper ? 256 : 32;
  float block[kBlock];
  const std::size_t block_bytes = ggml_block_bytes(type);
  for (std::size_t row = 0; row < kPanelWidth; ++row)
    for (std::size_t begin = 0; begin < k; begin += kBlock) {
      dequantize(type, rows + row * row_bytes + begin / kBlock * block_bytes, kBlock, block);
      for (std::size_t i = 0; i < kBlock; ++i) take(begin + i, row, block[i]);
    }
}

template <GgmlType type>
void dequantize_panel(const std::byte* rows, std::size_t row_bytes, std::size_t k,
                      float* panel) noexcept {
  for_each_weight<type>(rows, row_bytes, k, [panel](std::size_t i, std::size_t row, float w) {
    panel[i * kPanelWidth + row] = w;
  });
}

template <GgmlType type>
void multiply_panels(const std::byte* rows, std::size_t row_bytes, std::size_t panels,
                     std::size_t k, const float* x, float* out) noexcept {
  for (std::size_t p = 0; p < panels; ++p, rows += kPanelWidth * row_bytes, out += kPanelWidth) {
    for (std::size_t row = 0; row < kPanelWidth; ++row) out[row] = 0.0f;
    for_each_weight<type>(rows, row_bytes, k, [x, out](std::size_t i, std::size_t row, float w) {
      out[row] = std::fma(x[i], w, out[row]);
    });
  }
}

}  // namespace

extern const PanelKernels kPanelKernelsScalar[8];
const PanelKernels kPanelKernelsScalar[8] = {
    {dequantize_panel<GgmlType::kQ4_0>, multiply_panels<GgmlType::kQ4_0>},
    {dequantize_panel<GgmlType::kQ4_1>, multiply_panels<GgmlType::kQ4_1>},
    {dequantize_panel<GgmlType::kQ8_0>, multiply_panels<GgmlType::kQ8_0>},
    {dequantize_panel<GgmlType::kQ5_0>, multiply_panels<GgmlType::kQ5_0>},
    {dequantize_panel<GgmlType::kQ5_1>, multiply_panels<GgmlType::kQ5_1>},
    {dequantize_panel<GgmlType::kQ4_K>, multiply_panels<GgmlType::kQ4_K>},
    {dequantize_panel<GgmlType::kQ5_K>, multiply_panels<GgmlType::kQ5_K>},
    {dequantize_panel<GgmlType::kQ6_K>, multiply_panels<GgmlType::kQ6_K>},
};

}  // namespace collegium::core
