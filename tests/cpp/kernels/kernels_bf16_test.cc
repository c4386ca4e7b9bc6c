#include "kernels/kernels_bf16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "kernels/levels.h"

namespace collegium::core {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The bf16 nearest to x, found by trying: of the two around it the nearer, of equally near ones
// the even. x is finite and not beyond the largest bf16.
float nearest_bf16(float x) {
  const auto lower = std::bit_cast<std::uint32_t>(x) & 0xffff0000u;  // towards zero
  const double below = std::abs(static_cast<double>(x) - std::bit_cast<float>(lower));
  const double above = std::abs(static_cast<double>(x) - std::bit_cast<float>(lower + 0x10000u));
  const bool even = (lower & 0x10000u) == 0;
  return std::bit_cast<float>(below < above || (below == above && even) ? lower : lower + 0x10000u);
}

std::vector<float> rounded(const std::vector<float>& x) {
  std::vector<float> out(x);
  for (float& v : out) v = nearest_bf16(v);
  return out;
}

struct Weights {
  AlignedBuffer<std::uint16_t> panels;
  Weights(const std::vector<float>& w, std::size_t n, std::size_t k)
      : panels(bf16_panel_size(n, k)) {
    std::fill(panels.begin(), panels.end(), std::uint16_t{0x4040});  // packing overwrites all of it
    pack_panels_bf16(w.data(), k, n, k, panels.data());
  }
};

// Rows, rounded the way the level wants them.
struct Rows {
  AlignedBuffer<float> values;
  Rows(const Kernels& kernels, const float* x, std::size_t ldx, std::size_t rows, std::size_t k)
      : values(rows * bf16_depth(k)) {
    std::fill(values.begin(), values.end(), 7.0f);
    kernels.round_rows_bf16(x, ldx, rows, k, values.data());
  }
  Bf16Rows view() const { return {values.data()}; }
};

struct Shape {
  std::size_t rows, n, k;
};
// Around the tiles of every level (6 and 12 rows by 1 to 8 panels; 16 and 32 by 4 and 2), and k
// around 2, 32 and the blocking.
const std::vector<Shape> kShapes = {
    {0, 16, 16},  {1, 1, 1},     {1, 16, 3},    {1, 150, 70},  {2, 33, 17},   {2, 150, 33},
    {3, 47, 5},   {4, 16, 64},   {5, 70, 33},   {6, 96, 100},  {7, 40, 384},  {11, 48, 385},
    {12, 64, 31}, {13, 31, 769}, {16, 96, 768}, {16, 80, 32},  {17, 49, 96},  {25, 17, 401},
    {31, 16, 63}, {32, 33, 64},  {33, 48, 65},  {50, 90, 128}, {64, 32, 160}, {65, 7, 32},
    {9, 5, 0},    {130, 20, 40}, {100, 70, 50}, {300, 18, 700}};

class Bf16KernelsAtLevel : public testing::TestWithParam<const Kernels*> {};

// Below AMX an output is the chain that it is in fp32, of rounded numbers.
TEST_P(Bf16KernelsAtLevel, BelowAmxAnOutputIsOneChainOfStdFma) {
  if (GetParam()->isa == Isa::kAmx) return;
  for (const auto& [rows, n, k] : kShapes) {
    const std::size_t ldx = k + 3, ldc = n + 2;
    const auto x = random_floats(rows * ldx, 1), w = random_floats(n * k, 2);
    const auto bias = random_floats(n, 3);
    const auto x_rounded = rounded(x), w_rounded = rounded(w);
    const Rows a(*GetParam(), x.data(), ldx, rows, k);
    const Weights weights(w, n, k);
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> expected(rows * ldc, -5.0f), seen = expected;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t j = 0; j < n; ++j) {
          float total = b != nullptr ? b[j] : 0.0f;
          for (std::size_t i = 0; i < k; ++i) {
            total = std::fma(x_rounded[r * ldx + i], w_rounded[j * k + i], total);
          }
          expected[r * ldc + j] = total;
        }
      }
      GetParam()->gemm_panels_bf16(a.view(), rows, weights.panels.data(), n, k, b, seen.data(),
                                   ldc);
      // Also says that nothing beyond column n is touched.
      EXPECT_TRUE(same_bits(expected, seen)) << "rows " << rows << " n " << n << " k " << k;
    }
  }
}

// Products of two bf16 are exact in fp32; what is left is the rounding of the sums.
TEST_P(Bf16KernelsAtLevel, OutputsAreSumsOfProductsOfRoundedNumbers) {
  for (const auto& [rows, n, k] : kShapes) {
    const std::size_t ldx = k + 3, ldc = n + 2;
    const auto x = random_floats(rows * ldx, 4), w = random_floats(n * k, 5);
    const auto bias = random_floats(n, 6);
    const auto x_rounded = rounded(x), w_rounded = rounded(w);
    const Rows a(*GetParam(), x.data(), ldx, rows, k);
    const Weights weights(w, n, k);
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> seen(rows * ldc, -5.0f);
      GetParam()->gemm_panels_bf16(a.view(), rows, weights.panels.data(), n, k, b, seen.data(),
                                   ldc);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t j = 0; j < ldc; ++j) {
          const float c = seen[r * ldc + j];
          if (j >= n) {
            ASSERT_EQ(c, -5.0f) << "column " << j << " of " << n;
            continue;
          }
          double expected = b != nullptr ? b[j] : 0.0, size = std::abs(expected);
          for (std::size_t i = 0; i < k; ++i) {
            const double product =
                static_cast<double>(x_rounded[r * ldx + i]) * w_rounded[j * k + i];
            expected += product;
            size += std::abs(product);
          }
          // k + 2 roundings, each of at most half a unit of the sum so far.
          ASSERT_NEAR(c, expected, size * static_cast<double>(k + 2) * 0x1p-24)
              << "rows " << rows << " n " << n << " k " << k;
        }
      }
    }
  }
}

TEST_P(Bf16KernelsAtLevel, ARowDoesNotDependOnItsCompanyNorOnThePanelSplit) {
  const std::size_t most = 70, n = 80, k = 200;
  const auto x = random_floats(most * k, 7);
  const Weights w(random_floats(n * k, 8), n, k);
  std::vector<float> alone(most * n);
  for (std::size_t r = 0; r < most; ++r) {
    const Rows single(*GetParam(), x.data() + r * k, k, 1, k);
    for (std::size_t j = 0; j < n; j += kPanelWidth) {
      GetParam()->gemm_panels_bf16(single.view(), 1, w.panels.data() + j * bf16_depth(k),
                                   std::min(kPanelWidth, n - j), k, nullptr,
                                   alone.data() + r * n + j, n);
    }
  }
  for (std::size_t rows = 1; rows <= most; ++rows) {
    const std::size_t first = most - rows;
    const Rows a(*GetParam(), x.data() + first * k, k, rows, k);
    std::vector<float> together(rows * n);
    GetParam()->gemm_panels_bf16(a.view(), rows, w.panels.data(), n, k, nullptr, together.data(),
                                 n);
    const std::vector<float> expected(alone.begin() + static_cast<std::ptrdiff_t>(first * n),
                                      alone.end());
    EXPECT_TRUE(same_bits(together, expected)) << "rows " << rows;
  }
}

TEST_P(Bf16KernelsAtLevel, ARowThatIsNotFiniteGivesNoFiniteOutputsAndItsNeighboursGiveTheirs) {
  constexpr std::size_t kDim = 37, kOutputs = 20;
  const Weights w(random_floats(kOutputs * kDim, 9), kOutputs, kDim);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // The largest float rounds to infinity.
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::bit_cast<float>(0x7f800001),
                          std::bit_cast<float>(0x7fffffff), kInfinity, -kInfinity,
                          std::numeric_limits<float>::max()}) {
    for (const std::size_t place : {std::size_t{0}, std::size_t{18}, kDim - 1}) {
      std::vector<float> x = random_floats(3 * kDim, 10);
      x[kDim + place] = bad;
      const Rows a(*GetParam(), x.data(), kDim, 3, kDim);
      std::vector<float> seen(3 * kOutputs);
      GetParam()->gemm_panels_bf16(a.view(), 3, w.panels.data(), kOutputs, kDim, nullptr,
                                   seen.data(), kOutputs);
      for (std::size_t i = 0; i < seen.size(); ++i) {
        EXPECT_EQ(std::isfinite(seen[i]), i / kOutputs != 1) << "output " << i << " for " << bad;
      }
    }
  }
}

// With the unit matrix for weights an output is its input, rounded.
TEST_P(Bf16KernelsAtLevel, NumbersAreRoundedToTheNearestAndTiesToEven) {
  const std::vector<float> x = {0.0f,
                                -0.0f,
                                1.0f,
                                0x1.01p0f,      // a tie, down to even
                                0x1.03p0f,      // a tie, up to even
                                0x1.010002p0f,  // above the tie
                                0x1.02fffep0f,  // below it
                                -0x1.03p0f,
                                0x1.fep127f,      // the largest bf16
                                0x1.fefffep127f,  // the largest float that rounds to it
                                -0x1.ffp-1f,      // up to the next power of two
                                3.14159265f,
                                1e-30f};
  const std::size_t k = x.size();
  std::vector<float> unit(k * k);
  for (std::size_t i = 0; i < k; ++i) unit[i * k + i] = 1.0f;
  const Weights w(unit, k, k), w_of_x(x, 1, k);
  const Rows a(*GetParam(), x.data(), k, 1, k), a_of_unit(*GetParam(), unit.data(), k, k, k);
  std::vector<float> rows(k), weights(k);
  GetParam()->gemm_panels_bf16(a.view(), 1, w.panels.data(), k, k, nullptr, rows.data(), k);
  GetParam()->gemm_panels_bf16(a_of_unit.view(), k, w_of_x.panels.data(), 1, k, nullptr,
                               weights.data(), 1);
  for (std::size_t i = 0; i < k; ++i) {
    EXPECT_EQ(rows[i], nearest_bf16(x[i])) << x[i];
    EXPECT_EQ(weights[i], nearest_bf16(x[i])) << x[i];
  }
}

struct Heads {
  std::size_t tokens, heads, dim;
};
// Around the tiles: 16 tokens of queries, 32 of keys, 16 and 32 dimensions.
const std::vector<Heads> kHeads = {{1, 1, 32},  {2, 3, 8},   {15, 2, 16}, {16, 2, 32},
                                   {17, 1, 64}, {31, 2, 24}, {33, 1, 32}, {47, 2, 40},
                                   {64, 1, 96}, {130, 2, 32}};

std::vector<float> attend(const Kernels& kernels, const std::vector<float>& rows,
                          std::size_t tokens, std::size_t heads, std::size_t dim,
                          std::size_t first = 0, std::size_t count = 0) {
  const std::size_t hidden = heads * dim;
  AlignedBuffer<float> scratch(attention_scratch_size(tokens, dim));
  // What an earlier call may have left there.
  std::fill(scratch.begin(), scratch.end(), std::numeric_limits<float>::quiet_NaN());
  std::vector<float> context(tokens * hidden, -5.0f);
  const HeadsInput in{
      rows.data() + first * dim, hidden, 2 * hidden, 3 * hidden, tokens, dim, hidden};
  kernels.attend_bf16(in, count == 0 ? heads : count, scratch.data(), context.data() + first * dim);
  return context;
}

// A weight of the softmax is rounded to bf16; before that only the sums of a score are not exact.
TEST_P(Bf16KernelsAtLevel, AttentionIsThatOfRoundedNumbersButForTheRoundingOfItsWeights) {
  if (GetParam()->attend_bf16 == nullptr) return;
  for (const auto& [tokens, heads, dim] : kHeads) {
    const std::size_t hidden = heads * dim;
    const auto rows = random_floats(tokens * 3 * hidden, 15, 0.7f);
    const auto exact = rounded(rows);
    const auto seen = attend(*GetParam(), rows, tokens, heads, dim);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < tokens; ++t) {
        const float* query = exact.data() + t * 3 * hidden + h * dim;
        std::vector<double> weights(tokens);
        for (std::size_t u = 0; u < tokens; ++u) {
          const float* key = exact.data() + u * 3 * hidden + hidden + h * dim;
          for (std::size_t i = 0; i < dim; ++i) {
            weights[u] += static_cast<double>(query[i]) * key[i];
          }
        }
        const double highest = *std::max_element(weights.begin(), weights.end());
        double total = 0.0;
        for (double& w : weights) total += w = std::exp(w - highest);
        for (std::size_t i = 0; i < dim; ++i) {
          double expected = 0.0, size = 0.0;
          for (std::size_t u = 0; u < tokens; ++u) {
            const double value = exact[u * 3 * hidden + 2 * hidden + h * dim + i];
            expected += weights[u] / total * value;
            size += weights[u] / total * std::abs(value);
          }
          ASSERT_NEAR(seen[t * hidden + h * dim + i], expected, size * (0x1p-8 + 1e-4) + 1e-30)
              << "tokens " << tokens << " dim " << dim << " token " << t;
        }
      }
    }
  }
}

TEST_P(Bf16KernelsAtLevel, AHeadIsTheSameBitsAloneAndWithOthers) {
  if (GetParam()->attend_bf16 == nullptr) return;
  for (const auto& [tokens, heads, dim] : kHeads) {
    const auto rows = random_floats(tokens * 3 * heads * dim, 16);
    const auto together = attend(*GetParam(), rows, tokens, heads, dim);
    for (std::size_t h = 0; h < heads; ++h) {
      const auto alone = attend(*GetParam(), rows, tokens, heads, dim, h, 1);
      for (std::size_t i = 0; i < alone.size(); ++i) {
        const bool of_head = i / dim % heads == h;
        ASSERT_EQ(alone[i], of_head ? together[i] : -5.0f) << "tokens " << tokens << " at " << i;
      }
    }
  }
}

TEST_P(Bf16KernelsAtLevel, AttentionHidesNoNumberThatIsNotFinite) {
  if (GetParam()->attend_bf16 == nullptr) return;
  const std::size_t tokens = 40, dim = 32;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto rows = random_floats(tokens * 3 * dim, 17);
    rows[20 * 3 * dim + 5] = bad;  // a query: its own row alone
    auto seen = attend(*GetParam(), rows, tokens, 1, dim);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      EXPECT_EQ(std::isfinite(seen[i]), i / dim != 20) << "at " << i;
    }
    rows[20 * 3 * dim + 2 * dim + 7] = bad;  // a value: its dimension
    seen = attend(*GetParam(), rows, tokens, 1, dim);
    EXPECT_FALSE(std::isfinite(seen[7]));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Bf16KernelsAtLevel, testing::ValuesIn(levels()), level_name);
INSTANTIATE_TEST_SUITE_P(Emulated, Bf16KernelsAtLevel, testing::ValuesIn(emulated_levels()),
                         level_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Bf16KernelsAtLevel);

TEST(Bf16Weights, EveryWeightIsPackedOnceAndZerosBeyond) {
  const std::size_t n = 37, k = 21;
  const auto w = random_floats(n * k, 11);
  const Weights packed(w, n, k);
  for (std::size_t j = 0; j < num_panels(n) * kPanelWidth; ++j) {
    for (std::size_t i = 0; i < bf16_depth(k); ++i) {
      const std::uint32_t seen =
          packed.panels[j / 16 * 16 * bf16_depth(k) + i / 2 * 32 + j % 16 * 2 + i % 2];
      ASSERT_EQ(std::bit_cast<float>(seen << 16),
                j < n && i < k ? nearest_bf16(w[j * k + i]) : 0.0f)
          << "output " << j << " input " << i;
    }
  }
}

TEST(Bf16Weights, OneThatIsNotFiniteIsFound) {
  const auto finite_with = [](float x) {
    auto w = random_floats(50, 12);
    w[33] = x;
    const Weights packed(w, 5, 10);
    return all_finite_bf16(packed.panels.data(), packed.panels.size());
  };
  EXPECT_TRUE(finite_with(-0x1.fefffep127f));
  EXPECT_FALSE(finite_with(-0x1.ffp127f));  // a tie, to infinity
  EXPECT_FALSE(finite_with(NAN));
}

#ifdef COLLEGIUM_EMULATED_KERNELS
TEST(EmulatedAmx, TilesAreReleasedWhenAProductIsDone) {
  const Kernels& amx = *emulated_levels().back();
  ASSERT_EQ(amx.isa, Isa::kAmx);
  const std::size_t rows = 20, n = 40, k = 70;
  const auto x = random_floats(rows * k, 13);
  const Rows a(amx, x.data(), k, rows, k);
  const Weights w(random_floats(n * k, 14), n, k);
  std::vector<float> c(rows * n);
  amx.gemm_panels_bf16(a.view(), rows, w.panels.data(), n, k, nullptr, c.data(), n);
  EXPECT_TRUE(emulated_tiles_are_released());
  EXPECT_NE(c[0], 0.0f);
}

// What the emulation says of the other tests holds for the instructions themselves.
TEST(EmulatedAmx, HasTheBitsOfTheMachine) {
  if (machine_isa() < Isa::kAmx) GTEST_SKIP() << "this machine has no AMX";
  const Kernels &emulated = *emulated_levels().back(), &amx = kernels_for(Isa::kAmx);
  for (const auto& [rows, n, k] : kShapes) {
    auto x = random_floats(rows * k, 18);
    for (std::size_t i = 0; i < x.size(); i += 7) x[i] *= 1e-39f;  // denormals, or near them
    const Weights w(random_floats(n * k, 19), n, k);
    std::vector<float> seen(rows * n), expected(rows * n);
    const Rows a(amx, x.data(), k, rows, k), b(emulated, x.data(), k, rows, k);
    amx.gemm_panels_bf16(a.view(), rows, w.panels.data(), n, k, nullptr, seen.data(), n);
    emulated.gemm_panels_bf16(b.view(), rows, w.panels.data(), n, k, nullptr, expected.data(), n);
    EXPECT_TRUE(same_bits(seen, expected)) << "rows " << rows << " n " << n << " k " << k;
  }
  for (const auto& [tokens, heads, dim] : kHeads) {
    const auto rows = random_floats(tokens * 3 * heads * dim, 20, 1.5f);
    EXPECT_TRUE(same_bits(attend(amx, rows, tokens, heads, dim),
                          attend(emulated, rows, tokens, heads, dim)))
        << "tokens " << tokens << " dim " << dim;
  }
}

// Denormals are taken and given as zeros by the tiles.
TEST(EmulatedAmx, DenormalsAreZeros) {
  const Kernels& amx = *emulated_levels().back();
  const std::vector<float> x = {1e-39f, 1e-20f}, w = {1.0f, 1e-20f};
  const Rows a(amx, x.data(), 2, 1, 2);
  const Weights weights(w, 1, 2);
  float c = 5.0f;
  amx.gemm_panels_bf16(a.view(), 1, weights.panels.data(), 1, 2, nullptr, &c, 1);
  EXPECT_EQ(c, 0.0f);
}
#endif

}  // namespace
}  // namespace collegium::core
