// Routers whose number of experts depends on the token, and those that look at more than a gate.
#include <memory>
#include <utility>

#include "collegium/core/lm/token_routers.h"
#include "lm/token_router_ranking.h"

namespace collegium::core {
namespace {

// How many of `ids`, best first, it takes until their probabilities reach top_p; at least one.
std::size_t reach(std::span<const std::int32_t> ids, const std::vector<double>& probabilities,
                  float top_p) {
  double sum = 0.0;
  std::size_t count = 0;
  while (count < ids.size() && (count == 0 || sum < top_p))
    sum += probabilities[static_cast<std::size_t>(ids[count++])];
  return count;
}

// arXiv 2403.07652.
class TopPRouter final : public TokenRouter {
 public:
  explicit TopPRouter(const TopPRouterOptions& options) : options_(options) {}

  std::string name() const override { return "top_p(" + std::to_string(options_.top_p) + ")"; }
  bool needs_logits() const override { return true; }
  bool takes_top_k() const override { return true; }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const std::size_t most = effective_top_k(input, options_.max_experts);
    ExpertRanking ranking(input);
    std::vector<double> weights;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const float* logits = input.logits_of(t);
      softmax_into({logits, input.experts}, weights);
      auto ids = ranking.best(most == 0 ? input.experts : most,
                              [&](std::size_t e) { return double{logits[e]}; });
      ids = ids.first(reach(ids, weights, options_.top_p));
      const auto weight = [&](std::size_t e) { return weights[e]; };
      add_token(ids, options_.renormalize, 0.0, 1.0f, weight, routing);
    }
    return {};
  }

 private:
  TopPRouterOptions options_;
};

// arXiv 2406.13233.
class NullExpertRouter final : public TokenRouter {
 public:
  explicit NullExpertRouter(const NullExpertRouterOptions& options) : options_(options) {}

  std::string name() const override {
    return "null_experts(" + std::to_string(options_.top_k) + ", " +
           std::to_string(options_.null_experts) + " null)";
  }
  bool needs_logits() const override { return true; }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    if (top_k == 0) top_k = options_.top_k;
    if (top_k <= experts + options_.null_experts) return {};
    return Status::invalid_argument("top_k: " + std::to_string(top_k) + ", but the layer has " +
                                    std::to_string(experts) + " experts, and " +
                                    std::to_string(options_.null_experts) + " are null");
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const std::size_t own_rows = input.gate_rows - input.experts;
    const std::size_t nulls = own_rows != 0 ? own_rows : options_.null_experts;
    std::vector<float> logits(input.experts + nulls, options_.null_logit);
    std::vector<double> weights;
    // True and null experts alike; the request's mask is about the true ones.
    std::vector<std::uint8_t> allowed(logits.size(), 1);
    for (std::size_t e = 0; e < input.experts; ++e) allowed[e] = input.is_allowed(e) ? 1 : 0;
    RouterInput all = input;
    all.experts = logits.size();
    all.allowed = allowed.data();
    ExpertRanking ranking(all);
    std::vector<std::int32_t> chosen;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const float* row = input.logits_of(t);
      std::copy(row, row + input.experts + own_rows, logits.begin());
      const auto ids = ranking.best(effective_top_k(input, options_.top_k),
                                    [&](std::size_t e) { return double{logits[e]}; });
      chosen.clear();
      for (const std::int32_t id : ids)
        if (static_cast<std::size_t>(id) < input.experts) chosen.push_back(id);
      if (options_.renormalize && !chosen.empty()) {
        const double highest = logits[static_cast<std::size_t>(chosen[0])];
        const auto weight = [&](std::size_t e) { return std::exp(logits[e] - highest); };
        add_token(chosen, true, 0.0, 1.0f, weight, routing);
      } else {
        softmax_into(logits, weights);
        const auto weight = [&](std::size_t e) { return weights[e]; };
        add_token(chosen, false, 0.0, 1.0f, weight, routing);
      }
    }
    return {};
  }

 private:
  NullExpertRouterOptions options_;
};

// arXiv 2408.10681.
class WidthRouter final : public TokenRouter {
 public:
  explicit WidthRouter(const WidthRouterOptions& options)
      : options_(options), penalties_(options.widths.size()) {
    double total = 0.0;
    for (const std::size_t width : options_.widths) total += static_cast<double>(width);
    const double mean = total / static_cast<double>(options_.widths.size());
    for (std::size_t e = 0; e < penalties_.size(); ++e)
      penalties_[e] = options_.width_penalty * (static_cast<double>(options_.widths[e]) / mean);
  }

  std::string name() const override {
    return "width(" +
           (options_.top_p > 0.0f ? "top_p " + std::to_string(options_.top_p)
                                  : "top_k " + std::to_string(options_.top_k)) +
           ", penalty " + std::to_string(options_.width_penalty) + ")";
  }
  bool needs_logits() const override { return true; }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    COLLEGIUM_RETURN_IF_ERROR(check_length("widths", options_.widths.size(), experts));
    if (options_.top_p > 0.0f) return {};
    return check_top_k(top_k != 0 ? top_k : options_.top_k, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const bool by_top_p = options_.top_p > 0.0f;
    const std::size_t most = effective_top_k(input, by_top_p ? input.experts : options_.top_k);
    ExpertRanking ranking(input);
    std::vector<double> weights;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const float* logits = input.logits_of(t);
      softmax_into({logits, input.experts}, weights);
      auto ids = ranking.best(most, [&](std::size_t e) { return logits[e] - penalties_[e]; });
      if (by_top_p) ids = ids.first(reach(ids, weights, options_.top_p));
      const auto weight = [&](std::size_t e) { return weights[e]; };
      add_token(ids, options_.renormalize, 0.0, 1.0f, weight, routing);
    }
    return {};
  }

 private:
  WidthRouterOptions options_;
  std::vector<double> penalties_;  // (experts,)
};

// arXiv 2501.13074.
class AutonomyRouter final : public TokenRouter {
 public:
  explicit AutonomyRouter(const AutonomyRouterOptions& options) : options_(options) {}

  std::string name() const override {
    return "autonomy(" + std::to_string(options_.top_k) + ", softmax " +
           (options_.softmax_after ? "after)" : "before)");
  }
  bool needs_activations() const override { return true; }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    return check_top_k(top_k != 0 ? top_k : options_.top_k, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    ExpertRanking ranking(input);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const float* norms = input.activation_norms + t * input.experts;
      const auto ids = ranking.best(effective_top_k(input, options_.top_k),
                                    [&](std::size_t e) { return double{norms[e]}; });
      const double highest = norms[static_cast<std::size_t>(ids[0])];
      double sum = 0.0;
      if (options_.softmax_after) {
        for (const std::int32_t id : ids)
          sum += std::exp(norms[static_cast<std::size_t>(id)] - highest);
      } else {
        for (std::size_t e = 0; e < input.experts; ++e)
          if (input.is_allowed(e)) sum += std::exp(norms[e] - highest);
      }
      const auto weight = [&](std::size_t e) { return std::exp(norms[e] - highest) / sum; };
      add_token(ids, false, 0.0, 1.0f, weight, routing);
    }
    return {};
  }

 private:
  AutonomyRouterOptions options_;
};

// arXiv 2202.09368.
class ExpertChoiceRouter final : public TokenRouter {
 public:
  explicit ExpertChoiceRouter(const ExpertChoiceRouterOptions& options) : options_(options) {}

  std::string name() const override {
    return "expert_choice(" + std::to_string(options_.experts_per_token) + ")";
  }
  bool needs_logits() const override { return true; }
  bool needs_whole_prompt() const override { return true; }
  bool takes_top_k() const override { return true; }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    std::vector<double> weights(input.tokens * input.experts);
    std::vector<double> row;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      softmax_into({input.logits_of(t), input.experts}, row);
      std::copy(row.begin(), row.end(),
                weights.begin() + static_cast<std::ptrdiff_t>(t * input.experts));
    }
    const auto weight_of = [&](std::size_t t, std::size_t e) {
      return weights[t * input.experts + e];
    };
    std::vector<std::uint8_t> taken(weights.size(), 0);
    const std::size_t capacity = tokens_of_each(input);
    std::vector<std::size_t> order(input.tokens);
    for (std::size_t e = 0; e < input.experts; ++e) {
      if (!input.is_allowed(e)) continue;
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(capacity),
                        order.end(), [&](std::size_t a, std::size_t b) {
                          const double weight_a = weight_of(a, e);
                          const double weight_b = weight_of(b, e);
                          return weight_a != weight_b ? weight_a > weight_b : a < b;
                        });
      for (std::size_t i = 0; i < capacity; ++i) taken[order[i] * input.experts + e] = 1;
    }
    for (std::size_t t = 0; t < input.tokens; ++t) {
      RouterInput chosen = input;
      chosen.allowed = taken.data() + t * input.experts;
      const auto weight = [&](std::size_t e) { return weight_of(t, e); };
      add_token(ExpertRanking(chosen).best(input.experts, weight), false, 0.0, 1.0f, weight,
                routing);
    }
    return {};
  }

 private:
  std::size_t tokens_of_each(const RouterInput& input) const {
    std::size_t on = 0;
    for (std::size_t e = 0; e < input.experts; ++e) on += input.is_allowed(e) ? 1 : 0;
    const double each =
        input.top_k != 0 ? static_cast<double>(input.top_k) : options_.experts_per_token;
    const double wanted =
        std::ceil(static_cast<double>(input.tokens) * each / static_cast<double>(on));
    return wanted < static_cast<double>(input.tokens) ? static_cast<std::size_t>(wanted)
                                                      : input.tokens;
  }

  ExpertChoiceRouterOptions options_;
};

Status require_top_p(float top_p, bool zero_too) {
  if ((top_p > 0.0f && top_p <= 1.0f) || (zero_too && top_p == 0.0f)) return {};
  return Status::invalid_argument("top_p: " + std::to_string(top_p) + ", must be in " +
                                  (zero_too ? "[0, 1]" : "(0, 1]"));
}

}  // namespace

Result<TokenRouterPtr> make_top_p_router(const TopPRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_p(options.top_p, false));
  return TokenRouterPtr(std::make_shared<TopPRouter>(options));
}

Result<TokenRouterPtr> make_null_expert_router(const NullExpertRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  COLLEGIUM_RETURN_IF_ERROR(require_finite("null_logit", {&options.null_logit, 1}));
  constexpr std::size_t kMost = std::size_t{1} << 16;
  if (options.null_experts > kMost)
    return Status::invalid_argument("null_experts: " + std::to_string(options.null_experts) +
                                    ", allowed are 0 to " + std::to_string(kMost));
  return TokenRouterPtr(std::make_shared<NullExpertRouter>(options));
}

Result<TokenRouterPtr> make_width_router(const WidthRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  COLLEGIUM_RETURN_IF_ERROR(require_top_p(options.top_p, true));
  if (options.widths.empty())
    return Status::invalid_argument("widths: none, expected one an expert");
  for (std::size_t e = 0; e < options.widths.size(); ++e)
    if (options.widths[e] == 0)
      return Status::invalid_argument("widths[" + std::to_string(e) + "]: 0, must be at least 1");
  if (!(options.width_penalty >= 0.0f) || !std::isfinite(options.width_penalty))
    return Status::invalid_argument("width_penalty: " + std::to_string(options.width_penalty) +
                                    ", must be finite and not negative");
  return TokenRouterPtr(std::make_shared<WidthRouter>(options));
}

Result<TokenRouterPtr> make_autonomy_router(const AutonomyRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  return TokenRouterPtr(std::make_shared<AutonomyRouter>(options));
}

Result<TokenRouterPtr> make_expert_choice_router(const ExpertChoiceRouterOptions& options) {
  if (!(options.experts_per_token > 0.0f) || !std::isfinite(options.experts_per_token))
    return Status::invalid_argument(
        "experts_per_token: " + std::to_string(options.experts_per_token) +
        ", must be finite and above 0");
  return TokenRouterPtr(std::make_shared<ExpertChoiceRouter>(options));
}

}  // namespace collegium::core
