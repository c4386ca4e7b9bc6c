// Compiled with -mavx2 -mfma, and run only where the machine has both.
#include <immintrin.h>

#include <cstddef>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

struct V16 {
  __m256 low, high;
};

inline V16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, V16 v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
inline V16 even_bf16(const char* p) {
  const auto* pairs = reinterpret_cast<const __m256i*>(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(pairs), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(pairs + 1), 16))};
}
inline V16 odd_bf16(const char* p) {
  const auto* pairs = reinterpret_cast<const float*>(p);
  const __m256 upper = _mm256_castsi256_ps(_mm256_set1_epi32(-0x10000));
  return {_mm256_and_ps(_mm256_loadu_ps(pairs), upper),
          _mm256_and_ps(_mm256_loadu_ps(pairs + 8), upper)};
}
// Into the L2 cache.
inline void fetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }
inline V16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline V16 add(V16 a, V16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline V16 sub(V16 a, V16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline V16 mul(V16 a, V16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline V16 div(V16 a, V16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline V16 fma(V16 a, V16 b, V16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline V16 max(V16 a, V16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline V16 min(V16 a, V16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline V16 zero_above(V16 t, float limit, V16 v) {
  const __m256 at = _mm256_set1_ps(limit);
  return {_mm256_and_ps(_mm256_cmp_ps(t.low, at, _CMP_LE_OQ), v.low),
          _mm256_and_ps(_mm256_cmp_ps(t.high, at, _CMP_LE_OQ), v.high)};
}
inline __m256 pow2(__m256 z) {
  const __m256i biased = _mm256_add_epi32(_mm256_castps_si256(z), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
inline void store_bytes(std::uint8_t* p, V16 v, float zero) {
  const __m256i shift = _mm256_set1_epi32(static_cast<std::int32_t>(zero));
  const __m256i words = _mm256_packus_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(v.low), shift),
                                            _mm256_add_epi32(_mm256_cvtps_epi32(v.high), shift));
  const __m256i bytes = _mm256_packus_epi16(words, words);
  // Lanes of 128 bits: 0-3, 8-11 twice, then 4-7, 12-15 twice.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
  const __m256i whole = _mm256_permutevar8x32_epi32(bytes, order);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(whole));
}
inline V16 pow2(V16 z) { return {pow2(z.low), pow2(z.high)}; }
inline float sum(V16 v) {
  const __m256 eight = _mm256_add_ps(v.low, v.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float max_lane(V16 v) {
  const __m256 eight = _mm256_max_ps(v.low, v.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// 16 registers: 6 x 16 sums in 12, two of weights, one broadcast. Eight chains hide the latency.
constexpr std::size_t kMaxRows = 6;
constexpr std::size_t tile_panels(std::size_t rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }

#include "kernels/gemm_body.inc"
#include "kernels/kernels_bf16.inc"
#include "kernels/kernels_body.inc"
#include "kernels/kernels_int8.inc"

}  // namespace

extern const Kernels kKernelsAvx2;
const Kernels kKernelsAvx2 = {Isa::kAvx2,
                              gemm_panels,
                              gemm_panels_add,
                              pack_panels,
                              gelu_all,
                              gelu_tanh_all,
                              silu_all,
                              relu_all,
                              mul_all,
                              silu_mul_all,
                              softmax,
                              layer_norm,
                              rms_norm,
                              dot,
                              axpy,
                              quantize_rows,
                              gemm_panels_int8_avx2,
                              round_rows_to_floats,
                              gemm_panels_bf16,
                              nullptr};

}  // namespace collegium::core
