// The random models of tests/oracles/make_tiny_gguf_models.py, one an architecture and option.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "collegium/core/gguf.h"
#include "lm/decoder.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

struct Loaded {
  GgufFile file;
  Decoder model;
};

Loaded load(const std::string& name, Isa isa) {
  auto file = *GgufFile::open(test_data("gguf_models/" + name + ".gguf"));
  auto model = read_decoder_gguf(file, isa);
  EXPECT_TRUE(model.ok()) << name << ": " << model.status().to_string();
  return {std::move(file), *std::move(model)};
}

const JsonDocument& goldens() {
  static const JsonDocument document = *JsonDocument::open(test_data("gguf_models/goldens.json"));
  return document;
}

std::vector<std::string> models() {
  std::vector<std::string> names;
  const auto list = *goldens().root().get("models")->as_array(100);
  for (const JsonValue& name : list) names.push_back(*name.as_string());
  return names;
}

// Logits of every position, the ids given in pieces of `step`.
std::vector<float> logits_of(const Decoder& model, std::span<const std::int32_t> ids,
                             std::size_t step) {
  const DecoderConfig& config = model.config();
  KvCache cache(config);
  std::vector<float> hidden(ids.size() * config.width);
  std::vector<float> logits(ids.size() * config.vocab);
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const std::size_t count = std::min(step, ids.size() - at);
    float* rows = hidden.data() + at * config.width;
    EXPECT_TRUE(model.forward(ids.subspan(at, count), cache, rows).ok());
    model.logits(rows, count, logits.data() + at * config.vocab);
  }
  return logits;
}

// The reference is transformers in fp32; two orders of summing differ in the last bits only.
TEST(DecoderGguf, LogitsOfEveryArchitectureEqualTransformers) {
  const auto names = models();
  EXPECT_EQ(names.size(), 15u);
  for (const std::string& name : names) {
    const JsonValue golden = *goldens().root().get(name);
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    const auto expected = *golden.get("logits")->as_array(1000);
    ASSERT_EQ(expected.size(), ids.size());
    for (const Isa isa : {Isa::kScalar, active_isa()}) {
      const auto loaded = load(name, isa);
      const std::size_t vocab = loaded.model.config().vocab;
      const auto logits = logits_of(loaded.model, ids, ids.size());
      double largest = 0.0;
      for (std::size_t t = 0; t < ids.size(); ++t) {
        const auto row = json_numbers<double>(expected[t]);
        ASSERT_EQ(row.size(), (vocab + 6) / 7);
        for (std::size_t i = 0; i < row.size(); ++i)
          largest = std::max(largest, std::abs(logits[t * vocab + 7 * i] - row[i]));
      }
      EXPECT_LT(largest, 1e-4) << name << " " << isa_name(isa);
    }
  }
}

TEST(DecoderGguf, GreedyTokensOfEveryArchitectureEqualThoseOfTransformers) {
  for (const std::string& name : models()) {
    const JsonValue golden = *goldens().root().get(name);
    const auto expected = json_numbers<std::int32_t>(*golden.get("greedy"));
    const auto loaded = load(name, active_isa());
    const DecoderConfig& config = loaded.model.config();
    KvCache cache(config);
    std::vector<std::int32_t> next = json_numbers<std::int32_t>(*golden.get("greedy_prompt"));
    std::vector<std::int32_t> tokens;
    std::vector<float> hidden(next.size() * config.width);
    std::vector<float> logits(config.vocab);
    while (tokens.size() < expected.size()) {
      ASSERT_TRUE(loaded.model.forward(next, cache, hidden.data()).ok());
      loaded.model.logits(hidden.data() + (next.size() - 1) * config.width, 1, logits.data());
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      tokens.push_back(static_cast<std::int32_t>(best));
      next.assign(1, tokens.back());
    }
    EXPECT_EQ(tokens, expected) << name;
  }
}

TEST(DecoderGguf, ATokenIsTheSameBitsWhetherAloneOrTogether) {
  for (const std::string& name : models()) {
    const auto ids = json_numbers<std::int32_t>(*goldens().root().get(name)->get("ids"));
    const auto loaded = load(name, active_isa());
    const auto together = logits_of(loaded.model, ids, ids.size());
    for (const std::size_t step : {1u, 7u}) {
      const auto apart = logits_of(loaded.model, ids, step);
      EXPECT_EQ(std::memcmp(apart.data(), together.data(), apart.size() * sizeof(float)), 0)
          << name << " in pieces of " << step;
    }
  }
}

}  // namespace
}  // namespace collegium::core
