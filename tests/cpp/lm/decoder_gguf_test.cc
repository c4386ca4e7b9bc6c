// The random models of tests/oracles/make_tiny_gguf_models.py, one an architecture and option.
#include <gtest/gtest.h>

#include <algorithm>

#include "lm/decoder_models.h"

namespace collegium::core {
namespace {

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

// The reference is transformers in fp32; two orders of summing differ in the last bits only.
TEST(DecoderGguf, LogitsOfEveryArchitectureEqualTransformers) {
  const auto names = models();
  EXPECT_EQ(names.size(), 18u);
  for (const std::string& name : names) {
    const JsonValue golden = *goldens().root().get(name);
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    const auto expected = *golden.get("logits")->as_array(1000);
    ASSERT_EQ(expected.size(), ids.size());
    for (const Isa isa : {Isa::kScalar, active_isa()}) {
      const auto loaded = load_gguf_decoder("gguf_models/" + name, isa);
      const std::size_t vocab = loaded.model.config().vocab;
      const auto logits = decoder_logits(loaded.model, ids, ids.size());
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
    const auto loaded = load_gguf_decoder("gguf_models/" + name, active_isa());
    const auto prompt = json_numbers<std::int32_t>(*golden.get("greedy_prompt"));
    EXPECT_EQ(greedy_tokens(loaded.model, prompt, expected.size()), expected) << name;
  }
}

TEST(DecoderGguf, ATokenIsTheSameBitsWhetherAloneOrTogether) {
  for (const std::string& name : models()) {
    const auto ids = json_numbers<std::int32_t>(*goldens().root().get(name)->get("ids"));
    const auto loaded = load_gguf_decoder("gguf_models/" + name, active_isa());
    const auto together = decoder_logits(loaded.model, ids, ids.size());
    for (const std::size_t step : {1u, 7u}) {
      EXPECT_TRUE(same_numbers(decoder_logits(loaded.model, ids, step), together))
          << name << " in pieces of " << step;
    }
  }
}

}  // namespace
}  // namespace collegium::core
