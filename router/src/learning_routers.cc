#include "learning_routers.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "collegium/core/thread_pool.h"
#include "routers/router_base.h"

namespace collegium::router {
namespace {

constexpr std::size_t kWinnerQueries = 300;  // of each collection, for pilots by winner
constexpr std::size_t kQueriesPerTask = 32;

constexpr std::size_t kTrain = static_cast<std::size_t>(Split::kTrain);
constexpr std::size_t kDev = static_cast<std::size_t>(Split::kDev);

// Routers learn a collection without training queries from its dev queries. What is chosen on dev
// must not be chosen by a router that learned from the same query, so there are two more, each of
// which did not see one half: that of the queries whose number modulo 2 is the half's.
constexpr std::size_t kNoHalf = 2;

RouterExamples no_examples(const LearningData& data, std::span<const float> centroids) {
  RouterExamples examples;
  examples.dim = data.dim;
  examples.centroids.assign(centroids.begin(), centroids.end());
  for (const auto& collection : data.collections) examples.collections.push_back(collection.name);
  return examples;
}

void append(RouterExamples& examples, std::span<const float> vectors, std::size_t label,
            double weight = 1.0) {
  const std::size_t count = vectors.size() / examples.dim;
  examples.vectors.insert(examples.vectors.end(), vectors.begin(), vectors.end());
  examples.labels.insert(examples.labels.end(), count, static_cast<std::uint32_t>(label));
  examples.weights.insert(examples.weights.end(), count, weight);
}

RouterExamples without_queries(RouterExamples examples) {
  examples.vectors.clear();
  examples.labels.clear();
  examples.weights.clear();
  return examples;
}

std::span<const float> row(const RouterExamples& examples, std::size_t i) {
  return std::span(examples.vectors).subspan(i * examples.dim, examples.dim);
}

// The dev queries of the collections that have no others; `left_out`: a half, or kNoHalf.
void append_only_dev(const LearningData& data, std::size_t left_out, RouterExamples& examples) {
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    if (!only_dev(data.collections[c])) continue;
    for (std::size_t q = 0; q < data.collections[c].splits[kDev].size(); ++q)
      if (q % 2 != left_out) append(examples, {vector_of(data, Split::kDev, {c, q}), data.dim}, c);
  }
}

RouterExamples source_examples(const LearningData& data, std::span<const float> centroids,
                               std::size_t left_out) {
  RouterExamples examples = no_examples(data, centroids);
  for (std::size_t c = 0; c < data.collections.size(); ++c)
    append(examples, data.collections[c].splits[kTrain].vectors, c);
  append_only_dev(data, left_out, examples);
  return examples;
}

// What a router that did not see `half` is calibrated and measured on.
RouterExamples dev_examples(const LearningData& data, std::span<const float> centroids,
                            std::size_t half) {
  RouterExamples examples = no_examples(data, centroids);
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const QuerySet& dev = data.collections[c].splits[kDev];
    if (!only_dev(data.collections[c])) append(examples, dev.vectors, c);
    for (std::size_t q = half; q < dev.size() && only_dev(data.collections[c]); q += 2)
      if (half != kNoHalf) append(examples, {vector_of(data, Split::kDev, {c, q}), data.dim}, c);
  }
  return examples;
}

// Without the queries that somebody asked of another collection in training.
RouterExamples not_in(const RouterExamples& train, const RouterExamples& examples) {
  RouterExamples kept = without_queries(examples);
  const std::vector<std::size_t> places = places_in(train, examples);
  for (std::size_t i = 0; i < places.size(); ++i)
    if (places[i] == kNotThere)
      append(kept, row(examples, i), examples.labels[i], examples.weights[i]);
  return kept;
}

// Queries with the collections that they are of, which are not always their labels.
struct SourcedExamples {
  RouterExamples examples;
  std::vector<std::uint32_t> sources;

  // Those whose collection is not left out; `left_out` by collection.
  RouterExamples without(const std::vector<bool>& left_out) const {
    RouterExamples kept = without_queries(examples);
    for (std::size_t i = 0; i < sources.size(); ++i)
      if (!left_out[sources[i]])
        append(kept, row(examples, i), examples.labels[i], examples.weights[i]);
    return kept;
  }
};

// Labels are the expert under which the query's own collection is searched best. Ties say nothing
// and go to the query's source where it is among the winners, if they are not to be dropped; a
// query that every expert loses or that several others win is dropped. Where a collection has no
// expert, its label stands for plain.
SourcedExamples winner_examples(const LearningData& data, const PackedLibrary& library,
                                const Experts& experts, std::span<const float> centroids,
                                const RouterLabels& labels) {
  const std::vector<QueryRef> refs = sample_queries(data, Split::kTrain, kWinnerQueries);
  const std::size_t dim = data.dim;
  std::vector<std::vector<double>> ndcg(refs.size());
  core::default_pool().parallel_for(
      (refs.size() + kQueriesPerTask - 1) / kQueriesPerTask, [&](std::size_t task) {
        for (std::size_t i = task * kQueriesPerTask;
             i < std::min(refs.size(), (task + 1) * kQueriesPerTask); ++i) {
          const QueryRef ref = refs[i];
          const QuerySet& queries = data.collections[ref.collection].splits[kTrain];
          const float* query = vector_of(data, Split::kTrain, ref);
          std::vector<float> mapped(experts.size() * dim);
          for (std::size_t e = 0; e < experts.size(); ++e) {
            if (experts[e] != nullptr)
              experts[e]->apply(query, &mapped[e * dim]);
            else
              std::copy_n(query, dim, &mapped[e * dim]);
          }
          const auto found = library.collections[ref.collection].search(
              mapped.data(), experts.size(), labels.cutoff);
          for (const auto& documents : found) {
            std::vector<std::size_t> ranks;
            for (std::uint32_t relevant : queries.relevant[ref.query]) {
              std::size_t rank = 0;
              while (rank < documents.size() && documents[rank].document != relevant) ++rank;
              ranks.push_back(rank < documents.size() ? rank : labels.cutoff);
            }
            ndcg[i].push_back(ndcg_at(labels.cutoff, ranks, queries.gains[ref.query]));
          }
        }
      });
  SourcedExamples winners{no_examples(data, centroids), {}};
  for (std::size_t i = 0; i < refs.size(); ++i) {
    const std::size_t source = refs[i].collection;
    const auto add = [&](std::size_t label, double weight) {
      append(winners.examples, {vector_of(data, Split::kTrain, refs[i]), dim}, label, weight);
      winners.sources.push_back(static_cast<std::uint32_t>(source));
    };
    if (labels.source_weight > 0.0) add(source, labels.source_weight);
    double best = 0.0, next = 0.0;
    std::size_t winner = 0, many = 0;
    for (std::size_t e = 0; e < experts.size(); ++e) {
      if (experts[e] == nullptr && e != source) continue;
      if (ndcg[i][e] > best)
        next = best, best = ndcg[i][e], many = 0;
      else if (ndcg[i][e] < best)
        next = std::max(next, ndcg[i][e]);
      if (ndcg[i][e] == best) winner = e, ++many;
    }
    if (best == 0.0) continue;
    if (many > 1 && (labels.drop_ties || labels.margin_weights)) continue;
    if (ndcg[i][source] == best) winner = source, many = 1;
    if (many > 1) continue;
    add(winner, labels.margin_weights ? best - next : 1.0);
  }
  return winners;
}

// By collection, of the queries in `examples`: how many there are, how many are sent to their own.
struct Tally {
  explicit Tally(std::size_t collections) : all(collections, 0.0), right(collections, 0.0) {}

  void add(const Router& router, const RouterExamples& examples) {
    std::vector<float> probabilities(all.size());
    for (std::size_t i = 0; i < examples.labels.size(); ++i) {
      router.probabilities(&examples.vectors[i * examples.dim], probabilities);
      const auto top = std::max_element(probabilities.begin(), probabilities.end());
      all[examples.labels[i]] += 1.0;
      if (top - probabilities.begin() == examples.labels[i]) right[examples.labels[i]] += 1.0;
    }
  }
  // The mean over collections.
  double accuracy() const {
    double sum = 0.0, present = 0.0;
    for (std::size_t c = 0; c < all.size(); ++c)
      if (all[c] > 0.0) sum += right[c] / all[c], present += 1.0;
    return present > 0.0 ? sum / present : 0.0;
  }

  std::vector<double> all, right;
};

class RouterFitting {
 public:
  RouterFitting(const LearningData& data, const PackedLibrary& library, const Experts& experts,
                const RouterLabels& labels)
      : data_(data),
        by_(labels.by),
        halves_(std::any_of(data.collections.begin(), data.collections.end(), only_dev)) {
    const std::vector<float> centroids = document_centroids(data);
    const SourcedExamples winners = winner_examples(data, library, experts, centroids, labels);
    for (std::size_t half = halves_ ? 0 : kNoHalf; half <= kNoHalf; ++half) {
      Given& given = given_[half];
      const auto by_label = [](RouterExamples examples) {
        return SourcedExamples{examples, examples.labels};
      };
      given.sources = by_label(source_examples(data, centroids, half));
      given.dev = by_label(not_in(given.sources.examples, dev_examples(data, centroids, half)));
      given.winners = winners;
      append_only_dev(data, half, given.winners.examples);
      const auto& added = given.winners.examples.labels;  // the collections of what was added
      given.winners.sources.insert(
          given.winners.sources.end(),
          added.begin() + static_cast<std::ptrdiff_t>(winners.sources.size()), added.end());
    }
  }

  bool has_dev() const {
    return std::any_of(data_.collections.begin(), data_.collections.end(),
                       [](const auto& collection) { return collection.splits[kDev].size() > 0; });
  }

  Result<FittedRouter> fit(std::string_view kind) const {
    FittedRouter fitted;
    Tally tally(data_.collections.size());
    COLLEGIUM_ASSIGN_OR_RETURN(fitted.router, fit_on(kind, kNoHalf));
    if (!halves_) tally.add(*fitted.router, given_[kNoHalf].dev.examples);
    for (std::size_t half = 0; half < 2 && halves_; ++half) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto blind, fit_on(kind, half));
      tally.add(*blind, given_[half].dev.examples);
      fitted.blind.push_back(std::move(blind));
    }
    fitted.accuracy = tally.accuracy();
    return fitted;
  }

  // As FittedRouter has them.
  Result<std::vector<std::shared_ptr<const Router>>> fit_strangers(std::string_view kind) const {
    std::vector<std::size_t> taught;
    for (std::size_t c = 0; c < data_.collections.size(); ++c)
      if (data_.collections[c].splits[kTrain].size() > 0) taught.push_back(c);
    std::vector<std::shared_ptr<const Router>> strangers;
    if (taught.size() < 2 || !has_dev()) return strangers;
    strangers.resize(data_.collections.size());
    const std::size_t groups = std::min(taught.size(), kStrangerGroups);
    const Given& given = given_[kNoHalf];
    for (std::size_t group = 0; group < groups; ++group) {
      std::vector<bool> left_out(data_.collections.size(), false);
      for (std::size_t i = group; i < taught.size(); i += groups) left_out[taught[i]] = true;
      COLLEGIUM_ASSIGN_OR_RETURN(
          const std::shared_ptr<const Router> router,
          fit_router(kind, given.train(kind, by_).without(left_out), given.dev.without(left_out)));
      for (std::size_t i = group; i < taught.size(); i += groups) strangers[taught[i]] = router;
    }
    return strangers;
  }

 private:
  // What a router learns from that does not see a half, and what it is calibrated and measured on.
  struct Given {
    SourcedExamples sources, winners, dev;
    const SourcedExamples& train(std::string_view kind, RouterLabels::By by) const {
      if (kind == "pilots-source") return sources;
      return kind == "pilots-winner" || by == RouterLabels::By::kWinner ? winners : sources;
    }
  };

  Result<std::shared_ptr<const Router>> fit_on(std::string_view kind, std::size_t half) const {
    return fit_router(kind, given_[half].train(kind, by_).examples, given_[half].dev.examples);
  }

  const LearningData& data_;
  const RouterLabels::By by_;
  const bool halves_;
  std::array<Given, kNoHalf + 1> given_;  // by half; the halves' own: only where there are such
};

}  // namespace

std::vector<float> document_centroids(const LearningData& data) {
  std::vector<float> centroids;
  for (const auto& collection : data.collections) {
    std::vector<double> sum(data.dim, 0.0);
    std::vector<double> passages(collection.document_ids.size(), 0.0);
    for (std::uint32_t document : collection.passage_document) passages[document] += 1.0;
    for (std::size_t row = 0; row < collection.passage_document.size(); ++row)
      for (std::size_t d = 0; d < data.dim; ++d)
        sum[d] += double{collection.vectors[row * data.dim + d]} /
                  passages[collection.passage_document[row]];
    const auto documents = static_cast<double>(std::max<std::size_t>(passages.size(), 1));
    for (double value : sum) centroids.push_back(static_cast<float>(value / documents));
  }
  return centroids;
}

Result<FittedRouters> fit_routers(const LearningData& data, const PackedLibrary& library,
                                  const LearnOptions& options,
                                  const std::map<std::string, core::TrainedHeadAdapter>& adapters) {
  const RouterFitting fitting(data, library, experts_of(data, adapters), options.labels);
  std::vector<std::string_view> kinds = {"linear", "pilots-source", "pilots-winner", "nearest"};
  const std::size_t chosen_from = kinds.size();
  // The other kinds are fitted when one, or all, are asked for.
  for (std::string_view kind : router_kinds())
    if ((options.router == "all" || options.router == kind) &&
        std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      kinds.push_back(kind);
  const bool dev_chooses = options.router == "auto" || options.router == "all";
  FittedRouters routers;
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    COLLEGIUM_ASSIGN_OR_RETURN(FittedRouter fitted, fitting.fit(kinds[k]));
    routers.all.push_back(fitted.router);
    if (fitting.has_dev()) routers.dev_accuracy.emplace(kinds[k], fitted.accuracy);
    if (!(dev_chooses ? k < chosen_from : options.router == kinds[k])) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(fitted.strangers, fitting.fit_strangers(kinds[k]));
    routers.candidates.push_back(std::move(fitted));
  }
  return routers;
}

}  // namespace collegium::router
