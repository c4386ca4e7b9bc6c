#pragma once

#include <cstddef>
#include <cstdint>

namespace collegium::core {
enum class Isa;  // not isa.h: a unit of one level must not instantiate what others share
}

namespace collegium::index {

// What the caller is going to read next: it is asked for while rows are scored. Only ever a hint.
struct FetchAhead {
  const void* begin = nullptr;
  std::size_t bytes = 0;
};

inline constexpr int kQueryOffset = 64;

// The inner loops of vector search, one set for each level of instructions. Every (query, row)
// product is summed in one fixed order that is a property of the level: it is the same bits whether
// the row is scored alone, in a block, by its position, or beside other queries.
//
// No argument aliases another, all pointers may be unaligned, dim > 0, any other count may be 0.
// Rows are picked by `positions` (n,); with null they are rows 0 .. n-1.
struct ScanKernels {
  // out[q * out_stride + i] = product of query q and row i.
  void (*score_rows)(const float* rows,               // (any, dim)
                     const std::uint32_t* positions,  // (n,) or null
                     std::size_t n, std::size_t dim,
                     const float* queries,  // (num_queries, dim)
                     std::size_t num_queries,
                     float* out,  // (num_queries, out_stride)
                     std::size_t out_stride, FetchAhead ahead) noexcept;

  // The same with rows of bfloat16: the upper halves of floats.
  void (*score_rows_bf16)(const std::uint16_t* rows,  // (n, dim), dim a multiple of 32
                          std::size_t n, std::size_t dim, const float* queries,
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead ahead) noexcept;

  // out[q * out_stride + i] = row_scale[i] * (query_scale[q] * integer product). The integer
  // product is exact. Queries are codes of -63 to 63 with kQueryOffset added, so that two products
  // of bytes fit 16 bits: |row code| <= 127.
  void (*score_rows_int8)(const std::int8_t* rows,      // (n, dim), dim a multiple of 64
                          const float* row_scale,       // (n,)
                          const std::int32_t* row_sum,  // (n,): of the row's codes
                          std::size_t n, std::size_t dim,
                          const std::uint8_t* queries,  // (num_queries, dim)
                          const float* query_scale,     // (num_queries,)
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead ahead) noexcept;

  // out[i] = number of bits in which row i and the query differ.
  void (*count_differences)(const std::uint64_t* rows,  // (n, words)
                            std::size_t n, std::size_t words,
                            const std::uint64_t* query,  // (words,)
                            std::uint32_t* out) noexcept;

  // Writes every i with values[i] > threshold to out (n,), ascending; returns how many.
  std::size_t (*select_above)(const float* values, std::size_t n, float threshold,
                              std::uint32_t* out) noexcept;

  // The same with values[i] + error[i] * factor >= threshold.
  std::size_t (*select_possible)(const float* values, const float* error, std::size_t n,
                                 float factor, float threshold, std::uint32_t* out) noexcept;

  // Sums of dim terms: a * b, (a - b)^2.
  float (*product)(const float* a, const float* b, std::size_t dim) noexcept;
  float (*squared_distance)(const float* a, const float* b, std::size_t dim) noexcept;
};

// The set of the highest level not above `isa` that has one.
const ScanKernels& scan_kernels_for(core::Isa isa) noexcept;
// That of core::active_isa().
const ScanKernels& scan_kernels() noexcept;

}  // namespace collegium::index
