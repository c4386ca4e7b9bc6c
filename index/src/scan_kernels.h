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

// Queries of a batch lie in panels of so many, side by side: a register's lanes are queries, a
// row's numbers are broadcast, and sums are complete where they are compared.
inline constexpr std::size_t kPanelWidth = 16;

struct PanelQueries {
  const void* panels;  // see the function
  std::size_t num_panels;
  const float* reach;  // (num_panels * kPanelWidth,), >= 0
  const float* limit;  // (num_panels * kPanelWidth,); infinity where there is no query
};

// A row of those scanned, and a query that it may be among the best of.
struct Survivor {
  std::uint32_t row;
  std::uint32_t query;
};

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
  // product is exact. Queries are codes of at most query_offset - 1 with query_offset added; rows
  // are as make_codes() makes them.
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

  // The scans of a batch: every row and query with
  //   score + error[row] * reach[query] >= limit[query]
  // where a score is a sum of its dim terms in any order. Writes them to out (n * num_panels *
  // kPanelWidth,) and returns how many.
  //   rows of floats (n, dim), panels (num_panels, dim, kPanelWidth)
  std::size_t (*select_floats)(const float* rows, const float* error, std::size_t n,
                               std::size_t dim, const PanelQueries& queries, Survivor* out,
                               FetchAhead ahead) noexcept;
  //   rows of codes (n, dim), dim a multiple of 64, whose score is row_scale times the integer
  //   product; panels (num_panels, dim / 4, kPanelWidth, 4) of codes with query_offset added
  std::size_t (*select_int8)(const std::int8_t* rows, const float* row_scale,
                             const std::int32_t* row_sum, const float* error, std::size_t n,
                             std::size_t dim, const PanelQueries& queries, Survivor* out,
                             FetchAhead ahead) noexcept;
  //   rows of bfloat16 (n, dim), dim a multiple of 32; panels (num_panels, dim / 2, kPanelWidth, 2)
  //   of bfloat16; null where the level has no such products
  std::size_t (*select_bf16)(const std::uint16_t* rows, const float* error, std::size_t n,
                             std::size_t dim, const PanelQueries& queries, Survivor* out,
                             FetchAhead ahead) noexcept;

  // Sum of query[d] * codes[d], dim a multiple of 64.
  float (*product_int8)(const std::int8_t* codes, const float* query, std::size_t dim) noexcept;

  // Sums of dim terms: a * b, (a - b)^2.
  float (*product)(const float* a, const float* b, std::size_t dim) noexcept;
  float (*squared_distance)(const float* a, const float* b, std::size_t dim) noexcept;

  // 64 where products of bytes are added up in 16 bits, else 128.
  int query_offset;
};

// The set of the highest level not above `isa` that has one.
const ScanKernels& scan_kernels_for(core::Isa isa) noexcept;
// That of core::active_isa().
const ScanKernels& scan_kernels() noexcept;

}  // namespace collegium::index
