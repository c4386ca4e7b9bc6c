#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"
#include "collegium/index/fusion.h"
#include "collegium/router/metrics.h"

namespace collegium::router {

// One judged question of a collection with both rankings of its documents, each best first, every
// id once, scores finite.
struct FusionCase {
  Ranking dense, lexical;
  Judgments judgments;
};

// How one collection's dense and lexical rankings become one, and what that is worth on dev.
struct CollectionFusion {
  index::FusionOptions options;
  std::size_t dev_queries = 0;
  // Fewer dev queries than kMinFusionQueries: the weight that is best on average over the
  // collections that have enough, or index::FusionOptions' own if none has.
  bool pooled = false;
  double dev_ndcg_dense = 0.0, dev_ndcg = 0.0;  // @10; 0 without dev queries
};
inline constexpr std::size_t kMinFusionQueries = 50;

// Chooses each collection's lexical weight among 0, 0.05, ..., 1 by nDCG@10 of `dev`; of weights
// within 0.0005 of the best, the smallest. Collections without cases are pooled too. Deterministic,
// whatever the number of threads. invalid_argument: scores that are not finite.
COLLEGIUM_API Result<std::map<std::string, CollectionFusion>> choose_fusion(
    const std::map<std::string, std::vector<FusionCase>>& dev, index::FusionRule rule);

}  // namespace collegium::router
