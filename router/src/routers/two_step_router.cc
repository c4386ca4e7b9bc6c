#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "logistic.h"
#include "routers/kinds.h"

namespace collegium::router {
namespace {

constexpr double kFloor = 1e-6;            // probability of an expert that no category is sent to
constexpr std::size_t kExactExperts = 16;  // up to so many every set of them is tried

class TwoStepRouter final : public RouterBase {
 public:
  struct Steps {
    std::vector<float> weight, bias;         // (categories, dim), (categories,)
    std::vector<std::uint32_t> expert_of;    // (categories,) a collection
    std::vector<std::uint32_t> category_of;  // (collections,)
  };

  static RouterResult create(RouterParts parts, Steps steps) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto prototypes,
                               core::PackedVectors::create(parts.prototypes, parts.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, core::PackedVectors::create(steps.weight, parts.dim));
    return std::shared_ptr<const Router>(new TwoStepRouter(std::move(parts), std::move(prototypes),
                                                           std::move(steps), std::move(packed)));
  }

  // Logarithms of the probabilities.
  void scores(const float* query, std::span<float> out) const noexcept override {
    thread_local std::vector<float> category;
    categories(query, category);
    std::fill_n(out.begin(), parts_.collections.size(), static_cast<float>(kFloor));
    for (std::size_t k = 0; k < category.size(); ++k) out[steps_.expert_of[k]] += category[k];
    for (std::size_t c = 0; c < parts_.collections.size(); ++c) out[c] = std::log(out[c]);
  }

 protected:
  void write(PayloadWriter& out) const override {
    out.number(static_cast<std::uint32_t>(steps_.bias.size()));
    out.numbers<float>(steps_.weight);
    out.numbers<float>(steps_.bias);
    out.numbers<std::uint32_t>(steps_.expert_of);
    out.numbers<std::uint32_t>(steps_.category_of);
  }

  std::string why(const float* query, std::size_t collection) const override {
    std::vector<float> category;
    categories(query, category);
    const std::uint32_t own = steps_.category_of[collection];
    return ", in category " + std::to_string(own) + " with " +
           std::to_string(static_cast<int>(std::lround(100.0 * category[own]))) +
           " %, which is sent to " + parts_.collections[steps_.expert_of[own]];
  }

 private:
  TwoStepRouter(RouterParts parts, core::PackedVectors prototypes, Steps steps,
                core::PackedVectors packed)
      : RouterBase(std::move(parts), std::move(prototypes)),
        steps_(std::move(steps)),
        packed_(std::move(packed)) {}

  void categories(const float* query, std::vector<float>& out) const noexcept {
    out.resize(steps_.bias.size());
    packed_.scores(query, 1, out.data(), out.size());
    for (std::size_t k = 0; k < out.size(); ++k) out[k] += steps_.bias[k];
    const float top = *std::max_element(out.begin(), out.end());
    float sum = 0.0f;
    for (float& value : out) sum += value = std::exp(value - top);
    for (float& value : out) value /= sum;
  }

  const Steps steps_;
  const core::PackedVectors packed_;
};

// The experts to have, by position: those under which the sum over categories of the best quality
// is largest, at a cost of at most `budget`. quality (categories, experts), weighted.
std::vector<bool> choose_experts(const std::vector<double>& quality, std::size_t categories,
                                 const std::vector<double>& costs, double budget) {
  const std::size_t experts = costs.size();
  const auto worth = [&](const std::vector<bool>& chosen) {
    double sum = 0.0;
    for (std::size_t k = 0; k < categories; ++k) {
      double best = 0.0;
      for (std::size_t e = 0; e < experts; ++e)
        if (chosen[e]) best = std::max(best, quality[k * experts + e]);
      sum += best;
    }
    return sum;
  };
  std::vector<bool> best(experts, false);
  double most = -1.0, least_cost = 0.0;
  if (experts <= kExactExperts) {
    for (std::size_t mask = 1; mask < (std::size_t{1} << experts); ++mask) {
      std::vector<bool> chosen(experts);
      double cost = 0.0;
      for (std::size_t e = 0; e < experts; ++e)
        if ((mask >> e & 1) != 0) chosen[e] = true, cost += costs[e];
      if (cost > budget) continue;
      const double found = worth(chosen);
      if (found > most || (found == most && cost < least_cost))
        most = found, least_cost = cost, best = chosen;
    }
    return best;
  }
  for (double spent = 0.0;;) {  // the most for its cost, again and again
    std::size_t next = experts;
    double gain = 0.0;
    const double before = worth(best);
    for (std::size_t e = 0; e < experts; ++e) {
      if (best[e] || spent + costs[e] > budget) continue;
      std::vector<bool> with = best;
      with[e] = true;
      const double found = (worth(with) - before) / std::max(costs[e], 1e-12);
      if (found > gain) gain = found, next = e;
    }
    if (next == experts) return best;
    best[next] = true;
    spent += costs[next];
  }
}

}  // namespace

RouterResult fit_two_step(const RouterExamples& train, const RouterExamples& dev,
                          const RouterOptions& options) {
  const std::size_t dim = train.dim, experts = train.collections.size();
  std::vector<double> costs = options.costs;
  if (costs.empty()) costs.assign(experts, 1.0);
  if (costs.size() != experts)
    return Status::invalid_argument("RouterOptions.costs has " + std::to_string(costs.size()) +
                                    " numbers for " + std::to_string(experts) + " collections");
  const double cheapest = *std::min_element(costs.begin(), costs.end());
  const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
  if (options.budget > 0.0 && options.budget < cheapest)
    return Status::invalid_argument("RouterOptions.budget is " + std::to_string(options.budget) +
                                    ", the cheapest expert costs " + std::to_string(cheapest));
  const double budget = options.budget > 0.0 ? options.budget : all;

  RouterParts parts = fit_parts("two-step", train);
  std::size_t categories = options.categories;
  if (categories == 0)
    categories = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(experts))));
  categories = std::min(categories, experts);
  const auto centres = k_means(parts.prototypes, dim, categories, options.seed);
  TwoStepRouter::Steps steps;
  for (std::size_t c = 0; c < experts; ++c) {
    std::size_t nearest = 0;
    double least = 1e30;
    for (std::size_t k = 0; k < categories; ++k) {
      double distance = 0.0;
      for (std::size_t d = 0; d < dim; ++d) {
        const double difference = double{parts.prototypes[c * dim + d]} - centres[k * dim + d];
        distance += difference * difference;
      }
      if (distance < least) least = distance, nearest = k;
    }
    steps.category_of.push_back(static_cast<std::uint32_t>(nearest));
  }

  // Of the queries that say how good experts are: dev's, or train's where there are none.
  const RouterExamples& judged = dev.labels.empty() ? train : dev;
  std::vector<double> quality(categories * experts, 0.0);
  const std::vector<double> weights = balanced_weights(judged.labels, experts);
  for (std::size_t i = 0; i < judged.labels.size(); ++i)
    for (std::size_t e = 0; e < experts; ++e)
      quality[steps.category_of[judged.labels[i]] * experts + e] +=
          weights[i] * (judged.quality.empty() ? (judged.labels[i] == e ? 1.0 : 0.0)
                                               : double{judged.quality[i * experts + e]});
  const std::vector<bool> chosen = choose_experts(quality, categories, costs, budget);
  for (std::size_t k = 0; k < categories; ++k) {
    std::size_t best = experts;
    for (std::size_t e = 0; e < experts; ++e) {
      if (!chosen[e]) continue;
      if (best == experts || quality[k * experts + e] > quality[k * experts + best]) best = e;
    }
    steps.expert_of.push_back(static_cast<std::uint32_t>(best == experts ? 0 : best));
  }

  const RouterRows rows = rows_of(train);
  std::vector<std::uint32_t> labels;
  for (std::uint32_t label : rows.labels) labels.push_back(steps.category_of[label]);
  const std::vector<double> balanced = balanced_weights(labels, categories);
  LogisticModel model = fit_logistic({rows.vectors, dim, labels, balanced, categories, options.l2,
                                      options.max_iterations, options.label_smoothing});
  RouterExamples by_category;
  by_category.dim = dim;
  by_category.collections.resize(categories);
  for (std::uint32_t label : dev.labels) by_category.labels.push_back(steps.category_of[label]);
  std::vector<float> logits(dev.labels.size() * categories);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto packed, core::PackedVectors::create(model.weight, dim));
  packed.scores(dev.vectors.data(), dev.labels.size(), logits.data(), categories);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] += model.bias[i % categories];
  const auto scale = static_cast<float>(fit_scale(by_category, logits));
  for (auto* values : {&model.weight, &model.bias})
    for (float& value : *values) value *= scale;
  steps.weight = std::move(model.weight);
  steps.bias = std::move(model.bias);
  return TwoStepRouter::create(std::move(parts), std::move(steps));
}

RouterResult read_two_step(RouterParts parts, PayloadReader& in) {
  const std::size_t collections = parts.collections.size();
  const std::size_t categories = in.number<std::uint32_t>();
  if (categories == 0 || categories > collections)
    in.fail(std::to_string(categories) + " categories of " + std::to_string(collections) +
            " collections");
  if (!in.ok()) return in.finish();
  TwoStepRouter::Steps steps;
  steps.weight = in.numbers<float>(categories * parts.dim);
  steps.bias = in.numbers<float>(categories);
  steps.expert_of = in.numbers<std::uint32_t>(categories);
  steps.category_of = in.numbers<std::uint32_t>(collections);
  for (std::uint32_t expert : steps.expert_of)
    if (expert >= collections) in.fail("an expert that is none of the collections");
  for (std::uint32_t category : steps.category_of)
    if (category >= categories) in.fail("a category that is not there");
  COLLEGIUM_RETURN_IF_ERROR(read_parts(parts, in));
  return TwoStepRouter::create(std::move(parts), std::move(steps));
}

}  // namespace collegium::router
