#pragma once

#include <cstddef>
#include <cstdint>

#include "collegium/core/isa.h"

// Keys and values that are kept in fewer than 32 bits (KvCacheType), widened for the fp32 products
// of attention. Every number comes out with the same bits at every level.
// No allocation, noexcept, single-threaded.
namespace collegium::core {

struct KvKernels {
  // out[i] = the number whose upper 16 bits are in[i]. n: a multiple of 16.
  void (*widen_bf16)(const std::uint16_t* in, std::size_t n, float* out) noexcept;
  // Rows of 16 numbers: out[r, j] = in[r, j] * scales[j].
  void (*widen_columns)(const std::int8_t* in, std::size_t rows, const float* scales,
                        float* out) noexcept;
  // out[r, j] = in[r, j] * scales[r].
  void (*widen_rows)(const std::int8_t* in, std::size_t rows, const float* scales,
                     float* out) noexcept;
};

// A level without a unit of its own gives the next lower one's.
const KvKernels& kv_kernels_for(Isa isa) noexcept;

}  // namespace collegium::core
