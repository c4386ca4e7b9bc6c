#pragma once

#include <cstddef>
#include <cstdint>

namespace collegium::index {

struct FetchAhead;

// ScanKernels::score_rows_int8 of units that have nothing else.
void score_rows_int8_vnni(const std::int8_t* rows, const float* row_scale,
                          const std::int32_t* row_sum, std::size_t n, std::size_t dim,
                          const std::uint8_t* queries, const float* query_scale,
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead) noexcept;

}  // namespace collegium::index
