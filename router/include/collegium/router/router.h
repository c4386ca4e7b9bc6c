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

// Learned P(collection | query) on the plain query vector. Immutable; const methods may run on any
// number of threads at once.
class COLLEGIUM_API Router {
 public:
  virtual ~Router() = default;
  // "linear", "pilots-source", "pilots-winner".
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
};

inline constexpr core::FileKind kRouterFileKind{"router", 1};
// corruption on sizes that do not fit or numbers that are not finite; not_supported on a kind of
// router this build does not know.
COLLEGIUM_API Result<std::shared_ptr<const Router>> deserialize_router(
    std::span<const std::byte> bytes);

// Labelled queries: label[i] is a position in `collections`.
struct RouterExamples {
  std::vector<std::string> collections;
  std::size_t dim = 0;
  std::vector<float> vectors;         // (n, dim)
  std::vector<std::uint32_t> labels;  // (n,)
  // (collections, dim) mean document vector of each: what a collection without queries falls back
  // to.
  std::vector<float> centroids;
};

struct LinearRouterOptions {
  double l2 = 1e-3;  // ridge penalty; the calibrating temperature is fitted on dev
  std::size_t max_iterations = 200;
};

// Multinomial logistic regression, class-balanced, temperature-calibrated on `dev` (arXiv
// 1706.04599, with a prior towards "not calibrated", so that a small dev does little). A collection
// without queries is learned from its centroid alone. invalid_argument on sizes, unknown labels or
// numbers that are not finite. `dev` may be empty: not calibrated then.
COLLEGIUM_API Result<std::shared_ptr<const Router>> fit_linear_router(
    const RouterExamples& train, const RouterExamples& dev,
    const LinearRouterOptions& options = {});

// RouterRetriever's pilots (arXiv 2409.02685): the mean similarity to a group's pilot embeddings.
// `kind` is "pilots-source" (labels are collections) or "pilots-winner" (labels are the expert that
// won the query). A mean similarity to pilots is the similarity to their mean, so an expert is one
// prototype; dev sets the temperature alone.
COLLEGIUM_API Result<std::shared_ptr<const Router>> fit_pilot_router(const RouterExamples& train,
                                                                     const RouterExamples& dev,
                                                                     std::string_view kind);

struct RouteEntry {
  std::string collection;
  // bound: the collection's own name if it has an adapter, else "plain". routed: whose expert
  // searched it, the same for every entry; "plain" where the plain vector did.
  std::string expert;
  double probability = 0.0;
  bool searched_again = false;  // under `expert`
  double shift = 0.0;           // bound: added to its adapted scores, so that they compare
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
  std::string policy;  // "bound" or "routed"
  std::string reason;  // one line, for people
};

}  // namespace collegium::router
