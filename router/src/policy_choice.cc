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
#include "policy_steps.h"

namespace collegium::router {
namespace {

constexpr std::size_t kMaxQueries = 2000;  // of all collections together
constexpr std::size_t kMaxLists = 50000;   // queries x collections held in memory at once
constexpr std::size_t kDepth = 100;        // documents of each collection
constexpr std::size_t kQueriesPerTask = 16;
constexpr double kNegligible = 0.0005;

constexpr std::size_t kResearch[] = {1, 2, 3, 5};
constexpr double kWeights[] = {0.0, 0.003, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1};
constexpr std::size_t kShiftDepths[] = {100, 30, 10};
constexpr double kMargins[] = {0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9};
constexpr double kFamiliarities[] = {0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2};

// One collection's best documents for one query, descending.
struct Found {
  std::vector<float> scores;
  // Of the query's relevant documents, where this is their collection: score, or -infinity.
  std::vector<float> relevant;
};

// What a router says of a query, and what comes of it.
struct Sent {
  std::vector<double> probabilities;  // by collection; as they count in a prior
  double margin = 0.0, familiarity = 0.0;
  std::vector<Found> found;  // by collection, under the likeliest one's expert, if it has one
  std::vector<Found> mixed;  // under the mixture of experts, if there are any
};

struct QueryCase {
  QueryRef ref;
  std::vector<Found> plain, own;  // by collection; own empty: as plain
  Sent sent;
  Sent stranger;  // by a router that does not know the collection; no probabilities: there is none
};

bool guessed(const CollectionData& collection) {
  return collection.splits[0].size() == 0 && collection.splits[1].size() == 0;
}

Found summarise(const std::vector<ScoredDocument>& documents,
                const std::vector<std::uint32_t>* relevant) {
  Found found;
  for (const auto& document : documents) found.scores.push_back(document.score);
  if (relevant == nullptr) return found;
  for (std::uint32_t wanted : *relevant) {
    const auto at = std::find_if(documents.begin(), documents.end(),
                                 [&](const auto& document) { return document.document == wanted; });
    found.relevant.push_back(at == documents.end() ? -std::numeric_limits<float>::infinity()
                                                   : at->score);
  }
  return found;
}

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
    if (relevant == -std::numeric_limits<float>::infinity()) rank = kDepth;
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
                  const PolicyParameters& parameters, bool as_stranger) {
  const std::size_t n = query.plain.size();
  const Sent& sent = as_stranger ? query.stranger : query.sent;
  const std::vector<double> prior = priors(sent.probabilities, parameters.prior_weight);
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
  if (searched == Searched::kByExpert && !sent.found.empty()) found = &sent.found;
  if (searched == Searched::kByMixture && !sent.mixed.empty()) found = &sent.mixed;
  const std::vector<double> prior = priors(sent.probabilities, weight);
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
std::map<std::string, ScoreMap, std::less<>> score_maps(
    const LearningData& data, const std::vector<QueryCase>& cases,
    const std::vector<const core::HeadAdapter*>& experts, Comparability comparability) {
  std::map<std::string, ScoreMap, std::less<>> maps;
  for (std::size_t c = 0; c < experts.size(); ++c) {
    if (experts[c] == nullptr) continue;
    if (comparability == Comparability::kConstant) {
      double sum = 0.0;
      std::size_t count = 0;
      for (const QueryCase& query : cases) {
        if (query.ref.collection != c) continue;
        sum += comparability_shift(query.plain[c].scores, query.own[c].scores, kDepth);
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

// What a query is searched with where it was sent.
struct Vectors {
  const float* by_expert = nullptr;  // the likeliest collection's; null: plain
  std::vector<float> mixture;        // empty: there are no experts
};

// `own`: by collection what its expert makes of the query, null without one. Collections that are
// strangers to `router` have no expert either.
Vectors send(const LearningData& data, const Learned& learned, const Router& router,
             const float* query, std::vector<const float*> own, Sent& sent) {
  const std::size_t n = data.collections.size();
  std::vector<float> probabilities(n);
  router.probabilities(query, probabilities);
  sent.probabilities.assign(probabilities.begin(), probabilities.end());
  const std::vector<double> weights = sent.probabilities;
  for (std::size_t c = 0; c < n; ++c) {
    const bool stranger =
        !learned.stranger_routers.empty() && learned.stranger_routers[c].get() == &router;
    if (stranger) own[c] = nullptr;
    if (guessed(data.collections[c]) || stranger)
      sent.probabilities[c] = std::max(sent.probabilities[c], kGuessedProbability);
  }
  sent.familiarity = router.familiarity(query);
  const auto top = static_cast<std::size_t>(
      std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin());
  Vectors vectors{own[top], {}};
  if (std::ranges::any_of(own, [](const float* vector) { return vector != nullptr; })) {
    std::ranges::replace(own, static_cast<const float*>(nullptr), query);
    vectors.mixture = mixture(data.dim, own, weights);
  }
  std::sort(probabilities.rbegin(), probabilities.rend());
  sent.margin = n > 1 ? double{probabilities[0]} - double{probabilities[1]} : 1.0;
  return vectors;
}

class Chooser {
 public:
  Chooser(const LearningData& data, const std::vector<const core::HeadAdapter*>& experts,
          std::vector<QueryCase> cases)
      : data_(data), experts_(experts), cases_(std::move(cases)) {
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

  void choose_bound(PolicyParameters& parameters) const {
    std::vector<PolicyParameters> shifted;
    for (const std::size_t depth : kShiftDepths) {
      shifted.push_back(parameters);
      shifted.back().shift_depth = depth;
    }
    const Setting by_shift = best_bound(shifted);
    parameters = by_shift.parameters;
    // Another comparability is taken if it gains beyond noise, and loses nothing on collections
    // that nobody labelled, which a shift of each query cannot harm much.
    for (const Comparability one : {Comparability::kConstant, Comparability::kCalibrated}) {
      PolicyParameters other = by_shift.parameters;
      other.comparability = one;
      other.score_maps = score_maps(data_, cases_, experts_, one);
      if (other.score_maps.empty()) continue;
      const Setting setting = best_bound({&other, 1});
      const Difference known =
          difference(bound_values(setting.parameters, false), bound_values(parameters, false));
      if (known.mean <= std::max(kNegligible, known.standard_error)) continue;
      const Difference unknown =
          difference(bound_values(setting.parameters, true), bound_values(parameters, true));
      if (unknown.mean >= -kNegligible) parameters = setting.parameters;
    }
  }

  void choose_routed(PolicyParameters& parameters) const {
    std::vector<double> by_weight;
    for (double weight : kWeights)
      by_weight.push_back(mean(values([&](const QueryCase& query) {
        return routed_ndcg(data_, query, query.sent, weight, Searched::kByExpert);
      })));
    double best = *std::max_element(by_weight.begin(), by_weight.end());
    std::size_t chosen = 0;
    while (by_weight[chosen] < best - kNegligible) ++chosen;
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
    const auto outcomes_of = [&](const Sent QueryCase::*sent) {
      std::vector<Outcome> outcomes(cases_.size());
      for_each_case([&](std::size_t i) {
        const QueryCase& query = cases_[i];
        if ((query.*sent).probabilities.empty()) return;
        const auto ndcg = [&](Searched searched) {
          return routed_ndcg(data_, query, query.*sent, weight, searched);
        };
        outcomes[i] = {ndcg(Searched::kByExpert), ndcg(Searched::kPlainly),
                       ndcg(Searched::kByMixture)};
      });
      return outcomes;
    };
    const std::vector<Outcome> known = outcomes_of(&QueryCase::sent);
    const std::vector<Outcome> strange = outcomes_of(&QueryCase::stranger);
    const auto rules_to = [&](Searched to) {
      std::vector<Rule> rules;
      std::vector<double> ndcg(cases_.size()), abstained(cases_.size());
      for (double margin : kMargins)
        for (double familiarity : kFamiliarities) {
          const auto abstains = [&](const Sent& sent) {
            return sent.margin < margin || sent.familiarity < familiarity;
          };
          const auto value = [&](const Sent& sent, const Outcome& outcome) {
            if (!abstains(sent)) return outcome.by_expert;
            return to == Searched::kByMixture ? outcome.by_mixture : outcome.plainly;
          };
          for (std::size_t i = 0; i < cases_.size(); ++i) {
            const QueryCase& query = cases_[i];
            ndcg[i] = value(query.sent, known[i]);
            if (!query.stranger.probabilities.empty())
              ndcg[i] = 0.5 * (ndcg[i] + value(query.stranger, strange[i]));
            abstained[i] = abstains(query.sent) ? 1.0 : 0.0;
          }
          rules.push_back({to, margin, familiarity, mean(ndcg), mean(abstained)});
        }
      return rules;
    };
    const auto best_of = [](const std::vector<Rule>& rules) {
      return std::ranges::max_element(rules, {}, &Rule::ndcg)->ndcg;
    };
    std::vector<Rule> rules = rules_to(Searched::kPlainly);
    std::vector<Rule> mixing = rules_to(Searched::kByMixture);
    if (best_of(mixing) > best_of(rules) + kNegligible) rules = std::move(mixing);
    best = best_of(rules);
    double most = -1.0;
    for (const Rule& rule : rules)
      if (rule.ndcg >= best - kNegligible && rule.abstained > most) {
        most = rule.abstained;
        parameters.min_margin = rule.margin;
        parameters.min_familiarity = rule.familiarity;
        parameters.abstain_to_mixture = rule.to == Searched::kByMixture;
      }
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
      if (as_strangers && query.stranger.probabilities.empty()) return 0.0;
      return bound_ndcg(data_, query, parameters, as_strangers);
    });
  }

  // Of two settings' values, and of the mean over collections the standard error.
  struct Difference {
    double mean = 0.0, standard_error = 0.0;
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

  const LearningData& data_;
  const std::vector<const core::HeadAdapter*>& experts_;
  std::vector<QueryCase> cases_;
  std::vector<QueryRef> refs_;
};

}  // namespace

Result<PolicyParameters> choose_policy(const LearningData& data, const PackedLibrary& library,
                                       const Learned& learned,
                                       const core::ProgressCallback& progress) {
  PolicyParameters parameters;
  const std::size_t num_collections = data.collections.size(), dim = data.dim;
  std::size_t with_dev = 0;
  for (const auto& collection : data.collections) {
    with_dev += collection.splits[1].size() > 0;
    if (guessed(collection)) parameters.guessed.insert(collection.name);
  }
  if (with_dev == 0) {
    parameters.prior_weight = parameters.routed_prior_weight = kCautiousPriorWeight;
    return parameters;
  }
  const std::size_t budget = std::min(kMaxQueries, kMaxLists / num_collections + 1);
  const std::vector<QueryRef> refs =
      sample_queries(data, Split::kDev, std::max<std::size_t>(1, budget / with_dev));

  std::vector<const core::HeadAdapter*> experts(num_collections, nullptr);
  for (std::size_t c = 0; c < num_collections; ++c) {
    const auto found = learned.adapters.find(data.collections[c].name);
    if (found != learned.adapters.end() && found->second.strength != 0.0f)
      experts[c] = &found->second.adapter;
  }

  std::vector<QueryCase> cases(refs.size());
  const std::size_t tasks = (refs.size() + kQueriesPerTask - 1) / kQueriesPerTask;
  constexpr std::size_t kTasksPerReport = 8;
  for (std::size_t start = 0; start < tasks; start += kTasksPerReport) {
    if (!core::report(progress, "policy", start, tasks))
      return Status::cancelled("choosing the policy");
    core::default_pool().parallel_for(
        std::min(kTasksPerReport, tasks - start), [&](std::size_t offset) {
          const std::size_t first = (start + offset) * kQueriesPerTask;
          const std::size_t n = std::min(kQueriesPerTask, refs.size() - first);
          std::vector<float> queries, routed;
          for (std::size_t i = 0; i < n; ++i) {
            const float* vector = vector_of(data, Split::kDev, refs[first + i]);
            queries.insert(queries.end(), vector, vector + dim);
          }
          std::vector<std::vector<float>> own(num_collections);  // empty without an expert
          for (std::size_t c = 0; c < num_collections; ++c) {
            if (experts[c] == nullptr) continue;
            own[c].resize(n * dim);
            for (std::size_t i = 0; i < n; ++i)
              experts[c]->apply(&queries[i * dim], &own[c][i * dim]);
          }
          struct Mapped {
            std::vector<Found>* found;
            QueryRef ref;
          };
          std::vector<Mapped> mapped;  // parallel to the rows of `routed`
          const auto add = [&](const float* vector, std::vector<Found>& found, QueryRef ref) {
            mapped.push_back({&found, ref});
            routed.insert(routed.end(), vector, vector + dim);
          };
          for (std::size_t i = 0; i < n; ++i) {
            QueryCase& query = cases[first + i];
            query.ref = refs[first + i];
            std::vector<const float*> mine;
            for (const std::vector<float>& rows : own)
              mine.push_back(rows.empty() ? nullptr : &rows[i * dim]);
            const auto send_by = [&](const Router& router, Sent& sent) {
              const Vectors vectors = send(data, learned, router, &queries[i * dim], mine, sent);
              if (vectors.by_expert != nullptr) add(vectors.by_expert, sent.found, query.ref);
              if (!vectors.mixture.empty()) add(vectors.mixture.data(), sent.mixed, query.ref);
            };
            send_by(router_for_dev(learned, query.ref), query.sent);
            if (learned.stranger_routers.empty()) continue;
            const Router* other = learned.stranger_routers[query.ref.collection].get();
            if (other != nullptr) send_by(*other, query.stranger);
          }
          for (std::size_t c = 0; c < num_collections; ++c) {
            const MemoryCollection& collection = library.collections[c];
            const auto relevant = [&](QueryRef ref) {
              return ref.collection == c ? &data.collections[c].splits[1].relevant[ref.query]
                                         : nullptr;
            };
            const auto plain_found = collection.search(queries.data(), n, kDepth);
            const auto routed_found = collection.search(routed.data(), mapped.size(), 10);
            std::vector<std::vector<ScoredDocument>> own_found(n);
            if (experts[c] != nullptr) own_found = collection.search(own[c].data(), n, kDepth);
            for (std::size_t i = 0; i < n; ++i) {
              QueryCase& query = cases[first + i];
              query.plain.push_back(summarise(plain_found[i], relevant(query.ref)));
              query.own.push_back(summarise(own_found[i], relevant(query.ref)));
            }
            for (std::size_t i = 0; i < mapped.size(); ++i) {
              mapped[i].found->push_back(summarise(routed_found[i], relevant(mapped[i].ref)));
            }
          }
        });
  }
  const Chooser chooser(data, experts, std::move(cases));
  chooser.choose_bound(parameters);
  chooser.choose_routed(parameters);
  return parameters;
}

}  // namespace collegium::router
