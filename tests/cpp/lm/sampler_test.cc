#include "lm/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

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
  for (const float p : {0.0f, 1.5f, kNan})
    EXPECT_NE(message([p](auto& o) { o.top_p = p; }).find("top_p"), std::string::npos);
}

}  // namespace
}  // namespace collegium::core
