#include "experts/linear.h"

#include <algorithm>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {

ProductInput product_input(const Kernels& kernels, const Linear& linear, const float* rows,
                           std::size_t count, ProductScratch& scratch) {
  ProductInput in{rows, count};
  if (linear.type() == WeightType::kFp32) return in;
  if (linear.type() == WeightType::kBf16) {
    grow(scratch.rounded, count * bf16_depth(linear.inputs));
    kernels.round_rows_bf16(rows, linear.inputs, count, linear.inputs, scratch.rounded.data());
    in.bf16 = {scratch.rounded.data()};
    return in;
  }
  grow(scratch.values, count * int8_depth(linear.inputs));
  grow(scratch.scales, count);
  grow(scratch.zeros, count);
  kernels.quantize_rows(rows, linear.inputs, count, linear.inputs, scratch.values.data(),
                        scratch.scales.data(), scratch.zeros.data());
  in.int8 = {scratch.values.data(), scratch.scales.data(), scratch.zeros.data()};
  return in;
}

void multiply(const Kernels& kernels, const Linear& linear, const ProductInput& in,
              std::size_t first_panel, std::size_t end_panel, float* out) {
  const std::size_t first = first_panel * kPanelWidth;
  const std::size_t count = std::min(linear.outputs, end_panel * kPanelWidth) - first;
  const float* bias = linear.bias.empty() ? nullptr : linear.bias.data() + first;
  if (linear.type() == WeightType::kBf16) {
    kernels.gemm_panels_bf16(in.bf16, in.count,
                             linear.bf16.data() + first * bf16_depth(linear.inputs), count,
                             linear.inputs, bias, out + first, linear.outputs);
    return;
  }
  if (linear.type() == WeightType::kInt8) {
    const Int8Panels panels = {linear.int8.values.data() + first * int8_depth(linear.inputs),
                               linear.int8.scales.data() + first, linear.int8.sums.data() + first};
    kernels.gemm_panels_int8(in.int8, in.count, panels, count, linear.inputs, bias, out + first,
                             linear.outputs);
    return;
  }
  kernels.gemm_panels(in.rows, linear.inputs, in.count,
                      linear.panels.data() + first * linear.inputs, count, linear.inputs, bias,
                      out + first, linear.outputs);
}

}  // namespace collegium::core
