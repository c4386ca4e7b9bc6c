// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mpopcnt, and run only where the
// machine has them.
#include <immintrin.h>

#include "scan_kernels.h"

namespace collegium::index {
namespace {

// Thirty-two registers: 24 sums, three queries and a row.
constexpr std::size_t kRowsOfMany = 8;
constexpr std::size_t kRowsOfOne = 8;
constexpr std::size_t kFloatRows = 12, kFloatPanels = 2;
constexpr std::size_t kCodeRows = 6, kCodePanels = 2;
constexpr int kQueryOffset = 64;  // two products of bytes fit 16 bits

#include "scan_512.inc"
#include "scan_ahead.inc"

inline V load_first(const float* p, std::size_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
inline V load_bf16(const std::uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline unsigned above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }

inline __m256 fold(V a) {
  return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
}
// The halves are added, then as in AVX2: ((l0 + l2) + (l1 + l3)) + ((l4 + l6) + (l5 + l7)).
inline void sum_four(V wide_a, V wide_b, V wide_c, V wide_d, float* out) {
  const __m256 a = fold(wide_a), b = fold(wide_b), c = fold(wide_c), d = fold(wide_d);
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                   _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#include "scan_bytes512.inc"

inline D multiply_add(B query, B codes, D sum) {
  const __m512i pairs = _mm512_maddubs_epi16(query, codes);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

// Four products fit 16 bits too: see scale_of_row().
inline D multiply_add_two(B q0, B x0, B q1, B x1, D sum) {
  const __m512i pairs =
      _mm512_add_epi16(_mm512_maddubs_epi16(q0, x0), _mm512_maddubs_epi16(q1, x1));
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
inline V widen_codes(const std::int8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

#include "scan_batch.inc"
#include "scan_body.inc"
#include "scan_int8_body.inc"
#include "scan_int8_panels.inc"
#include "scan_panels.inc"
#include "scan_select.inc"

}  // namespace

extern const ScanKernels kScanKernelsAvx512;
const ScanKernels kScanKernelsAvx512 = {
    score_rows,      score_rows_bf16,  score_rows_of_codes, count_differences, select_above,
    select_possible, select_floats,    select_codes,        nullptr,           product_int8,
    product,         squared_distance, kQueryOffset};

}  // namespace collegium::index
