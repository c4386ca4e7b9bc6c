// Compiled with -mavx512vnni, and run only where the machine has it. vpdpbusd adds four products
// to a 32-bit sum without an intermediate, so nothing can saturate.
#include <immintrin.h>

#include <cstring>

#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

inline __m512i broadcast4(const std::uint8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

// Twelve chains hide the latency of vpdpbusd.
constexpr std::size_t kTileRows = 12;

template <std::size_t kRows>
void run_tile(const Int8Tile& t) {
  __m512i total[kRows];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < kRows; ++r) total[r] = _mm512_setzero_si512();
  for (std::size_t i = 0; i < t.depth; i += 4) {
    _mm_prefetch(t.ahead + i * kPanelWidth, _MM_HINT_T1);
    const __m512i w = _mm512_load_si512(t.panel + i * kPanelWidth);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < kRows; ++r) {
      total[r] = _mm512_dpbusd_epi32(total[r], broadcast4(t.a + r * t.depth + i), w);
    }
  }
  const __m512i sums = _mm512_loadu_si512(t.sums);
  const __m512 scales = _mm512_loadu_ps(t.scales);
  const __m512 bias = _mm512_loadu_ps(t.bias);
#pragma GCC unroll 12
  for (std::size_t r = 0; r < kRows; ++r) {
    const __m512i shift = _mm512_mullo_epi32(_mm512_set1_epi32(t.a_zeros[r]), sums);
    const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(total[r], shift));
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(t.a_scales[r]), scales);
    _mm512_storeu_ps(t.c + r * t.ldc, _mm512_fmadd_ps(whole, scale, bias));
  }
}

constexpr void (*kTiles[])(const Int8Tile&) = {
    run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>,  run_tile<5>,  run_tile<6>,
    run_tile<7>, run_tile<8>, run_tile<9>, run_tile<10>, run_tile<11>, run_tile<12>};

#include "kernels/gemm_int8_body.inc"

}  // namespace

void gemm_panels_int8_vnni(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept {
  gemm_panels_int8(a, rows, panels, n, k, bias, c, ldc);
}

}  // namespace collegium::core
