#include "lm/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "lm/quantized_blocks.h"

namespace collegium::core {
namespace {

// A matrix with any bits for its numbers but the exponents of the scales, which are kept below 2.
struct Matrix {
  std::vector<std::byte> bytes;
  GgufTensor tensor;

  Matrix(GgmlType type, std::size_t outputs, std::size_t inputs) {
    const std::size_t blocks = outputs * inputs / ggml_block_numbers(type);
    const std::size_t size = ggml_block_bytes(type);
    bytes.resize(blocks * size);
    std::uint32_t seed = 3;
    for (auto& byte : bytes) {
      seed = seed * 1664525u + 1013904223u;
      byte = static_cast<std::byte>(seed >> 24);
    }
    for (std::size_t b = 0; b < blocks; ++b) {
      std::byte* block = bytes.data() + b * size;
      if (type == GgmlType::kF32 || type == GgmlType::kBF16)
        block[size - 1] &= std::byte{0xBF};
      else
        block[1] &= std::byte{0xBF};
      if (type == GgmlType::kQ4_1) block[3] &= std::byte{0xBF};
    }
    tensor = {type, {outputs, inputs}, bytes};
  }
};

// One chain of fused multiply-adds over k from zero, on the dequantised weights.
std::vector<float> reference(const Matrix& matrix, const std::vector<float>& x, std::size_t rows) {
  const std::size_t outputs = matrix.tensor.shape[0], inputs = matrix.tensor.shape[1];
  std::vector<float> weights(outputs * inputs), y(rows * outputs, 0.0f);
  dequantize(matrix.tensor.type, matrix.bytes.data(), weights.size(), weights.data());
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = 0; j < outputs; ++j)
      for (std::size_t k = 0; k < inputs; ++k)
        y[r * outputs + j] =
            std::fma(x[r * inputs + k], weights[j * inputs + k], y[r * outputs + j]);
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16,
                               GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0};

TEST(QuantizedLinear, IsOneChainOfFusedAdditionsForEveryTypeShapeAndLevel) {
  for (const GgmlType type : kTypes)
    for (const std::size_t outputs : {1u, 16u, 35u, 64u})
      for (const std::size_t inputs : {32u, 96u}) {
        const Matrix matrix(type, outputs, inputs);
        for (const std::size_t rows : {1u, 2u, 9u}) {
          const auto x = random_numbers(rows * inputs, 5);
          const auto expected = reference(matrix, x, rows);
          for (const Isa isa : available_isas()) {
            std::vector<float> y(rows * outputs, -1.0f);
            QuantizedLinear(matrix.tensor, isa).apply(x.data(), rows, y.data());
            EXPECT_TRUE(same_bits(y, expected))
                << ggml_type_name(type) << " (" << outputs << ", " << inputs << ") rows " << rows
                << " " << isa_name(isa);
          }
        }
      }
}

// Large enough to be split over threads.
TEST(QuantizedLinear, SeveralLayersAtOnceAreTheSameBitsForAnyNumberOfThreads) {
  const std::size_t before = default_pool().num_threads();
  const Matrix a(GgmlType::kQ4_1, 1040, 256), b(GgmlType::kQ8_0, 777, 256);
  const QuantizedLinear first(a.tensor, active_isa()), second(b.tensor, active_isa());
  for (const std::size_t rows : {1u, 3u}) {
    const auto x = random_numbers(rows * 256, 8);
    const auto expected_a = reference(a, x, rows), expected_b = reference(b, x, rows);
    for (const std::size_t threads : {1u, 2u, 5u}) {
      set_num_threads(threads);
      std::vector<float> y_a(rows * 1040), y_b(rows * 777);
      const QuantizedLinear::Output outputs[] = {{&first, y_a.data()}, {&second, y_b.data()}};
      QuantizedLinear::apply_all(x.data(), rows, outputs);
      EXPECT_TRUE(same_bits(y_a, expected_a)) << rows << " rows, " << threads << " threads";
      EXPECT_TRUE(same_bits(y_b, expected_b)) << rows << " rows, " << threads << " threads";
    }
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace collegium::core
