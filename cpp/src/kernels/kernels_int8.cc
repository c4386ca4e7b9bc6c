#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

// 1.5 * 2^23: adding it and taking it away again rounds to the nearest integer.
constexpr float kRoundMagic = 12582912.0f;

float magnitude(float x) { return x < 0.0f ? -x : x; }

// The largest sum of magnitudes of weights that meet in one 16-bit sum.
float largest_quad(const float* w, std::size_t k) {
  float highest = 0.0f;
  for (std::size_t i = 0; i < k; i += 8) {
    float quads[2] = {0.0f, 0.0f};
    const std::size_t length = k - i < 8 ? k - i : 8;
    for (std::size_t j = 0; j < length; ++j) quads[j / 2 % 2] += magnitude(w[i + j]);
    for (const float quad : quads) highest = quad > highest ? quad : highest;
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
    for (std::size_t i = 0; i < depth; ++i) {
      std::int32_t q = 0;
      if (!zero && i < k) {
        const float rounded = (row[i] * inverse + kRoundMagic) - kRoundMagic;
        q = static_cast<std::int32_t>(rounded);
      }
      out[i / 4 * 4 * kPanelWidth + i % 4] = static_cast<std::int8_t>(q);
      sum += q;
    }
    scales[j] = zero ? 0.0f : highest / kLimit;
    sums[j] = sum;
  }
}

}  // namespace collegium::core
