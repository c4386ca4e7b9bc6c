#include "lm/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "io/half.h"

namespace collegium::core {
namespace {

constexpr std::size_t kBlock = 32;
constexpr int kLevels = 15;  // the largest q of Q4_1

// The scale as it is stored, and as it is read again.
float store_half(float x, std::byte* at) noexcept {
  const std::uint16_t half = float_to_half(x);
  std::memcpy(at, &half, sizeof half);
  return half_to_float(half);
}

float inverse_of(float scale) noexcept { return scale != 0.0f ? 1.0f / scale : 0.0f; }

// q of x for a scale and minimum, 0 to 15.
void round_levels(const float* x, float inverse, float minimum, float* q) noexcept {
  for (std::size_t i = 0; i < kBlock; ++i) {
    const float level = std::clamp((x[i] - minimum) * inverse, 0.0f, float{kLevels});
    q[i] = static_cast<float>(static_cast<std::int32_t>(level + 0.5f));
  }
}

// d and m of the least sum of squares (x - d q - m)^2; false where all q are one number.
bool least_squares(const float* x, const float* q, float& d, float& m) noexcept {
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_xq = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    sum_q += q[i];
    sum_qq += q[i] * q[i];
    sum_x += x[i];
    sum_xq += x[i] * q[i];
  }
  const float spread = kBlock * sum_qq - sum_q * sum_q;
  if (spread <= 0) return false;
  d = (kBlock * sum_xq - sum_q * sum_x) / spread;
  m = (sum_x - d * sum_q) / kBlock;
  return true;
}

float squared_error(const float* x, const float* q, float d, float m) noexcept {
  float sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const float off = x[i] - (d * q[i] + m);
    sum += off * off;
  }
  return sum;
}

void quantize_block_q4_1(const float* x, std::byte* block) noexcept {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float minimum = *low, span = *high - *low;
  float best_d = span / kLevels, best_m = minimum, best_error = 0;
  float q[kBlock];
  const auto stored = [&](float d, float m) {  // with the numbers that can be stored
    std::byte unused[2];
    d = store_half(d, unused);
    m = store_half(m, unused);
    round_levels(x, inverse_of(d), m, q);
    return squared_error(x, q, d, m);
  };
  if (span > 0) {
    best_error = stored(best_d, best_m);
    for (int step = -12; step <= 12; ++step) {
      float d, m;
      round_levels(x, (kLevels + 0.125f * static_cast<float>(step)) / span, minimum, q);
      if (!least_squares(x, q, d, m)) continue;
      const float error = stored(d, m);
      if (error < best_error) {
        best_error = error;
        best_d = d;
        best_m = m;
      }
    }
  }
  const float d = store_half(best_d, block), m = store_half(best_m, block + 2);
  round_levels(x, inverse_of(d), m, q);
  for (std::size_t i = 0; i < kBlock / 2; ++i)
    block[4 + i] =
        static_cast<std::byte>(static_cast<int>(q[i]) | static_cast<int>(q[kBlock / 2 + i]) << 4);
}

}  // namespace

bool quantizable(std::span<const float> x) noexcept {
  // Written so that NaN is none.
  return std::all_of(x.begin(), x.end(),
                     [](float number) { return std::fabs(number) <= kQuantizable; });
}

void quantize_q8_0(const float* x, std::size_t k, std::byte* blocks) noexcept {
  for (std::size_t b = 0; b < k; b += kBlock, blocks += 2 + kBlock) {
    float largest = 0;
    for (std::size_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(x[b + i]));
    const float inverse = inverse_of(store_half(largest / 127.0f, blocks));
    for (std::size_t i = 0; i < kBlock; ++i) {
      const float q = std::clamp(std::nearbyint(x[b + i] * inverse), -127.0f, 127.0f);
      blocks[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(q));
    }
  }
}

void quantize_q4_1(const float* x, std::size_t k, std::byte* blocks) noexcept {
  for (std::size_t b = 0; b < k; b += kBlock, blocks += 4 + kBlock / 2)
    quantize_block_q4_1(x + b, blocks);
}

}  // namespace collegium::core
