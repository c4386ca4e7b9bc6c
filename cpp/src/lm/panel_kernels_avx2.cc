// Compiled with -mavx2 -mfma -mf16c, and run only where the machine has all three.
#include <immintrin.h>

#include <cstddef>

#include "kernels/kernels.h"
#include "lm/panel_kernels.h"

namespace collegium::core {
namespace {

constexpr std::size_t kBlock = 32;

// A number of each of the 16 rows.
struct Column {
  __m256 low, high;
};

inline Column broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Column fma(Column a, Column b, Column c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Column mul(Column a, Column b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

// The f16 numbers at `at` in 16 rows, `row_bytes` apart. Exact, denormals too.
inline Column load_halves(const std::byte* at, std::size_t row_bytes) {
  alignas(32) unsigned short halves[kPanelWidth];
  for (std::size_t row = 0; row < kPanelWidth; ++row)
    __builtin_memcpy(&halves[row], at + row * row_bytes, sizeof halves[row]);
  const auto* h = reinterpret_cast<const __m128i*>(halves);
  return {_mm256_cvtph_ps(_mm_load_si128(h)), _mm256_cvtph_ps(_mm_load_si128(h + 1))};
}

// 16 bytes of 16 rows each, transposed. The lower lanes hold rows 0-7, the upper ones rows 8-15;
// three rounds of interleaving the first half of the registers with the second leave in register
// j, in each lane, byte 2 j of its eight rows and then byte 2 j + 1.
inline void transpose(const std::byte* at, std::size_t row_bytes, __m256i out[8]) {
  __m256i a[8], b[8];
  const auto load = [&](std::size_t row) {
    return reinterpret_cast<const __m128i*>(at + row * row_bytes);
  };
  for (std::size_t row = 0; row < 8; ++row) a[row] = _mm256_loadu2_m128i(load(row + 8), load(row));
  const auto round = [](const __m256i in[8], __m256i to[8]) {
    for (std::size_t i = 0; i < 4; ++i) {
      to[2 * i] = _mm256_unpacklo_epi8(in[i], in[i + 4]);
      to[2 * i + 1] = _mm256_unpackhi_epi8(in[i], in[i + 4]);
    }
  };
  round(a, b);
  round(b, a);
  round(a, out);
}

// One block of each of 16 rows: bytes, as transpose() orders them, and what they are scaled by.
struct Block {
  alignas(32) __m256i bytes[kBlock / 2];
  Column scale, minimum;
  __m256i fifth[2];  // a bit of each number, of rows 0-7 and 8-15 (Q5_0 and Q5_1)

  // Where number i of rows 0-7 is; that of rows 8-15 is 16 bytes on.
  const __m128i* number(std::size_t i, std::size_t upper) const {
    return reinterpret_cast<const __m128i*>(reinterpret_cast<const std::byte*>(bytes) + i / 2 * 32 +
                                            i % 2 * 8 + upper * 16);
  }
  Column widen_unsigned(std::size_t i) const {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(number(i, 0)))),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(number(i, 1))))};
  }
  Column widen_signed(std::size_t i) const {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(number(i, 0)))),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(number(i, 1))))};
  }
};

// Each format reads 32 numbers of each row, from number `begin` on, and gives the weights, number i
// of every row. A product of an f16 and small integers of together 13 bits is exact in fp32, so
// one fused operation rounds as d * q + m does.
struct Q4_0 {
  static constexpr std::size_t kBytes = 18;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kBlock * kBytes;
    block.scale = load_halves(at, row_bytes);
    __m256i packed[8];
    transpose(at + 2, row_bytes, packed);
    const __m256i mask = _mm256_set1_epi8(0x0f);
    const __m256i eight = _mm256_set1_epi8(8);
    for (std::size_t j = 0; j < 8; ++j) {
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(packed[j], 4), mask);
      block.bytes[j] = _mm256_sub_epi8(_mm256_and_si256(packed[j], mask), eight);
      block.bytes[8 + j] = _mm256_sub_epi8(high, eight);
    }
  }
  static Column weights(const Block& block, std::size_t i) {
    return mul(block.scale, block.widen_signed(i));
  }
};

struct Q4_1 {
  static constexpr std::size_t kBytes = 20;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kBlock * kBytes;
    block.scale = load_halves(at, row_bytes);
    block.minimum = load_halves(at + 2, row_bytes);
    __m256i packed[8];
    transpose(at + 4, row_bytes, packed);
    const __m256i mask = _mm256_set1_epi8(0x0f);
    for (std::size_t j = 0; j < 8; ++j) {
      block.bytes[j] = _mm256_and_si256(packed[j], mask);
      block.bytes[8 + j] = _mm256_and_si256(_mm256_srli_epi16(packed[j], 4), mask);
    }
  }
  static Column weights(const Block& block, std::size_t i) {
    return fma(block.scale, block.widen_unsigned(i), block.minimum);
  }
};

struct Q8_0 {
  static constexpr std::size_t kBytes = 34;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kBlock * kBytes;
    block.scale = load_halves(at, row_bytes);
    transpose(at + 2, row_bytes, block.bytes);
    transpose(at + 18, row_bytes, block.bytes + 8);
  }
  static Column weights(const Block& block, std::size_t i) {
    return mul(block.scale, block.widen_signed(i));
  }
};

// Halves of a byte each, numbers 0-15 the low ones.
inline void read_halves_of_bytes(const std::byte* at, std::size_t row_bytes, Block& block) {
  __m256i packed[8];
  transpose(at, row_bytes, packed);
  const __m256i mask = _mm256_set1_epi8(0x0f);
  for (std::size_t j = 0; j < 8; ++j) {
    block.bytes[j] = _mm256_and_si256(packed[j], mask);
    block.bytes[8 + j] = _mm256_and_si256(_mm256_srli_epi16(packed[j], 4), mask);
  }
}

// The 32 bits at `at` of each row.
inline void read_fifth_bits(const std::byte* at, std::size_t row_bytes, Block& block) {
  alignas(32) unsigned bits[kPanelWidth];
  for (std::size_t row = 0; row < kPanelWidth; ++row)
    __builtin_memcpy(&bits[row], at + row * row_bytes, sizeof bits[row]);
  block.fifth[0] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bits));
  block.fifth[1] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bits + 8));
}

// Number i with its fifth bit, less `offset`.
inline Column widen_five_bits(const Block& block, std::size_t i, int offset) {
  const __m128i place = _mm_cvtsi32_si128(static_cast<int>(i));
  const auto widen = [&](std::size_t upper) {
    const __m256i bit =
        _mm256_and_si256(_mm256_srl_epi32(block.fifth[upper], place), _mm256_set1_epi32(1));
    const __m256i low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(block.number(i, upper)));
    const __m256i q = _mm256_or_si256(low, _mm256_slli_epi32(bit, 4));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(offset)));
  };
  return {widen(0), widen(1)};
}

struct Q5_0 {
  static constexpr std::size_t kBytes = 22;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kBlock * kBytes;
    block.scale = load_halves(at, row_bytes);
    read_fifth_bits(at + 2, row_bytes, block);
    read_halves_of_bytes(at + 6, row_bytes, block);
  }
  static Column weights(const Block& block, std::size_t i) {
    return mul(block.scale, widen_five_bits(block, i, 16));
  }
};

struct Q5_1 {
  static constexpr std::size_t kBytes = 24;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kBlock * kBytes;
    block.scale = load_halves(at, row_bytes);
    block.minimum = load_halves(at + 2, row_bytes);
    read_fifth_bits(at + 4, row_bytes, block);
    read_halves_of_bytes(at + 8, row_bytes, block);
  }
  static Column weights(const Block& block, std::size_t i) {
    return fma(block.scale, widen_five_bits(block, i, 0), block.minimum);
  }
};

constexpr std::size_t kSuperBlock = 256;

// 32 bytes of 16 rows each, byte i of a row as number i.
inline void read_bytes(const std::byte* at, std::size_t row_bytes, __m256i out[16]) {
  transpose(at, row_bytes, out);
  transpose(at + 16, row_bytes, out + 8);
}

inline Column load_column(const float* at) { return {_mm256_load_ps(at), _mm256_load_ps(at + 8)}; }

// Scales and minima of Q4_K and Q5_K, times the block's own, as part_scales() of gguf_types.cc has
// them: the minimum is negated, to be added.
inline void read_part_scales(const std::byte* at, std::size_t row_bytes, std::size_t part,
                             Block& block) {
  alignas(32) float scales[kPanelWidth];
  alignas(32) float minima[kPanelWidth];
  for (std::size_t row = 0; row < kPanelWidth; ++row) {
    const auto* packed = reinterpret_cast<const unsigned char*>(at + 4 + row * row_bytes);
    const int low = packed[part + 4];
    if (part < 4) {
      scales[row] = static_cast<float>(packed[part] & 0x3f);
      minima[row] = static_cast<float>(low & 0x3f);
    } else {
      scales[row] = static_cast<float>((low & 0x0f) | (packed[part - 4] >> 2 & 0x30));
      minima[row] = static_cast<float>(low >> 4 | (packed[part] >> 2 & 0x30));
    }
  }
  block.scale = mul(load_halves(at, row_bytes), load_column(scales));
  const Column minimum = mul(load_halves(at + 2, row_bytes), load_column(minima));
  const __m256 sign = _mm256_set1_ps(-0.0f);
  block.minimum = {_mm256_xor_ps(minimum.low, sign), _mm256_xor_ps(minimum.high, sign)};
}

// The low or the high halves of 32 bytes.
inline void read_one_half(const std::byte* at, std::size_t row_bytes, bool high, Block& block) {
  read_bytes(at, row_bytes, block.bytes);
  const __m256i mask = _mm256_set1_epi8(0x0f);
  for (__m256i& bytes : block.bytes)
    bytes = _mm256_and_si256(high ? _mm256_srli_epi16(bytes, 4) : bytes, mask);
}

// Bits from `shift` on of 32 bytes, as many as `mask` has, put on top of four-bit numbers.
inline void add_high_bits(const std::byte* at, std::size_t row_bytes, std::size_t shift, char mask,
                          Block& block) {
  __m256i high[16];
  read_bytes(at, row_bytes, high);
  const __m128i count = _mm_cvtsi32_si128(static_cast<int>(shift));
  for (std::size_t j = 0; j < 16; ++j) {
    const __m256i bits = _mm256_and_si256(_mm256_srl_epi16(high[j], count), _mm256_set1_epi8(mask));
    block.bytes[j] = _mm256_or_si256(block.bytes[j], _mm256_slli_epi16(bits, 4));
  }
}

struct Q4_K {
  static constexpr std::size_t kBytes = 18;  // of 32 numbers, on average
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kSuperBlock * 144;
    const std::size_t part = begin / kBlock % 8;
    read_part_scales(at, row_bytes, part, block);
    read_one_half(at + 16 + part / 2 * 32, row_bytes, part % 2 != 0, block);
  }
  static Column weights(const Block& block, std::size_t i) {
    return fma(block.scale, block.widen_unsigned(i), block.minimum);
  }
};

struct Q5_K {
  static constexpr std::size_t kBytes = 22;
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kSuperBlock * 176;
    const std::size_t part = begin / kBlock % 8;
    read_part_scales(at, row_bytes, part, block);
    read_one_half(at + 48 + part / 2 * 32, row_bytes, part % 2 != 0, block);
    add_high_bits(at + 16, row_bytes, part, 1, block);
  }
  static Column weights(const Block& block, std::size_t i) {
    return fma(block.scale, block.widen_unsigned(i), block.minimum);
  }
};

struct Q6_K {
  static constexpr std::size_t kBytes = 27;  // 26.25 on average
  static void read(const std::byte* row, std::size_t row_bytes, std::size_t begin, Block& block) {
    const std::byte* at = row + begin / kSuperBlock * 210;
    const std::size_t half = begin / kBlock % 8 / 4;
    const std::size_t part = begin / kBlock % 4;
    read_one_half(at + 64 * half + part % 2 * 32, row_bytes, part >= 2, block);
    add_high_bits(at + 128 + 32 * half, row_bytes, 2 * part, 3, block);
    const __m256i offset = _mm256_set1_epi8(32);
    for (__m256i& bytes : block.bytes) bytes = _mm256_sub_epi8(bytes, offset);
    // A scale for each 16 numbers.
    alignas(32) float scales[2][kPanelWidth];
    for (std::size_t r = 0; r < kPanelWidth; ++r)
      for (std::size_t j = 0; j < 2; ++j)
        scales[j][r] = static_cast<float>(
            static_cast<signed char>(at[192 + 8 * half + 2 * part + j + r * row_bytes]));
    const Column whole = load_halves(at + 208, row_bytes);
    block.scale = mul(whole, load_column(scales[0]));
    block.minimum = mul(whole, load_column(scales[1]));
  }
  static Column weights(const Block& block, std::size_t i) {
    return mul(i < 16 ? block.scale : block.minimum, block.widen_signed(i));
  }
};

// Asks for the bytes that come after the ones in work, in order: sixteen interleaved streams are
// more than the hardware follows by itself (without this a token takes twice as long). Past the end
// of the weights a prefetch does nothing.
inline void prefetch(const std::byte* at, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(at + i), _MM_HINT_T0);
}

template <typename Format>
void dequantize_panel(const std::byte* rows, std::size_t row_bytes, std::size_t k,
                      float* panel) noexcept {
  Block block;
  const std::byte* next = rows + kPanelWidth * row_bytes;
  for (std::size_t begin = 0; begin < k; begin += kBlock) {
    prefetch(next, kPanelWidth * Format::kBytes);
    next += kPanelWidth * Format::kBytes;
    Format::read(rows, row_bytes, begin, block);
    float* out = panel + begin * kPanelWidth;
    for (std::size_t i = 0; i < kBlock; ++i, out += kPanelWidth) {
      const Column w = Format::weights(block, i);
      _mm256_storeu_ps(out, w.low);
      _mm256_storeu_ps(out + 8, w.high);
    }
  }
}

// `kPanels` at once: the chains of several hide the latency of each other's additions.
template <typename Format, std::size_t kPanels>
void multiply_some(const std::byte* rows, std::size_t row_bytes, std::size_t k, const float* x,
                   float* out) noexcept {
  Block block[kPanels];
  Column sum[kPanels];
  for (std::size_t p = 0; p < kPanels; ++p) sum[p] = broadcast(0.0f);
  const std::byte* next = rows + kPanels * kPanelWidth * row_bytes;
  for (std::size_t begin = 0; begin < k; begin += kBlock) {
    prefetch(next, kPanels * kPanelWidth * Format::kBytes);
    next += kPanels * kPanelWidth * Format::kBytes;
    for (std::size_t p = 0; p < kPanels; ++p)
      Format::read(rows + p * kPanelWidth * row_bytes, row_bytes, begin, block[p]);
    for (std::size_t i = 0; i < kBlock; ++i) {
      const Column number = broadcast(x[begin + i]);
      for (std::size_t p = 0; p < kPanels; ++p)
        sum[p] = fma(number, Format::weights(block[p], i), sum[p]);
    }
  }
  for (std::size_t p = 0; p < kPanels; ++p) {
    _mm256_storeu_ps(out + p * kPanelWidth, sum[p].low);
    _mm256_storeu_ps(out + p * kPanelWidth + 8, sum[p].high);
  }
}

template <typename Format>
void multiply_panels(const std::byte* rows, std::size_t row_bytes, std::size_t panels,
                     std::size_t k, const float* x, float* out) noexcept {
  std::size_t p = 0;
  for (; p + 2 <= panels; p += 2)
    multiply_some<Format, 2>(rows + p * kPanelWidth * row_bytes, row_bytes, k, x,
                             out + p * kPanelWidth);
  if (p < panels)
    multiply_some<Format, 1>(rows + p * kPanelWidth * row_bytes, row_bytes, k, x,
                             out + p * kPanelWidth);
}

}  // namespace

extern const PanelKernels kPanelKernelsAvx2[8];
const PanelKernels kPanelKernelsAvx2[8] = {
    {dequantize_panel<Q4_0>, multiply_panels<Q4_0>},
    {dequantize_panel<Q4_1>, multiply_panels<Q4_1>},
    {dequantize_panel<Q8_0>, multiply_panels<Q8_0>},
    {dequantize_panel<Q5_0>, multiply_panels<Q5_0>},
    {dequantize_panel<Q5_1>, multiply_panels<Q5_1>},
    {dequantize_panel<Q4_K>, multiply_panels<Q4_K>},
    {dequantize_panel<Q5_K>, multiply_panels<Q5_K>},
    {dequantize_panel<Q6_K>, multiply_panels<Q6_K>},
};

}  // namespace collegium::core
