// Compiled with -mavx2 -mfma -mf16c, and run only where the machine has all three. Products of
// bytes are summed in pairs of 16 bits as long as those hold them.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

struct V16 {
  __m256 low, high;
};
struct Ints {
  __m256i low, high;
};
struct Bytes {  // of outputs 0-7 and 8-15
  __m256i low, high;
};

inline V16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, V16 x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
inline V16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline V16 fma(V16 a, V16 b, V16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline V16 mul(V16 a, V16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline V16 negate(V16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.low, sign), _mm256_xor_ps(a.high, sign)};
}
inline __m128i load_half(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline V16 widen_halves(const std::byte* p) {
  return {_mm256_cvtph_ps(load_half(p)), _mm256_cvtph_ps(load_half(p + 16))};
}
inline V16 widen_unsigned(const std::byte* p) {
  const __m128i bytes = load_half(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}
inline V16 widen_signed(const std::byte* p) {
  const __m128i bytes = load_half(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}

inline Bytes load_bytes(const std::byte* p) {
  const auto* at = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
inline void store_bytes(std::byte* p, Bytes b) {
  auto* at = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(at, b.low);
  _mm256_storeu_si256(at + 1, b.high);
}
inline Bytes low_halves(Bytes b) {
  const __m256i mask = _mm256_set1_epi8(0x0f);
  return {_mm256_and_si256(b.low, mask), _mm256_and_si256(b.high, mask)};
}
inline Bytes high_halves(Bytes b) {
  return low_halves({_mm256_srli_epi16(b.low, 4), _mm256_srli_epi16(b.high, 4)});
}
template <int kShift, int kMask>
inline Bytes put_bits(Bytes low, Bytes high) {
  const auto put = [](__m256i to, __m256i bits) {
    if constexpr (kShift >= 0)
      bits = _mm256_slli_epi16(bits, kShift);
    else
      bits = _mm256_srli_epi16(bits, -kShift);
    return _mm256_or_si256(to, _mm256_and_si256(bits, _mm256_set1_epi8(kMask)));
  };
  return {put(low.low, high.low), put(low.high, high.high)};
}
inline Bytes flip(Bytes b) {
  const __m256i top = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(b.low, top), _mm256_xor_si256(b.high, top)};
}

constexpr bool kSignedBytes = true;
constexpr std::size_t kFusedRows = 4, kTileRows = 3;
// Asks for the bytes of a block that comes so far behind the one in work.
constexpr std::size_t kAhead = 16384;
template <std::size_t kBytes>
inline void prefetch(const std::byte* block) {
#pragma GCC unroll 9
  for (std::size_t i = 0; i < kBytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(block + kAhead + i), _MM_HINT_T1);
}

inline Ints start(const std::int32_t* p) {
  const __m256i all = _mm256_set1_epi32(*p);
  return {all, all};
}
inline Ints no_sums() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline V16 to_floats(Ints sums) {
  return {_mm256_cvtepi32_ps(sums.low), _mm256_cvtepi32_ps(sums.high)};
}

inline __m256i broadcast4(const std::int8_t* p) {
  std::int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}
// Four products of 127 and kLargest each are added in pairs; so many pairs fit 16 bits. Those of
// -127 and 128, of signed bytes, do too.
constexpr std::size_t pairs_of_16_bits(int largest) {
  return largest == 255 ? 1 : static_cast<std::size_t>(32767 / (2 * 127 * largest));
}
template <int kLargest, std::size_t kRows, std::size_t kGroups, typename Get>
inline void add_products(const Get& get, const std::int8_t* x, std::size_t stride, Ints* sums) {
  constexpr std::size_t kRun = pairs_of_16_bits(kLargest);
  const __m256i ones = _mm256_set1_epi16(1);
  Ints pairs[kRows];
  const auto add_group = [&]<std::size_t kGroup>(std::integral_constant<std::size_t, kGroup> g) {
    const Bytes w = get(g);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m256i four = broadcast4(x + r * stride + 4 * kGroup);
      Ints products;
      if constexpr (kLargest == 255) {
        products.low = _mm256_maddubs_epi16(_mm256_abs_epi8(w.low), _mm256_sign_epi8(four, w.low));
        products.high =
            _mm256_maddubs_epi16(_mm256_abs_epi8(w.high), _mm256_sign_epi8(four, w.high));
      } else {
        products.low = _mm256_maddubs_epi16(w.low, four);
        products.high = _mm256_maddubs_epi16(w.high, four);
      }
      if constexpr (kGroup % kRun == 0)
        pairs[r] = products;
      else
        pairs[r] = {_mm256_add_epi16(pairs[r].low, products.low),
                    _mm256_add_epi16(pairs[r].high, products.high)};
      if constexpr (kGroup % kRun == kRun - 1 || kGroup == kGroups - 1) {
        sums[r].low = _mm256_add_epi32(sums[r].low, _mm256_madd_epi16(pairs[r].low, ones));
        sums[r].high = _mm256_add_epi32(sums[r].high, _mm256_madd_epi16(pairs[r].high, ones));
      }
    }
  };
  [&]<std::size_t... kGroup>(std::index_sequence<kGroup...>) {
    (add_group(std::integral_constant<std::size_t, kGroup>()), ...);
  }(std::make_index_sequence<kGroups>());
}

inline float largest_magnitude(const float* x) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const auto at = [=](std::size_t i) {
    return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i)), magnitude);
  };
  __m256i largest =
      _mm256_max_epi32(_mm256_max_epi32(at(0), at(8)), _mm256_max_epi32(at(16), at(24)));
  __m128i four =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(four));
}
inline void round_block(const float* x, float inverse, std::int8_t* values, std::int32_t sums[2]) {
  const __m256 factor = _mm256_set1_ps(inverse);
  const auto at = [=](std::size_t i) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor));
  };
  // Packing goes by lanes of 16 bytes; the shuffle puts the order right.
  const __m256i a = _mm256_packs_epi32(at(0), at(8)), b = _mm256_packs_epi32(at(16), at(24));
  const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b),
                                                    _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(values), bytes);
  __m256i four =
      _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
  four = _mm256_add_epi32(four, _mm256_shuffle_epi32(four, 0x4e));
  four = _mm256_add_epi32(four, _mm256_shuffle_epi32(four, 0xb1));
  sums[0] = _mm256_extract_epi32(four, 0);
  sums[1] = _mm256_extract_epi32(four, 4);
}

#include "lm/packed_kernels_rows.inc"

}  // namespace

extern const PackedKernels kPackedKernelsAvx2;
const PackedKernels kPackedKernelsAvx2 = {SIZE_MAX, round_rows, multiply};

}  // namespace collegium::core
