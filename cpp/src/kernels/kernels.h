#pragma once

#include <cstddef>
#include <cstdint>

#include "collegium/core/isa.h"

// The arithmetic of the encoder and the language model behind one table of functions. Each level
// fills the table in its own translation unit (kernels_scalar.cc, kernels_avx2.cc, ...), which
// includes intrinsics and <cstddef> and little else, and is the only one compiled for that level.
// Raw pointers in, numbers out, no allocation, noexcept, single-threaded: callers split the work.
//
// Every sum has one order, whatever the tile: an output of gemm_panels is one chain of fused
// multiply-adds over k = 0, 1, ..., K-1 started from the bias (or zero). So a row is bit-equal
// alone, in any batch and at every level, the scalar twin (std::fma) included. (A bf16 product is
// bit-equal alone and in any batch; at AMX it has other bits than below.)
namespace collegium::core {

// Weights of a linear layer are packed in panels of 16 outputs: panel p holds, for each k, the 16
// floats w[16 p .. 16 p + 15][k]; outputs beyond N are zero. 64-byte aligned.
inline constexpr std::size_t kPanelWidth = 16;
inline constexpr std::size_t num_panels(std::size_t n) {
  return (n + kPanelWidth - 1) / kPanelWidth;
}

// Activations and weights of an 8-bit product: see kernels_int8.h.
struct Int8Rows {
  const std::uint8_t* values;  // int8_depth(k) a row
  const float* scales;         // (rows,)
  const std::int32_t* zeros;   // (rows,)
};
struct Int8Panels {
  const std::int8_t* values;  // int8_panel_bytes(n, k), from pack_panels_int8
  const float* scales;        // int8_outputs(n)
  const std::int32_t* sums;   // int8_outputs(n)
};

// Activations of a bf16 product, as round_rows_bf16 of the same level writes them: kernels_bf16.h.
struct Bf16Rows {
  const void* values;
};

// Queries, keys and values of some heads of one sequence.
struct HeadsInput {
  const float* query;      // (tokens, heads of dim), stride `stride`
  std::size_t key, value;  // so many numbers behind a query are its key and its value
  std::size_t stride;
  std::size_t tokens;
  std::size_t dim;  // of a head
  std::size_t context_stride;
};

struct Kernels {
  Isa isa;

  // c[r, j] = bias[j] + sum_k a[r, k] * w[j, k], for r < rows and j < n.
  // a (rows, K) with stride lda; panels: num_panels(n) of K x 16; bias (n) or null; c stride ldc.
  void (*gemm_panels)(const float* a, std::size_t lda, std::size_t rows, const float* panels,
                      std::size_t n, std::size_t k, const float* bias, float* c,
                      std::size_t ldc) noexcept;
  // c[r, j] += sum_k a[r, k] * w[j, k]: the chain goes on from c.
  void (*gemm_panels_add)(const float* a, std::size_t lda, std::size_t rows, const float* panels,
                          std::size_t n, std::size_t k, float* c, std::size_t ldc) noexcept;

  // Packs w (n, k) row-major, stride ldw, into panels (num_panels(n) * k * 16 floats).
  void (*pack_panels)(const float* w, std::size_t ldw, std::size_t n, std::size_t k,
                      float* panels) noexcept;

  // x[i] = 0.5 x (1 + erf(x / sqrt 2)), the exact GELU, to 2e-7 absolute.
  void (*gelu)(float* x, std::size_t n) noexcept;
  // x[i] = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  void (*gelu_tanh)(float* x, std::size_t n) noexcept;
  // x[i] = x[i] * sigmoid(x[i])
  void (*silu)(float* x, std::size_t n) noexcept;
  // x[i] = max(x[i], 0)
  void (*relu)(float* x, std::size_t n) noexcept;
  // x[i] *= y[i]
  void (*mul)(float* x, const float* y, std::size_t n) noexcept;
  // x[i] = x[i] * sigmoid(x[i]) * y[i]
  void (*silu_mul)(float* x, const float* y, std::size_t n) noexcept;
  // In place over one row of n: exp(x - max) / sum. n > 0.
  void (*softmax)(float* x, std::size_t n) noexcept;
  // out = (x - mean) / sqrt(var + eps) * gamma + beta over one row of n; out may be x.
  void (*layer_norm)(const float* x, const float* gamma, const float* beta, float eps,
                     std::size_t n, float* out) noexcept;
  // out = x / sqrt(mean(x^2) + eps) * gamma over one row of n; out may be x.
  void (*rms_norm)(const float* x, const float* gamma, float eps, std::size_t n,
                   float* out) noexcept;
  // sum_i a[i] * b[i] in 16 interleaved chains, then a fixed tree: the same at every level.
  float (*dot)(const float* a, const float* b, std::size_t n) noexcept;
  // y += alpha * x
  void (*axpy)(float alpha, const float* x, std::size_t n, float* y) noexcept;

  // Rows of x (rows, k), stride ldx, to bytes, by each row's own range: values gets int8_depth(k)
  // bytes a row, scales and zeros one number a row.
  void (*quantize_rows)(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                        std::uint8_t* values, float* scales, std::int32_t* zeros) noexcept;
  // c[r, j] = bias[j] + x[r] . w[j] for r < rows and j < n, of quantised x and w; bias (n) or null;
  // k <= kMaxInt8Inputs.
  void (*gemm_panels_int8)(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept;

  // Rows of x (rows, k), stride ldx, rounded to bf16: values has room for bf16_depth(k) floats a
  // row, 64-byte aligned.
  void (*round_rows_bf16)(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                          void* values) noexcept;
  // c[r, j] = bias[j] + x[r] . w[j] for r < rows and j < n, of rounded x and w, the latter from
  // pack_panels_bf16; bias (n) or null.
  void (*gemm_panels_bf16)(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept;
  // context (tokens, heads of dim), stride context_stride = softmax(query key^T) value of each
  // head, of numbers rounded to bf16, the softmax's too, with sums in fp32. scratch: room for
  // attention_scratch_size(tokens, dim) floats, 64-byte aligned. Null below AMX.
  void (*attend_bf16)(const HeadsInput& in, std::size_t heads, float* scratch,
                      float* context) noexcept;
};

// The table of a level; a level without a unit of its own gives the next lower one's.
const Kernels& kernels_for(Isa isa) noexcept;

}  // namespace collegium::core
