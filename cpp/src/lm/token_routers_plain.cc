// Routers for tests and for one's own rules.
#include <memory>
#include <utility>

#include "collegium/core/lm/token_routers.h"
#include "collegium/core/random.h"
#include "lm/token_router_ranking.h"

namespace collegium::core {
namespace {

class DenseRouter final : public TokenRouter {
 public:
  std::string name() const override { return "dense"; }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    ExpertRanking ranking(input);
    std::vector<double> weights;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      if (input.logits != nullptr) {
        softmax_into({input.logits_of(t), input.experts}, weights);
      } else {
        weights.assign(input.experts, 0.0);
        const std::span<const std::int32_t> on =
            ranking.best(input.experts, [](std::size_t) { return 0.0; });
        for (const std::int32_t id : on)
          weights[static_cast<std::size_t>(id)] = 1.0 / static_cast<double>(on.size());
      }
      const auto weight = [&](std::size_t e) { return weights[e]; };
      add_token(ranking.best(input.experts, weight), false, 0.0, 1.0f, weight, routing);
    }
    return {};
  }
};

class RandomRouter final : public TokenRouter {
 public:
  explicit RandomRouter(const RandomRouterOptions& options) : options_(options) {}

  std::string name() const override {
    return "random(" + std::to_string(options_.top_k) + ", seed " + std::to_string(options_.seed) +
           ")";
  }
  bool takes_top_k() const override { return true; }
  Status check(std::size_t, std::size_t experts, std::size_t top_k) const override {
    return check_top_k(top_k != 0 ? top_k : options_.top_k, experts);
  }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    const std::uint64_t layer_seed = derive_seed(options_.seed, input.layer);
    std::vector<std::int32_t> ids;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      ids.clear();
      for (std::size_t e = 0; e < input.experts; ++e)
        if (input.is_allowed(e)) ids.push_back(static_cast<std::int32_t>(e));
      const std::size_t count = std::min(ids.size(), effective_top_k(input, options_.top_k));
      Random random(derive_seed(layer_seed, input.position + t));
      for (std::size_t i = 0; i < count; ++i)  // the first steps of a shuffle
        std::swap(ids[i], ids[i + random.below(ids.size() - i)]);
      for (std::size_t i = 0; i < count; ++i)
        routing.add(ids[i], static_cast<float>(1.0 / static_cast<double>(count)));
      routing.end_token();
    }
    return {};
  }

 private:
  RandomRouterOptions options_;
};

class FunctionRouter final : public TokenRouter {
 public:
  FunctionRouter(std::string name, RouteFunction function)
      : name_(std::move(name)), function_(std::move(function)) {}

  std::string name() const override { return name_; }
  Status route(const RouterInput& input, State*, Routing& routing) const override {
    if (!function_) return Status::failed_precondition("token router " + name_ + ": no function");
    return function_(input, routing);
  }

 private:
  std::string name_;
  RouteFunction function_;
};

}  // namespace

TokenRouterPtr make_dense_router() { return std::make_shared<DenseRouter>(); }

Result<TokenRouterPtr> make_random_router(const RandomRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(require_top_k(options.top_k));
  return TokenRouterPtr(std::make_shared<RandomRouter>(options));
}

TokenRouterPtr make_function_router(std::string name, RouteFunction function) {
  return std::make_shared<FunctionRouter>(std::move(name), std::move(function));
}

}  // namespace collegium::core
