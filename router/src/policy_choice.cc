#include "policy_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "logistic.h"
#include "policy_cases.h"
#include "policy_steps.h"

namespace collegium::router {
namespace {

constexpr std::size_t kResearch[] = {1, 2, 3, 5};
constexpr double kWeights[] = {0.0, 0.003, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1};
constexpr std::size_t kShiftDepths[] = {100, 30, 10};
constexpr double kMargins[] = {0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9};
constexpr double kFamiliarities[] = {0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2};

// What a collection shows: scale * score + added.
struct Shown {
  const Found* found = nullptr;
  double scale = 1.0, added = 0.0;
  float score(float found_score) const {
    return static_cast<float>(scale * double{found_score} + added);
  }
};

// nDCG@10 of the merged ranking, by collection.
double merged_ndcg(const LearningData& data, const QueryCase& query,
                   const std::vector<Shown>& lists) {
  const QuerySet& dev = data.collections[query.ref.collection].splits[1];
  std::vector<std::size_t> ranks;
  const Shown& own = lists[query.ref.collection];
  for (float relevant : own.found->relevant) {
    std::size_t rank = 0;
    const float score = own.score(relevant);
    if (relevant == -std::numeric_limits<float>::infinity()) rank = kCaseDepth;
    for (std::size_t c = 0; c < lists.size() && rank < 10; ++c)
      for (float other : lists[c].found->scores) {
        if (!(lists[c].score(other) > score) || rank >= 10) break;
        ++rank;
      }
    ranks.push_back(rank);
  }
  return ndcg_at_10(ranks, dev.gains[query.ref.query]);
}

// As a stranger, the query's collection has no expert and the router does not know it.
double bound_ndcg(const LearningData& data, const QueryCase& query,
                  const PolicyParameters& parameters, const Sent& sent, bool as_stranger) {
  const std::size_t n = query.plain.size();
  const std::vector<double> prior = priors(sent.of_prior, parameters.prior_weight);
  std::vector<double> best(n, -std::numeric_limits<double>::infinity());
  std::vector<Shown> lists(n);
  for (std::size_t c = 0; c < n; ++c) {
    lists[c] = {&query.plain[c], 1.0, prior[c]};
    if (!query.plain[c].scores.empty()) best[c] = query.plain[c].scores.front();
  }
  const std::vector<std::size_t> order = research_order(best, prior);
  for (std::size_t i = 0; i < std::min(order.size(), parameters.research); ++i) {
    const std::size_t c = order[i];
    if (query.own[c].scores.empty() || (as_stranger && c == query.ref.collection)) continue;
    const ScoreMap map = comparable(parameters, data.collections[c].name, query.plain[c].scores,
                                    query.own[c].scores);
    lists[c] = {&query.own[c], map.scale, prior[c] + map.shift};
  }
  return merged_ndcg(data, query, lists);
}

enum class Searched { kByExpert, kPlainly, kByMixture };

double routed_ndcg(const LearningData& data, const QueryCase& query, const Sent& sent,
                   double weight, Searched searched) {
  const std::vector<Found>* found = &query.plain;
  if (searched == Searched::kByExpert && sent.expert) found = &query.under[*sent.expert];
  if (searched == Searched::kByMixture && !sent.mixed.empty()) found = &sent.mixed;
  const std::vector<double> prior = priors(sent.of_prior, weight);
  std::vector<Shown> lists;
  for (std::size_t c = 0; c < found->size(); ++c) lists.push_back({&(*found)[c], 1.0, prior[c]});
  return merged_ndcg(data, query, lists);
}

// P(relevant) = 1 / (1 + exp(-(slope score + bias))) of documents by score. None without both kinds
// of documents, or where the better ones are not the relevant ones.
struct Relevance {
  double slope = 0.0, bias = 0.0;
};
std::optional<Relevance> relevance_by(const std::vector<QueryCase>& cases, std::size_t collection,
                                      std::vector<Found> QueryCase::*searched) {
  constexpr std::size_t kDocuments = 10;  // of each query: those that may be shown
  std::vector<float> scores;
  std::vector<std::uint32_t> labels;
  for (const QueryCase& query : cases) {
    const Found& found = (query.*searched)[collection];
    for (std::size_t i = 0; i < std::min(kDocuments, found.scores.size()); ++i) {
      scores.push_back(found.scores[i]);
      labels.push_back(std::ranges::find(found.relevant, found.scores[i]) != found.relevant.end());
    }
  }
  const auto relevant = static_cast<std::size_t>(std::ranges::count(labels, 1u));
  if (relevant == 0 || relevant == labels.size()) return {};
  const std::vector<double> weights(labels.size(), 1.0);
  const LogisticModel model = fit_logistic(
      {.rows = scores, .dim = 1, .labels = labels, .weights = weights, .classes = 2, .l2 = 1e-6});
  const Relevance found{double{model.weight[1]} - double{model.weight[0]},
                        double{model.bias[1]} - double{model.bias[0]}};
  if (!(found.slope > 0.0) || !std::isfinite(found.slope) || !std::isfinite(found.bias)) return {};
  return found;
}

// Of each collection with an expert, where dev says.
std::map<std::string, ScoreMap, std::less<>> score_maps(const LearningData& data,
                                                        const std::vector<QueryCase>& cases,
                                                        const Experts& experts,
                                                        Comparability comparability) {
  std::map<std::string, ScoreMap, std::less<>> maps;
  for (std::size_t c = 0; c < experts.size(); ++c) {
    if (experts[c] == nullptr) continue;
    if (comparability == Comparability::kConstant) {
      double sum = 0.0;
      std::size_t count = 0;
      for (const QueryCase& query : cases) {
        if (query.ref.collection != c) continue;
        sum += comparability_shift(query.plain[c].scores, query.own[c].scores, kCaseDepth);
        ++count;
      }
      if (count != 0) maps[data.collections[c].name] = {1.0, sum / static_cast<double>(count)};
      continue;
    }
    const auto plain = relevance_by(cases, c, &QueryCase::plain);
    const auto own = relevance_by(cases, c, &QueryCase::own);
    if (plain && own)
      maps[data.collections[c].name] = {own->slope / plain->slope,
                                        (own->bias - plain->bias) / plain->slope};
  }
  return maps;
}

// A way to compare scores that dev says, whatever the router.
struct Mapping {
  Comparability comparability;
  std::map<std::string, ScoreMap, std::less<>> maps;  // not empty
};

class Chooser {
 public:
  Chooser(const LearningData& data, const std::vector<QueryCase>& cases,
          std::span<const Mapping> mappings, std::size_t router)
      : data_(data), cases_(cases), mappings_(mappings), router_(router) {
    for (const auto& query : cases_) refs_.push_back(query.ref);
  }

  template <typename Measure>
  std::vector<double> values(Measure&& measure) const {
    std::vector<double> made(cases_.size());
    for_each_case([&](std::size_t i) { made[i] = measure(cases_[i]); });
    return made;
  }
  double mean(const std::vector<double>& by_query) const {
    return macro_mean(refs_, by_query, data_.collections.size());
  }

  // Of values by query, averaged over collections.
  struct Difference {
    double mean = 0.0, standard_error = 0.0;
    bool beyond_noise() const { return mean > std::max(kNegligible, standard_error); }
  };
  Difference difference(const std::vector<double>& a, const std::vector<double>& b) const {
    const std::size_t collections = data_.collections.size();
    std::vector<double> sum(collections), squares(collections), count(collections);
    for (std::size_t i = 0; i < refs_.size(); ++i) {
      const double d = a[i] - b[i];
      sum[refs_[i].collection] += d;
      squares[refs_[i].collection] += d * d;
      count[refs_[i].collection] += 1.0;
    }
    double mean = 0.0, variance = 0.0, present = 0.0;
    for (std::size_t c = 0; c < collections; ++c) {
      if (count[c] == 0.0) continue;
      const double own = sum[c] / count[c];
      mean += own;
      variance += std::max(0.0, squares[c] / count[c] - own * own) / count[c];
      present += 1.0;
    }
    return {mean / present, std::sqrt(variance) / present};
  }

  // Under what was chosen: nDCG@10 by query, one that has a stranger counting half as known and
  // half as strange.
  std::vector<double> choose_bound(PolicyParameters& parameters) const {
    std::vector<PolicyParameters> shifted;
    for (const std::size_t depth : kShiftDepths) {
      shifted.push_back(parameters);
      shifted.back().shift_depth = depth;
    }
    const Setting by_shift = best_bound(shifted);
    parameters = by_shift.parameters;
    // Another comparability is taken if it gains beyond noise, and loses nothing on collections
    // that nobody labelled, which a shift of each query cannot harm much.
    for (const Mapping& mapping : mappings_) {
      PolicyParameters other = by_shift.parameters;
      other.comparability = mapping.comparability;
      other.score_maps = mapping.maps;
      const Setting setting = best_bound({&other, 1});
      const Difference known =
          difference(bound_values(setting.parameters, false), bound_values(parameters, false));
      if (!known.beyond_noise()) continue;
      const Difference unknown =
          difference(bound_values(setting.parameters, true), bound_values(parameters, true));
      if (unknown.mean >= -kNegligible) parameters = setting.parameters;
    }
    return halved(bound_values(parameters, false), bound_values(parameters, true));
  }

  std::vector<double> choose_routed(PolicyParameters& parameters) const {
    std::vector<double> by_weight;
    for (double weight : kWeights)
      by_weight.push_back(mean(values([&](const QueryCase& query) {
        return routed_ndcg(data_, query, query.known[router_], weight, Searched::kByExpert);
      })));
    const double most_found = std::ranges::max(by_weight);
    std::size_t chosen = 0;
    while (by_weight[chosen] < most_found - kNegligible) ++chosen;
    const double weight = kWeights[chosen];
    parameters.routed_prior_weight = weight;

    // The rule that abstains most often among those as good as the best. Questions of collections
    // that the router does not know count as much as those of collections that it does.
    struct Rule {
      Searched to = Searched::kPlainly;
      double margin = 0.0, familiarity = 0.0, ndcg = 0.0, abstained = 0.0;
    };
    // What a rule gives a query is one of these.
    struct Outcome {
      double by_expert = 0.0, plainly = 0.0, by_mixture = 0.0;
    };
    const auto outcomes_of = [&](std::vector<Sent> QueryCase::*by_router) {
      std::vector<Outcome> outcomes(cases_.size());
      for_each_case([&](std::size_t i) {
        const QueryCase& query = cases_[i];
        const Sent& sent = (query.*by_router)[router_];
        if (sent.probabilities.empty()) return;
        const auto ndcg = [&](Searched searched) {
          return routed_ndcg(data_, query, sent, weight, searched);
        };
        outcomes[i] = {ndcg(Searched::kByExpert), ndcg(Searched::kPlainly),
                       ndcg(Searched::kByMixture)};
      });
      return outcomes;
    };
    const std::vector<Outcome> known = outcomes_of(&QueryCase::known);
    const std::vector<Outcome> strange = outcomes_of(&QueryCase::strange);
    const auto abstains = [](const Rule& rule, const Sent& sent) {
      return sent.margin < rule.margin || sent.familiarity < rule.familiarity;
    };
    const auto values_under = [&](const Rule& rule) {
      const auto value = [&](const Sent& sent, const Outcome& outcome) {
        if (!abstains(rule, sent)) return outcome.by_expert;
        return rule.to == Searched::kByMixture ? outcome.by_mixture : outcome.plainly;
      };
      std::vector<double> by_known(cases_.size()), by_strange(cases_.size());
      for (std::size_t i = 0; i < cases_.size(); ++i) {
        by_known[i] = value(cases_[i].known[router_], known[i]);
        by_strange[i] = value(cases_[i].strange[router_], strange[i]);
      }
      return halved(std::move(by_known), by_strange);
    };
    const auto rules_to = [&](Searched to) {
      std::vector<Rule> rules;
      std::vector<double> abstained(cases_.size());
      for (double margin : kMargins)
        for (double familiarity : kFamiliarities) {
          Rule rule{to, margin, familiarity};
          for (std::size_t i = 0; i < cases_.size(); ++i)
            abstained[i] = abstains(rule, cases_[i].known[router_]) ? 1.0 : 0.0;
          rule.ndcg = mean(values_under(rule));
          rule.abstained = mean(abstained);
          rules.push_back(rule);
        }
      return rules;
    };
    const auto best_of = [](const std::vector<Rule>& rules) {
      return std::ranges::max_element(rules, {}, &Rule::ndcg)->ndcg;
    };
    std::vector<Rule> rules = rules_to(Searched::kPlainly);
    std::vector<Rule> mixing = rules_to(Searched::kByMixture);
    if (best_of(mixing) > best_of(rules) + kNegligible) rules = std::move(mixing);
    const double best = best_of(rules);
    Rule taken{.abstained = -1.0};
    for (const Rule& rule : rules)
      if (rule.ndcg >= best - kNegligible && rule.abstained > taken.abstained) taken = rule;
    parameters.min_margin = taken.margin;
    parameters.min_familiarity = taken.familiarity;
    parameters.abstain_to_mixture = taken.to == Searched::kByMixture;
    return values_under(taken);
  }

 private:
  template <typename Task>
  void for_each_case(Task&& task) const {
    core::default_pool().parallel_for((cases_.size() + 63) / 64, [&](std::size_t block) {
      for (std::size_t i = block * 64; i < std::min(cases_.size(), block * 64 + 64); ++i) task(i);
    });
  }

  struct Setting {
    PolicyParameters parameters;
    double ndcg = 0.0;
  };

  // The best of these ways to compare scores, with how many collections are searched again and the
  // prior's weight.
  Setting best_bound(std::span<const PolicyParameters> comparabilities) const {
    // Cheaper and more careful settings come first, so the first that is as good is taken.
    std::vector<Setting> settings;
    double best = -1.0;
    for (std::size_t research : kResearch)
      for (const PolicyParameters& comparability : comparabilities)
        for (double weight : kWeights) {
          Setting setting{comparability};
          setting.parameters.research = research;
          setting.parameters.prior_weight = weight;
          setting.ndcg = mean(bound_values(setting.parameters, false));
          best = std::max(best, setting.ndcg);
          settings.push_back(setting);
        }
    return *std::ranges::find_if(
        settings, [&](const Setting& setting) { return setting.ndcg >= best - kNegligible; });
  }

  // By query; as strangers those without a router that does not know them count 0.
  std::vector<double> bound_values(const PolicyParameters& parameters, bool as_strangers) const {
    return values([&](const QueryCase& query) {
      const Sent& sent = (as_strangers ? query.strange : query.known)[router_];
      if (sent.probabilities.empty()) return 0.0;
      return bound_ndcg(data_, query, parameters, sent, as_strangers);
    });
  }

  std::vector<double> halved(std::vector<double> known, const std::vector<double>& strange) const {
    for (std::size_t i = 0; i < known.size(); ++i)
      if (!cases_[i].strange[router_].probabilities.empty())
        known[i] = 0.5 * (known[i] + strange[i]);
    return known;
  }

  const LearningData& data_;
  const std::vector<QueryCase>& cases_;
  const std::span<const Mapping> mappings_;
  const std::size_t router_;
  std::vector<QueryRef> refs_;
};

}  // namespace

Result<RouterChoice> choose_router(const LearningData& data, const PackedLibrary& library,
                                   const std::map<std::string, core::TrainedHeadAdapter>& adapters,
                                   std::span<const FittedRouter> routers,
                                   const core::ProgressCallback& progress) {
  RouterChoice choice;
  for (const auto& collection : data.collections)
    if (guessed(collection)) choice.policy.guessed.insert(collection.name);
  const Experts experts = experts_of(data, adapters);
  COLLEGIUM_ASSIGN_OR_RETURN(auto cases, search_dev(data, library, experts, routers, progress));
  if (cases.empty()) {
    choice.policy.prior_weight = choice.policy.routed_prior_weight = kCautiousPriorWeight;
    return choice;
  }
  std::vector<Mapping> mappings;
  for (const Comparability one : {Comparability::kConstant, Comparability::kCalibrated})
    if (auto maps = score_maps(data, cases, experts, one); !maps.empty())
      mappings.push_back({one, std::move(maps)});
  const PolicyParameters start = choice.policy;
  std::vector<double> best;  // by query
  for (std::size_t r = 0; r < routers.size(); ++r) {
    const Chooser chooser(data, cases, mappings, r);
    PolicyParameters parameters = start;
    std::vector<double> values = chooser.choose_bound(parameters);
    const std::vector<double> routed = chooser.choose_routed(parameters);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.5 * (values[i] + routed[i]);
    choice.ndcg.push_back(chooser.mean(values));
    if (r > 0 && !chooser.difference(values, best).beyond_noise()) continue;
    best = std::move(values);
    choice.router = r;
    choice.policy = std::move(parameters);
  }
  return choice;
}

}  // namespace collegium::router
