#pragma once

// Stands before the compiler's header of this name where a unit of kernels is compiled for tests:
// its intrinsics are emulated by SIMDe, so that the unit's logic runs on any machine. What SIMDe
// lacks is added here after Intel's manual.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "io/half.h"

namespace collegium::core {

template <typename T, std::size_t kLanes>
struct EmulatedLanes {
  T lane[kLanes];
};

template <typename To, typename From>
inline To emulated_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// VFMADD: a b + c rounded once; SIMDe's rounds twice.
template <std::size_t kLanes, typename Vector>
inline Vector emulated_fmadd(Vector a, Vector b, Vector c) {
  using Floats = EmulatedLanes<float, kLanes>;
  const auto x = emulated_cast<Floats>(a), y = emulated_cast<Floats>(b);
  auto z = emulated_cast<Floats>(c);
  for (std::size_t i = 0; i < kLanes; ++i) z.lane[i] = std::fma(x.lane[i], y.lane[i], z.lane[i]);
  return emulated_cast<Vector>(z);
}

// VCMPPS to a mask, of the one predicate in use.
enum class EmulatedPredicate { kLessEqual };
inline std::uint16_t emulated_cmp(simde__m512 a, simde__m512 b, EmulatedPredicate) {
  const auto x = emulated_cast<EmulatedLanes<float, 16>>(a);
  const auto y = emulated_cast<EmulatedLanes<float, 16>>(b);
  unsigned mask = 0;
  for (unsigned i = 0, bit = 1; i < 16; ++i, bit *= 2) {
    if (x.lane[i] <= y.lane[i]) mask |= bit;
  }
  return static_cast<std::uint16_t>(mask);
}

// VCVTPS2DQ: to the nearest, ties to even; what does not fit becomes 0x80000000.
inline simde__m512i emulated_cvtps(simde__m512 a) {
  const auto x = emulated_cast<EmulatedLanes<float, 16>>(a);
  EmulatedLanes<std::int32_t, 16> out;
  for (std::size_t i = 0; i < 16; ++i) {
    const bool fits = x.lane[i] >= -0x1p31f && x.lane[i] < 0x1p31f;
    out.lane[i] = fits ? static_cast<std::int32_t>(std::rint(x.lane[i])) : INT32_MIN;
  }
  return emulated_cast<simde__m512i>(out);
}

// VCVTDQ2PS, to the nearest.
inline simde__m512 emulated_cvtepi32_ps(simde__m512i a) {
  const auto x = emulated_cast<EmulatedLanes<std::int32_t, 16>>(a);
  EmulatedLanes<float, 16> out;
  for (std::size_t i = 0; i < 16; ++i) out.lane[i] = static_cast<float>(x.lane[i]);
  return emulated_cast<simde__m512>(out);
}

// VPMOVUSDB: each number as a byte, 255 if it is larger.
inline simde__m128i emulated_cvtusepi32_epi8(simde__m512i a) {
  const auto x = emulated_cast<EmulatedLanes<std::uint32_t, 16>>(a);
  EmulatedLanes<std::uint8_t, 16> out;
  for (std::size_t i = 0; i < 16; ++i) {
    out.lane[i] = static_cast<std::uint8_t>(x.lane[i] < 255u ? x.lane[i] : 255u);
  }
  return emulated_cast<simde__m128i>(out);
}

// VCVTNE2PS2BF16: the lower half from b, the upper from a, to the nearest, ties to even; denormals
// are zeros.
inline simde__m512i emulated_cvtne2ps_pbh(simde__m512 a, simde__m512 b) {
  const EmulatedLanes<std::uint32_t, 16> in[2] = {
      emulated_cast<EmulatedLanes<std::uint32_t, 16>>(b),
      emulated_cast<EmulatedLanes<std::uint32_t, 16>>(a)};
  EmulatedLanes<std::uint16_t, 32> out;
  for (std::size_t i = 0; i < 32; ++i) {
    const std::uint32_t bits = in[i / 16].lane[i % 16], magnitude = bits & 0x7fffffffu;
    std::uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    if (magnitude > 0x7f800000u) rounded = bits | 0x400000u;
    if (magnitude < 0x800000u) rounded = bits & 0x80000000u;
    out.lane[i] = static_cast<std::uint16_t>(rounded >> 16);
  }
  return emulated_cast<simde__m512i>(out);
}

// VPMADDWD: of each two neighbours the sum of their products.
inline simde__m512i emulated_madd(simde__m512i a, simde__m512i b) {
  const auto x = emulated_cast<EmulatedLanes<std::int16_t, 32>>(a);
  const auto y = emulated_cast<EmulatedLanes<std::int16_t, 32>>(b);
  EmulatedLanes<std::int32_t, 16> out;
  for (std::size_t i = 0; i < 16; ++i) {
    out.lane[i] = x.lane[2 * i] * y.lane[2 * i] + x.lane[2 * i + 1] * y.lane[2 * i + 1];
  }
  return emulated_cast<simde__m512i>(out);
}

// VCVTPH2PS, of 16.
inline simde__m512 emulated_cvtph_ps(simde__m256i a) {
  const auto x = emulated_cast<EmulatedLanes<std::uint16_t, 16>>(a);
  EmulatedLanes<float, 16> out;
  for (std::size_t i = 0; i < 16; ++i) out.lane[i] = half_to_float(x.lane[i]);
  return emulated_cast<simde__m512>(out);
}

// VPMOVZXBD and VPMOVSXBD.
template <typename Byte>
inline simde__m512i emulated_widen_bytes(simde__m128i a) {
  const auto x = emulated_cast<EmulatedLanes<Byte, 16>>(a);
  EmulatedLanes<std::int32_t, 16> out;
  for (std::size_t i = 0; i < 16; ++i) out.lane[i] = x.lane[i];
  return emulated_cast<simde__m512i>(out);
}

inline int emulated_reduce_max(simde__m512i a) {
  const auto x = emulated_cast<EmulatedLanes<std::int32_t, 16>>(a);
  std::int32_t largest = x.lane[0];
  for (const std::int32_t lane : x.lane) largest = largest < lane ? lane : largest;
  return largest;
}

inline int emulated_reduce_add(simde__m512i a) {
  const auto x = emulated_cast<EmulatedLanes<std::uint32_t, 16>>(a);
  std::uint32_t sum = 0;
  for (const std::uint32_t lane : x.lane) sum += lane;
  return static_cast<int>(sum);
}

}  // namespace collegium::core

#undef _mm256_fmadd_ps
#define _mm256_fmadd_ps(a, b, c) emulated_fmadd<8>(a, b, c)
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps(a, b, c) emulated_fmadd<16>(a, b, c)
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask(a, b, predicate) emulated_cmp(a, b, predicate)
#undef _CMP_LE_OQ
#define _CMP_LE_OQ EmulatedPredicate::kLessEqual
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) emulated_madd(a, b)
#define _mm512_cvtne2ps_pbh(a, b) emulated_cvtne2ps_pbh(a, b)
#define _mm512_cvtps_epi32(a) emulated_cvtps(a)
#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)
#define _mm512_cvtusepi32_epi8(a) emulated_cvtusepi32_epi8(a)
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)
#define _mm512_cvtepu8_epi32(a) emulated_widen_bytes<std::uint8_t>(a)
#define _mm512_cvtepi8_epi32(a) emulated_widen_bytes<std::int8_t>(a)
#define _mm512_reduce_max_epi32(a) emulated_reduce_max(a)
#define _mm512_reduce_add_epi32(a) emulated_reduce_add(a)
using __mmask16 = std::uint16_t;
