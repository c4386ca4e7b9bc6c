#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "collegium/core/random.h"
#include "lm/decoder.h"

namespace collegium::core {

struct TinyMoeOptions {
  std::uint64_t seed = 1;
  std::vector<std::size_t> widths = {24, 24, 24, 24, 24, 24};  // of each expert's hidden layer
  bool same_experts = false;  // Every expert of a layer has the same weights (an upcycled model).
  bool dense = false;         // No mixture: each layer has the first expert's weights.
};

// A random decoder of two layers that are mixtures, and the numbers its experts have.
struct TinyMoe {
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kVocab = 32;
  using Numbers = std::vector<std::vector<float>>;

  TinyMoeOptions options;
  std::shared_ptr<Numbers> numbers = std::make_shared<Numbers>();
  std::vector<std::vector<std::size_t>> gates;  // [layer][expert]: which of `numbers`

  explicit TinyMoe(TinyMoeOptions chosen = {}) : options(std::move(chosen)) {}

  Decoder make() {
    const std::size_t experts = options.widths.size();
    DecoderConfig config;
    config.architecture = "tiny";
    config.vocab = kVocab;
    config.context = 512;
    config.width = kWidth;
    config.heads = 2;
    config.kv_heads = 1;
    config.head_dim = config.value_dim = 8;
    config.hidden = options.widths[0];
    config.ropes = {Rope{RopeLayout::kHalves, rope_frequencies(10000.0, 8), 1.0f}};
    config.norm_eps = 1e-5f;
    config.attention_scale = 1.0f / std::sqrt(8.0f);
    config.layers.assign(2, {0, 0, !options.dense});
    if (!options.dense) {
      config.moe.experts = experts;
      config.moe.top_k = 2;
      config.moe.hidden = options.widths[0];
      config.moe.normalize = true;
    }

    Random random(options.seed);
    DecoderWeights weights;
    weights.owner = numbers;
    weights.embeddings = tensor(random, kVocab, kWidth, 1.0);
    weights.output = linear(random, kVocab, kWidth);
    weights.output_norm = norm();
    for (std::size_t l = 0; l < 2; ++l) {
      DecoderLayerWeights& layer = weights.layers.emplace_back();
      layer.attention_norm = norm();
      layer.hidden_norm = norm();
      layer.q = linear(random, 16, kWidth);
      layer.k = linear(random, 8, kWidth);
      layer.v = linear(random, 8, kWidth);
      layer.attention_output = linear(random, kWidth, 16);
      const QuantizedLinear router = linear(random, experts, kWidth);
      std::vector<std::size_t>& gate_numbers = gates.emplace_back();
      std::vector<GatedWeights> made;
      for (std::size_t e = 0; e < experts; ++e) {
        if (e != 0 && options.same_experts) {
          made.push_back(made[0]);
          gate_numbers.push_back(gate_numbers[0]);
          continue;
        }
        gate_numbers.push_back(numbers->size());
        GatedWeights& expert = made.emplace_back();
        expert.gate = linear(random, options.widths[e], kWidth);
        expert.up = linear(random, options.widths[e], kWidth);
        expert.down = linear(random, kWidth, options.widths[e]);
      }
      if (options.dense) {
        layer.mlp = made[0];
      } else {
        layer.moe.experts = std::move(made);
        layer.moe.router = router;
      }
    }
    auto decoder =
        Decoder::create(std::move(config), std::move(weights), active_isa(), "tiny model");
    if (!decoder.ok()) {
      ADD_FAILURE() << decoder.status().to_string();
      std::abort();
    }
    return std::move(decoder).value();
  }

 private:
  GgufTensor tensor(Random& random, std::size_t rows, std::size_t columns, double scale) {
    std::vector<float>& values = numbers->emplace_back(rows * columns);
    for (float& x : values) x = static_cast<float>(random.normal() * scale);
    return {GgmlType::kF32, {rows, columns}, std::as_bytes(std::span(values))};
  }
  QuantizedLinear linear(Random& random, std::size_t outputs, std::size_t inputs) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(inputs));
    return {tensor(random, outputs, inputs, scale), active_isa()};
  }
  static NormWeights norm() { return {std::vector<float>(kWidth, 1.0f), {}}; }
};

inline std::vector<std::int32_t> random_ids(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = static_cast<std::int32_t>(random.below(TinyMoe::kVocab));
  return ids;
}

}  // namespace collegium::core
