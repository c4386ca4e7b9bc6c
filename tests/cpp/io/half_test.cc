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
