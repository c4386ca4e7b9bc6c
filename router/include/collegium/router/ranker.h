#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/file_envelope.h"
#include "collegium/core/status.h"
#include "collegium/index/fusion.h"
#include "collegium/router/metrics.h"

namespace collegium::router {

// What is known of one candidate for one query.
//   plain          similarity to the plain query vector
//   own            to its expert's, shifted so that it compares (as plain where there is none)
//   lexical z      BM25 within its collection's list, likewise
//   lexical share  BM25 over the best of all collections for this query
//   prior          log P(collection | query), at least kRankerLeastPrior
// What a list lacks has the score of that list's last: it is known to be no better.
inline constexpr std::array<std::string_view, 5> kRankerFeatureNames = {"plain", "own", "lexical z",
                                                                        "lexical share", "prior"};
// A router that is sure and wrong must not decide alone.
inline constexpr float kRankerLeastPrior = -6.0f;
// At least this is the prior of a collection that taught the ranker nothing: a router that has seen
// none of its questions gives it too little. Without it unlabelled collections lose what words and
// vectors win.
inline constexpr float kRankerUnknownPrior = -0.5f;
inline constexpr std::size_t kRankerFeatures = kRankerFeatureNames.size();
using RankerFeatures = std::array<float, kRankerFeatures>;

// How many documents of each list of a collection are candidates.
inline constexpr std::size_t kRankerDepth = 100;

// One collection's lists for one query, each best first, every id once, scores finite.
struct RankerSource {
  std::string_view collection;
  double probability = 1.0;  // P(collection | query), in (0, 1]
  std::span<const index::RankedDocument> plain;
  std::span<const index::RankedDocument> own;  // shifted; empty: not searched under an expert
  std::span<const index::RankedDocument> lexical;
};

struct RankedCandidate {
  std::size_t source = 0;  // of the sources
  // Positions in its lists, or index::kNotRanked. `dense` is in `own`, or in `plain` where that is
  // empty.
  std::size_t dense = index::kNotRanked, lexical = index::kNotRanked;
  std::string_view id;  // looks into the lists
  RankerFeatures features{};
  double rivals = 0.0;       // how strong the best of the query are together: log sum exp
  double score = 0.0;        // log odds
  double probability = 0.0;  // of being relevant
};

// The union of all lists, `depth` of each, in the order of the sources and, in one, of its dense
// list, then of what words alone found. invalid_argument: a probability out of (0, 1], a score that
// is not finite.
COLLEGIUM_API Result<std::vector<RankedCandidate>> ranker_candidates(
    std::span<const RankerSource> sources, std::size_t depth = kRankerDepth);

// What a feature gave to a score.
struct RankerContribution {
  std::string_view feature;  // of kRankerFeatureNames, or "collection", "rivals"
  float value = 0.0f;        // as it is
  double weight = 0.0;       // of it, standardised, in this collection
  double given = 0.0;        // to the log odds; those of all sum to the score
};

struct RankerOptions {
  // Penalties of |w|^2 / 2 for the weights that all collections share and for what each
  // collection's differ from them by, against the mean loss of a query. [1e-9, 1e9]
  double l2 = 1e-4;
  double l2_collection = 1e-2;
  std::size_t max_iterations = 200;
  Status validate() const;
};

// Judged queries to learn from. Adding copies what is needed, so lists need not live on.
class COLLEGIUM_API RankerExamples {
 public:
  // A query of `collection` with its judged documents there. Of the other candidates the first
  // kRankerNegatives of each list are kept. A query of which nothing relevant is among the
  // candidates teaches nothing and is counted alone. invalid_argument as ranker_candidates().
  Status add(std::string_view collection, std::span<const RankerSource> sources,
             const Judgments& judgments);
  std::size_t size() const noexcept { return queries_.size(); }

 private:
  friend class Ranker;
  struct Row {
    RankerFeatures features;
    std::uint32_t collection;  // of names_
    float gain;
  };
  struct Query {
    std::uint32_t collection;
    double ideal;  // DCG@10 of all that is relevant
    std::vector<Row> rows;
  };
  std::uint32_t number_of(std::string_view collection);
  std::vector<std::string> names_;
  std::map<std::string, std::uint32_t, std::less<>> numbers_;
  std::vector<Query> queries_;
};
inline constexpr std::size_t kRankerNegatives = 15;

// The learned order of candidates of several collections: a linear score of their features with
// weights of each collection that are shrunk towards shared ones (a collection that taught nothing
// has those), learned listwise: the softmax over a query's candidates against the gains of what is
// relevant (ListNet, Cao et al., ICML 2007). A logistic curve over the score and how strong its
// rivals are makes it a probability of relevance (as Platt, 1999), fitted on scores of rankers that
// did not see the query. Immutable; const methods may run on any number of threads at once.
class COLLEGIUM_API Ranker {
 public:
  // Every collection of the queries counts the same. failed_precondition without any query that
  // teaches; invalid_argument: options. Deterministic. blind_ndcg, if wanted, becomes nDCG@10 of
  // each query under a ranker that did not see it (n,).
  static Result<std::shared_ptr<const Ranker>> fit(const RankerExamples& examples,
                                                   const RankerOptions& options = {},
                                                   std::vector<double>* blind_ndcg = nullptr);

  // nDCG@10 of each query of `strange` (n,) under a ranker that learned from `known` but for a
  // third of the collections, the query's own among them: it is to be merged as one that nobody
  // labelled. failed_precondition where the others teach nothing; invalid_argument: options.
  static Result<std::vector<double>> stranger_ndcg(const RankerExamples& known,
                                                   const RankerExamples& strange,
                                                   const RankerOptions& options = {});

  // The `k` best candidates by (score descending, id, collection bytewise ascending). Errors as
  // ranker_candidates().
  Result<std::vector<RankedCandidate>> rank(std::span<const RankerSource> sources,
                                            std::size_t k) const;
  // In the order of kRankerFeatureNames, then "collection" and "rivals".
  std::vector<RankerContribution> explain(std::string_view collection,
                                          const RankedCandidate& candidate) const;
  // Collections with weights of their own, ascending.
  std::vector<std::string> collections() const;
  std::size_t queries() const noexcept { return queries_; }

  // The payload of file kind "ranker" (docs/formats.md).
  std::vector<std::byte> serialize() const;
  static Result<std::shared_ptr<const Ranker>> deserialize(std::span<const std::byte> bytes);

 private:
  // Of standardised features; the last is the bias.
  using Weights = std::array<double, kRankerFeatures + 1>;
  Ranker() = default;
  const Weights& weights_of(std::string_view collection) const;
  static Ranker fit_weights(const RankerExamples& examples, std::span<const std::size_t> queries,
                            const RankerOptions& options);
  double raw_score(const Weights& weights, const RankerFeatures& features) const noexcept;
  // A collection that has the shared weights has at least the prior of the unknown.
  RankerFeatures features_under(const Weights& weights, RankerFeatures features) const;
  // (score, gain) of the best of a query's rows, and what their order is worth.
  struct Shown {
    std::vector<std::pair<double, float>> best;
    double ndcg = 0.0;
  };
  Shown shown(const RankerExamples& examples, std::size_t query) const;
  // What the curve is fitted on: one of the best of a query.
  struct Scored {
    double score, rivals;
    bool relevant;
  };
  void calibrate(std::span<const Scored> scored);

  std::array<double, kRankerFeatures> mean_{}, scale_{};
  Weights shared_{};
  std::map<std::string, Weights, std::less<>> own_;
  // log odds = slope * raw + rivalry * rivals + offset
  double slope_ = 1.0, rivalry_ = 0.0, offset_ = 0.0;
  std::size_t queries_ = 0;
};
inline constexpr core::FileKind kRankerFileKind{"ranker", 1};

}  // namespace collegium::router
