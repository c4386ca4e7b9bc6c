#include "experts/linear.h"

#include <algorithm>

#include "kernels/kernels_int8.h"

namespace collegium::core {

ProductInput product_input(const Kernels& kernels, const Linear& linear, const float* rows,
                           std::size_t count, Int8Scratch& scratch) {
  ProductInput in{rows, count};
  if (!linear.is_int8()) return in;
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
  if (linear.is_int8()) {
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
