#include "lm/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace collegium::core {
namespace {

bool better(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

bool lower_id(const Sampler::Candidate& a, const Sampler::Candidate& b) { return a.id < b.id; }

}  // namespace

double uniform_at(std::uint64_t seed, std::uint64_t counter) noexcept {
  std::uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

double log_sum_exp(std::span<const float> logits) noexcept {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum);
}

std::vector<TokenProbability> most_likely(std::span<const float> logits, double normalizer,
                                          std::size_t count) {
  std::vector<TokenProbability> tokens;
  tokens.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i)
    tokens.push_back({static_cast<std::int32_t>(i), logits[i]});
  count = std::min(count, tokens.size());
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count),
                    tokens.end(), [](const TokenProbability& a, const TokenProbability& b) {
                      return a.log_probability != b.log_probability
                                 ? a.log_probability > b.log_probability
                                 : a.id < b.id;
                    });
  tokens.resize(count);
  for (auto& token : tokens)
    token.log_probability = static_cast<float>(token.log_probability - normalizer);
  return tokens;
}

Sampler::Sampler(const GenerateOptions& options, std::span<const std::int32_t> prompt)
    : options_(options) {
  if (options_.repetition_penalty != 1.0f) seen_.insert(prompt.begin(), prompt.end());
}

std::span<const float> Sampler::penalised(std::span<const float> logits) {
  const bool repetition = options_.repetition_penalty != 1.0f && !seen_.empty();
  const bool counted = (options_.presence_penalty != 0.0f || options_.frequency_penalty != 0.0f) &&
                       !answered_.empty();
  if (!repetition && !counted) return logits;
  scores_.assign(logits.begin(), logits.end());
  if (repetition)
    for (const std::int32_t id : seen_) {
      float& score = scores_[static_cast<std::size_t>(id)];
      score =
          score < 0.0f ? score * options_.repetition_penalty : score / options_.repetition_penalty;
    }
  if (counted)
    for (const auto& [id, times] : answered_)
      scores_[static_cast<std::size_t>(id)] -=
          options_.frequency_penalty * static_cast<float>(times) + options_.presence_penalty;
  return scores_;
}

double Sampler::total_weight() const noexcept {
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  return total;
}

// Whatever is as good as the k-th stays, as in the reference.
void Sampler::keep_top_k() {
  if (options_.top_k == 0 || options_.top_k >= candidates_.size()) return;
  const auto kth = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.top_k - 1);
  std::nth_element(candidates_.begin(), kth, candidates_.end(), better);
  const float lowest = kth->logit;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < lowest; });
  std::sort(candidates_.begin(), candidates_.end(), lower_id);
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1.0f) return;
  const double wanted = options_.top_p * total_weight();
  const auto worse = [](const Candidate& a, const Candidate& b) { return better(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), worse);
  // The best moves behind what is still a heap, one after the other.
  auto kept = candidates_.end();
  double sum = 0.0;
  while (kept != candidates_.begin() && sum < wanted) {
    std::pop_heap(candidates_.begin(), kept, worse);
    --kept;
    sum += kept->weight;
  }
  candidates_.erase(candidates_.begin(), kept);
  std::sort(candidates_.begin(), candidates_.end(), lower_id);
}

void Sampler::keep_min_p() {
  if (options_.min_p <= 0.0f) return;
  double highest = 0.0;
  for (const Candidate& candidate : candidates_) highest = std::max(highest, candidate.weight);
  const double lowest = options_.min_p * highest;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < lowest; });
}

void Sampler::keep_typical() {
  if (options_.typical_p >= 1.0f) return;
  const double total = total_weight();
  double entropy = 0.0;
  for (const Candidate& candidate : candidates_) {
    const double p = candidate.weight / total;
    if (p > 0.0) entropy -= p * std::log(p);
  }
  const auto distance = [&](const Candidate& c) {
    return std::abs(-std::log(c.weight / total) - entropy);
  };
  order_.clear();
  for (std::size_t i = 0; i < candidates_.size(); ++i)
    order_.emplace_back(distance(candidates_[i]), i);
  std::sort(order_.begin(), order_.end());
  double sum = 0.0;
  std::size_t last = 0;  // the first with which the mass is reached; all as near stay, as there
  for (; last + 1 < order_.size(); ++last) {
    sum += candidates_[order_[last].second].weight;
    if (sum >= options_.typical_p * total) break;
  }
  const double farthest = order_[last].first;
  std::erase_if(candidates_, [&](const Candidate& c) { return distance(c) > farthest; });
}

Result<std::span<const Sampler::Candidate>> Sampler::candidates(std::span<const float> logits) {
  const std::span<const float> scores = penalised(logits);
  std::size_t best = scores.size();
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i]) && (best == scores.size() || scores[i] > scores[best])) best = i;
  if (best == scores.size() || !std::isfinite(scores[best]))
    return Status::corruption("the model's logits are not finite numbers");
  candidates_.clear();
  if (options_.temperature == 0.0f) {
    candidates_.push_back({scores[best], static_cast<std::int32_t>(best), 1.0});
    return std::span<const Candidate>(candidates_);
  }
  const double temperature = options_.temperature;
  const double highest = scores[best];
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i]))
      candidates_.push_back(
          {scores[i], static_cast<std::int32_t>(i), std::exp((scores[i] - highest) / temperature)});
  keep_top_k();
  keep_top_p();
  keep_min_p();
  keep_typical();
  return std::span<const Candidate>(candidates_);
}

Result<std::int32_t> Sampler::choose(std::span<const float> logits, std::uint64_t step) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto left, candidates(logits));
  std::int32_t id = left[0].id;
  if (left.size() > 1) {
    const double draw = uniform_at(options_.seed, step) * total_weight();
    double sum = 0.0;
    for (const Candidate& candidate : left) {
      if (candidate.weight <= 0.0) continue;
      id = candidate.id;  // the last one, if rounding leaves the draw at the very end
      sum += candidate.weight;
      if (draw < sum) break;
    }
  }
  note(id);
  return id;
}

void Sampler::note(std::int32_t id) {
  if (options_.repetition_penalty != 1.0f) seen_.insert(id);
  if (options_.presence_penalty != 0.0f || options_.frequency_penalty != 0.0f) ++answered_[id];
}

}  // namespace collegium::core
