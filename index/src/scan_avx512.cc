// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mpopcnt, and run only where the
// machine has them.
#include <immintrin.h>

#include "scan_kernels.h"

namespace collegium::index {
namespace {

using V = __m512;
constexpr std::size_t kLanes = 16;
// Thirty-two registers: 24 sums, three queries and a row.
constexpr std::size_t kRowsOfMany = 8;
constexpr std::size_t kRowsOfOne = 8;

#include "scan_fetch.inc"

inline V zero() { return _mm512_setzero_ps(); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load_first(const float* p, std::size_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
inline V load_bf16(const std::uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }

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

#include "scan_body.inc"
#include "scan_int8_body.inc"

void score_rows_int8(const std::int8_t* rows, const float* row_scale, const std::int32_t* row_sum,
                     std::size_t n, std::size_t dim, const std::uint8_t* queries,
                     const float* query_scale, std::size_t num_queries, float* out,
                     std::size_t out_stride, FetchAhead ahead) noexcept {
  score_rows_of_codes(rows, row_scale, row_sum, n, dim, queries, query_scale, num_queries, out,
                      out_stride, ahead);
}

// Appends the numbers of the set bits of `mask`, counted from `first`.
inline std::size_t append_bits(unsigned mask, std::size_t first, std::uint32_t* out,
                               std::size_t count) {
  for (; mask != 0; mask &= mask - 1)
    out[count++] =
        static_cast<std::uint32_t>(first) + static_cast<std::uint32_t>(__builtin_ctz(mask));
  return count;
}

std::size_t select_above(const float* values, std::size_t n, float threshold,
                         std::uint32_t* out) noexcept {
  const V limit = _mm512_set1_ps(threshold);
  std::size_t count = 0;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    count = append_bits(_mm512_cmp_ps_mask(load(values + i), limit, _CMP_GT_OQ), i, out, count);
  for (; i < n; ++i)
    if (values[i] > threshold) out[count++] = static_cast<std::uint32_t>(i);
  return count;
}

std::size_t select_possible(const float* values, const float* error, std::size_t n, float factor,
                            float threshold, std::uint32_t* out) noexcept {
  const V limit = _mm512_set1_ps(threshold);
  const V times = _mm512_set1_ps(factor);
  std::size_t count = 0;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V upper = _mm512_add_ps(load(values + i), _mm512_mul_ps(load(error + i), times));
    count = append_bits(_mm512_cmp_ps_mask(upper, limit, _CMP_GE_OQ), i, out, count);
  }
  for (; i < n; ++i)
    if (values[i] + error[i] * factor >= threshold) out[count++] = static_cast<std::uint32_t>(i);
  return count;
}

}  // namespace

extern const ScanKernels kScanKernelsAvx512;
const ScanKernels kScanKernelsAvx512 = {score_rows,        score_rows_bf16, score_rows_int8,
                                        count_differences, select_above,    select_possible,
                                        product,           squared_distance};

}  // namespace collegium::index
