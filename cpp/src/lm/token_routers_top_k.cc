// Routers that choose a fixed number of experts by the gate's scores.
#include <memory>
#include <utility>

#include "collegium/core/lm/token_routers.h"
#include "lm/token_router_ranking.h"

namespace collegium::core {
namespace {

using GroupScore = GroupLimitedRouterOptions::GroupScore;
using Score = GroupLimitedRouterOptions::Score;

constexpr double kDeepSeekGuard = 1e-20;  // added to the sum of sigmoids, which may underflow

double sigmoid(float x) { return 1.0 / (1.0 + std::exp(-static_cast<double>(x))); }

std::span<const float> expert_logits(const RouterInput& input, std::size_t token) {
  return {input.logits_of(token), input.experts};
}

class GateRouter : public TokenRouter {
 public:
  bool needs_logits() const final { return true; }
};

// arXiv 2101.03961, 2401.04088.
class TopKRouter final : public GateRouter {
 public:
  explicit TopKRouter(const TopKRouterOptions& options) : options_(options) {}

  std::string name() const override {
    return "top_k(" + std::to_string(options_.top_k) + ", softmax " +
           (options_.softmax_after ? "after" : "before") +
           (options_.renormalize ? ", renormalized)" : ")");
  }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    return check_top_k(top_k != 0 ? top_k : options_.top_k, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    ExpertRanking ranking(input);
    std::vector<double> weights;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::span<const float> logits = expert_logits(input, t);
      const auto ids = ranking.best(effective_top_k(input, options_.top_k),
                                    [&](std::size_t e) { return double{logits[e]}; });
      if (options_.softmax_after) {
        // The chosen ones alone: the softmax of all, renormalised, but for underflow.
        const double highest = logits[static_cast<std::size_t>(ids[0])];
        const auto weight = [&](std::size_t e) { return std::exp(logits[e] - highest); };
        add_token(ids, true, 0.0, options_.scale, weight, routing);
      } else {
        softmax_into(logits, weights);
        const auto weight = [&](std::size_t e) { return weights[e]; };
        add_token(ids, options_.renormalize, 0.0, options_.scale, weight, routing);
      }
    }
    return {};
  }

 private:
  TopKRouterOptions options_;
};

// arXiv 2408.15664.
class SigmoidRouter final : public GateRouter {
 public:
  explicit SigmoidRouter(SigmoidRouterOptions options) : options_(std::move(options)) {}

  std::string name() const override {
    return "sigmoid(" + std::to_string(options_.top_k) +
           (options_.selection_bias.empty() ? ")" : ", selection bias)");
  }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    COLLEGIUM_RETURN_IF_ERROR(
        check_length("selection_bias", options_.selection_bias.size(), experts));
    return check_top_k(top_k != 0 ? top_k : options_.top_k, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const std::vector<float>& bias = options_.selection_bias;
    ExpertRanking ranking(input);
    std::vector<double> scores(input.experts);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::span<const float> logits = expert_logits(input, t);
      for (std::size_t e = 0; e < input.experts; ++e) scores[e] = sigmoid(logits[e]);
      const auto ids = ranking.best(effective_top_k(input, options_.top_k), [&](std::size_t e) {
        return bias.empty() ? scores[e] : scores[e] + bias[e];
      });
      const auto weight = [&](std::size_t e) { return scores[e]; };
      add_token(ids, options_.renormalize, kDeepSeekGuard, options_.scale, weight, routing);
    }
    return {};
  }

 private:
  SigmoidRouterOptions options_;
};

// arXiv 2405.04434, 2412.19437.
class GroupLimitedRouter final : public GateRouter {
 public:
  explicit GroupLimitedRouter(GroupLimitedRouterOptions options) : options_(std::move(options)) {}

  std::string name() const override {
    return std::string("group_limited(") + std::to_string(options_.top_k) + " in " +
           std::to_string(options_.top_groups) + " of " + std::to_string(options_.groups) +
           (options_.score == Score::kSoftmax ? " groups, softmax)" : " groups, sigmoid)");
  }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    COLLEGIUM_RETURN_IF_ERROR(
        check_length("selection_bias", options_.selection_bias.size(), experts));
    if (experts % options_.groups != 0)
      return Status::invalid_argument("groups: " + std::to_string(options_.groups) +
                                      " do not divide the layer's " + std::to_string(experts) +
                                      " experts");
    const std::size_t held = experts / options_.groups * options_.top_groups;
    if (top_k == 0) top_k = options_.top_k;
    if (top_k > held)
      return Status::invalid_argument("top_k: " + std::to_string(top_k) + ", but the best " +
                                      std::to_string(options_.top_groups) + " groups hold " +
                                      std::to_string(held) + " experts");
    return {};
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const std::size_t size = input.experts / options_.groups;
    const std::vector<float>& bias = options_.selection_bias;
    std::vector<double> scores;
    std::vector<double> choice(input.experts);
    std::vector<std::uint8_t> allowed(input.experts);
    RouterInput limited = input;
    limited.allowed = allowed.data();
    ExpertRanking ranking(limited);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::span<const float> logits = expert_logits(input, t);
      if (options_.score == Score::kSoftmax) {
        softmax_into(logits, scores);
      } else {
        scores.resize(input.experts);
        for (std::size_t e = 0; e < input.experts; ++e) scores[e] = sigmoid(logits[e]);
      }
      for (std::size_t e = 0; e < input.experts; ++e)
        choice[e] = bias.empty() ? scores[e] : scores[e] + bias[e];
      limit_groups(input, choice, size, allowed);
      // Probabilities that underflow are told apart by their logits.
      const bool by_logits = options_.score == Score::kSoftmax && bias.empty();
      const auto ids = ranking.best(effective_top_k(input, options_.top_k), [&](std::size_t e) {
        return by_logits ? double{logits[e]} : choice[e];
      });
      const auto weight = [&](std::size_t e) { return scores[e]; };
      add_token(ids, options_.renormalize, kDeepSeekGuard, options_.scale, weight, routing);
    }
    return {};
  }

 private:
  // allowed (experts,): 1 for the allowed experts of the best groups. A group is worth what its
  // allowed experts are; one without any is not chosen.
  void limit_groups(const RouterInput& input, const std::vector<double>& choice, std::size_t size,
                    std::vector<std::uint8_t>& allowed) const {
    struct Group {
      double worth;
      std::size_t number;
    };
    std::vector<Group> groups;
    for (std::size_t g = 0; g < options_.groups; ++g) {
      std::size_t found = 0;
      double best = 0.0;
      double second = 0.0;
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) {
        if (!input.is_allowed(e)) continue;
        if (found == 0 || choice[e] > best) {
          second = best;
          best = choice[e];
        } else if (found == 1 || choice[e] > second) {
          second = choice[e];
        }
        ++found;
      }
      if (found == 0) continue;
      const bool both = options_.group_score == GroupScore::kSumOfTopTwo && found > 1;
      groups.push_back({both ? best + second : best, g});
    }
    const std::size_t count = std::min(options_.top_groups, groups.size());
    std::partial_sort(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(count),
                      groups.end(), [](const Group& a, const Group& b) {
                        return a.worth != b.worth ? a.worth > b.worth : a.number < b.number;
                      });
    std::fill(allowed.begin(), allowed.end(), std::uint8_t{0});
    for (std::size_t g = 0; g < count; ++g)
      for (std::size_t e = groups[g].number * size; e < (groups[g].number + 1) * size; ++e)
        allowed[e] = input.is_allowed(e) ? 1 : 0;
  }

  GroupLimitedRouterOptions options_;
};

// arXiv 2409.12136.
class SparseMixerRouter final : public GateRouter {
 public:
  explicit SparseMixerRouter(const SparseMixerRouterOptions& options) : options_(options) {}

  std::string name() const override { return "sparse_mixer(2)"; }
  Status check(std::size_t, std::size_t experts, std::size_t) const override {
    return check_top_k(2, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    ExpertRanking ranking(input);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::span<const float> logits = expert_logits(input, t);
      const auto ids = ranking.best(2, [&](std::size_t e) { return double{logits[e]}; });
      routing.add(ids[0], weight(input, logits, ids[0], -1));
      if (ids.size() > 1) routing.add(ids[1], weight(input, logits, ids[1], ids[0]));
      routing.end_token();
    }
    return {};
  }

 private:
  // Softmax of `chosen`, the best expert but `taken`, over those near it.
  float weight(const RouterInput& input, std::span<const float> logits, std::int32_t chosen,
               std::int32_t taken) const {
    const double best = logits[static_cast<std::size_t>(chosen)];
    double sum = 0.0;
    for (std::size_t e = 0; e < input.experts; ++e) {
      if (!input.is_allowed(e) || static_cast<std::int32_t>(e) == taken) continue;
      const double logit = logits[e];
      // 0 / 0, where both are 0, counts as near.
      if ((best - logit) / std::max(std::abs(logit), best) > 2.0 * options_.jitter_eps) continue;
      sum += std::exp(logit - best);
    }
    return static_cast<float>(1.0 / sum);
  }

  SparseMixerRouterOptions options_;
};

}  // namespace

Result<TokenRouterPtr> make_top_k_router(const TopKRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("scale", {&options.scale, 1}));
  return TokenRouterPtr(std::make_shared<TopKRouter>(options));
}

Result<TokenRouterPtr> make_sigmoid_router(const SigmoidRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("selection_bias", options.selection_bias));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("scale", {&options.scale, 1}));
  return TokenRouterPtr(std::make_shared<SigmoidRouter>(options));
}

void balance_selection_bias(std::span<const std::uint64_t> loads, float rate,
                            std::span<float> bias) noexcept {
  double total = 0.0;
  for (const std::uint64_t load : loads) total += static_cast<double>(load);
  const double mean = loads.empty() ? 0.0 : total / static_cast<double>(loads.size());
  for (std::size_t e = 0; e < std::min(loads.size(), bias.size()); ++e) {
    const auto load = static_cast<double>(loads[e]);
    if (load != mean) bias[e] += load < mean ? rate : -rate;
  }
}

Result<TokenRouterPtr> make_group_limited_router(const GroupLimitedRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  if (options.groups == 0) return Status::invalid_argument("groups: 0, must be at least 1");
  if (options.top_groups == 0 || options.top_groups > options.groups)
    return Status::invalid_argument("top_groups: " + std::to_string(options.top_groups) +
                                    ", allowed are 1 to " + std::to_string(options.groups));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("selection_bias", options.selection_bias));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("scale", {&options.scale, 1}));
  return TokenRouterPtr(std::make_shared<GroupLimitedRouter>(options));
}

Result<TokenRouterPtr> make_sparse_mixer_router(const SparseMixerRouterOptions& options) {
  if (!(options.jitter_eps >= 0.0f) || !std::isfinite(options.jitter_eps))
    return Status::invalid_argument("jitter_eps: " + std::to_string(options.jitter_eps) +
                                    ", must be finite and not negative");
  return TokenRouterPtr(std::make_shared<SparseMixerRouter>(options));
}

}  // namespace collegium::core
