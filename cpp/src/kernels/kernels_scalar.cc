// The portable twin and the oracle of the others: plain loops, std::fma.
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

struct V16 {
  float lane[16];
};

template <typename F>
inline V16 each(F f) {
  V16 out;
  for (std::size_t i = 0; i < 16; ++i) out.lane[i] = f(i);
  return out;
}

inline V16 load(const float* p) {
  return each([=](std::size_t i) { return p[i]; });
}
inline void store(float* p, V16 v) {
  for (std::size_t i = 0; i < 16; ++i) p[i] = v.lane[i];
}
inline V16 set1(float x) {
  return each([=](std::size_t) { return x; });
}
inline V16 add(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] + b.lane[i]; });
}
inline V16 sub(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] - b.lane[i]; });
}
inline V16 mul(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] * b.lane[i]; });
}
inline V16 div(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] / b.lane[i]; });
}
inline V16 fma(V16 a, V16 b, V16 c) {
  return each([&](std::size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
inline V16 max(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline V16 min(V16 a, V16 b) {
  return each([&](std::size_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline V16 zero_above(V16 t, float limit, V16 v) {
  return each([&](std::size_t i) { return t.lane[i] <= limit ? v.lane[i] : 0.0f; });
}
inline void store_bytes(std::uint8_t* p, V16 v, float zero) {
  for (std::size_t i = 0; i < 16; ++i) {
    const float whole = std::rint(v.lane[i]) + zero;
    p[i] = static_cast<std::uint8_t>(whole > 0.0f ? std::min(whole, 255.0f) : 0.0f);
  }
}
inline V16 pow2(V16 z) {
  return each([&](std::size_t i) {
    return std::bit_cast<float>((std::bit_cast<std::uint32_t>(z.lane[i]) + 127u) << 23);
  });
}
inline float sum(V16 v) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) v.lane[i] += v.lane[i + half];
  }
  return v.lane[0];
}
inline float max_lane(V16 v) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      v.lane[i] = v.lane[i] > v.lane[i + half] ? v.lane[i] : v.lane[i + half];
    }
  }
  return v.lane[0];
}

#include "kernels/kernels_bf16.inc"
#include "kernels/kernels_body.inc"
#include "kernels/kernels_int8.inc"

// The oracle has no tiles.
void gemm_panels(const float* a, std::size_t lda, std::size_t rows, const float* panels,
                 std::size_t n, std::size_t k, const float* bias, float* c,
                 std::size_t ldc) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < n; ++j) {
      const float* w = panels + (j / kPanelWidth) * k * kPanelWidth + j % kPanelWidth;
      float total = bias != nullptr ? bias[j] : 0.0f;
      for (std::size_t i = 0; i < k; ++i) {
        total = std::fma(a[r * lda + i], w[i * kPanelWidth], total);
      }
      c[r * ldc + j] = total;
    }
  }
}

void gemm_panels_add(const float* a, std::size_t lda, std::size_t rows, const float* panels,
                     std::size_t n, std::size_t k, float* c, std::size_t ldc) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < n; ++j) {
      const float* w = panels + j / kPanelWidth * k * kPanelWidth + j % kPanelWidth;
      float& total = c[r * ldc + j];
      for (std::size_t i = 0; i < k; ++i) {
        total = std::fma(a[r * lda + i], w[i * kPanelWidth], total);
      }
    }
  }
}

void gemm_panels_int8(const Int8Rows& a, std::size_t rows, const Int8Panels& panels, std::size_t n,
                      std::size_t k, const float* bias, float* c, std::size_t ldc) noexcept {
  const std::size_t depth = int8_depth(k);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < n; ++j) {
      const std::int8_t* w = panels.values + j / kPanelWidth * kPanelWidth * depth;
      std::int32_t total = 0;
      for (std::size_t i = 0; i < k; ++i) {
        total += a.values[r * depth + i] * w[i / 4 * 4 * kPanelWidth + j % kPanelWidth * 4 + i % 4];
      }
      total -= a.zeros[r] * panels.sums[j];
      c[r * ldc + j] = std::fma(static_cast<float>(total), a.scales[r] * panels.scales[j],
                                bias != nullptr ? bias[j] : 0.0f);
    }
  }
}

void gemm_panels_bf16(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                      std::size_t n, std::size_t k, const float* bias, float* c,
                      std::size_t ldc) noexcept {
  const std::size_t depth = bf16_depth(k);
  const auto* const values = static_cast<const float*>(a.values);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < n; ++j) {
      const std::uint16_t* w = panels + j / kPanelWidth * kPanelWidth * depth + j % kPanelWidth * 2;
      float total = bias != nullptr ? bias[j] : 0.0f;
      for (std::size_t i = 0; i < depth; ++i) {
        const std::uint32_t bits = w[i / 2 * 2 * kPanelWidth + i % 2];
        total = std::fma(values[r * depth + i], std::bit_cast<float>(bits << 16), total);
      }
      c[r * ldc + j] = total;
    }
  }
}

}  // namespace

extern const Kernels kKernelsScalar;
const Kernels kKernelsScalar = {Isa::kScalar,
                                gemm_panels,
                                gemm_panels_add,
                                pack_panels,
                                gelu_all,
                                gelu_tanh_all,
                                silu_all,
                                relu_all,
                                mul_all,
                                silu_mul_all,
                                softmax,
                                layer_norm,
                                rms_norm,
                                dot,
                                axpy,
                                quantize_rows,
                                gemm_panels_int8,
                                round_rows_to_floats,
                                gemm_panels_bf16,
                                nullptr};

}  // namespace collegium::core
