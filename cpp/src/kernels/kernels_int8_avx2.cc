// Compiled with -mavx2 -mfma, and run only where the machine has both.
#include <immintrin.h>

#include <cstring>

#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

inline __m256i broadcast4(const std::uint8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}

// Four inputs of a row with four inputs of eight outputs each; and the next four. The sums of four
// products fit 16 bits: see kernels_int8.h.
inline __m256i eight_inputs(__m256i x0, __m256i w0, __m256i x1, __m256i w1) {
  const __m256i quads =
      _mm256_add_epi16(_mm256_maddubs_epi16(x0, w0), _mm256_maddubs_epi16(x1, w1));
  return _mm256_madd_epi16(quads, _mm256_set1_epi16(1));
}

// 16 registers: 4 x 16 sums in 8, four of weights, the ones, two broadcasts.
constexpr std::size_t kTileRows = 4;

template <std::size_t kRows>
void run_tile(const Int8Tile& t) {
  __m256i total[kRows][2];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kRows; ++r) total[r][0] = total[r][1] = _mm256_setzero_si256();
  const std::uint8_t* a = t.a;
  const std::size_t depth = t.depth;
  const auto* w = reinterpret_cast<const __m256i*>(t.panel);
  const std::int8_t* ahead = t.ahead;
  for (std::size_t i = 0; i < depth; i += 8, a += 8, w += 4, ahead += 128) {
    _mm_prefetch(ahead, _MM_HINT_T1);
    _mm_prefetch(ahead + 64, _MM_HINT_T1);
    const __m256i w0 = _mm256_load_si256(w), w1 = _mm256_load_si256(w + 1);
    const __m256i w2 = _mm256_load_si256(w + 2), w3 = _mm256_load_si256(w + 3);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m256i x0 = broadcast4(a + r * depth), x1 = broadcast4(a + r * depth + 4);
      total[r][0] = _mm256_add_epi32(total[r][0], eight_inputs(x0, w0, x1, w2));
      total[r][1] = _mm256_add_epi32(total[r][1], eight_inputs(x0, w1, x1, w3));
    }
  }
#pragma GCC unroll 2
  for (std::size_t half = 0; half < 2; ++half) {
    const __m256i sums = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.sums + 8 * half));
    const __m256 scales = _mm256_loadu_ps(t.scales + 8 * half);
    const __m256 bias = _mm256_loadu_ps(t.bias + 8 * half);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m256i shift = _mm256_mullo_epi32(_mm256_set1_epi32(t.a_zeros[r]), sums);
      const __m256 whole = _mm256_cvtepi32_ps(_mm256_sub_epi32(total[r][half], shift));
      const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(t.a_scales[r]), scales);
      _mm256_storeu_ps(t.c + r * t.ldc + 8 * half, _mm256_fmadd_ps(whole, scale, bias));
    }
  }
}

constexpr void (*kTiles[])(const Int8Tile&) = {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>};

#include "kernels/gemm_int8_body.inc"

}  // namespace

void gemm_panels_int8_avx2(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept {
  gemm_panels_int8(a, rows, panels, n, k, bias, c, ldc);
}

}  // namespace collegium::core
