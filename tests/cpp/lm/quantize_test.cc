// F32, F16 and BF16 weights made bytes and half bytes.
#include "lm/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/lm/language_model.h"
#include "lm/decoder_models.h"
#include "lm/linear.h"
#include "lm/quantized_blocks.h"
#include "lm/same_answer.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

// Near the normal distribution, as weights are.
std::vector<float> weights_like(std::size_t n, std::uint32_t seed, float scale) {
  const auto uniform = random_numbers(n * 6, seed);
  std::vector<float> numbers(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t k = 0; k < 6; ++k) numbers[i] += uniform[6 * i + k] * scale;
  return numbers;
}

std::vector<float> read_again(GgmlType type, const std::vector<float>& x) {
  std::vector<std::byte> blocks(x.size() / 32 * ggml_block_bytes(type));
  (type == GgmlType::kQ8_0 ? quantize_q8_0 : quantize_q4_1)(x.data(), x.size(), blocks.data());
  std::vector<float> again(x.size());
  dequantize(type, blocks.data(), again.size(), again.data());
  return again;
}

double squared_error(const float* x, const float* y) {
  double sum = 0;
  for (std::size_t i = 0; i < 32; ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}

// Of all scales and minima on a grid around the span's, each number at its nearest level.
double least_squared_error(const float* x) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const double span = static_cast<double>(*high) - *low;
  double best = std::numeric_limits<double>::infinity();
  for (int a = 0; a <= 120; ++a)
    for (int b = 0; b <= 120; ++b) {
      const double d = span / 15 * (0.75 + 0.3 * a / 120), m = *low + span * 0.15 * b / 120;
      double error = 0;
      for (std::size_t i = 0; i < 32; ++i)
        error += std::pow(x[i] - (d * std::clamp(std::round((x[i] - m) / d), 0.0, 15.0) + m), 2);
      best = std::min(best, error);
    }
  return best;
}

TEST(Quantize, OfBytesNoNumberIsOffByMoreThanHalfAStep) {
  for (const float scale : {1e-3f, 0.02f, 3.0f, 9000.0f}) {
    const auto x = weights_like(32 * 200, 7, scale);
    const auto again = read_again(GgmlType::kQ8_0, x);
    for (std::size_t b = 0; b < x.size(); b += 32) {
      float largest = 0;
      for (std::size_t i = b; i < b + 32; ++i) largest = std::max(largest, std::fabs(x[i]));
      // f16 has 11 bits: the step, and what it falls short of the largest number by.
      const double most = largest / 127.0 * (0.5 * (1 + 0x1p-11) + 127 * 0x1p-11);
      for (std::size_t i = b; i < b + 32; ++i)
        ASSERT_LE(std::fabs(static_cast<double>(x[i]) - again[i]), most) << scale << " " << i;
    }
  }
}

TEST(Quantize, OfHalfBytesTheErrorIsNearTheLeastThereIs) {
  const std::size_t blocks = 60;
  const auto x = weights_like(32 * blocks, 11, 0.02f);
  const auto again = read_again(GgmlType::kQ4_1, x);
  double ours = 0, least = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    ours += squared_error(&x[32 * b], &again[32 * b]);
    least += least_squared_error(&x[32 * b]);
  }
  EXPECT_LT(ours, 1.05 * least);
}

TEST(Quantize, WhatTheTypesHoldIsKept) {
  // Levels that both types have, with scales that f16 has.
  std::vector<float> levels(64);
  for (std::size_t i = 0; i < 64; ++i) levels[i] = static_cast<float>(i % 16) * 0.25f - 2.0f;
  EXPECT_EQ(read_again(GgmlType::kQ4_1, levels), levels);
  for (const float same : {0.0f, 1.0f, -0.5f}) {
    const std::vector<float> block(32, same);
    EXPECT_EQ(read_again(GgmlType::kQ4_1, block), block) << same;
  }
  std::vector<float> bytes(32);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = (static_cast<float>(i) - 16.0f) * 0.5f;
  bytes[0] = 127 * 0.5f;
  EXPECT_EQ(read_again(GgmlType::kQ8_0, bytes), bytes);
  EXPECT_EQ(read_again(GgmlType::kQ8_0, std::vector<float>(32)), std::vector<float>(32));
}

QuantizedLinear linear_of(const std::vector<float>& numbers, std::size_t inputs) {
  const auto bytes = std::as_bytes(std::span(numbers));
  return {{GgmlType::kF32, {numbers.size() / inputs, inputs}, bytes}, active_isa()};
}

TEST(Quantize, ProductsAreThoseOfTheQuantizedFile) {
  constexpr std::size_t kInputs = 96, kOutputs = 35;
  const auto numbers = weights_like(kInputs * kOutputs, 3, 0.05f);
  for (const auto& [weights, type] : {std::pair(LmWeights::kInt8, GgmlType::kQ8_0),
                                      std::pair(LmWeights::kInt4, GgmlType::kQ4_1)}) {
    std::vector<std::byte> blocks(numbers.size() / 32 * ggml_block_bytes(type));
    (type == GgmlType::kQ8_0 ? quantize_q8_0 : quantize_q4_1)(numbers.data(), numbers.size(),
                                                              blocks.data());
    QuantizedLinear file({type, {kOutputs, kInputs}, blocks}, active_isa());
    file.pack();
    QuantizedLinear made = linear_of(numbers, kInputs);
    made.pack(weights);
    EXPECT_EQ(made.packed_type(), type);
    EXPECT_EQ(made.packed().size(), file.packed().size());
    for (const std::size_t rows : {1u, 7u, 40u}) {
      const auto x = random_numbers(rows * kInputs, 5);
      std::vector<float> seen(rows * kOutputs), expected(rows * kOutputs);
      made.apply(x.data(), rows, seen.data());
      file.apply(x.data(), rows, expected.data());
      EXPECT_TRUE(same_numbers(seen, expected)) << rows;
    }
  }
}

TEST(Quantize, WhatHasNoScalesStaysInBf16) {
  auto numbers = weights_like(96 * 20, 3, 0.05f);
  numbers[777] = 70000.0f;
  QuantizedLinear large = linear_of(numbers, 96);
  large.pack(LmWeights::kInt8);
  EXPECT_EQ(large.packed_type(), GgmlType::kF32);
  numbers[777] = std::numeric_limits<float>::quiet_NaN();
  QuantizedLinear none = linear_of(numbers, 96);
  none.pack(LmWeights::kInt4);
  EXPECT_EQ(none.packed_type(), GgmlType::kF32);
  const auto rows_of_80 = weights_like(80 * 24, 3, 0.05f);
  QuantizedLinear uneven = linear_of(rows_of_80, 80);
  uneven.pack(LmWeights::kInt4);
  EXPECT_EQ(uneven.packed_type(), GgmlType::kF32);
  // Quantised ones as they were.
  const auto blocks = random_blocks(GgmlType::kQ5_0, 16 * 3, 9);
  QuantizedLinear quantised({GgmlType::kQ5_0, {16, 96}, blocks}, active_isa());
  quantised.pack(LmWeights::kInt4);
  EXPECT_EQ(quantised.packed_type(), GgmlType::kQ5_0);
}

// olmoe's experts have rows of 16 numbers, which stay in bf16.
TEST(Quantize, DecodersHaveTheirWeightsMadeSoAndTheOutputInBytes) {
  for (const char* name : {"llama", "gemma3", "mixtral", "olmoe"}) {
    std::size_t before = std::numeric_limits<std::size_t>::max();
    for (const LmWeights weights : {LmWeights::kStored, LmWeights::kInt8, LmWeights::kInt4}) {
      Decoder decoder = load_decoder(name);
      decoder.pack(weights);
      EXPECT_LT(decoder.weights().packed_bytes, before) << name;
      before = decoder.weights().packed_bytes;
      for (const QuantizedLinear* linear : decoder.weights().packed_linears()) {
        GgmlType expected = linear->type();
        if (weights != LmWeights::kStored && linear->inputs() % 32 == 0)
          expected = weights == LmWeights::kInt4 && linear != &decoder.weights().output
                         ? GgmlType::kQ4_1
                         : GgmlType::kQ8_0;
        EXPECT_EQ(linear->packed_type(), expected) << name << " " << lm_weights_name(weights);
      }
      std::vector<std::int32_t> ids(24);
      for (std::size_t i = 0; i < ids.size(); ++i)
        ids[i] = static_cast<std::int32_t>((i * 37 + 11) % decoder.config().vocab);
      EXPECT_TRUE(same_numbers(decoder_logits(decoder, ids, 5), decoder_logits(decoder, ids, 24)))
          << name << " " << lm_weights_name(weights);
    }
  }
}

TEST(Quantize, IsAskedForByNameAndKeptInPackedFiles) {
  EXPECT_EQ(*parse_lm_weights("int4"), LmWeights::kInt4);
  EXPECT_EQ(parse_lm_weights("int5").status().code(), StatusCode::kInvalidArgument);
  const std::string folder = test_data("lm_folder");
  const auto load = [&](const LanguageModelOptions& options) {
    return LanguageModel::load(folder, options);
  };
  const ScratchFolder scratch;
  const std::string path = scratch / "packed";
  for (const LmWeights weights : {LmWeights::kInt8, LmWeights::kInt4}) {
    const auto made = *load({.compute = LmCompute::kFast, .weights = weights});
    ASSERT_TRUE(made->save_packed(path).ok());
    const auto mapped = *load({.compute = LmCompute::kFast, .packed = path});
    EXPECT_EQ(mapped->packed_bytes(), made->packed_bytes());
    GenerateOptions options;
    options.max_new_tokens = 20;
    options.log_probabilities = true;
    expect_same_answer(*mapped->generate("the thing", options),
                       *made->generate("the thing", options));
  }
  for (const LanguageModelOptions& bad :
       {LanguageModelOptions{.weights = LmWeights::kInt8},
        LanguageModelOptions{
            .compute = LmCompute::kFast, .weights = LmWeights::kInt8, .packed = path}}) {
    const Status status = load(bad).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("weights: \"int8\""), std::string::npos) << status.to_string();
  }
}

}  // namespace
}  // namespace collegium::core
