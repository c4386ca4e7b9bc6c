#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/isa.h"
#include "kernels/levels.h"

namespace collegium::core {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

AlignedBuffer<float> packed(const Kernels& kernels, const std::vector<float>& w, std::size_t n,
                            std::size_t k) {
  AlignedBuffer<float> panels(num_panels(n) * k * kPanelWidth);
  std::fill(panels.begin(), panels.end(), 7.0f);  // pack_panels must overwrite all of it
  kernels.pack_panels(w.data(), k, n, k, panels.data());
  return panels;
}

// Every row and column count around the tile sizes, and k around the blocking.
struct Shape {
  std::size_t rows, n, k;
};
const std::vector<Shape> kShapes = {
    {1, 1, 1},     {1, 16, 3},    {1, 64, 384},  {2, 33, 17},   {3, 47, 5},     {4, 16, 64},
    {5, 70, 33},   {6, 96, 100},  {7, 40, 384},  {11, 48, 385}, {12, 32, 16},   {13, 31, 769},
    {16, 96, 768}, {25, 17, 400}, {130, 20, 40}, {250, 65, 8},  {3, 200, 1000}, {9, 5, 0},
    {1, 150, 70},  {2, 150, 33},  {8, 100, 50},  {12, 100, 50}, {14, 70, 390},  {24, 40, 7}};

class KernelsAtLevel : public testing::TestWithParam<const Kernels*> {};

TEST_P(KernelsAtLevel, GemmHasTheBitsOfOneChainOfStdFma) {
  for (const auto& [rows, n, k] : kShapes) {
    const std::size_t lda = k + 3, ldc = n + 2;
    const auto a = random_floats(rows * lda, 1);
    const auto w = random_floats(n * k, 2);
    const auto bias = random_floats(n, 3);
    const auto panels = packed(*GetParam(), w, n, k);
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> expected(rows * ldc, -5.0f), seen = expected;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t j = 0; j < n; ++j) {
          float total = b != nullptr ? b[j] : 0.0f;
          for (std::size_t i = 0; i < k; ++i) {
            total = std::fma(a[r * lda + i], w[j * k + i], total);
          }
          expected[r * ldc + j] = total;
        }
      }
      GetParam()->gemm_panels(a.data(), lda, rows, panels.data(), n, k, b, seen.data(), ldc);
      // Also says that nothing beyond column n is touched.
      EXPECT_TRUE(same_bits(expected, seen)) << "rows " << rows << " n " << n << " k " << k;
    }
  }
}

TEST_P(KernelsAtLevel, GemmRowDoesNotDependOnItsCompanyNorOnThePanelSplit) {
  const std::size_t rows = 23, n = 160, k = 800;
  const auto a = random_floats(rows * k, 4);
  const auto w = random_floats(n * k, 5);
  const auto panels = packed(*GetParam(), w, n, k);
  std::vector<float> together(rows * n), alone(rows * n);
  GetParam()->gemm_panels(a.data(), k, rows, panels.data(), n, k, nullptr, together.data(), n);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t p = 0; p < num_panels(n); ++p) {
      const std::size_t column = p * kPanelWidth;
      GetParam()->gemm_panels(a.data() + r * k, k, 1, panels.data() + p * k * kPanelWidth,
                              std::min(kPanelWidth, n - column), k, nullptr,
                              alone.data() + r * n + column, n);
    }
  }
  EXPECT_TRUE(same_bits(together, alone));
}

TEST_P(KernelsAtLevel, PackingPutsEveryWeightOnceAndZerosBeyond) {
  const std::size_t n = 37, k = 21;
  const auto w = random_floats(n * k, 6);
  const auto panels = packed(*GetParam(), w, n, k);
  for (std::size_t j = 0; j < num_panels(n) * kPanelWidth; ++j) {
    for (std::size_t i = 0; i < k; ++i) {
      const float seen = panels[(j / kPanelWidth * k + i) * kPanelWidth + j % kPanelWidth];
      ASSERT_EQ(seen, j < n ? w[j * k + i] : 0.0f) << "output " << j << " input " << i;
    }
  }
}

TEST_P(KernelsAtLevel, GeluIsTheExactOneTo2e7) {
  std::vector<float> x;
  for (int i = -120000; i <= 120000; ++i) x.push_back(static_cast<float>(i) * 1e-4f);
  x.insert(x.end(), {-1e30f, 1e30f, -0.0f, 1e-30f, 5.6f, -5.6f, -100.0f, 100.0f});
  auto y = x;
  GetParam()->gelu(y.data(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = 0.5 * x[i] * std::erfc(-static_cast<double>(x[i]) * M_SQRT1_2);
    ASSERT_NEAR(y[i], expected, 2e-7 * std::max(1.0, std::abs(expected))) << "at " << x[i];
  }
}

TEST_P(KernelsAtLevel, SiluMulFollowsItsDefinition) {
  auto x = random_floats(1003, 7, 10.0f);
  x[0] = -100.0f, x[1] = 100.0f, x[2] = 0.0f;
  const auto y = random_floats(x.size(), 8);
  auto seen = x;
  GetParam()->silu_mul(seen.data(), y.data(), x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = x[i] / (1.0 + std::exp(-static_cast<double>(x[i]))) * y[i];
    ASSERT_NEAR(seen[i], expected, 5e-7 * std::abs(expected) + 1e-30) << "at " << x[i];
  }
}

TEST_P(KernelsAtLevel, SoftmaxSumsToOneAndFollowsItsDefinition) {
  for (std::size_t n : {1, 2, 15, 16, 17, 33, 128, 511}) {
    auto x = random_floats(n, 9 + static_cast<unsigned>(n), 6.0f);
    x[n / 2] = -1e4f;
    double highest = -1e30, total = 0.0, seen_total = 0.0;
    for (float v : x) highest = std::max<double>(highest, v);
    for (float v : x) total += std::exp(v - highest);
    auto seen = x;
    GetParam()->softmax(seen.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = std::exp(x[i] - highest) / total;
      // x - max alone rounds to 2^-24 of itself, which is absolute after exp.
      const double slack = 1e-6 + std::abs(x[i] - highest) * 0x1p-24;
      ASSERT_NEAR(seen[i], expected, slack * expected + 1e-36) << "n " << n << " at " << i;
      seen_total += seen[i];
    }
    EXPECT_NEAR(seen_total, 1.0, 1e-6);
  }
}

TEST_P(KernelsAtLevel, NormsFollowTheirDefinitions) {
  for (std::size_t n : {1, 7, 16, 32, 40, 384, 577}) {
    const auto x = random_floats(n, 20, 3.0f), gamma = random_floats(n, 21);
    const auto beta = random_floats(n, 22);
    const float eps = 1e-5f;
    double mean = 0.0, variance = 0.0, square = 0.0;
    for (float v : x) mean += v / static_cast<double>(n);
    for (float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    for (float v : x) square += static_cast<double>(v) * v / static_cast<double>(n);
    std::vector<float> layer(n), rms(n);
    GetParam()->layer_norm(x.data(), gamma.data(), beta.data(), eps, n, layer.data());
    GetParam()->rms_norm(x.data(), gamma.data(), eps, n, rms.data());
    for (std::size_t i = 0; i < n; ++i) {
      const double normal = (x[i] - mean) / std::sqrt(variance + eps) * gamma[i] + beta[i];
      ASSERT_NEAR(layer[i], normal, 3e-6 * std::max(1.0, std::abs(normal))) << "n " << n;
      const double scaled = x[i] / std::sqrt(square + eps) * gamma[i];
      ASSERT_NEAR(rms[i], scaled, 1e-6 * std::max(1.0, std::abs(scaled))) << "n " << n;
    }
    auto in_place = x;
    GetParam()->layer_norm(in_place.data(), gamma.data(), beta.data(), eps, n, in_place.data());
    EXPECT_TRUE(same_bits(in_place, layer));
    in_place = x;
    GetParam()->rms_norm(in_place.data(), gamma.data(), eps, n, in_place.data());
    EXPECT_TRUE(same_bits(in_place, rms));
  }
}

TEST_P(KernelsAtLevel, DotAndAxpyFollowTheirDefinitions) {
  for (std::size_t n : {0, 1, 15, 16, 31, 64, 200}) {
    const auto a = random_floats(n, 30), b = random_floats(n, 31);
    double expected = 0.0;
    for (std::size_t i = 0; i < n; ++i) expected += static_cast<double>(a[i]) * b[i];
    EXPECT_NEAR(GetParam()->dot(a.data(), b.data(), n), expected, 1e-4);
    auto y = b;
    GetParam()->axpy(0.7f, a.data(), n, y.data());
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], std::fma(0.7f, a[i], b[i]));
  }
}

// Every level writes the same bits as the scalar twin, whatever the length of the tail.
TEST_P(KernelsAtLevel, ElementAndRowKernelsHaveTheBitsOfTheScalarTwin) {
  const Kernels& twin = kernels_for(Isa::kScalar);
  const Kernels& kernels = *GetParam();
  for (std::size_t n = 1; n < 70; ++n) {
    const auto seed = static_cast<unsigned>(100 + n);
    const auto x = random_floats(n, seed, 4.0f), y = random_floats(n, seed + 1),
               z = random_floats(n, seed + 2);
    const auto both = [&](auto call) {
      auto expected = x, seen = x;
      call(twin, expected.data());
      call(kernels, seen.data());
      EXPECT_TRUE(same_bits(expected, seen)) << "n " << n;
    };
    both([&](const Kernels& k, float* p) { k.gelu(p, n); });
    both([&](const Kernels& k, float* p) { k.silu_mul(p, y.data(), n); });
    both([&](const Kernels& k, float* p) { k.softmax(p, n); });
    both([&](const Kernels& k, float* p) { k.layer_norm(p, y.data(), z.data(), 1e-12f, n, p); });
    both([&](const Kernels& k, float* p) { k.rms_norm(p, y.data(), 1e-6f, n, p); });
    both([&](const Kernels& k, float* p) { k.axpy(-1.3f, y.data(), n, p); });
    both([&](const Kernels& k, float* p) { p[0] = k.dot(p, y.data(), n); });
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, KernelsAtLevel, testing::ValuesIn(levels()), level_name);
INSTANTIATE_TEST_SUITE_P(Emulated, KernelsAtLevel, testing::ValuesIn(emulated_levels()),
                         level_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(KernelsAtLevel);

TEST(Kernels, ALevelWithoutAUnitOfItsOwnUsesTheNextLowerOne) {
  EXPECT_EQ(kernels_for(Isa::kScalar).isa, Isa::kScalar);
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kVnni, Isa::kAmx}) {
    EXPECT_LE(kernels_for(isa).isa, isa);
  }
}

}  // namespace
}  // namespace collegium::core
