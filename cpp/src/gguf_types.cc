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
    case GgmlType::kQ8_0:
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
