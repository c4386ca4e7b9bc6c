#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "collegium/core/lm/generation.h"
#include "collegium/core/status.h"

namespace collegium::core {

// A number in [0, 1) that depends on (seed, counter) alone: the top 53 bits of SplitMix64's output
// function (Steele, Lea, Flood 2014) of seed + (counter + 1) * 0x9E3779B97F4A7C15. Any position of
// a stream can be drawn by itself, so a generation is a function of its seed and prompt.
double uniform_at(std::uint64_t seed, std::uint64_t counter) noexcept;

// log of the sum of exp(logits[i]), in double precision and one order: log P(i) is logits[i] less
// this. NaN if a logit is one. Pre: not empty.
double log_sum_exp(std::span<const float> logits) noexcept;

// The `count` most likely tokens with their log-probabilities; equal ones by id, lowest first.
// `normalizer` is log_sum_exp(logits).
std::vector<TokenProbability> most_likely(std::span<const float> logits, double normalizer,
                                          std::size_t count);

// Chooses the tokens of one generation; see GenerateOptions for the order of what is done to the
// logits. Where a filter must choose among equals the lowest ids stay.
class Sampler {
 public:
  // `options` must be valid. The tokens of `prompt` count for the repetition penalty.
  explicit Sampler(const GenerateOptions& options, std::span<const std::int32_t> prompt = {});

  // The token at position `step` of the generation, which from then on counts for the penalties.
  // corruption if no logit is a number or the best is not finite, which only a damaged model gives.
  Result<std::int32_t> choose(std::span<const float> logits, std::uint64_t step);

  // `id` is a token of the answer; choose() says so itself.
  void note(std::int32_t id);

  // What choose() draws from: the tokens that are left, by id, with weights of which the
  // probabilities are shares. Of a greedy choice it is that token alone. Valid until the next call.
  struct Candidate {
    float logit;
    std::int32_t id;
    double weight;
  };
  Result<std::span<const Candidate>> candidates(std::span<const float> logits);

 private:
  // `logits` under the penalties; in scores_ if there are any.
  std::span<const float> penalised(std::span<const float> logits);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  void keep_typical();
  double total_weight() const noexcept;

  GenerateOptions options_;
  std::unordered_set<std::int32_t> seen_;                   // in prompt or answer
  std::unordered_map<std::int32_t, std::size_t> answered_;  // how often in the answer
  // Kept between calls for their memory.
  std::vector<float> scores_;
  std::vector<Candidate> candidates_;
  std::vector<std::pair<double, std::size_t>> order_;
};

}  // namespace collegium::core
