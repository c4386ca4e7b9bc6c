#include "lm/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

GenerateOptions sampling(float temperature, std::size_t top_k, float top_p) {
  GenerateOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  options.seed = 42;
  return options;
}

// How often each token comes in `draws` steps.
std::vector<double> frequencies(const GenerateOptions& options, const std::vector<float>& logits,
                                std::size_t draws) {
  Sampler sampler(options);
  std::vector<double> counts(logits.size());
  for (std::size_t step = 0; step < draws; ++step)
    counts[static_cast<std::size_t>(*sampler.choose(logits, step))] += 1.0 / double(draws);
  return counts;
}

TEST(Sampler, GreedyTakesTheHighestAndTheLowestIdOfATie) {
  Sampler sampler(GenerateOptions{});
  EXPECT_EQ(*sampler.choose(std::vector<float>{1, 3, 2, 3}, 0), 1);
  EXPECT_EQ(*sampler.choose(std::vector<float>{kNan, -5, kNan, -4}, 0), 3);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler sampler(sampling(temperature, 0, 1.0f));
    for (const auto& logits : {std::vector<float>{kNan, kNan}, {1.0f, kInfinity}, {-kInfinity}, {}})
      EXPECT_EQ(sampler.choose(logits, 0).status().code(), StatusCode::kCorruption);
  }
}

TEST(Sampler, DrawsByTheSoftmaxOfTheTemperature) {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f};
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    double total = 0;
    for (const float l : logits) total += std::exp(l / temperature);
    const auto seen = frequencies(sampling(temperature, 0, 1.0f), logits, 40000);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double p = std::exp(logits[i] / temperature) / total;
      EXPECT_NEAR(seen[i], p, 4 * std::sqrt(p * (1 - p) / 40000)) << temperature << " " << i;
    }
  }
}

TEST(Sampler, TopKKeepsTheKBest) {
  const auto seen = frequencies(sampling(1.0f, 2, 1.0f), {1.0f, 1.5f, 1.0f, 1.4f}, 2000);
  EXPECT_EQ(seen[0], 0.0);
  EXPECT_EQ(seen[2], 0.0);
  EXPECT_GT(seen[1], seen[3]);
  EXPECT_GT(seen[3], 0.3);
}

// Probabilities 0.64, 0.24, 0.09, 0.03: the fewest that reach top_p.
TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = {1.0f, 0.0f, 3.0f, 2.0f};
  const auto kept = [&](float top_p) {
    std::set<std::size_t> tokens;
    const auto seen = frequencies(sampling(1.0f, 0, top_p), logits, 5000);
    for (std::size_t i = 0; i < seen.size(); ++i)
      if (seen[i] > 0) tokens.insert(i);
    return tokens;
  };
  EXPECT_EQ(kept(0.5f), (std::set<std::size_t>{2}));
  EXPECT_EQ(kept(0.7f), (std::set<std::size_t>{2, 3}));
  EXPECT_EQ(kept(0.9f), (std::set<std::size_t>{0, 2, 3}));
  EXPECT_EQ(kept(1.0f), (std::set<std::size_t>{0, 1, 2, 3}));
}

// tests/oracles/make_sampler_goldens.py: which tokens transformers' processors leave, and how
// likely.
TEST(Sampler, LeavesWhatTransformersLeaves) {
  const auto document = JsonDocument::open(test_data("sampler_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const auto cases = *document->root().get("cases")->as_array(10000);
  ASSERT_GT(cases.size(), 100u);
  for (std::size_t number = 0; number < cases.size(); ++number) {
    const JsonValue& golden = cases[number];
    const JsonValue chosen = *golden.get("options");
    const auto option = [&](const char* name, double fallback) {
      return static_cast<float>(*chosen.number_or(name, fallback));
    };
    GenerateOptions options = sampling(option("temperature", 1.0), 0, option("top_p", 1.0));
    options.top_k = std::size_t(*chosen.unsigned_or("top_k", 0));
    options.min_p = option("min_p", 0.0);
    options.typical_p = option("typical_p", 1.0);
    options.repetition_penalty = option("repetition_penalty", 1.0);
    options.presence_penalty = option("presence_penalty", 0.0);
    options.frequency_penalty = option("frequency_penalty", 0.0);
    ASSERT_TRUE(options.validate().ok());
    auto logits = json_numbers<float>(*golden.get("logits"));
    for (const auto hole : json_numbers<std::size_t>(*golden.get("minus_infinity")))
      logits[hole] = -kInfinity;
    const auto prompt = json_numbers<std::int32_t>(*golden.get("prompt"));
    const auto answer = json_numbers<std::int32_t>(*golden.get("answer"));
    const auto expected = json_numbers<std::int32_t>(*golden.get("left"));
    const auto probabilities = json_numbers<double>(*golden.get("probabilities"));

    Sampler sampler(options, prompt);
    for (const std::int32_t id : answer) sampler.note(id);
    const auto left = sampler.candidates(logits);
    ASSERT_TRUE(left.ok()) << left.status().to_string();
    const double total = std::accumulate(left->begin(), left->end(), 0.0,
                                         [](double sum, const auto& c) { return sum + c.weight; });
    std::vector<std::int32_t> ids;
    for (const auto& candidate : *left) {
      if (candidate.weight == 0.0) continue;
      ids.push_back(candidate.id);
      if (ids.size() <= expected.size()) {
        EXPECT_NEAR(candidate.weight / total, probabilities[ids.size() - 1], 1e-6) << number;
      }
    }
    EXPECT_EQ(ids, expected) << "case " << number;

    options.temperature = 0.0f;  // a greedy choice feels the penalties too
    Sampler greedy(options, prompt);
    for (const std::int32_t id : answer) greedy.note(id);
    EXPECT_EQ(*greedy.choose(logits, 0), std::int32_t(*golden.get_unsigned("best"))) << number;
  }
}

TEST(Sampler, WhatItChoseCountsForThePenalties) {
  GenerateOptions options;
  options.presence_penalty = 1.0f;
  options.frequency_penalty = 0.25f;
  const std::vector<float> logits = {3.0f, 2.5f, 1.9f};
  Sampler sampler(options);
  std::vector<std::int32_t> chosen;
  for (std::uint64_t step = 0; step < 5; ++step) chosen.push_back(*sampler.choose(logits, step));
  // After 0: 1.75, 2.5, 1.9. After 1: 1.75, 1.25, 1.9. After 2: 1.75, 1.25, 0.65, and so on.
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{0, 1, 2, 0, 0}));
}

TEST(Sampler, LogProbabilitiesAreThoseOfTheSoftmax) {
  const std::vector<float> logits = {1.0f, -2.0f, 3.0f, 3.0f, 0.5f};
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double(logit));
  const double normalizer = log_sum_exp(logits);
  EXPECT_NEAR(normalizer, std::log(sum), 1e-12);
  const auto best = most_likely(logits, normalizer, 3);
  ASSERT_EQ(best.size(), 3u);
  EXPECT_EQ(best[0].id, 2);
  EXPECT_EQ(best[1].id, 3);
  EXPECT_EQ(best[2].id, 0);
  EXPECT_NEAR(best[2].log_probability, 1.0 - std::log(sum), 1e-6);
  EXPECT_EQ(most_likely(logits, normalizer, 9).size(), 5u);
  // Of the size that large vocabularies have, nothing overflows.
  EXPECT_NEAR(log_sum_exp(std::vector<float>(1000, 1000.0f)), 1000.0 + std::log(1000.0), 1e-9);
}

TEST(Sampler, IsAFunctionOfSeedAndStep) {
  const std::vector<float> logits(64, 0.0f);
  const auto draw = [&](std::uint64_t seed, std::uint64_t step) {
    GenerateOptions options = sampling(1.0f, 0, 1.0f);
    options.seed = seed;
    return *Sampler(options).choose(logits, step);
  };
  std::set<std::int32_t> tokens;
  for (std::uint64_t step = 0; step < 64; ++step) {
    EXPECT_EQ(draw(1, step), draw(1, step));
    tokens.insert(draw(1, step));
  }
  EXPECT_GT(tokens.size(), 25u);
  std::size_t equal = 0;
  for (std::uint64_t step = 0; step < 64; ++step) equal += draw(1, step) == draw(2, step);
  EXPECT_LT(equal, 10u);
}

// SplitMix64 of seed 1234567, as published with the algorithm.
TEST(Sampler, NumbersAreThoseOfSplitMix64) {
  const std::uint64_t published[] = {6457827717110365317u, 3203168211198807973u,
                                     9817491932198370423u, 4593380528125082431u,
                                     16408922859458223821u};
  for (std::uint64_t i = 0; i < 5; ++i)
    EXPECT_EQ(uniform_at(1234567, i), double(published[i] >> 11) * 0x1p-53);
}

TEST(GenerateOptions, ValidateNamesTheFieldThatIsWrong) {
  EXPECT_TRUE(GenerateOptions{}.validate().ok());
  const auto message = [](auto change) {
    GenerateOptions options;
    change(options);
    const Status status = options.validate();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_NE(message([](auto& o) { o.max_new_tokens = 0; }).find("max_new_tokens"),
            std::string::npos);
  for (const float t : {-1.0f, kNan, kInfinity})
    EXPECT_NE(message([t](auto& o) { o.temperature = t; }).find("temperature"), std::string::npos);
  for (const float p : {0.0f, 1.5f, kNan}) {
    EXPECT_NE(message([p](auto& o) { o.top_p = p; }).find("top_p"), std::string::npos);
    EXPECT_NE(message([p](auto& o) { o.typical_p = p; }).find("typical_p"), std::string::npos);
  }
  for (const float p : {-0.1f, 1.5f, kNan})
    EXPECT_NE(message([p](auto& o) { o.min_p = p; }).find("min_p"), std::string::npos);
  for (const float p : {0.0f, -1.0f, kInfinity, kNan})
    EXPECT_NE(message([p](auto& o) { o.repetition_penalty = p; }).find("repetition_penalty"),
              std::string::npos);
  for (const float p : {kInfinity, kNan}) {
    EXPECT_NE(message([p](auto& o) { o.presence_penalty = p; }).find("presence_penalty"),
              std::string::npos);
    EXPECT_NE(message([p](auto& o) { o.frequency_penalty = p; }).find("frequency_penalty"),
              std::string::npos);
  }
  EXPECT_NE(message([](auto& o) { o.stop = {"a", ""}; }).find("stop[1]"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.stop = {"\xFF"}; }).find("stop[0]"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.stop.assign(65, "x"); }).find("65"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.alternatives = 1001; }).find("alternatives: 1001"),
            std::string::npos);
}

}  // namespace
}  // namespace collegium::core
