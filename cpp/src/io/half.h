#pragma once

#include <bit>
#include <cstdint>

namespace collegium::core {

// IEEE binary16 to float, exact; by integer operations alone, so that it does not depend on
// whether the thread flushes denormals.
inline float half_to_float(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  std::uint32_t exponent = (half >> 10) & 0x1fu;
  std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {
    if (fraction == 0) return std::bit_cast<float>(sign);
    // Subnormal: shift the leading one into place; every half is a normal float.
    const int shift = std::countl_zero(fraction) - 21;
    fraction = (fraction << shift) & 0x3ffu;
    return std::bit_cast<float>(sign | static_cast<std::uint32_t>(113 - shift) << 23 |
                                fraction << 13);
  }
  exponent += 112;
  return std::bit_cast<float>(sign | exponent << 23 | fraction << 13);
}

inline float bfloat16_to_float(std::uint16_t value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

}  // namespace collegium::core
