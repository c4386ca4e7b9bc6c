#include "kernels/kernels_int8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/isa.h"
#include "kernels/levels.h"

namespace collegium::core {
namespace {

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Weights as the header lays them out.
struct Weights {
  std::size_t n, k;
  AlignedBuffer<std::int8_t> values;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;

  Weights(std::size_t outputs, std::size_t inputs)
      : n(outputs),
        k(inputs),
        values(int8_panel_bytes(n, k)),
        scales(int8_outputs(n)),
        sums(int8_outputs(n)) {}
  Weights(const std::vector<float>& w, std::size_t outputs, std::size_t inputs)
      : Weights(outputs, inputs) {
    // Packing must overwrite all of it.
    std::fill(values.begin(), values.end(), std::int8_t{9});
    std::fill(scales.begin(), scales.end(), 9.0f);
    std::fill(sums.begin(), sums.end(), 9);
    pack_panels_int8(w.data(), k, n, k, values.data(), scales.data(), sums.data());
  }
  std::int8_t& at(std::size_t j, std::size_t i) {
    const std::size_t panel = j / 16 * 16 * int8_depth(k);
    return values[panel + i / 4 * 64 + j % 16 * 4 + i % 4];
  }
  Int8Panels view() const { return {values.data(), scales.data(), sums.data()}; }
};

struct Rows {
  std::vector<std::uint8_t> values;
  std::vector<float> scales;
  std::vector<std::int32_t> zeros;

  Rows(std::size_t rows, std::size_t k) : values(rows * int8_depth(k)), scales(rows), zeros(rows) {}
  Rows(const Kernels& kernels, const std::vector<float>& x, std::size_t ldx, std::size_t rows,
       std::size_t k)
      : Rows(rows, k) {
    kernels.quantize_rows(x.data(), ldx, rows, k, values.data(), scales.data(), zeros.data());
  }
  Int8Rows view(std::size_t first = 0) const {
    const std::size_t depth = scales.empty() ? 0 : values.size() / scales.size();
    return {values.data() + first * depth, scales.data() + first, zeros.data() + first};
  }
};

struct Shape {
  std::size_t rows, n, k;
};
const std::vector<Shape> kShapes = {
    {0, 16, 16},   {1, 1, 1},     {1, 16, 3},      {2, 33, 17},   {3, 47, 5},    {4, 16, 64},
    {5, 70, 33},   {6, 96, 100},  {7, 40, 384},    {9, 5, 0},     {13, 31, 769}, {16, 96, 768},
    {25, 17, 401}, {130, 20, 40}, {300, 18, 1500}, {8, 49, 31},   {9, 64, 47},   {10, 33, 48},
    {11, 70, 96},  {12, 80, 128}, {15, 16, 79},    {17, 65, 112}, {31, 48, 20},  {32, 33, 64},
    {33, 16, 50},  {50, 40, 144}, {65, 20, 65}};

class Int8KernelsAtLevel : public testing::TestWithParam<const Kernels*> {};

// The integers of a product, plainly: scales of one, so that c is (float)(sum (q - z) v).
void expect_plain_sums(const Kernels& kernels, const Rows& a, std::size_t rows, Weights& w) {
  std::vector<float> seen(rows * w.n);
  kernels.gemm_panels_int8(a.view(), rows, w.view(), w.n, w.k, nullptr, seen.data(), w.n);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < w.n; ++j) {
      std::int64_t total = 0;
      for (std::size_t i = 0; i < w.k; ++i) {
        const int q = a.values[r * int8_depth(w.k) + i];
        total += static_cast<std::int64_t>(q - a.zeros[r]) * w.at(j, i);
      }
      ASSERT_EQ(seen[r * w.n + j], static_cast<float>(total)) << "row " << r << " output " << j;
    }
  }
}

TEST_P(Int8KernelsAtLevel, SumsAreThoseOfPlainIntegers) {
  std::mt19937 generator(1);
  for (const auto& [rows, n, k] : kShapes) {
    Rows a(rows, k);
    for (auto& q : a.values) q = static_cast<std::uint8_t>(generator() % 256);
    for (auto& z : a.zeros) z = static_cast<std::int32_t>(generator() % 256);
    std::fill(a.scales.begin(), a.scales.end(), 1.0f);
    Weights w(random_floats(n * k, 2), n, k);
    std::fill(w.scales.begin(), w.scales.end(), 1.0f);
    expect_plain_sums(*GetParam(), a, rows, w);
  }
}

TEST_P(Int8KernelsAtLevel, ARowThatIsNotFiniteGivesNoFiniteOutputsAndItsNeighboursGiveTheirs) {
  constexpr std::size_t kDim = 37, kOutputs = 20;
  Weights w(random_floats(kOutputs * kDim, 3), kOutputs, kDim);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{18}, kDim - 1}) {
      std::vector<float> x = random_floats(3 * kDim, 4);
      x[kDim + place] = bad;
      const Rows a(*GetParam(), x, kDim, 3, kDim);
      std::vector<float> seen(3 * kOutputs);
      GetParam()->gemm_panels_int8(a.view(), 3, w.view(), kOutputs, kDim, nullptr, seen.data(),
                                   kOutputs);
      for (std::size_t i = 0; i < seen.size(); ++i) {
        EXPECT_EQ(std::isfinite(seen[i]), i / kOutputs != 1) << "output " << i << " for " << bad;
      }
    }
  }
}

// What would saturate 16 bits if anything did: full activations on the heaviest weights allowed.
TEST_P(Int8KernelsAtLevel, ExtremesDoNotSaturate) {
  // The four weights of a 16-bit sum are inputs 0, 1, 4, 5 of eight, and 2, 3, 6, 7.
  const std::vector<std::vector<int>> patterns = {
      {32, 32, 32, 32, 32, 32, 32, 32}, {-32, -32, -32, -32, -32, -32, -32, -32},
      {64, 64, 127, 1, 0, 0, 0, 0},     {-64, -64, -128, 0, 0, 0, 0, 0},
      {127, 0, 0, 127, 1, 0, 1, 0},     {0, -127, 0, -128, -1, 0, 0, 0},
      {64, -64, 64, -64, 0, 0, 0, 0},   {1, 0, 0, 1, 0, 127, 127, 0}};
  const std::size_t n = patterns.size(), k = 4096, rows = 6;
  Weights w(n, k);
  std::fill(w.scales.begin(), w.scales.end(), 1.0f);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = 0; i < k; ++i) {
      w.at(j, i) = static_cast<std::int8_t>(patterns[j][i % 8]);
      w.sums[j] += w.at(j, i);
    }
  }
  Rows a(rows, k);
  std::fill(a.scales.begin(), a.scales.end(), 1.0f);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < k; ++i) {
      const bool full = r < 2 || (r < 4 && i % 2 == r % 2);
      a.values[r * k + i] = full ? 255 : 0;
    }
    a.zeros[r] = r % 2 == 0 ? 0 : 255;
  }
  expect_plain_sums(*GetParam(), a, rows, w);
}

TEST_P(Int8KernelsAtLevel, AnOutputIsOneFusedMultiplyAdd) {
  const std::size_t rows = 7, n = 45, k = 100, ldx = k + 3, ldc = n + 2;
  const auto x = random_floats(rows * ldx, 3), bias = random_floats(n, 4);
  const Rows a(*GetParam(), x, ldx, rows, k);
  Weights w(random_floats(n * k, 5), n, k);
  for (const float* b : {bias.data(), static_cast<const float*>(nullptr)}) {
    std::vector<float> expected(rows * ldc, -5.0f), seen = expected;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t j = 0; j < n; ++j) {
        std::int32_t total = 0;
        for (std::size_t i = 0; i < k; ++i) {
          total += (a.values[r * int8_depth(k) + i] - a.zeros[r]) * w.at(j, i);
        }
        expected[r * ldc + j] = std::fma(static_cast<float>(total), a.scales[r] * w.scales[j],
                                         b != nullptr ? b[j] : 0.0f);
      }
    }
    GetParam()->gemm_panels_int8(a.view(), rows, w.view(), n, k, b, seen.data(), ldc);
    // Also says that nothing beyond column n is touched.
    EXPECT_TRUE(same_bytes(expected, seen));
  }
}

TEST_P(Int8KernelsAtLevel, ARowDoesNotDependOnItsCompanyNorOnThePanelSplit) {
  const std::size_t rows = 23, n = 150, k = 800;
  const auto x = random_floats(rows * k, 6);
  const Rows a(*GetParam(), x, k, rows, k);
  const Weights w(random_floats(n * k, 7), n, k);
  std::vector<float> together(rows * n), alone(rows * n);
  GetParam()->gemm_panels_int8(a.view(), rows, w.view(), n, k, nullptr, together.data(), n);
  for (std::size_t r = 0; r < rows; ++r) {
    const Rows single(*GetParam(), std::vector<float>(&x[r * k], &x[r * k] + k), k, 1, k);
    for (std::size_t j = 0; j < n; j += kPanelWidth) {
      const Int8Panels panel = {w.values.data() + j * int8_depth(k), w.scales.data() + j,
                                w.sums.data() + j};
      GetParam()->gemm_panels_int8(single.view(), 1, panel, std::min(kPanelWidth, n - j), k,
                                   nullptr, alone.data() + r * n + j, n);
    }
  }
  EXPECT_TRUE(same_bytes(together, alone));
}

TEST_P(Int8KernelsAtLevel, EveryLevelHasTheBitsOfTheScalarTwin) {
  const Kernels& twin = kernels_for(Isa::kScalar);
  for (const auto& [rows, n, k] : kShapes) {
    const auto x = random_floats(rows * k, 8, 3.0f), bias = random_floats(n, 9);
    const Rows expected_rows(twin, x, k, rows, k), seen_rows(*GetParam(), x, k, rows, k);
    EXPECT_TRUE(same_bytes(expected_rows.values, seen_rows.values)) << "k " << k;
    EXPECT_TRUE(same_bytes(expected_rows.scales, seen_rows.scales)) << "k " << k;
    EXPECT_TRUE(same_bytes(expected_rows.zeros, seen_rows.zeros)) << "k " << k;
    const Weights w(random_floats(n * k, 10), n, k);
    std::vector<float> expected(rows * n), seen(rows * n);
    twin.gemm_panels_int8(expected_rows.view(), rows, w.view(), n, k, bias.data(), expected.data(),
                          n);
    GetParam()->gemm_panels_int8(seen_rows.view(), rows, w.view(), n, k, bias.data(), seen.data(),
                                 n);
    EXPECT_TRUE(same_bytes(expected, seen)) << "rows " << rows << " n " << n << " k " << k;
  }
}

TEST_P(Int8KernelsAtLevel, AQuantisedRowIsHalfAStepFromItsValuesAndHasItsZeros) {
  for (const std::size_t k : {1, 15, 16, 17, 384, 1000}) {
    const std::size_t rows = 6;
    auto x = random_floats(rows * k, 11, 2.0f);
    const auto row = [&](std::size_t r) { return x.data() + r * k; };
    for (std::size_t i = 0; i < k; ++i) {
      row(1)[i] = std::abs(row(1)[i]);           // nothing below zero
      row(2)[i] = -std::abs(row(2)[i]) - 100.f;  // all far below zero
    }
    row(3)[k / 2] = 1e6f;
    row(4)[0] = 0.0f;
    std::fill_n(row(5), k, 1e-3f);
    const Rows q(*GetParam(), x, k, rows, k);
    for (std::size_t r = 0; r < rows; ++r) {
      ASSERT_GE(q.zeros[r], 0);
      ASSERT_LE(q.zeros[r], 255);
      float largest = 0.0f;
      for (std::size_t i = 0; i < k; ++i) largest = std::max(largest, std::abs(row(r)[i]));
      for (std::size_t i = 0; i < int8_depth(k); ++i) {
        const int steps = q.values[r * int8_depth(k) + i] - q.zeros[r];
        const double value = i < k ? row(r)[i] : 0.0;  // padding is zero
        if (value == 0.0) {
          ASSERT_EQ(steps, 0) << "k " << k << " row " << r;
        }
        const double scale = q.scales[r];
        ASSERT_NEAR(steps * scale, value, scale * 0.5001 + 1e-6 * largest)
            << "k " << k << " row " << r;
      }
    }
  }
}

TEST_P(Int8KernelsAtLevel, ARowOfZerosGivesTheBias) {
  const std::size_t n = 20, k = 37;
  const Weights w(random_floats(n * k, 12), n, k);
  const auto bias = random_floats(n, 13);
  for (const float value : {0.0f, -0.0f, 1e-38f}) {
    const Rows a(*GetParam(), std::vector<float>(k, value), k, 1, k);
    EXPECT_EQ(a.scales[0], 0.0f);
    std::vector<float> seen(n, NAN);
    GetParam()->gemm_panels_int8(a.view(), 1, w.view(), n, k, bias.data(), seen.data(), n);
    EXPECT_TRUE(same_bytes(seen, bias)) << value;
  }
}

TEST_P(Int8KernelsAtLevel, AnInfiniteActivationIsNotHidden) {
  const std::size_t n = 3, k = 20;
  auto x = random_floats(k, 14);
  x[7] = -INFINITY;
  const Weights w(random_floats(n * k, 15), n, k);
  const Rows a(*GetParam(), x, k, 1, k);
  std::vector<float> seen(n);
  GetParam()->gemm_panels_int8(a.view(), 1, w.view(), n, k, nullptr, seen.data(), n);
  for (const float value : seen) EXPECT_FALSE(std::isfinite(value));
}

// Each factor is at most half a step off.
TEST_P(Int8KernelsAtLevel, TheProductIsAsNearAsItsFactors) {
  const std::size_t rows = 8, n = 24, k = 384;
  const auto x = random_floats(rows * k, 16), v = random_floats(n * k, 17, 0.05f);
  const Rows a(*GetParam(), x, k, rows, k);
  const Weights w(v, n, k);
  std::vector<float> seen(rows * n);
  GetParam()->gemm_panels_int8(a.view(), rows, w.view(), n, k, nullptr, seen.data(), n);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < n; ++j) {
      double expected = 0.0, slack = 0.0;
      for (std::size_t i = 0; i < k; ++i) {
        const double p = x[r * k + i], q = v[j * k + i];
        const double p_off = 0.501 * a.scales[r], q_off = 0.501 * w.scales[j];
        expected += p * q;
        slack += std::abs(p) * q_off + std::abs(q) * p_off + p_off * q_off;
      }
      ASSERT_NEAR(seen[r * n + j], expected, slack);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Int8KernelsAtLevel, testing::ValuesIn(levels()), level_name);
INSTANTIATE_TEST_SUITE_P(Emulated, Int8KernelsAtLevel, testing::ValuesIn(emulated_levels()),
                         level_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Int8KernelsAtLevel);

TEST(Int8Weights, AreHalfAStepOffAndNeverTooHeavyForSixteenBits) {
  for (const std::size_t k : {1, 5, 8, 16, 100, 384}) {
    const std::size_t n = 21;
    auto v = random_floats(n * k, 18, 0.1f);
    const auto row = [&](std::size_t j) { return v.data() + j * k; };
    std::fill_n(row(0), k, 0.3f);
    std::fill_n(row(1), k, -0.3f);
    for (std::size_t i = 0; i < k; ++i) row(2)[i] = i % 2 == 0 ? 1.0f : -1.0f;
    row(3)[k - 1] = -1e4f;
    std::fill_n(row(4), k, 0.0f);
    std::fill_n(row(5), k, 1e-38f);
    std::fill_n(row(6), k, 31.5f);  // of eight or more, all round up: exactly at the limit
    Weights w(v, n, k);
    for (std::size_t j = 0; j < int8_outputs(n); ++j) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < int8_depth(k); i += 8) {
        int quads[2] = {0, 0};
        for (std::size_t l = 0; l < 8; ++l) {
          const int q = w.at(j, i + l);
          quads[l / 2 % 2] += std::abs(q);
          sum += q;
          if (j >= n || i + l >= k) {
            ASSERT_EQ(q, 0) << "output " << j << " input " << i + l;
          } else if (j != 5) {
            const double value = row(j)[i + l];
            ASSERT_NEAR(q * static_cast<double>(w.scales[j]), value,
                        0.5001 * w.scales[j] + 1e-6 * std::abs(value));
          }
        }
        ASSERT_LE(quads[0], kMaxInt8Quad) << "output " << j;
        ASSERT_LE(quads[1], kMaxInt8Quad) << "output " << j;
      }
      ASSERT_EQ(w.sums[j], sum);
      if (j >= n || j == 4 || j == 5) {
        ASSERT_EQ(w.scales[j], 0.0f);
      }
    }
  }
}

TEST(Int8Weights, FromAFileAreRefusedUnlessPackingCouldHaveWrittenThem) {
  const std::size_t n = 21, k = 37;
  const auto v = random_floats(n * k, 19);
  const auto valid_after = [&](auto change) {
    Weights w(v, n, k);
    change(w);
    return valid_panels_int8(w.view(), n, k);
  };
  EXPECT_TRUE(valid_after([](Weights&) {}));
  EXPECT_FALSE(valid_after([](Weights& w) { w.sums[3] += 1; }));
  EXPECT_FALSE(valid_after([](Weights& w) { w.scales[3] = NAN; }));
  EXPECT_FALSE(valid_after([](Weights& w) { w.scales[3] = INFINITY; }));
  EXPECT_FALSE(valid_after([](Weights& w) { w.scales[3] = -1.0f; }));
  EXPECT_FALSE(valid_after([](Weights& w) { w.scales[n] = 1.0f; }));
  const auto add = [](std::size_t j, std::size_t i, int by) {
    return [=](Weights& w) {
      w.at(j, i) = static_cast<std::int8_t>(w.at(j, i) + by);
      w.sums[j] += by;
    };
  };
  EXPECT_FALSE(valid_after(add(n, 0, 1)));  // beyond the last output
  EXPECT_FALSE(valid_after(add(0, k, 1)));  // beyond the last input
  for (const std::size_t other : {1, 4, 5}) {
    EXPECT_FALSE(valid_after([&](Weights& w) {
      for (std::size_t i = 8; i < 16; ++i) add(2, i, -w.at(2, i))(w);
      add(2, 8, 127)(w);
      add(2, 8 + other, -2)(w);
    }));
  }
  EXPECT_TRUE(valid_after([&](Weights& w) {
    for (std::size_t i = 8; i < 16; ++i) add(2, i, -w.at(2, i))(w);
    add(2, 8, 127)(w);
    add(2, 10, -127)(w);
  }));
  EXPECT_FALSE(valid_panels_int8({nullptr, nullptr, nullptr}, 1, kMaxInt8Inputs + 1));
}

}  // namespace
}  // namespace collegium::core
