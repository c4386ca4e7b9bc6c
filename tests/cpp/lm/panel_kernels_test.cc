#include "lm/panel_kernels.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/kernels.h"
#include "lm/quantized_blocks.h"

namespace collegium::core {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0, GgmlType::kQ5_0,
                               GgmlType::kQ5_1, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

// Numbers of a row: those that are whole blocks of the type.
std::vector<std::size_t> row_sizes(GgmlType type) {
  std::vector<std::size_t> sizes;
  for (const std::size_t k : {32u, 64u, 96u, 256u, 512u, 576u, 1536u})
    if (k % ggml_block_numbers(type) == 0) sizes.push_back(k);
  return sizes;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(PanelKernels, WidenAsDequantizeDoesAtEveryLevel) {
  for (const Isa isa : available_isas())
    for (const GgmlType type : kTypes)
      for (const std::size_t k : row_sizes(type)) {
        const std::size_t row_bytes = k / ggml_block_numbers(type) * ggml_block_bytes(type);
        const auto blocks = random_blocks(type, kPanelWidth * k / ggml_block_numbers(type), 7);
        std::vector<float> rows(kPanelWidth * k);
        dequantize(type, blocks.data(), rows.size(), rows.data());
        std::vector<float> expected(rows.size());
        kernels_for(Isa::kScalar).pack_panels(rows.data(), k, kPanelWidth, k, expected.data());
        std::vector<float> panel(rows.size(), -1.0f);
        panel_kernels_for(isa, type)->dequantize(blocks.data(), row_bytes, k, panel.data());
        EXPECT_TRUE(same_bits(panel, expected))
            << isa_name(isa) << " " << ggml_type_name(type) << " k " << k;
      }
}

TEST(PanelKernels, MultiplyAsGemmOfWidenedWeightsDoesAtEveryLevel) {
  for (const GgmlType type : kTypes)
    for (const std::size_t k : row_sizes(type))
      for (const std::size_t panels : {1u, 2u, 3u}) {
        const std::size_t row_bytes = k / ggml_block_numbers(type) * ggml_block_bytes(type);
        const std::size_t n = panels * kPanelWidth;
        const auto blocks = random_blocks(type, n * k / ggml_block_numbers(type), 11);
        const auto x = random_numbers(k, 3);
        std::vector<float> rows(n * k), packed(n * k), expected(n);
        dequantize(type, blocks.data(), rows.size(), rows.data());
        const Kernels& scalar = kernels_for(Isa::kScalar);
        scalar.pack_panels(rows.data(), k, n, k, packed.data());
        scalar.gemm_panels(x.data(), k, 1, packed.data(), n, k, nullptr, expected.data(), n);
        for (const Isa isa : available_isas()) {
          std::vector<float> out(n, -1.0f);
          panel_kernels_for(isa, type)->multiply(blocks.data(), row_bytes, panels, k, x.data(),
                                                 out.data());
          EXPECT_TRUE(same_bits(out, expected))
              << isa_name(isa) << " " << ggml_type_name(type) << " k " << k << " " << panels;
        }
      }
}

TEST(PanelKernels, TypesOfSingleNumbersHaveNone) {
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16})
    for (const Isa isa : available_isas()) EXPECT_EQ(panel_kernels_for(isa, type), nullptr);
}

}  // namespace
}  // namespace collegium::core
