#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "collegium/core/thread_pool.h"
#include "lm/decoder.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

struct Loaded {
  GgufFile file;
  Decoder model;
};

Loaded load(const std::string& name, Isa isa) {
  auto file = *GgufFile::open(test_data(name + ".gguf"));
  auto model = read_decoder_gguf(file, isa);
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  return {std::move(file), *model};
}

JsonDocument goldens() {
  auto document = JsonDocument::open(test_data("tiny_llama_goldens.json"));
  EXPECT_TRUE(document.ok()) << document.status().to_string();
  return std::move(document).value();
}

// Logits of every position, the ids given in pieces of `step`.
std::vector<float> logits_of(const Decoder& model, std::span<const std::int32_t> ids,
                             std::size_t step) {
  const DecoderConfig& config = model.config();
  KvCache cache(config);
  std::vector<float> logits(ids.size() * config.vocab);
  std::vector<float> hidden(ids.size() * config.width);
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const std::size_t count = std::min(step, ids.size() - at);
    float* rows = hidden.data() + at * config.width;
    EXPECT_TRUE(model.forward(ids.subspan(at, count), cache, rows).ok());
    model.logits(rows, count, logits.data() + at * config.vocab);
  }
  EXPECT_EQ(cache.length(), ids.size());
  return logits;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The reference is transformers in fp32; two orders of summing differ in the last bits only.
TEST(Llama, LogitsEqualTransformersTo1e5OfTheirScale) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const JsonValue golden = *document.root().get(name);
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    const double scale = *golden.get_number("logit_scale");
    const auto expected = *golden.get("logits")->as_array(1000);
    ASSERT_EQ(expected.size(), ids.size());
    for (const Isa isa : available_isas()) {
      const auto loaded = load(name, isa);
      const std::size_t vocab = loaded.model.config().vocab;
      EXPECT_EQ(vocab, *golden.get_unsigned("vocab"));
      const auto logits = logits_of(loaded.model, ids, ids.size());
      for (std::size_t t = 0; t < ids.size(); ++t) {
        const auto row = json_numbers<double>(expected[t]);
        ASSERT_EQ(row.size(), (vocab + 6) / 7);
        for (std::size_t i = 0; i < row.size(); ++i)
          ASSERT_NEAR(logits[t * vocab + 7 * i], row[i], 1e-5 * scale)
              << name << " " << isa_name(isa) << " position " << t << " token " << 7 * i;
      }
    }
  }
}

TEST(Llama, GreedyTokensEqualThoseOfTransformers) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const JsonValue golden = *document.root().get(name);
    const auto expected = json_numbers<std::int32_t>(*golden.get("greedy"));
    ASSERT_EQ(expected.size(), 32u);
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

TEST(Llama, ATokenIsTheSameBitsWhetherAloneOrTogether) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    for (const Isa isa : available_isas()) {
      const auto loaded = load(name, isa);
      const auto together = logits_of(loaded.model, ids, ids.size());
      for (const std::size_t step : {1u, 2u, 7u, 16u, 39u})
        EXPECT_TRUE(same_bits(logits_of(loaded.model, ids, step), together))
            << name << " " << isa_name(isa) << " in pieces of " << step;
    }
  }
}

TEST(Llama, AllLevelsGiveTheSameBits) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    const auto scalar = logits_of(load(name, Isa::kScalar).model, ids, 13);
    for (const Isa isa : available_isas())
      EXPECT_TRUE(same_bits(logits_of(load(name, isa).model, ids, 13), scalar)) << isa_name(isa);
  }
}

TEST(Llama, AnyNumberOfThreadsGivesTheSameBits) {
  const auto document = goldens();
  const std::size_t before = default_pool().num_threads();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    const auto loaded = load(name, active_isa());
    set_num_threads(1);
    const auto one = logits_of(loaded.model, ids, 5);
    for (const std::size_t threads : {2u, 3u, 7u}) {
      set_num_threads(threads);
      for (const std::size_t step : {1u, 40u})
        EXPECT_TRUE(same_bits(logits_of(loaded.model, ids, step), one))
            << name << ", " << threads << " threads";
    }
  }
  set_num_threads(before);
}

TEST(Llama, FlopsAddUpHoweverTheTokensCome) {
  const auto loaded = load("tiny_llama", Isa::kScalar);
  double one_by_one = 0;
  for (std::size_t t = 0; t < 20; ++t) one_by_one += loaded.model.forward_flops(t, 1);
  EXPECT_DOUBLE_EQ(loaded.model.forward_flops(0, 20), one_by_one);
  // One token alone: 2 for each weight of the two layers, 4 * 64 for the one position seen.
  const double weights = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96;
  EXPECT_DOUBLE_EQ(loaded.model.forward_flops(0, 1), 2 * (2 * weights + 4 * 64));
  EXPECT_DOUBLE_EQ(loaded.model.logits_flops(3), 2.0 * 3 * 304 * 64);
}

}  // namespace
}  // namespace collegium::core
