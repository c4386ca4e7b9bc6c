#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/export.h"
#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "collegium/router/router.h"

namespace collegium::router {

enum class Policy { kBound, kRouted, kMixed };
COLLEGIUM_API std::string_view policy_name(Policy policy) noexcept;
COLLEGIUM_API Result<Policy> parse_policy(std::string_view name);

// How a collection's adapted scores become comparable with plain ones:
//   top-mean    a shift of each query by which the best `shift_depth` have the mean of the plain
//   ones constant    one shift of each expert calibrated  scale and shift of each expert under
//   which equal scores are equal probabilities of
//               relevance (logistic regressions on plain and on adapted scores)
enum class Comparability { kTopMean, kConstant, kCalibrated };
COLLEGIUM_API std::string_view comparability_name(Comparability comparability) noexcept;
COLLEGIUM_API Result<Comparability> parse_comparability(std::string_view name);

// An adapted score, comparable: scale x score + shift.
struct ScoreMap {
  double scale = 1.0;  // above 0
  double shift = 0.0;
};

// Chosen on dev by learn(); recorded with the generation.
struct COLLEGIUM_API PolicyParameters {
  Policy policy = Policy::kBound;
  // bound: how many collections are searched again under their own expert. Each costs one search.
  std::size_t research = 2;
  // bound: weight of log P(collection | query) in a passage's score. Range [0, 100]. 0: no prior.
  double prior_weight = 0.0;
  Comparability comparability = Comparability::kTopMean;  // bound
  // bound: hits whose mean score the shift equalises. Range [0, 10000]. 0: no shift.
  std::size_t shift_depth = 100;
  // bound, constant and calibrated: by collection. One that is not here is shifted by top-mean.
  std::map<std::string, ScoreMap, std::less<>> score_maps = {};
  // routed, mixed: the same weight for them. Range [0, 100].
  double routed_prior_weight = 0.0;
  // routed, mixed: abstain below either. Range [0, 1]. 0: never.
  double min_margin = 0.0;
  double min_familiarity = 0.0;
  // To the mixture of experts' query vectors that mixed searches with, so that mixed never does;
  // else to the plain encoder.
  bool abstain_to_mixture = false;
  // Collections of which the router has no question: what it says of them is a guess from their
  // documents. In a prior they count as at least kGuessedProbability, as does one that it does not
  // know at all.
  std::set<std::string, std::less<>> guessed = {};
  Status validate() const;
};

// Probabilities below this count as this: one wrong route must not hide a collection for ever.
inline constexpr double kMinProbability = 1e-6;
// A router that has seen none of a collection's questions gives it too little of them, and a prior
// whose weight was chosen on the questions of others would hide it. No lower floor was found that
// does not; a higher one takes from the others what the prior gives them.
inline constexpr double kGuessedProbability = 0.37;

// The `k` best documents of one collection for a query vector, by (score descending, id bytewise
// ascending).
using CollectionSearch = std::function<Result<std::vector<index::Hit>>(
    std::string_view collection, std::span<const float> query, std::size_t k)>;

struct PolicyInput {
  std::span<const std::string> collections;  // those allowed, bytewise ascending
  // By collection; one without an adapter (or with strength 0) is searched plainly.
  const std::map<std::string, core::TrainedHeadAdapter>* adapters = nullptr;
  const Router* router = nullptr;  // null: no prior, routed abstains
  std::span<const float> query;    // (dim,), the plain encoder's
  std::size_t k = 10;
};

struct PolicyResult {
  Route route;
  // Merged by (score descending, document id, collection ascending), at most k. Scores include
  // shift and prior.
  std::vector<index::Hit> hits;
  // The plain search of everything, merged without prior, at most max(k, kGateDepth): what the gate
  // looks at, whatever the policy.
  std::vector<index::Hit> plain_hits;
  std::size_t searches = 0;  // collection searches made
  std::size_t maps = 0;      // experts that mapped the query
};
inline constexpr std::size_t kGateDepth = 10;

// Runs one query under `parameters`:
//   bound   a plain search of every collection; the `research` first by (best plain hit + prior)
//           are searched again under their own experts, their scores made comparable with plain
//           ones (Comparability); everything gets its prior. No collection without expert can be
//           harmed by another one's.
//   routed  (RouterRetriever, arXiv 2409.02685) the likeliest collection's expert maps the query
//           for every collection; abstains below min_margin or min_familiarity.
//   mixed   the mean of all experts' query vectors (plain for a collection without one), weighted
//           by probability, searches every collection; abstains as routed.
// Results are a function of the arguments alone. invalid_argument: no collections, or not
// ascending; a query that is not finite or of another dim than router or adapters; k 0; parameters
// out of range. Failures of `search` are passed on.
COLLEGIUM_API Result<PolicyResult> run_policy(const PolicyParameters& parameters,
                                              const PolicyInput& input,
                                              const CollectionSearch& search);

}  // namespace collegium::router
