#include "lm/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "collegium/core/lm/token_routers.h"
#include "lm/decoder_models.h"

namespace collegium::core {
namespace {

TEST(Decoder, LogitsOfEveryArchitectureAreWithin1e4OfTransformers) {
  DecoderGoldens goldens;
  ASSERT_GE(goldens.names().size(), 20u);
  for (const std::string& name : goldens.names()) {
    const JsonValue golden = goldens.of(name);
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    const auto positions = json_numbers<std::size_t>(*golden.get("positions"));
    const auto expected = *golden.get("logits")->as_array(1000);
    ASSERT_EQ(positions.size(), expected.size());
    for (const Isa isa : available_isas()) {
      const Decoder decoder = load_decoder(name, isa);
      const std::size_t vocab = decoder.config().vocab;
      const auto logits = decoder_logits(decoder, ids, ids.size());
      for (std::size_t i = 0; i < positions.size(); ++i) {
        const auto row = json_numbers<double>(expected[i]);
        ASSERT_EQ(row.size(), vocab);
        for (std::size_t token = 0; token < vocab; ++token)
          ASSERT_NEAR(logits[positions[i] * vocab + token], row[token], 1e-4)
              << name << " " << isa_name(isa) << " position " << positions[i];
      }
    }
  }
}

TEST(Decoder, RoutersChooseTheExpertsOfTransformers) {
  DecoderGoldens goldens;
  std::size_t mixtures = 0;
  for (const std::string& name : goldens.names()) {
    const JsonValue golden = goldens.of(name);
    const auto layers = *golden.get("experts")->as_array(100);
    const Decoder decoder = load_decoder(name);
    ASSERT_EQ(decoder.routing_layers().size(), layers.size()) << name;
    if (layers.empty()) continue;
    ++mixtures;
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    TokenTrace trace;
    decoder_logits(decoder, ids, 11, nullptr, &trace);
    for (const JsonValue& layer : layers) {
      const TokenTrace::Layer* seen = trace.layer(*layer.get_unsigned("layer"));
      ASSERT_NE(seen, nullptr) << name;
      ASSERT_EQ(seen->rows(), ids.size());
      ASSERT_EQ(seen->output_norms.size(), seen->ids.size());
      const auto chosen = *layer.get("ids")->as_array(1000);
      const auto weights = *layer.get("weights")->as_array(1000);
      for (std::size_t t = 0; t < ids.size(); ++t) {
        std::vector<std::pair<std::int32_t, float>> pairs;
        for (std::size_t i = seen->offsets[t]; i < seen->offsets[t + 1]; ++i)
          pairs.emplace_back(seen->ids[i], seen->weights[i]);
        std::sort(pairs.begin(), pairs.end());
        const auto expected = json_numbers<std::int32_t>(chosen[t]);
        const auto expected_weights = json_numbers<double>(weights[t]);
        ASSERT_EQ(pairs.size(), expected.size()) << name;
        for (std::size_t i = 0; i < pairs.size(); ++i) {
          ASSERT_EQ(pairs[i].first, expected[i]) << name << " token " << t;
          ASSERT_NEAR(pairs[i].second, expected_weights[i], 2e-5) << name << " token " << t;
        }
      }
    }
  }
  EXPECT_GE(mixtures, 10u);
}

TEST(Decoder, GreedyTokensEqualTransformersWithAndWithoutCacheAndInPieces) {
  DecoderGoldens goldens;
  for (const std::string& name : goldens.names()) {
    const JsonValue golden = goldens.of(name);
    const auto prompt = json_numbers<std::int32_t>(*golden.get("greedy_prompt"));
    const auto expected = json_numbers<std::int32_t>(*golden.get("greedy"));
    ASSERT_EQ(expected.size(), 64u);
    const Decoder decoder = load_decoder(name);
    EXPECT_EQ(greedy_tokens(decoder, prompt, 64, 100, true), expected) << name;
    EXPECT_EQ(greedy_tokens(decoder, prompt, 64, 3, true), expected) << name << " in pieces";
    EXPECT_EQ(greedy_tokens(decoder, prompt, 64, 100, false), expected) << name << " without cache";
    EXPECT_EQ(greedy_tokens(decoder, prompt, 64, 17, false), expected) << name << " both";
  }
}

TEST(Decoder, AllLevelsGiveTheSameBits) {
  DecoderGoldens goldens;
  for (const std::string& name : goldens.names()) {
    const auto ids = json_numbers<std::int32_t>(*goldens.of(name).get("ids"));
    const auto scalar = decoder_logits(load_decoder(name, Isa::kScalar), ids, 13);
    for (const Isa isa : available_isas())
      EXPECT_TRUE(same_numbers(decoder_logits(load_decoder(name, isa), ids, 13), scalar))
          << name << " " << isa_name(isa);
  }
}

TEST(Decoder, TruncatingACacheForgetsTheRest) {
  const Decoder decoder = load_decoder("mixtral");
  const std::vector<std::int32_t> ids = {5, 9, 13, 6, 7, 31, 8, 40, 41, 42, 43, 44};
  const std::size_t width = decoder.config().width;
  KvCache cache(decoder.config(), KvCacheType::kFp32);
  std::vector<float> once(ids.size() * width), again(ids.size() * width);
  ASSERT_TRUE(decoder.forward(ids, cache, once.data()).ok());
  cache.truncate(4);
  EXPECT_EQ(cache.length(), 4u);
  ASSERT_TRUE(decoder.forward(std::span(ids).subspan(4), cache, again.data() + 4 * width).ok());
  EXPECT_TRUE(
      same_numbers(std::span(once).subspan(4 * width), std::span(again).subspan(4 * width)));
}

TEST(Decoder, AFailingRouterIsToldAndLeavesTheCachesAsTheyWere) {
  const Decoder decoder = load_decoder("qwen2_moe");
  RoutingOptions options;
  bool fail = true;
  options.router =
      make_function_router("picky", [&](const RouterInput& input, Routing& routing) -> Status {
        if (fail && input.layer == 2) return Status::invalid_argument("not today");
        for (std::size_t t = 0; t < input.tokens; ++t) {
          routing.add(1, 0.5f);
          routing.end_token();
        }
        return {};
      });
  const auto plan = decoder.plan(options);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const std::vector<std::int32_t> first = {4, 5, 6}, second = {7, 8};
  const std::size_t width = decoder.config().width;
  KvCache own(decoder.config(), KvCacheType::kFp32), other(decoder.config(), KvCacheType::kFp32);
  std::vector<float> hidden(5 * width);
  ASSERT_TRUE(decoder.forward(first, own, hidden.data()).ok());
  const Step steps[] = {{.cache = &own, .ids = second},
                        {.cache = &other, .ids = first, .routing = &*plan}};
  const Status status = decoder.forward(steps, hidden.data());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("not today"), std::string::npos) << status.to_string();
  EXPECT_EQ(own.length(), 3u);
  EXPECT_EQ(other.length(), 0u);
  fail = false;
  ASSERT_TRUE(decoder.forward(steps, hidden.data()).ok());
  KvCache alone(decoder.config(), KvCacheType::kFp32);
  std::vector<float> expected(5 * width);
  ASSERT_TRUE(decoder.forward(first, alone, expected.data()).ok());
  ASSERT_TRUE(decoder.forward(second, alone, expected.data() + 3 * width).ok());
  EXPECT_TRUE(
      same_numbers(std::span(hidden).first(2 * width), std::span(expected).subspan(3 * width)));
}

TEST(Decoder, AMaskedExpertIsNeverChosenAndARouterMayLeaveATokenWithoutExperts) {
  const Decoder decoder = load_decoder("olmoe");
  const std::vector<std::int32_t> ids = {5, 9, 13, 6, 7, 31, 8, 40};
  RoutingOptions masked;
  masked.masks.push_back({.layer = 1, .experts = {0, 3, 4}, .keep = false});
  const auto plan = decoder.plan(masked);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  TokenTrace trace;
  const auto logits = decoder_logits(decoder, ids, 3, &*plan, &trace);
  for (const std::int32_t id : trace.layer(1)->ids)
    EXPECT_TRUE(id != 0 && id != 3 && id != 4) << id;
  EXPECT_FALSE(same_numbers(logits, decoder_logits(decoder, ids, 3)));

  RoutingOptions nobody;
  nobody.router = make_function_router("nobody", [](const RouterInput& input, Routing& routing) {
    for (std::size_t t = 0; t < input.tokens; ++t) routing.end_token();
    return Status();
  });
  const auto without = decoder.plan(nobody);
  ASSERT_TRUE(without.ok());
  for (const float logit : decoder_logits(decoder, ids, 3, &*without))
    EXPECT_TRUE(std::isfinite(logit));
}

// Of the last layer only what is asked for is made; what is asked for, and all that follows, is the
// same to the last bit.
TEST(Decoder, RowsThatAreWantedAreThoseOfAll) {
  const std::vector<std::int32_t> first = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  const std::vector<std::int32_t> second = {2, 7, 1, 8, 2, 8};
  const std::vector<std::int32_t> next = {7};
  DecoderGoldens goldens;
  for (const std::string& name : goldens.names()) {
    for (const bool fast : {false, true}) {
      Decoder decoder = load_decoder(name);
      if (fast) decoder.pack();
      const std::size_t width = decoder.config().width;
      const auto run = [&](std::size_t of_first, std::size_t of_second) {
        KvCache a(decoder.config(), KvCacheType::kFp32), b(decoder.config(), KvCacheType::kFp32);
        const Step steps[] = {{.cache = &a, .ids = first, .wanted = of_first},
                              {.cache = &b, .ids = second, .wanted = of_second}};
        std::vector<float> hidden((first.size() + second.size() + 2) * width);
        EXPECT_TRUE(decoder.forward(steps, hidden.data()).ok()) << name;
        float* behind = hidden.data() + (first.size() + second.size()) * width;
        EXPECT_TRUE(decoder.forward(next, a, behind).ok()) << name;
        EXPECT_TRUE(decoder.forward(next, b, behind + width).ok()) << name;
        return hidden;
      };
      const std::vector<float> all = run(SIZE_MAX, SIZE_MAX);
      const std::pair<std::size_t, std::size_t> cases[] = {{0, 0}, {1, 1}, {0, 3}, {11, 0}, {4, 6}};
      for (const auto& [of_first, of_second] : cases) {
        const std::vector<float> some = run(of_first, of_second);
        const auto expect_same = [&](std::size_t begin, std::size_t end) {
          EXPECT_TRUE(std::equal(some.begin() + static_cast<std::ptrdiff_t>(begin * width),
                                 some.begin() + static_cast<std::ptrdiff_t>(end * width),
                                 all.begin() + static_cast<std::ptrdiff_t>(begin * width)))
              << name << " fast " << fast << " wanted " << of_first << " and " << of_second;
        };
        expect_same(first.size() - of_first, first.size());
        expect_same(first.size() + second.size() - of_second, first.size() + second.size() + 2);
      }
    }
  }
}

TEST(Decoder, FlopsAddUpHoweverTheTokensCome) {
  for (const char* name : {"mistral", "qwen2_moe", "deepseek_v3", "gemma3"}) {
    const Decoder decoder = load_decoder(name);
    double one_by_one = 0;
    for (std::size_t t = 0; t < 30; ++t) one_by_one += decoder.forward_flops(t, 1, 1);
    EXPECT_NEAR(decoder.forward_flops(0, 30, 30), one_by_one, 1e-6 * one_by_one) << name;
    EXPECT_DOUBLE_EQ(decoder.forward_flops(0, 13, 0) + decoder.forward_flops(13, 17, 1),
                     decoder.forward_flops(0, 30, 1));
    EXPECT_LT(decoder.forward_flops(0, 30, 1), one_by_one);
    EXPECT_NEAR(decoder.forward_flops(0, 13, 13) + decoder.forward_flops(13, 17, 17), one_by_one,
                1e-6 * one_by_one);
  }
  // mixtral, one token: 2 for each weight a token meets, 4 a number of the one position seen.
  const Decoder decoder = load_decoder("mixtral");
  const double attention = 32 * 32 * 2 + 32 * 16 * 2;
  const double experts = 2 * 3 * 32 * 32 + 32 * 5;
  EXPECT_DOUBLE_EQ(decoder.forward_flops(0, 1, 1), 2 * (2 * (attention + experts) + 4 * 32));
}

}  // namespace
}  // namespace collegium::core
