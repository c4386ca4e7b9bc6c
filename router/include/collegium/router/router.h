#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/file_envelope.h"
#include "collegium/core/status.h"

namespace collegium::router {

struct Route;  // below

// Why a collection got its probability.
struct RouterReason {
  std::string collection;
  double score = 0.0;  // what the softmax made the probability of
  double probability = 0.0;
  std::string why;  // one line, for people
};

// Learned P(collection | query) on the plain query vector. Immutable; const methods may run on any
// number of threads at once.
class COLLEGIUM_API Router {
 public:
  virtual ~Router() = default;
  // As fit_router() takes it.
  virtual std::string_view kind() const noexcept = 0;
  virtual std::size_t dim() const noexcept = 0;
  virtual const std::vector<std::string>& collections() const noexcept = 0;
  // out (collections,): probabilities that sum to one. query (dim,).
  virtual void probabilities(const float* query, std::span<float> out) const noexcept = 0;
  // How near the query is to what the router was fitted on, as a quantile in [0, 1] of the
  // training queries' own nearness: 0 is farther than all of them.
  virtual float familiarity(const float* query) const noexcept = 0;
  // The payload of file kind "router" (docs/formats.md).
  virtual std::vector<std::byte> serialize() const = 0;

  // Entries by probability, descending. Abstains where the kind has a rule of its own
  // ("utterances"). invalid_argument: a query of another dim, or not finite.
  virtual Result<Route> route(std::span<const float> query) const;
  // The same order. invalid_argument as route().
  virtual Result<std::vector<RouterReason>> explain(std::span<const float> query) const;

  // This router with one collection more, or one fewer; scores of the others keep their bits.
  // queries (n, dim), n >= 1: of the new collection. not_supported where all are learned together
  // ("linear", "mlp", "two-step": fit anew, which takes seconds; without one fewer works for linear
  // and mlp). already_exists, not_found; invalid_argument: not finite, sizes, or the last one.
  virtual Result<std::shared_ptr<const Router>> add_expert(std::string_view name,
                                                           std::span<const float> queries) const;
  virtual Result<std::shared_ptr<const Router>> remove_expert(std::string_view name) const;
};

inline constexpr core::FileKind kRouterFileKind{"router", 2};
// corruption on sizes that do not fit or numbers that are not finite; not_supported on a kind of
// router this build does not know.
COLLEGIUM_API Result<std::shared_ptr<const Router>> deserialize_router(
    std::span<const std::byte> bytes);

// A router as a file of its own, beside the digest of the encoder whose vectors it reads. load() is
// failed_precondition when that is another one, else as deserialize_router() and core::read_file().
COLLEGIUM_API Status save_router(const Router& router, const std::string& path,
                                 std::string_view encoder_digest);
COLLEGIUM_API Result<std::shared_ptr<const Router>> load_router(const std::string& path,
                                                                std::string_view encoder_digest);

// Labelled queries: label[i] is a position in `collections`.
struct RouterExamples {
  std::vector<std::string> collections;
  std::size_t dim = 0;
  std::vector<float> vectors;         // (n, dim)
  std::vector<std::uint32_t> labels;  // (n,)
  // (n,) above 0, how much each counts beside the others of its label; empty: all the same. linear,
  // mlp, and pilots by their mean read them.
  std::vector<double> weights = {};
  // (collections, dim) mean document vector of each: what a collection without queries falls back
  // to.
  std::vector<float> centroids;
  // two-step: (n, collections) how good each collection's expert is for each query; empty: 1 for
  // the label's, 0 for the others.
  std::vector<float> quality;
};

// Of every kind of router; each names the fields it reads.
struct COLLEGIUM_API RouterOptions {
  // linear, mlp: ridge penalty, and the share of every target that is spread evenly.
  double l2 = 1e-3;
  double label_smoothing = 0.0;      // [0, 1)
  std::size_t max_iterations = 200;  // linear
  std::size_t hidden = 64;           // mlp: units. [1, 4096]
  std::size_t epochs = 30;           // mlp. [1, 10000]
  // pilots, utterances: what a collection's pilots say together. nearest takes the maximum.
  enum class Aggregate { kMean, kMax, kTopMean };
  Aggregate aggregate = Aggregate::kMean;
  std::size_t top_k = 5;          // of kTopMean, at least 1
  std::size_t centroids = 0;      // pilots: k-means centroids instead of queries; 0: the queries
  bool cosine = false;            // else the inner product: the same for vectors of an encoder
  std::size_t max_pilots = 1000;  // of each collection, evenly spread
  // two-step: groups that collections are put in by k-means of their mean queries; 0: about the
  // square root of their number. At most `budget` of `costs` (by collection; empty: 1 each) is
  // spent on experts.
  std::size_t categories = 0;
  std::vector<double> costs;
  double budget = 0.0;  // 0: no limit
  std::uint64_t seed = 1;
  Status validate() const;
};

// The kinds:
//   linear         multinomial logistic regression, class-balanced
//   mlp            one hidden layer of ReLU (the classifier of MoDEM, arXiv 2410.07490)
//   pilots-source  RouterRetriever (arXiv 2409.02685): the mean similarity to a collection's pilot
//   pilots-winner  embeddings; labels are collections, or the expert that won the query. A mean is
//                  the similarity to the mean, so a collection is one prototype; with another
//                  aggregate or centroids the pilots are kept
//   nearest        the nearest stored query of each collection (RouterRetriever's DatasetRouter)
//   utterances     as nearest, by `aggregate`; abstains below a threshold of each collection, which
//                  is fitted on dev
//   two-step       Composition of Experts (arXiv 2412.01868): a category, then the expert that is
//                  best for it within a budget
//   gaussians      a Gaussian of each collection's queries (SEED, arXiv 2401.10191), covariances
//                  shrunk towards a pooled one; familiarity is by their distance
// All are temperature-calibrated on `dev` (arXiv 1706.04599, with a prior towards "not calibrated",
// so that a small dev does little). A collection without queries is learned from its centroid
// alone. invalid_argument on sizes, unknown kinds or labels, options out of range, or numbers that
// are not finite, and if a query of `dev` is one of `train` too. `dev` may be empty: not calibrated
// then.
COLLEGIUM_API Result<std::shared_ptr<const Router>> fit_router(std::string_view kind,
                                                               const RouterExamples& train,
                                                               const RouterExamples& dev,
                                                               const RouterOptions& options = {});
// In the order above.
COLLEGIUM_API std::span<const std::string_view> router_kinds() noexcept;

struct RouteEntry {
  std::string collection;
  // bound: the collection's own name if it has an adapter, else "plain". routed: whose expert
  // searched it, the same for every entry; "plain" where the plain vector did. mixed: "mixture".
  std::string expert;
  double probability = 0.0;
  bool searched_again = false;  // under `expert`
  // bound: its adapted scores are multiplied and added to, so that they compare with plain ones.
  double scale = 1.0;
  double shift = 0.0;
  double prior = 0.0;           // weight x log(probability), added to all its scores
  double lexical_weight = 0.0;  // of its words beside its vectors; 0: its words were not searched
};

// Which collections under which experts, and why. Abstaining is an answer, not an error.
struct Route {
  std::vector<RouteEntry> entries;  // by probability, descending
  double margin = 0.0;              // between the first two
  double familiarity = 1.0;
  bool abstained = false;
  std::string router;  // Router::kind(), or "none"
  std::string policy;  // "bound", "routed" or "mixed"
  std::string reason;  // one line, for people
};

}  // namespace collegium::router
