#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/progress.h"
#include "collegium/router/learning.h"
#include "learning_data.h"
#include "learning_routers.h"

namespace collegium::router {

struct RouterChoice {
  std::size_t router = 0;    // position
  PolicyParameters policy;   // chosen under it
  std::vector<double> ndcg;  // by router; empty without dev queries
};

// The router with which dev queries of the merged library do best under what dev chooses for it:
// the mean of the nDCG@10 of bound and of routed, averaged
// over collections. Each query with a stranger (FittedRouter) counts half as known and half as
// strange: accuracy does not ask what becomes of questions of collections that nobody labelled. The
// first router, unless a later one gains more than the standard error of the paired differences.
//
// So are the policy's parameters under that router. Of settings that differ by less than 0.05
// points the cheaper or more careful one is taken: fewer collections searched again, a smaller
// weight, more abstention, to the plain encoder rather than to the mixture. Without dev queries the
// first router and the defaults below. Scores are compared by another rule than the mean of the
// best if that gains more than its standard error, and loses nothing where the query's own
// collection is taken for one that nobody labelled. What abstains is chosen by strangers too.
// `routers`: at least one.
Result<RouterChoice> choose_router(const LearningData& data, const PackedLibrary& library,
                                   const std::map<std::string, core::TrainedHeadAdapter>& adapters,
                                   std::span<const FittedRouter> routers,
                                   const core::ProgressCallback& progress);

// Without dev queries: a prior that decides between near equals.
inline constexpr double kCautiousPriorWeight = 0.01;

}  // namespace collegium::router
