#pragma once

#include <cstddef>
#include <cstdint>

namespace collegium::core {
enum class Isa;  // not isa.h: a unit of one level must not instantiate what others share
}

namespace collegium::index {

// Rows as codes of -127 to 127: row = scale * code, about.
struct CodeRows {
  const std::int8_t* codes;  // (any, stride), stride a multiple of 64, zeros after the last
  const float* scale;        // (any,)
  const std::int32_t* sum;   // (any,): of a row's codes
  std::size_t stride;
};

// out[i] = scale[p] * (query_scale * integer product of the codes of row p and of the query), with
// p = positions[i]. The integer product is exact and the rest is scalar arithmetic: the same bits
// at every level of instructions, so that a graph is too. Rows are fetched ahead.
using ScoreCodes = void (*)(const CodeRows& rows, const std::uint32_t* positions,  // (n,)
                            std::size_t n, const std::int8_t* query,               // (stride,)
                            float query_scale, float* out) noexcept;               // (n,)

void score_codes_scalar(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                        const std::int8_t* query, float query_scale, float* out) noexcept;
void score_codes_avx2(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                      const std::int8_t* query, float query_scale, float* out) noexcept;
void score_codes_vnni(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                      const std::int8_t* query, float query_scale, float* out) noexcept;

// The one of the highest level not above `isa` that has one.
ScoreCodes score_codes_for(core::Isa isa) noexcept;

}  // namespace collegium::index
