#include "kernels/kernels_int8.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace collegium::core {
namespace {

// 1.5 * 2^23: adding it rounds to the nearest integer, which is left in the low mantissa bits.
constexpr float kRoundMagic = 12582912.0f;

// The largest sum of magnitudes of weights that meet in one 16-bit sum.
float largest_quad(const float* w, std::size_t k) {
  float highest = 0.0f;
  for (std::size_t i = 0; i < k; i += 8) {
    float in[8] = {};
    std::memcpy(in, w + i, (k - i < 8 ? k - i : 8) * sizeof(float));
    for (std::size_t q = 0; q < 4; q += 2) {
      const float quad =
          std::fabs(in[q]) + std::fabs(in[q + 1]) + std::fabs(in[q + 4]) + std::fabs(in[q + 5]);
      highest = quad > highest ? quad : highest;
    }
  }
  return highest;
}

}  // namespace

void pack_panels_int8(const float* w, std::size_t ldw, std::size_t n, std::size_t k,
                      std::int8_t* panels, float* scales, std::int32_t* sums) noexcept {
  // Rounding adds up to a half to each of the four.
  constexpr float kLimit = kMaxInt8Quad - 2;
  const std::size_t depth = int8_depth(k);
  for (std::size_t j = 0; j < int8_outputs(n); ++j) {
    std::int8_t* out = panels + j / kPanelWidth * kPanelWidth * depth + j % kPanelWidth * 4;
    const float* row = w + j * ldw;
    const float highest = j < n ? largest_quad(row, k) : 0.0f;
    const bool zero = !(highest > 1e-30f);  // below that its inverse might be infinite
    const float inverse = zero ? 0.0f : kLimit / highest;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < depth; i += 4, out += 4 * kPanelWidth) {
      float in[4] = {};
      if (!zero && i < k) std::memcpy(in, row + i, (k - i < 4 ? k - i : 4) * sizeof(float));
      std::int8_t quantized[4];
      for (std::size_t l = 0; l < 4; ++l) {
        const auto bits = std::bit_cast<std::uint32_t>(in[l] * inverse + kRoundMagic);
        quantized[l] = static_cast<std::int8_t>(bits);
        sum += quantized[l];
      }
      std::memcpy(out, quantized, 4);
    }
    scales[j] = zero ? 0.0f : highest / kLimit;
    sums[j] = sum;
  }
}

bool valid_panels_int8(const Int8Panels& panels, std::size_t n, std::size_t k) noexcept {
  if (k > kMaxInt8Inputs) return false;
  const std::size_t depth = int8_depth(k);
  for (std::size_t j = 0; j < int8_outputs(n); ++j) {
    const std::int8_t* in =
        panels.values + j / kPanelWidth * kPanelWidth * depth + j % kPanelWidth * 4;
    std::int32_t sum = 0;
    int beyond = 0;  // how much there is where nothing belongs
    for (std::size_t i = 0; i < depth; i += 8, in += 8 * kPanelWidth) {
      int quads[2] = {0, 0};
      for (std::size_t l = 0; l < 8; ++l) {
        const int q = in[l / 4 * 4 * kPanelWidth + l % 4];
        quads[l / 2 % 2] += q < 0 ? -q : q;
        sum += q;
        if (i + l >= k) beyond |= q;
      }
      if (quads[0] > kMaxInt8Quad || quads[1] > kMaxInt8Quad) return false;
      if (j >= n) beyond |= quads[0] | quads[1];
    }
    const float scale = panels.scales[j];
    const bool allowed = j < n ? scale >= 0.0f && std::isfinite(scale) : scale == 0.0f;
    if (beyond != 0 || sum != panels.sums[j] || !allowed) return false;
  }
  return true;
}

}  // namespace collegium::core
