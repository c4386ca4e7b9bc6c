#include <array>
#include <cstring>
#include <span>

#include "collegium/core/gguf.h"
#include "io/half.h"

namespace collegium::core {
namespace {

struct TypeInfo {
  std::uint32_t type;
  std::string_view name;
  std::size_t numbers;
  std::size_t bytes;
};

// The types whose sizes are known, so that their tensors' bounds can be checked.
constexpr std::array<TypeInfo, 18> kTypes = {{{0, "F32", 1, 4},
                                              {1, "F16", 1, 2},
                                              {2, "Q4_0", 32, 18},
                                              {3, "Q4_1", 32, 20},
                                              {6, "Q5_0", 32, 22},
                                              {7, "Q5_1", 32, 24},
                                              {8, "Q8_0", 32, 34},
                                              {10, "Q2_K", 256, 84},
                                              {11, "Q3_K", 256, 110},
                                              {12, "Q4_K", 256, 144},
                                              {13, "Q5_K", 256, 176},
                                              {14, "Q6_K", 256, 210},
                                              {24, "I8", 1, 1},
                                              {25, "I16", 1, 2},
                                              {26, "I32", 1, 4},
                                              {27, "I64", 1, 8},
                                              {28, "F64", 1, 8},
                                              {30, "BF16", 1, 2}}};

const TypeInfo* find_type(GgmlType type) {
  for (const auto& info : kTypes)
    if (info.type == static_cast<std::uint32_t>(type)) return &info;
  return nullptr;
}

std::uint16_t load16(const std::byte* bytes) {
  std::uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

constexpr std::size_t kBlock = 32;

// The 32 four-bit numbers of 16 bytes: low halves first.
template <typename Widen>
void widen_nibbles(const std::byte* packed, float* out, Widen widen) {
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    const int pair = std::to_integer<int>(packed[j]);
    out[j] = widen(pair & 0x0f);
    out[j + kBlock / 2] = widen(pair >> 4);
  }
}

// The 32 five-bit numbers of 16 bytes of low halves and 32 bits on top of them.
template <typename Widen>
void widen_five_bits(const std::byte* high, const std::byte* packed, float* out, Widen widen) {
  std::uint32_t bits;
  std::memcpy(&bits, high, sizeof bits);
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    const int pair = std::to_integer<int>(packed[j]);
    const std::size_t k = j + kBlock / 2;
    out[j] = widen((pair & 0x0f) | static_cast<int>(bits >> j & 1) << 4);
    out[k] = widen((pair >> 4) | static_cast<int>(bits >> k & 1) << 4);
  }
}

constexpr std::size_t kSuperBlock = 256;

// Scale and minimum of the eight parts of 32 numbers in Q4_K and Q5_K: six bits each in 12 bytes,
// the first four of both in the low bits of bytes 0 to 7, the others' low halves in bytes 8 to 11
// and their high ones on top of the first eight bytes.
struct PartScales {
  int scale;
  int minimum;
};
PartScales part_scales(const std::byte* packed, std::size_t part) {
  const auto at = [packed](std::size_t i) { return std::to_integer<int>(packed[i]); };
  if (part < 4) return {at(part) & 0x3f, at(part + 4) & 0x3f};
  const int low = at(part + 4);
  return {(low & 0x0f) | (at(part - 4) >> 2 & 0x30), (low >> 4) | (at(part) >> 2 & 0x30)};
}

// 256 numbers: f16 d, f16 m, 12 bytes of scales, for Q5_K 32 bytes of fifth bits, then 128 bytes
// of halves. Two parts share 32 bytes: the low halves are the first of the two.
void widen_q45_k(const std::byte* block, bool fifth_bit, float* out) {
  const float scale = half_to_float(load16(block));
  const float minimum = half_to_float(load16(block + 2));
  const std::byte* high = block + 16;
  const std::byte* packed = fifth_bit ? high + 32 : high;
  for (std::size_t part = 0; part < kSuperBlock / kBlock; ++part, out += kBlock) {
    const PartScales parts = part_scales(block + 4, part);
    const float d = scale * static_cast<float>(parts.scale);
    const float m = minimum * static_cast<float>(parts.minimum);
    const std::byte* bytes = packed + part / 2 * kBlock;
    for (std::size_t j = 0; j < kBlock; ++j) {
      int q = std::to_integer<int>(bytes[j]) >> (part % 2 * 4) & 0x0f;
      if (fifth_bit) q |= (std::to_integer<int>(high[j]) >> part & 1) << 4;
      out[j] = d * static_cast<float>(q) - m;
    }
  }
}

// 256 numbers: 128 bytes of low halves, 64 bytes of two high bits, 16 int8 scales, f16 d. A half
// of the block is four parts of 32: parts 0 and 2 in the halves of the first 32 bytes, 1 and 3 in
// those of the next; part p's high bits are the p-th pair of each of 32 bytes.
void widen_q6_k(const std::byte* block, float* out) {
  const float scale = half_to_float(load16(block + 208));
  for (std::size_t half = 0; half < 2; ++half)
    for (std::size_t part = 0; part < 4; ++part) {
      const std::byte* low = block + 64 * half + part % 2 * kBlock;
      const std::byte* high = block + 128 + 32 * half;
      for (std::size_t j = 0; j < kBlock; ++j) {
        const std::byte s = block[192 + 8 * half + 2 * part + j / 16];
        const float d = scale * static_cast<float>(static_cast<std::int8_t>(s));
        const int q = (std::to_integer<int>(low[j]) >> (part / 2 * 4) & 0x0f) |
                      (std::to_integer<int>(high[j]) >> (2 * part) & 3) << 4;
        *out++ = d * static_cast<float>(q - 32);
      }
    }
}

}  // namespace

std::string ggml_type_name(GgmlType type) {
  const TypeInfo* info = find_type(type);
  return info != nullptr ? std::string(info->name)
                         : "type " + std::to_string(static_cast<std::uint32_t>(type));
}

bool can_dequantize(GgmlType type) noexcept {
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ8_0:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
    case GgmlType::kBF16:
      return true;
  }
  return false;
}

std::size_t ggml_block_numbers(GgmlType type) noexcept {
  const TypeInfo* info = find_type(type);
  return info != nullptr ? info->numbers : 0;
}

std::size_t ggml_block_bytes(GgmlType type) noexcept {
  const TypeInfo* info = find_type(type);
  return info != nullptr ? info->bytes : 0;
}

void dequantize(GgmlType type, const std::byte* blocks, std::size_t n, float* out) noexcept {
  switch (type) {
    case GgmlType::kF32:
      if (n != 0) std::memcpy(out, blocks, n * sizeof(float));
      return;
    case GgmlType::kF16:
      for (std::size_t i = 0; i < n; ++i) out[i] = half_to_float(load16(blocks + 2 * i));
      return;
    case GgmlType::kBF16:
      for (std::size_t i = 0; i < n; ++i) out[i] = bfloat16_to_float(load16(blocks + 2 * i));
      return;
    case GgmlType::kQ4_0:
      for (std::size_t i = 0; i < n; i += kBlock, blocks += 18) {
        const float scale = half_to_float(load16(blocks));
        widen_nibbles(blocks + 2, out + i,
                      [=](int q) { return scale * static_cast<float>(q - 8); });
      }
      return;
    case GgmlType::kQ4_1:
      for (std::size_t i = 0; i < n; i += kBlock, blocks += 20) {
        const float scale = half_to_float(load16(blocks));
        const float minimum = half_to_float(load16(blocks + 2));
        widen_nibbles(blocks + 4, out + i,
                      [=](int q) { return scale * static_cast<float>(q) + minimum; });
      }
      return;
    case GgmlType::kQ5_0:
      for (std::size_t i = 0; i < n; i += kBlock, blocks += 22) {
        const float scale = half_to_float(load16(blocks));
        widen_five_bits(blocks + 2, blocks + 6, out + i,
                        [=](int q) { return scale * static_cast<float>(q - 16); });
      }
      return;
    case GgmlType::kQ5_1:
      for (std::size_t i = 0; i < n; i += kBlock, blocks += 24) {
        const float scale = half_to_float(load16(blocks));
        const float minimum = half_to_float(load16(blocks + 2));
        widen_five_bits(blocks + 4, blocks + 8, out + i,
                        [=](int q) { return scale * static_cast<float>(q) + minimum; });
      }
      return;
    case GgmlType::kQ4_K:
      for (std::size_t i = 0; i < n; i += kSuperBlock, blocks += 144)
        widen_q45_k(blocks, false, out + i);
      return;
    case GgmlType::kQ5_K:
      for (std::size_t i = 0; i < n; i += kSuperBlock, blocks += 176)
        widen_q45_k(blocks, true, out + i);
      return;
    case GgmlType::kQ6_K:
      for (std::size_t i = 0; i < n; i += kSuperBlock, blocks += 210) widen_q6_k(blocks, out + i);
      return;
    case GgmlType::kQ8_0:
      for (std::size_t i = 0; i < n; i += kBlock, blocks += 34) {
        const float scale = half_to_float(load16(blocks));
        for (std::size_t j = 0; j < kBlock; ++j)
          out[i + j] = scale * static_cast<float>(static_cast<std::int8_t>(blocks[2 + j]));
      }
      return;
  }
}

}  // namespace collegium::core
