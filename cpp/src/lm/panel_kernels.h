#pragma once

#include <cstddef>

#include "collegium/core/gguf.h"
#include "collegium/core/isa.h"

// Quantised weights, used where they lie. A panel is 16 rows of a weight matrix (16 outputs of a
// linear layer), each of k numbers in the file's blocks. Both functions widen each weight to the
// very fp32 number core::dequantize() gives, and multiply() sums as Kernels::gemm_panels does: one
// chain of fused multiply-adds over k = 0, 1, ..., K-1 from zero. So multiply() of a row is
// bit-equal to dequantize() and gemm_panels, at every level.
// No allocation, noexcept, single-threaded.
namespace collegium::core {

struct PanelKernels {
  // panel (k, 16): for each k the 16 rows' numbers, as Kernels::pack_panels lays them.
  void (*dequantize)(const std::byte* rows,  // 16 rows, `row_bytes` apart
                     std::size_t row_bytes, std::size_t k, float* panel) noexcept;
  // out[j] = sum_k x[k] * w[j, k], for the 16 * panels rows of as many panels.
  void (*multiply)(const std::byte* rows, std::size_t row_bytes, std::size_t panels, std::size_t k,
                   const float* x,        // (k,)
                   float* out) noexcept;  // (panels, 16)
};

// Null for a type that has none (F32, F16, BF16): the caller widens rows with core::dequantize().
// A level without a unit of its own gives the next lower one's. Pre: can_dequantize(type).
const PanelKernels* panel_kernels_for(Isa isa, GgmlType type) noexcept;

}  // namespace collegium::core
