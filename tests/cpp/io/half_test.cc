#include "io/half.h"

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>

namespace collegium::core {
namespace {

TEST(Half, EveryPatternEqualsEigens) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = Eigen::numext::bit_cast<Eigen::half>(static_cast<std::uint16_t>(bits));
    const float expected = Eigen::half_impl::half_to_float(half);
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected))
          << bits;
    }
  }
}

TEST(Half, IsTheNearestAsEigenRounds) {
  const auto expect_same = [](float value) {
    const auto expected = Eigen::numext::bit_cast<std::uint16_t>(
        Eigen::half(Eigen::half_impl::float_to_half_rtne(value)));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(half_to_float(float_to_half(value))));
    } else {
      ASSERT_EQ(float_to_half(value), expected) << value;
    }
  };
  // Each half, the point between it and the next, and what is beside that.
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float here = half_to_float(static_cast<std::uint16_t>(bits));
    const float next = half_to_float(static_cast<std::uint16_t>(bits + 1));
    expect_same(here);
    const float middle = here + (next - here) / 2;
    if (!std::isfinite(middle)) continue;
    for (const float value : {middle, std::nextafter(middle, here), std::nextafter(middle, next)})
      expect_same(value);
  }
  for (const float value : {65519.0f, 65520.0f, 1e6f, 3e38f, 1e-8f, 0x1p-25f, 1e-40f})
    for (const float sign : {1.0f, -1.0f}) expect_same(sign * value);
}

TEST(BFloat16, EveryPatternEqualsEigens) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto number = Eigen::numext::bit_cast<Eigen::bfloat16>(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(bfloat16_to_float(static_cast<std::uint16_t>(bits))),
              std::bit_cast<std::uint32_t>(Eigen::bfloat16_impl::bfloat16_to_float(number)))
        << bits;
  }
}

}  // namespace
}  // namespace collegium::core
