#pragma once

#include <cstddef>
#include <cstdint>

namespace collegium::index {

struct FetchAhead;
struct PanelQueries;
struct Survivor;

// Functions of ScanKernels in units that have nothing else.

// The query_offset of those whose products of bytes are added up in 32 bits.
inline constexpr int kWideQueryOffset = 128;

void score_rows_int8_vnni(const std::int8_t* rows, const float* row_scale,
                          const std::int32_t* row_sum, std::size_t n, std::size_t dim,
                          const std::uint8_t* queries, const float* query_scale,
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead ahead) noexcept;

std::size_t select_int8_vnni(const std::int8_t* rows, const float* row_scale,
                             const std::int32_t* row_sum, const float* error, std::size_t n,
                             std::size_t dim, const PanelQueries& queries, Survivor* out,
                             FetchAhead ahead) noexcept;
std::size_t select_int8_amx(const std::int8_t* rows, const float* row_scale,
                            const std::int32_t* row_sum, const float* error, std::size_t n,
                            std::size_t dim, const PanelQueries& queries, Survivor* out,
                            FetchAhead ahead) noexcept;
std::size_t select_bf16_amx(const std::uint16_t* rows, const float* error, std::size_t n,
                            std::size_t dim, const PanelQueries& queries, Survivor* out,
                            FetchAhead ahead) noexcept;

}  // namespace collegium::index
