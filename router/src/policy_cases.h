#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "collegium/core/progress.h"
#include "collegium/router/learning.h"
#include "learning_data.h"
#include "learning_routers.h"

// Dev queries of the merged library with what every search of it finds: what a router and the
// parameters of policies are chosen by.
namespace collegium::router {

// One collection's best documents for one query, descending.
struct Found {
  std::vector<float> scores;
  // Of the query's relevant documents, where this is their collection: score, or -infinity.
  std::vector<float> relevant;
};

// What a router says of a query.
struct Sent {
  std::vector<double> probabilities;  // by collection; empty: there is no such router
  std::vector<double> of_prior;       // as they count in one
  double margin = 0.0, familiarity = 0.0;
  std::optional<std::size_t> expert;  // the likeliest's; none: it has none
  std::vector<Found> mixed;           // under the mixture of experts; empty: there are none
};

struct QueryCase {
  QueryRef ref;
  std::vector<Found> plain, own;          // by collection; own empty: as plain
  std::vector<std::vector<Found>> under;  // by expert, then by collection; empty: not needed
  std::vector<Sent> known;                // by router
  std::vector<Sent> strange;  // by router: one of its kind that does not know the collection
};

inline constexpr std::size_t kCaseDepth = 100;  // documents of each collection, plain and own

// At most 2,000 queries, as many of each collection. cancelled.
Result<std::vector<QueryCase>> search_dev(const LearningData& data, const PackedLibrary& library,
                                          const Experts& experts,
                                          std::span<const FittedRouter> routers,
                                          const core::ProgressCallback& progress);

}  // namespace collegium::router
