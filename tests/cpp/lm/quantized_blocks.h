#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "collegium/core/gguf.h"

namespace collegium::core {

// Scales of any bits may be NaN, which equals nothing: their exponents are brought below 2, so that
// they are subnormal to 2.
inline void keep_scales_finite(GgmlType type, std::vector<std::byte>& blocks) {
  const std::size_t size = ggml_block_bytes(type);
  for (std::size_t begin = 0; begin < blocks.size(); begin += size) {
    std::byte* block = blocks.data() + begin;
    // The high byte of f16 d, and of f16 m.
    block[type == GgmlType::kQ6_K ? 209 : 1] &= std::byte{0xBF};
    if (type == GgmlType::kQ4_1 || type == GgmlType::kQ5_1 || type == GgmlType::kQ4_K ||
        type == GgmlType::kQ5_K)
      block[3] &= std::byte{0xBF};
  }
}

// Any bits are weights.
inline std::vector<std::byte> random_blocks(GgmlType type, std::size_t blocks, std::uint32_t seed) {
  std::vector<std::byte> bytes(blocks * ggml_block_bytes(type));
  for (auto& byte : bytes) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(seed >> 24);
  }
  keep_scales_finite(type, bytes);
  return bytes;
}

// In [-1, 1).
inline std::vector<float> random_numbers(std::size_t n, std::uint32_t seed) {
  std::vector<float> numbers(n);
  for (auto& x : numbers) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31f;
  }
  return numbers;
}

}  // namespace collegium::core
