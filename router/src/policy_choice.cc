#include "policy_choice.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
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
  const core::HeadAdapter* expert = nullptr;  // the likeliest collection's; null: plain
  std::vector<Found> found;                   // by collection, under `expert`, if there is one
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

// nDCG@10 of the merged ranking: collection c shows lists[c] with added[c] on every score.
double merged_ndcg(const LearningData& data, const QueryCase& query,
                   const std::vector<const Found*>& lists, const std::vector<double>& added) {
  const QuerySet& dev = data.collections[query.ref.collection].splits[1];
  std::vector<std::size_t> ranks;
  for (float relevant : lists[query.ref.collection]->relevant) {
    std::size_t rank = 0;
    const auto score = static_cast<float>(double{relevant} + added[query.ref.collection]);
    if (relevant == -std::numeric_limits<float>::infinity()) rank = kDepth;
    for (std::size_t c = 0; c < lists.size() && rank < 10; ++c)
      for (float other : lists[c]->scores) {
        if (!(static_cast<float>(double{other} + added[c]) > score) || rank >= 10) break;
        ++rank;
      }
    ranks.push_back(rank);
  }
  return ndcg_at_10(ranks, dev.gains[query.ref.query]);
}

double bound_ndcg(const LearningData& data, const QueryCase& query,
                  const PolicyParameters& parameters) {
  const std::size_t n = query.plain.size();
  const std::vector<double> prior = priors(query.sent.probabilities, parameters.prior_weight);
  std::vector<double> best(n, -std::numeric_limits<double>::infinity()), added = prior;
  std::vector<const Found*> lists(n);
  for (std::size_t c = 0; c < n; ++c) {
    lists[c] = &query.plain[c];
    if (!query.plain[c].scores.empty()) best[c] = query.plain[c].scores.front();
  }
  const std::vector<std::size_t> order = research_order(best, prior);
  for (std::size_t i = 0; i < std::min(order.size(), parameters.research); ++i) {
    const std::size_t c = order[i];
    if (query.own[c].scores.empty()) continue;
    added[c] +=
        comparability_shift(query.plain[c].scores, query.own[c].scores, parameters.shift_depth);
    lists[c] = &query.own[c];
  }
  return merged_ndcg(data, query, lists, added);
}

double routed_ndcg(const LearningData& data, const QueryCase& query, const Sent& sent,
                   double weight, bool abstain) {
  const bool mapped = sent.expert != nullptr && !abstain;
  std::vector<const Found*> lists;
  for (const Found& found : mapped ? sent.found : query.plain) lists.push_back(&found);
  return merged_ndcg(data, query, lists, priors(sent.probabilities, weight));
}

// Collections that are strangers to `router` have no expert either.
Sent send(const LearningData& data, const Learned& learned, const Router& router,
          const float* query, const std::vector<const core::HeadAdapter*>& experts) {
  const std::size_t n = data.collections.size();
  const auto stranger = [&](std::size_t c) {
    return !learned.stranger_routers.empty() && learned.stranger_routers[c].get() == &router;
  };
  Sent sent;
  std::vector<float> probabilities(n);
  router.probabilities(query, probabilities);
  sent.probabilities.assign(probabilities.begin(), probabilities.end());
  for (std::size_t c = 0; c < n; ++c)
    if (guessed(data.collections[c]) || stranger(c))
      sent.probabilities[c] = std::max(sent.probabilities[c], kGuessedProbability);
  sent.familiarity = router.familiarity(query);
  const auto top = static_cast<std::size_t>(
      std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin());
  sent.expert = stranger(top) ? nullptr : experts[top];
  std::sort(probabilities.rbegin(), probabilities.rend());
  sent.margin = n > 1 ? double{probabilities[0]} - double{probabilities[1]} : 1.0;
  return sent;
}

class Chooser {
 public:
  Chooser(const LearningData& data, std::vector<QueryCase> cases)
      : data_(data), cases_(std::move(cases)) {
    for (const auto& query : cases_) refs_.push_back(query.ref);
  }

  template <typename Measure>
  double mean(Measure&& measure) const {
    std::vector<double> values(cases_.size());
    core::default_pool().parallel_for((cases_.size() + 63) / 64, [&](std::size_t block) {
      for (std::size_t i = block * 64; i < std::min(cases_.size(), block * 64 + 64); ++i)
        values[i] = measure(cases_[i]);
    });
    return macro_mean(refs_, values, data_.collections.size());
  }

  void choose_bound(PolicyParameters& parameters) const {
    struct Setting {
      PolicyParameters parameters;
      double ndcg = 0.0;
    };
    // Cheaper and more careful settings come first, so the first that is as good is taken.
    std::vector<Setting> settings;
    double best = -1.0;
    for (std::size_t research : kResearch)
      for (std::size_t depth : kShiftDepths)
        for (double weight : kWeights) {
          Setting setting{parameters};
          setting.parameters.research = research;
          setting.parameters.shift_depth = depth;
          setting.parameters.prior_weight = weight;
          setting.ndcg = mean(
              [&](const QueryCase& query) { return bound_ndcg(data_, query, setting.parameters); });
          best = std::max(best, setting.ndcg);
          settings.push_back(setting);
        }
    for (const Setting& setting : settings)
      if (setting.ndcg >= best - kNegligible) {
        parameters = setting.parameters;
        return;
      }
  }

  void choose_routed(PolicyParameters& parameters) const {
    std::vector<double> by_weight;
    for (double weight : kWeights)
      by_weight.push_back(mean([&](const QueryCase& query) {
        return routed_ndcg(data_, query, query.sent, weight, false);
      }));
    double best = *std::max_element(by_weight.begin(), by_weight.end());
    std::size_t chosen = 0;
    while (by_weight[chosen] < best - kNegligible) ++chosen;
    const double weight = kWeights[chosen];
    parameters.routed_prior_weight = weight;

    // The rule that abstains most often among those as good as the best. Questions of collections
    // that the router does not know count as much as those of collections that it does.
    struct Rule {
      double margin = 0.0, familiarity = 0.0, ndcg = 0.0, abstained = 0.0;
    };
    std::vector<Rule> rules;
    best = -1.0;
    for (double margin : kMargins)
      for (double familiarity : kFamiliarities) {
        const auto abstains = [&](const Sent& sent) {
          return sent.margin < margin || sent.familiarity < familiarity;
        };
        Rule rule{margin, familiarity};
        rule.ndcg = mean([&](const QueryCase& query) {
          const double known = routed_ndcg(data_, query, query.sent, weight, abstains(query.sent));
          if (query.stranger.probabilities.empty()) return known;
          return 0.5 * (known + routed_ndcg(data_, query, query.stranger, weight,
                                            abstains(query.stranger)));
        });
        rule.abstained =
            mean([&](const QueryCase& query) { return abstains(query.sent) ? 1.0 : 0.0; });
        best = std::max(best, rule.ndcg);
        rules.push_back(rule);
      }
    double most = -1.0;
    for (const Rule& rule : rules)
      if (rule.ndcg >= best - kNegligible && rule.abstained > most) {
        most = rule.abstained;
        parameters.min_margin = rule.margin;
        parameters.min_familiarity = rule.familiarity;
      }
  }

 private:
  const LearningData& data_;
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
          std::vector<float> queries(n * dim), own(n * dim), routed;
          std::vector<std::pair<Sent*, QueryRef>> mapped;  // parallel to the rows of `routed`
          for (std::size_t i = 0; i < n; ++i) {
            QueryCase& query = cases[first + i];
            query.ref = refs[first + i];
            const float* vector = vector_of(data, Split::kDev, query.ref);
            std::copy_n(vector, dim, &queries[i * dim]);
            query.sent = send(data, learned, router_for_dev(learned, query.ref), vector, experts);
            const Router* other = learned.stranger_routers.empty()
                                      ? nullptr
                                      : learned.stranger_routers[query.ref.collection].get();
            if (other != nullptr) query.stranger = send(data, learned, *other, vector, experts);
            for (Sent* sent : {&query.sent, &query.stranger}) {
              if (sent->expert == nullptr) continue;
              mapped.push_back({sent, query.ref});
              routed.resize(mapped.size() * dim);
              sent->expert->apply(vector, &routed[(mapped.size() - 1) * dim]);
            }
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
            if (experts[c] != nullptr) {
              for (std::size_t i = 0; i < n; ++i)
                experts[c]->apply(&queries[i * dim], &own[i * dim]);
              own_found = collection.search(own.data(), n, kDepth);
            }
            for (std::size_t i = 0; i < n; ++i) {
              QueryCase& query = cases[first + i];
              query.plain.push_back(summarise(plain_found[i], relevant(query.ref)));
              query.own.push_back(summarise(own_found[i], relevant(query.ref)));
            }
            for (std::size_t i = 0; i < mapped.size(); ++i) {
              const auto& [sent, ref] = mapped[i];
              sent->found.push_back(summarise(routed_found[i], relevant(ref)));
            }
          }
        });
  }
  const Chooser chooser(data, std::move(cases));
  chooser.choose_bound(parameters);
  chooser.choose_routed(parameters);
  return parameters;
}

}  // namespace collegium::router
