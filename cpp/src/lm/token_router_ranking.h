#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/lm/token_router.h"
#include "collegium/core/status.h"

namespace collegium::core {

// What the built-in token routers share: ranks and softmax in double, in a fixed order.

// The experts of one token, best first. Keeps its memory from token to token.
class ExpertRanking {
 public:
  explicit ExpertRanking(const RouterInput& input) : input_(input) {
    order_.reserve(input.experts);
  }

  // The `count` allowed experts, or all if fewer are, with the largest score(expert), a double.
  // Ties go to the lower id.
  template <typename Score>
  std::span<const std::int32_t> best(std::size_t count, const Score& score) {
    order_.clear();
    for (std::size_t e = 0; e < input_.experts; ++e)
      if (input_.is_allowed(e)) order_.push_back(static_cast<std::int32_t>(e));
    count = std::min(count, order_.size());
    const auto better = [&](std::int32_t a, std::int32_t b) {
      const double score_a = score(static_cast<std::size_t>(a));
      const double score_b = score(static_cast<std::size_t>(b));
      return score_a != score_b ? score_a > score_b : a < b;
    };
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count),
                      order_.end(), better);
    return std::span(order_).first(count);
  }

 private:
  const RouterInput& input_;
  std::vector<std::int32_t> order_;
};

// out[i] = exp(scores[i] - max) / sum over all i. -inf gives 0; at least one score is finite.
inline void softmax_into(std::span<const float> scores, std::vector<double>& out) {
  out.resize(scores.size());
  const double highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (std::size_t i = 0; i < scores.size(); ++i) sum += out[i] = std::exp(scores[i] - highest);
  for (double& value : out) value /= sum;
}

// Adds the experts `ids` of one token with weights value(expert), a double, times `scale`; divided
// by their sum + `guard` first if `renormalize`. The sum is taken in the order of `ids`. Weights
// that are all 0 stay 0.
template <typename Value>
void add_token(std::span<const std::int32_t> ids, bool renormalize, double guard, float scale,
               const Value& value, Routing& routing) {
  double divisor = 1.0;
  if (renormalize) {
    divisor = guard;
    for (const std::int32_t id : ids) divisor += value(static_cast<std::size_t>(id));
    if (divisor == 0.0) divisor = 1.0;
  }
  for (const std::int32_t id : ids)
    routing.add(id, static_cast<float>(value(static_cast<std::size_t>(id)) / divisor * scale));
  routing.end_token();
}

inline std::size_t effective_top_k(const RouterInput& input, std::size_t own) noexcept {
  return input.top_k != 0 ? input.top_k : own;
}

// A router of `top_k` experts a token in a layer of `experts`.
inline Status check_top_k(std::size_t top_k, std::size_t experts) {
  if (top_k <= experts) return {};
  return Status::invalid_argument("top_k: " + std::to_string(top_k) + ", but the layer has " +
                                  std::to_string(experts) + " experts");
}

// Numbers of options, one an expert: empty, or as many as the layer has.
inline Status check_length(const char* what, std::size_t count, std::size_t experts) {
  if (count == 0 || count == experts) return {};
  return Status::invalid_argument(std::string(what) + ": " + std::to_string(count) +
                                  " values, but the layer has " + std::to_string(experts) +
                                  " experts");
}

inline Status require_top_k(std::size_t top_k) {
  return top_k != 0 ? Status() : Status::invalid_argument("top_k: 0, must be at least 1");
}

inline Status require_finite(const char* what, std::span<const float> values) {
  for (const float value : values)
    if (!std::isfinite(value))
      return Status::invalid_argument(std::string(what) + ": " + std::to_string(value) +
                                      ", must be finite");
  return {};
}

}  // namespace collegium::core
