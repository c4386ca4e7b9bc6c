#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"

namespace collegium::core {

// A number in [0, 1) that depends on (seed, counter) alone: the top 53 bits of SplitMix64's output
// function (Steele, Lea, Flood 2014) of seed + (counter + 1) * 0x9E3779B97F4A7C15. Any position of
// a stream can be drawn by itself, so a generation is a function of its seed and prompt.
double uniform_at(std::uint64_t seed, std::uint64_t counter) noexcept;

// Chooses the next token. Temperature first, then top-k, then top-p, the order of transformers.
// Equal logits are ordered by id, lowest first.
class Sampler {
 public:
  // `options` must be valid.
  explicit Sampler(const GenerateOptions& options) : options_(options) {}

  // The token at position `step` of the generation. corruption if no logit is a number, which only
  // a damaged model gives.
  Result<std::int32_t> choose(std::span<const float> logits, std::uint64_t step);

 private:
  struct Candidate {
    float logit;
    std::int32_t id;
  };
  GenerateOptions options_;
  std::vector<Candidate> candidates_;  // kept between calls for its memory
};

}  // namespace collegium::core
