// Compiled with -mavx2 -mfma -mpopcnt, and run only where the machine has them.
#include <immintrin.h>

#include "scan_kernels.h"

namespace collegium::index {
namespace {

using V = __m256;
constexpr std::size_t kLanes = 8;
// Sixteen registers: twelve sums, three queries and a row.
constexpr std::size_t kRowsOfMany = 4;
constexpr std::size_t kRowsOfOne = 8;
constexpr std::size_t kFloatRows = 6, kFloatPanels = 1;
constexpr std::size_t kCodeRows = 3, kCodePanels = 1;
constexpr int kQueryOffset = 64;  // two products of bytes fit 16 bits

#include "scan_ahead.inc"

inline V zero() { return _mm256_setzero_ps(); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V load_first(const float* p, std::size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}
inline V load_bf16(const std::uint16_t* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V splat(float x) { return _mm256_set1_ps(x); }
inline unsigned above(V a, V b) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}
inline unsigned at_least(V a, V b) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
}

// Each sum is ((l0 + l2) + (l1 + l3)) + ((l4 + l6) + (l5 + l7)).
inline void sum_four(V a, V b, V c, V d, float* out) {
  const V ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const V cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const V all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                              _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

using B = __m256i;
using D = __m256i;
constexpr std::size_t kBytes = 32;
constexpr std::size_t kRowsOfCodes = 2;  // three would leave no register for a product

inline D zero_sums() { return _mm256_setzero_si256(); }
inline B load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline D multiply_add(B query, B codes, D sum) {
  const __m256i pairs = _mm256_maddubs_epi16(query, codes);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline void scale_four(D a, D b, D c, D d, const float* query_scale, const float* row_scale,
                       const std::int32_t* row_sum, int kind, float* out) {
  const D both = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  const __m128i all =
      _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  const __m128i codes = kind == 1 ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(row_sum))
                                  : _mm_set1_epi32(*row_sum);
  static_assert(kQueryOffset == 1 << 6);
  const __m128i sums = _mm_sub_epi32(all, _mm_slli_epi32(codes, 6));
  const __m128 queries = kind == 0 ? _mm_loadu_ps(query_scale) : _mm_set1_ps(*query_scale);
  const __m128 rows = kind == 1 ? _mm_loadu_ps(row_scale) : _mm_set1_ps(*row_scale);
  _mm_storeu_ps(out, _mm_mul_ps(rows, _mm_mul_ps(queries, _mm_cvtepi32_ps(sums))));
}

inline D splat_bytes(std::int32_t x) { return _mm256_set1_epi32(x); }
inline D splat_sum(std::int32_t x) { return _mm256_set1_epi32(x); }
inline D subtract(D a, D b) { return _mm256_sub_epi32(a, b); }
inline V to_floats(D a) { return _mm256_cvtepi32_ps(a); }
// Four products fit 16 bits too: see scale_of_row().
inline D multiply_add_two(B q0, B x0, B q1, B x1, D sum) {
  const __m256i pairs =
      _mm256_add_epi16(_mm256_maddubs_epi16(q0, x0), _mm256_maddubs_epi16(q1, x1));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline V widen_codes(const std::int8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

#include "scan_batch.inc"
#include "scan_body.inc"
#include "scan_int8_body.inc"
#include "scan_int8_panels.inc"
#include "scan_panels.inc"
#include "scan_select.inc"

}  // namespace

extern const ScanKernels kScanKernelsAvx2;
const ScanKernels kScanKernelsAvx2 = {
    score_rows,      score_rows_bf16,  score_rows_of_codes, count_differences, select_above,
    select_possible, select_floats,    select_codes,        nullptr,           product_int8,
    product,         squared_distance, kQueryOffset};

}  // namespace collegium::index
