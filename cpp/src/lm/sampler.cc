#include "lm/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace collegium::core {

Status GenerateOptions::validate() const {
  if (max_new_tokens == 0) return Status::invalid_argument("max_new_tokens: 0, must be at least 1");
  if (!(temperature >= 0.0f) || !std::isfinite(temperature))
    return Status::invalid_argument("temperature: " + std::to_string(temperature) +
                                    ", must be finite and not negative");
  if (!(top_p > 0.0f && top_p <= 1.0f))
    return Status::invalid_argument("top_p: " + std::to_string(top_p) + ", must be in (0, 1]");
  return {};
}

double uniform_at(std::uint64_t seed, std::uint64_t counter) noexcept {
  std::uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

Result<std::int32_t> Sampler::choose(std::span<const float> logits, std::uint64_t step) {
  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  if (best == logits.size() || !std::isfinite(logits[best]))
    return Status::corruption("the model's logits are not finite numbers");
  if (options_.temperature == 0.0f) return static_cast<std::int32_t>(best);

  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i])) candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  std::size_t kept = candidates_.size();
  if (options_.top_k != 0) kept = std::min(kept, options_.top_k);
  // Only top-k and top-p need an order; without them it still fixes which token a draw means.
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(candidates_.begin(), end, candidates_.end(), better);

  const double temperature = options_.temperature;
  const double highest = candidates_[0].logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp((c.logit - highest) / temperature);
  };
  double total = 0.0;
  for (std::size_t i = 0; i < kept; ++i) total += weight(candidates_[i]);
  if (options_.top_p < 1.0f) {
    // The fewest tokens whose probabilities reach top_p.
    const double wanted = options_.top_p * total;
    double sum = 0.0;
    std::size_t count = 0;
    while (count < kept && sum < wanted) sum += weight(candidates_[count++]);
    kept = count;
    total = sum;
  }
  const double draw = uniform_at(options_.seed, step) * total;
  double sum = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    sum += weight(candidates_[i]);
    if (draw < sum) return candidates_[i].id;
  }
  return candidates_[kept - 1].id;  // rounding left the draw at the very end
}

}  // namespace collegium::core
