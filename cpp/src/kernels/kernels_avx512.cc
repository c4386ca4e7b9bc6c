// Compiled with -mavx512f (and what it implies), and run only where the machine has it.
#include <immintrin.h>

#include <cstddef>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

struct V16 {
  __m512 all;
};

inline V16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, V16 v) { _mm512_storeu_ps(p, v.all); }
inline V16 even_bf16(const char* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
inline V16 odd_bf16(const char* p) {
  const __m512i upper = _mm512_set1_epi32(-0x10000);
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper))};
}
// Into the L2 cache.
inline void fetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }
inline V16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline V16 add(V16 a, V16 b) { return {_mm512_add_ps(a.all, b.all)}; }
inline V16 sub(V16 a, V16 b) { return {_mm512_sub_ps(a.all, b.all)}; }
inline V16 mul(V16 a, V16 b) { return {_mm512_mul_ps(a.all, b.all)}; }
inline V16 div(V16 a, V16 b) { return {_mm512_div_ps(a.all, b.all)}; }
inline V16 fma(V16 a, V16 b, V16 c) { return {_mm512_fmadd_ps(a.all, b.all, c.all)}; }
inline V16 max(V16 a, V16 b) { return {_mm512_max_ps(a.all, b.all)}; }
inline V16 min(V16 a, V16 b) { return {_mm512_min_ps(a.all, b.all)}; }
inline V16 zero_above(V16 t, float limit, V16 v) {
  const __mmask16 keep = _mm512_cmp_ps_mask(t.all, _mm512_set1_ps(limit), _CMP_LE_OQ);
  return {_mm512_maskz_mov_ps(keep, v.all)};
}
inline void store_bytes(std::uint8_t* p, V16 v, float zero) {
  const __m512i shifted = _mm512_add_epi32(_mm512_cvtps_epi32(v.all),
                                           _mm512_set1_epi32(static_cast<std::int32_t>(zero)));
  const __m512i positive = _mm512_max_epi32(shifted, _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(positive));
}
inline V16 pow2(V16 z) {
  const __m512i biased = _mm512_add_epi32(_mm512_castps_si512(z.all), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
inline __m256 low_half(__m512 v) { return _mm512_castps512_ps256(v); }
inline __m256 high_half(__m512 v) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}
inline float sum(V16 v) {
  const __m256 eight = _mm256_add_ps(low_half(v.all), high_half(v.all));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float max_lane(V16 v) {
  const __m256 eight = _mm256_max_ps(low_half(v.all), high_half(v.all));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// 32 registers: 12 x 32 sums in 24, two of weights, one broadcast. Eight chains hide the latency.
constexpr std::size_t kMaxRows = 12;
constexpr std::size_t tile_panels(std::size_t rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : 2; }

#include "kernels/gemm_body.inc"
#include "kernels/kernels_bf16.inc"
#include "kernels/kernels_body.inc"
#include "kernels/kernels_int8.inc"

}  // namespace

extern const Kernels kKernelsAvx512;
const Kernels kKernelsAvx512 = {Isa::kAvx512,
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
