#include "collegium/router/policy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "named.h"
#include "policy_steps.h"

namespace collegium::router {
namespace {

Status check(const PolicyParameters& parameters, const PolicyInput& input) {
  COLLEGIUM_RETURN_IF_ERROR(parameters.validate());
  if (input.collections.empty()) return Status::invalid_argument("policy: no collections");
  if (input.k == 0) return Status::invalid_argument("policy: k is 0, must be at least 1");
  for (std::size_t i = 1; i < input.collections.size(); ++i)
    if (input.collections[i - 1] >= input.collections[i])
      return Status::invalid_argument("policy: collections are not ascending and unique: '" +
                                      input.collections[i - 1] + "' before '" +
                                      input.collections[i] + "'");
  const std::size_t dim = input.query.size();
  if (dim == 0) return Status::invalid_argument("policy: the query vector is empty");
  for (std::size_t d = 0; d < dim; ++d)
    if (!std::isfinite(input.query[d]))
      return Status::invalid_argument("policy: query[" + std::to_string(d) + "] is not finite");
  if (input.router != nullptr && input.router->dim() != dim)
    return Status::invalid_argument("policy: router of dim " + std::to_string(input.router->dim()) +
                                    ", query of dim " + std::to_string(dim));
  if (input.adapters != nullptr)
    for (const auto& [name, trained] : *input.adapters)
      if (trained.adapter.dim() != dim)
        return Status::invalid_argument("policy: adapter '" + name + "' of dim " +
                                        std::to_string(trained.adapter.dim()) + ", query of dim " +
                                        std::to_string(dim));
  return Status();
}

// The collection's expert, or null for "plain".
const core::HeadAdapter* expert_of(const PolicyInput& input, const std::string& collection) {
  if (input.adapters == nullptr) return nullptr;
  const auto found = input.adapters->find(collection);
  if (found == input.adapters->end() || found->second.strength == 0.0f) return nullptr;
  return &found->second.adapter;
}

// P(collection | query) over the collections allowed. One the router has not seen (added after it
// was fitted) gets an even share.
std::vector<double> route_probabilities(const PolicyInput& input) {
  const std::size_t n = input.collections.size();
  std::vector<double> result(n, 1.0 / static_cast<double>(n));
  if (input.router == nullptr) return result;
  const auto& known = input.router->collections();
  std::vector<float> all(known.size());
  input.router->probabilities(input.query.data(), all);
  double sum = 0.0;
  std::size_t seen = 0;
  std::vector<double> found(n, -1.0);
  for (std::size_t c = 0; c < n; ++c) {
    const auto at = std::find(known.begin(), known.end(), input.collections[c]);
    if (at == known.end()) continue;
    found[c] = double{all[static_cast<std::size_t>(at - known.begin())]};
    sum += found[c];
    ++seen;
  }
  if (!(sum > 0.0)) return result;
  for (std::size_t c = 0; c < n; ++c)
    if (found[c] >= 0.0)
      result[c] = found[c] / sum * static_cast<double>(seen) / static_cast<double>(n);
  return result;
}

// Appends `found` with `added` on every score.
void append(std::vector<index::Hit>& hits, std::vector<index::Hit> found, double added) {
  for (auto& hit : found) {
    hit.score = static_cast<float>(double{hit.score} + added);
    hits.push_back(std::move(hit));
  }
}

std::vector<float> scores_of(const std::vector<index::Hit>& hits) {
  std::vector<float> scores;
  for (const auto& hit : hits) scores.push_back(hit.score);
  return scores;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

std::vector<float> mapped(const core::HeadAdapter& adapter, std::span<const float> query) {
  std::vector<float> out(query.size());
  adapter.apply(query.data(), out.data());
  return out;
}

// What counts in a prior (PolicyParameters::guessed).
std::vector<double> prior_probabilities(const PolicyParameters& parameters,
                                        const PolicyInput& input,
                                        std::vector<double> probabilities) {
  if (input.router == nullptr) return probabilities;
  const auto& known = input.router->collections();
  for (std::size_t c = 0; c < probabilities.size(); ++c) {
    const std::string& name = input.collections[c];
    if (parameters.guessed.contains(name) ||
        std::find(known.begin(), known.end(), name) == known.end())
      probabilities[c] = std::max(probabilities[c], kGuessedProbability);
  }
  return probabilities;
}

struct Searched {
  std::vector<std::vector<index::Hit>> plain;  // by collection
  std::vector<double> probabilities, of_prior;
};

Status run_bound(const PolicyParameters& parameters, const PolicyInput& input,
                 const CollectionSearch& search, Searched searched, std::size_t depth,
                 PolicyResult& result) {
  const std::size_t n = input.collections.size();
  const std::vector<double> prior =
      priors(searched.of_prior, input.router == nullptr ? 0.0 : parameters.prior_weight);
  std::vector<double> best(n, -std::numeric_limits<double>::infinity());
  for (std::size_t c = 0; c < n; ++c)
    if (!searched.plain[c].empty()) best[c] = searched.plain[c].front().score;
  std::vector<std::size_t> order = research_order(best, prior);
  order.resize(std::min(order.size(), parameters.research));

  std::string again;
  for (std::size_t c : order) {
    const core::HeadAdapter* expert = expert_of(input, input.collections[c]);
    if (expert == nullptr) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(auto adapted,
                               search(input.collections[c], mapped(*expert, input.query), depth));
    ++result.searches;
    ++result.maps;
    RouteEntry& entry = result.route.entries[c];
    entry.searched_again = true;
    const ScoreMap map = comparable(parameters, input.collections[c], scores_of(searched.plain[c]),
                                    scores_of(adapted));
    entry.scale = map.scale;
    entry.shift = map.shift;
    for (auto& hit : adapted)
      hit.score = static_cast<float>(map.scale * double{hit.score} + map.shift);
    searched.plain[c] = std::move(adapted);
    again += (again.empty() ? "" : ", ") + input.collections[c];
  }
  for (std::size_t c = 0; c < n; ++c) {
    result.route.entries[c].prior = prior[c];
    append(result.hits, std::move(searched.plain[c]), prior[c]);
  }
  result.route.reason = "every collection plainly; " +
                        (again.empty() ? std::string("none has an expert to search again under")
                                       : again + " again under own expert");
  return Status();
}

// Under the mixture of experts (null: the plain vector).
std::vector<float> mixed(const PolicyInput& input,
                         std::span<const core::HeadAdapter* const> experts,
                         std::span<const double> probabilities) {
  std::vector<std::vector<float>> own;  // moving one leaves its numbers where they are
  std::vector<const float*> vectors;
  for (const core::HeadAdapter* expert : experts) {
    if (expert != nullptr) own.push_back(mapped(*expert, input.query));
    vectors.push_back(expert != nullptr ? own.back().data() : input.query.data());
  }
  return mixture(input.query.size(), vectors, probabilities);
}

// routed and mixed.
Status run_routed(const PolicyParameters& parameters, const PolicyInput& input,
                  const CollectionSearch& search, Searched searched, std::size_t depth,
                  PolicyResult& result) {
  const std::size_t n = input.collections.size();
  Route& route = result.route;
  const std::vector<double> prior =
      priors(searched.of_prior, input.router == nullptr ? 0.0 : parameters.routed_prior_weight);
  const std::size_t first = static_cast<std::size_t>(
      std::max_element(searched.probabilities.begin(), searched.probabilities.end()) -
      searched.probabilities.begin());
  const bool mixes = parameters.policy == Policy::kMixed;
  std::vector<const core::HeadAdapter*> experts;
  for (const std::string& name : input.collections) experts.push_back(expert_of(input, name));
  const core::HeadAdapter* expert = experts[first];
  const auto num_experts = static_cast<std::size_t>(
      std::count_if(experts.begin(), experts.end(), [](auto* one) { return one != nullptr; }));
  std::string why;  // to abstain
  if (input.router == nullptr)
    why = "no router is fitted";
  else if (mixes && parameters.abstain_to_mixture)
    why = {};  // it would do the same
  else if (route.margin < parameters.min_margin)
    why = "margin " + rounded(route.margin) + " below " + rounded(parameters.min_margin);
  else if (route.familiarity < parameters.min_familiarity)
    why = "familiarity " + rounded(route.familiarity) + " below " +
          rounded(parameters.min_familiarity);
  route.abstained = !why.empty();
  const bool to_mixture =
      route.abstained ? parameters.abstain_to_mixture && input.router != nullptr : mixes;
  const bool by_mixture = to_mixture && num_experts > 0;
  const bool by_one = !mixes && !route.abstained && expert != nullptr;
  if (route.abstained)
    route.reason = std::string("abstained to the ") +
                   (by_mixture ? "mixture of experts: " : "plain encoder: ") + why;
  else if (by_mixture)
    route.reason = "everything under the experts' query vectors, averaged by probability";
  else if (by_one)
    route.reason = "everything under the expert of " + input.collections[first];
  else if (mixes)
    route.reason = "plainly: no collection has an expert";
  else
    route.reason = "plainly: " + input.collections[first] + " has no expert";
  const bool mapped_all = by_mixture || by_one;
  const std::string name = by_mixture ? "mixture" : input.collections[first];
  // Who searched a collection is one for all of them here, and may be another than its own expert.
  for (RouteEntry& entry : route.entries) entry.expert = mapped_all ? name : std::string("plain");
  if (mapped_all) {
    result.maps = by_mixture ? num_experts : 1;
    const std::vector<float> query =
        by_mixture ? mixed(input, experts, searched.probabilities) : mapped(*expert, input.query);
    for (std::size_t c = 0; c < n; ++c) {
      COLLEGIUM_ASSIGN_OR_RETURN(searched.plain[c], search(input.collections[c], query, depth));
      ++result.searches;
      route.entries[c].searched_again = true;
    }
  }
  for (std::size_t c = 0; c < n; ++c) {
    route.entries[c].prior = prior[c];
    append(result.hits, std::move(searched.plain[c]), prior[c]);
  }
  return Status();
}

}  // namespace

std::string_view policy_name(Policy policy) noexcept {
  switch (policy) {
    case Policy::kBound:
      return "bound";
    case Policy::kRouted:
      return "routed";
    case Policy::kMixed:
      return "mixed";
  }
  return "unknown";
}

Result<Policy> parse_policy(std::string_view name) {
  return parse_named("policy", name, {Policy::kBound, Policy::kRouted, Policy::kMixed},
                     policy_name);
}

std::string_view comparability_name(Comparability comparability) noexcept {
  switch (comparability) {
    case Comparability::kTopMean:
      return "top-mean";
    case Comparability::kConstant:
      return "constant";
    case Comparability::kCalibrated:
      return "calibrated";
  }
  return "unknown";
}

Result<Comparability> parse_comparability(std::string_view name) {
  return parse_named(
      "comparability", name,
      {Comparability::kTopMean, Comparability::kConstant, Comparability::kCalibrated},
      comparability_name);
}

Status PolicyParameters::validate() const {
  const auto bad = [](const char* name, double seen, const char* allowed) {
    return Status::invalid_argument(std::string("PolicyParameters.") + name + " is " +
                                    std::to_string(seen) + ", must be in " + allowed);
  };
  if (!(prior_weight >= 0.0 && prior_weight <= 100.0))
    return bad("prior_weight", prior_weight, "[0, 100]");
  if (!(routed_prior_weight >= 0.0 && routed_prior_weight <= 100.0))
    return bad("routed_prior_weight", routed_prior_weight, "[0, 100]");
  if (shift_depth > 10000)
    return bad("shift_depth", static_cast<double>(shift_depth), "[0, 10000]");
  for (const auto& [name, map] : score_maps)
    if (!(map.scale > 0.0) || !std::isfinite(map.scale) || !std::isfinite(map.shift))
      return Status::invalid_argument(
          "PolicyParameters.score_maps['" + name + "'] is " + std::to_string(map.scale) + " and " +
          std::to_string(map.shift) + ", must be finite, the scale above 0");
  if (!(min_margin >= 0.0 && min_margin <= 1.0)) return bad("min_margin", min_margin, "[0, 1]");
  if (!(min_familiarity >= 0.0 && min_familiarity <= 1.0))
    return bad("min_familiarity", min_familiarity, "[0, 1]");
  return Status();
}

Result<PolicyResult> run_policy(const PolicyParameters& parameters, const PolicyInput& input,
                                const CollectionSearch& search) {
  COLLEGIUM_RETURN_IF_ERROR(check(parameters, input));
  const std::size_t n = input.collections.size();
  PolicyResult result;
  Route& route = result.route;
  route.policy = policy_name(parameters.policy);
  route.router = input.router == nullptr ? "none" : std::string(input.router->kind());
  if (input.router != nullptr) route.familiarity = input.router->familiarity(input.query.data());

  Searched searched;
  searched.probabilities = route_probabilities(input);
  searched.of_prior = prior_probabilities(parameters, input, searched.probabilities);
  std::vector<double> sorted = searched.probabilities;
  std::sort(sorted.rbegin(), sorted.rend());
  route.margin = n > 1 ? sorted[0] - sorted[1] : 1.0;
  for (std::size_t c = 0; c < n; ++c) {
    RouteEntry entry;
    entry.collection = input.collections[c];
    entry.expert = expert_of(input, entry.collection) == nullptr ? "plain" : entry.collection;
    entry.probability = searched.probabilities[c];
    route.entries.push_back(std::move(entry));
  }

  const bool bound = parameters.policy == Policy::kBound;
  const bool shifts = bound && parameters.comparability == Comparability::kTopMean;
  const std::size_t depth =
      std::max({input.k, kGateDepth, shifts ? parameters.shift_depth : std::size_t{0}});
  for (const auto& collection : input.collections) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto found, search(collection, input.query, depth));
    ++result.searches;
    for (std::size_t i = 0; i < std::min(found.size(), std::max(input.k, kGateDepth)); ++i)
      result.plain_hits.push_back(found[i]);
    searched.plain.push_back(std::move(found));
  }
  merge_hits(result.plain_hits, std::max(input.k, kGateDepth));

  COLLEGIUM_RETURN_IF_ERROR(
      bound ? run_bound(parameters, input, search, std::move(searched), depth, result)
            : run_routed(parameters, input, search, std::move(searched), depth, result));
  merge_hits(result.hits, input.k);
  std::stable_sort(
      route.entries.begin(), route.entries.end(),
      [](const RouteEntry& a, const RouteEntry& b) { return a.probability > b.probability; });
  return result;
}

}  // namespace collegium::router
