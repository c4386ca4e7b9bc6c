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

// The nearest binary16, of two the even one; infinite from 65520 on. A NaN stays one.
inline std::uint16_t float_to_half(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  const auto rounded = [](std::uint32_t number, int dropped) {  // number / 2^dropped
    const std::uint32_t half = 1u << (dropped - 1);
    const std::uint32_t rest = number & ((1u << dropped) - 1), kept = number >> dropped;
    return kept + (rest > half || (rest == half && (kept & 1) != 0) ? 1 : 0);
  };
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude >= 0x38800000u)  // 2^-14: normal; a carry goes into the exponent
    return static_cast<std::uint16_t>(sign | rounded(magnitude - (112u << 23), 13));
  if (magnitude < 0x33000000u) return static_cast<std::uint16_t>(sign);  // below 2^-25
  const int exponent = static_cast<int>(magnitude >> 23);
  return static_cast<std::uint16_t>(sign |
                                    rounded((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent));
}

inline float bfloat16_to_float(std::uint16_t value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

}  // namespace collegium::core
