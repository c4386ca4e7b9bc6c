#include "lm/packed_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "lm/quantized_blocks.h"

namespace collegium::core {

// tests/cpp/kernels/emulated/
extern const PackedKernels kPackedKernelsVnniEmulated, kPackedKernelsAmxEmulated;

namespace {

constexpr GgmlType kTypes[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                               GgmlType::kQ8_0, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

// Rounded rows and the memory they need.
struct Rounded {
  AlignedBuffer<std::int8_t> values;
  AlignedBuffer<float> scales, sums;
  AlignedBuffer<std::int32_t> starts;

  Rounded(Isa isa, GgmlType type, const std::vector<float>& x, std::size_t rows)
      : Rounded(packed_kernels_for(isa), type, x, rows) {}
  Rounded(const PackedKernels& kernels, GgmlType type, const std::vector<float>& x,
          std::size_t rows) {
    const std::size_t k = x.size() / rows, room = packed_room(rows);
    const PackedShape shape = packed_shape(type);
    values = AlignedBuffer<std::int8_t>(room * k);
    scales = AlignedBuffer<float>(room * k / kPackedBlock);
    sums = AlignedBuffer<float>(room * k / kPackedBlock);
    starts = AlignedBuffer<std::int32_t>(room * k / shape.inputs);
    kernels.round_rows(x.data(), rows, k, shape, rows >= kernels.tiled_from, values.data(),
                       scales.data(), sums.data(), starts.data());
  }
  PackedRows rows() const { return {values.data(), scales.data(), sums.data(), starts.data()}; }
};

struct Weights {
  GgmlType type;
  std::size_t n, k;
  std::vector<float> dequantized;  // (n, k)
  AlignedBuffer<std::byte> panels;

  Weights(GgmlType type_in, std::size_t n_in, std::size_t k_in, std::uint32_t seed)
      : type(type_in), n(n_in), k(k_in), dequantized(n * k) {
    const auto blocks = random_blocks(type, n * k / ggml_block_numbers(type), seed);
    dequantize(type, blocks.data(), n * k, dequantized.data());
    const std::size_t panel_bytes = packed_panel_bytes(type, k);
    const std::size_t row_bytes = k / ggml_block_numbers(type) * ggml_block_bytes(type);
    panels = AlignedBuffer<std::byte>(num_panels(n) * panel_bytes);
    for (std::size_t p = 0; p < num_panels(n); ++p)
      pack_panel(type, blocks.data() + p * kPanelWidth * row_bytes, row_bytes,
                 std::min(kPanelWidth, n - p * kPanelWidth), k, panels.data() + p * panel_bytes);
  }

  std::vector<float> multiply(Isa isa, const std::vector<float>& x, std::size_t rows) const {
    return multiply(packed_kernels_for(isa), x, rows);
  }
  std::vector<float> multiply(const PackedKernels& kernels, const std::vector<float>& x,
                              std::size_t rows) const {
    const Rounded rounded(kernels, type, x, rows);
    AlignedBuffer<std::byte> scratch(packed_scratch_bytes(rows));
    std::vector<float> y(rows * n, -1.0f);
    kernels.multiply(type, panels.data(), n, k, rounded.rows(), rows, scratch.data(), y.data(), n);
    return y;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Widths that are one super-block, several parts of an opened panel, and no multiple of 256.
std::vector<std::size_t> row_sizes(GgmlType type) {
  std::vector<std::size_t> sizes;
  for (const std::size_t k : {32u, 96u, 256u, 576u, 1280u, 2304u})
    if (k % ggml_block_numbers(type) == 0) sizes.push_back(k);
  return sizes;
}

TEST(PackedKernels, MultiplyDequantizedWeightsByRoundedRows) {
  for (const GgmlType type : kTypes)
    for (const std::size_t k : row_sizes(type)) {
      const Weights weights(type, 35, k, 5);
      const std::size_t rows = 3;
      const auto x = random_numbers(rows * k, 9);
      const Rounded rounded(Isa::kScalar, type, x, rows);
      const auto y = weights.multiply(Isa::kScalar, x, rows);
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t j = 0; j < weights.n; ++j) {
          double expected = 0.0, magnitude = 0.0;
          for (std::size_t i = 0; i < k; ++i) {
            const double number = rounded.values[r * k + i] *
                                  static_cast<double>(rounded.scales[(r * k + i) / kPackedBlock]);
            expected += number * weights.dequantized[j * k + i];
            magnitude += std::abs(number * weights.dequantized[j * k + i]);
          }
          // A minimum's part and that of the numbers above it are rounded one by one.
          EXPECT_NEAR(y[r * weights.n + j], expected, 4e-6 * magnitude + 1e-30)
              << ggml_type_name(type) << " k " << k << " row " << r << " output " << j;
        }
    }
}

TEST(PackedKernels, RowsAreRoundedToTheNearestOf255Levels) {
  const std::size_t k = 96;
  auto x = random_numbers(2 * k, 4);
  x[40] = 0.0f;
  std::fill(x.begin() + 64, x.begin() + 96, 0.0f);  // a block of zeros
  for (const Isa isa : available_isas()) {
    const Rounded rounded(isa, GgmlType::kQ4_1, x, 2);
    for (std::size_t b = 0; b < x.size() / kPackedBlock; ++b) {
      float largest = 0.0f;
      for (std::size_t i = 0; i < kPackedBlock; ++i)
        largest = std::max(largest, std::abs(x[b * kPackedBlock + i]));
      EXPECT_EQ(rounded.scales[b], largest / 127.0f);
      int sum = 0;
      for (std::size_t i = 0; i < kPackedBlock; ++i) {
        const int value = rounded.values[b * kPackedBlock + i];
        sum += value;
        EXPECT_NEAR(value * rounded.scales[b], x[b * kPackedBlock + i],
                    0.5001f * rounded.scales[b]);
      }
      EXPECT_EQ(rounded.sums[b], rounded.scales[b] * static_cast<float>(sum));
    }
  }
}

TEST(PackedKernels, SameBitsAtEveryLevelAndInAnyCompany) {
  for (const GgmlType type : kTypes)
    for (const std::size_t k : row_sizes(type)) {
      const Weights weights(type, 37, k, 17);
      const std::size_t most = 41;
      const auto x = random_numbers(most * k, 23);
      const auto expected = weights.multiply(Isa::kScalar, x, most);
      for (const Isa isa : available_isas())
        for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 16u, 24u, 25u, 41u})
          for (const std::size_t first : {std::size_t{0}, most - rows}) {
            const std::vector<float> part(
                x.begin() + static_cast<std::ptrdiff_t>(first * k),
                x.begin() + static_cast<std::ptrdiff_t>((first + rows) * k));
            const std::vector<float> wanted(
                expected.begin() + static_cast<std::ptrdiff_t>(first * weights.n),
                expected.begin() + static_cast<std::ptrdiff_t>((first + rows) * weights.n));
            EXPECT_TRUE(same_bits(weights.multiply(isa, part, rows), wanted))
                << ggml_type_name(type) << " k " << k << " rows " << first << " + " << rows << " "
                << isa_name(isa);
          }
    }
}

// The largest numbers there are, all of one sign: sums of 16 bits would not hold them.
TEST(PackedKernels, NoSumIsTooSmallForTheLargestNumbers) {
  for (const GgmlType type : kTypes)
    for (const int fill : {0x00, 0x7f, 0x80, 0xff})
      for (const float sign : {1.0f, -1.0f}) {
        const std::size_t k = 256, n = 16;
        std::vector<std::byte> blocks(n * k / ggml_block_numbers(type) * ggml_block_bytes(type),
                                      static_cast<std::byte>(fill));
        keep_scales_finite(type, blocks);
        const std::size_t row_bytes = blocks.size() / n;
        AlignedBuffer<std::byte> panel(packed_panel_bytes(type, k));
        pack_panel(type, blocks.data(), row_bytes, n, k, panel.data());
        std::vector<float> w(n * k);
        dequantize(type, blocks.data(), w.size(), w.data());
        for (const Isa isa : available_isas())
          for (const std::size_t rows : {1u, 20u}) {
            const std::vector<float> x(rows * k, sign * 127.0f);
            const Rounded rounded(isa, type, x, rows);
            AlignedBuffer<std::byte> scratch(packed_scratch_bytes(rows));
            std::vector<float> y(rows * n);
            packed_kernels_for(isa).multiply(type, panel.data(), n, k, rounded.rows(), rows,
                                             scratch.data(), y.data(), n);
            double expected = 0.0, magnitude = 0.0;
            for (std::size_t i = 0; i < k; ++i) {
              expected += static_cast<double>(sign) * 127.0 * w[i];
              magnitude += 127.0 * std::abs(static_cast<double>(w[i]));
            }
            for (const float out : y)
              EXPECT_NEAR(out, expected, 1e-5 * magnitude)
                  << ggml_type_name(type) << " " << fill << " " << isa_name(isa) << " " << rows;
          }
      }
}

TEST(PackedKernels, ANumberThatIsNotFiniteIsNeverHidden) {
  const Weights weights(GgmlType::kQ4_1, 16, 64, 3);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()})
    for (const Isa isa : available_isas())
      for (const std::size_t rows : {1u, 17u}) {
        auto x = random_numbers(rows * 64, 2);
        x[40] = bad;
        const auto y = weights.multiply(isa, x, rows);
        for (std::size_t j = 0; j < 16; ++j) EXPECT_FALSE(std::isfinite(y[j])) << isa_name(isa);
        for (std::size_t i = 16; i < y.size(); ++i) EXPECT_TRUE(std::isfinite(y[i]));
      }
}

#ifdef COLLEGIUM_EMULATED_KERNELS
TEST(PackedKernels, EmulatedUnitsHaveTheScalarTwinsBits) {
  for (const GgmlType type : kTypes)
    for (const std::size_t k : {256u, 1280u}) {
      const Weights weights(type, 37, k, 17);
      const auto x = random_numbers(25 * k, 23);
      for (const std::size_t rows : {1u, 4u, 5u, 9u, 25u}) {
        const std::vector<float> part(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(rows * k));
        const auto expected = weights.multiply(Isa::kScalar, part, rows);
        for (const auto* kernels : {&kPackedKernelsVnniEmulated, &kPackedKernelsAmxEmulated})
          EXPECT_TRUE(same_bits(weights.multiply(*kernels, part, rows), expected))
              << ggml_type_name(type) << " k " << k << " rows " << rows
              << (kernels == &kPackedKernelsAmxEmulated ? " AMX" : " VNNI");
      }
    }
}
#endif

}  // namespace
}  // namespace collegium::core
