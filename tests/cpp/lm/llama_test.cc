#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "collegium/core/thread_pool.h"
#include "lm/decoder_models.h"

namespace collegium::core {
namespace {

JsonDocument goldens() {
  auto document = JsonDocument::open(test_data("tiny_llama_goldens.json"));
  EXPECT_TRUE(document.ok()) << document.status().to_string();
  return std::move(document).value();
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
      const auto loaded = load_gguf_decoder(name, isa);
      const std::size_t vocab = loaded.model.config().vocab;
      EXPECT_EQ(vocab, *golden.get_unsigned("vocab"));
      const auto logits = decoder_logits(loaded.model, ids, ids.size());
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
    const auto loaded = load_gguf_decoder(name, active_isa());
    const auto prompt = json_numbers<std::int32_t>(*golden.get("greedy_prompt"));
    EXPECT_EQ(greedy_tokens(loaded.model, prompt, expected.size()), expected) << name;
  }
}

TEST(Llama, ATokenIsTheSameBitsWhetherAloneOrTogether) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    for (const Isa isa : available_isas()) {
      const auto loaded = load_gguf_decoder(name, isa);
      const auto together = decoder_logits(loaded.model, ids, ids.size());
      for (const std::size_t step : {1u, 2u, 7u, 16u, 39u})
        EXPECT_TRUE(same_numbers(decoder_logits(loaded.model, ids, step), together))
            << name << " " << isa_name(isa) << " in pieces of " << step;
    }
  }
}

TEST(Llama, AllLevelsGiveTheSameBits) {
  const auto document = goldens();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    const auto scalar = decoder_logits(load_gguf_decoder(name, Isa::kScalar).model, ids, 13);
    for (const Isa isa : available_isas())
      EXPECT_TRUE(same_numbers(decoder_logits(load_gguf_decoder(name, isa).model, ids, 13), scalar))
          << isa_name(isa);
  }
}

TEST(Llama, AnyNumberOfThreadsGivesTheSameBits) {
  const auto document = goldens();
  const std::size_t before = default_pool().num_threads();
  for (const std::string& name : tiny_models()) {
    const auto ids = json_numbers<std::int32_t>(*document.root().get(name)->get("ids"));
    const auto loaded = load_gguf_decoder(name, active_isa());
    set_num_threads(1);
    const auto one = decoder_logits(loaded.model, ids, 5);
    for (const std::size_t threads : {2u, 3u, 7u}) {
      set_num_threads(threads);
      for (const std::size_t step : {1u, 40u})
        EXPECT_TRUE(same_numbers(decoder_logits(loaded.model, ids, step), one))
            << name << ", " << threads << " threads";
    }
  }
  set_num_threads(before);
}

TEST(Llama, FlopsAddUpHoweverTheTokensCome) {
  const auto loaded = load_gguf_decoder("tiny_llama", Isa::kScalar);
  double one_by_one = 0;
  for (std::size_t t = 0; t < 20; ++t) one_by_one += loaded.model.forward_flops(t, 1, 1);
  EXPECT_DOUBLE_EQ(loaded.model.forward_flops(0, 20, 20), one_by_one);
  // One token alone: 2 for each weight of the two layers, 4 * 64 for the one position seen.
  const double weights = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96;
  EXPECT_DOUBLE_EQ(loaded.model.forward_flops(0, 1, 1), 2 * (2 * weights + 4 * 64));
  EXPECT_DOUBLE_EQ(loaded.model.logits_flops(3), 2.0 * 3 * 304 * 64);
}

}  // namespace
}  // namespace collegium::core
