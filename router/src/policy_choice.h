#pragma once

#include "collegium/core/progress.h"
#include "collegium/router/learning.h"
#include "learning_data.h"

namespace collegium::router {

// The parameters under which dev queries of the merged library do best, by nDCG@10 averaged over
// collections. Of settings that differ by less than 0.05 points the cheaper or more careful one is
// taken: fewer collections searched again, a smaller weight, more abstention, to the plain encoder
// rather than to the mixture. Without dev queries
// the defaults below. Scores are compared by another rule than the mean of the best if that gains
// more than its standard error, and loses nothing where the query's own collection is taken for one
// that nobody labelled. What abstains is chosen by `stranger_routers` too, each dev query of theirs
// counting half as known and half as strange. Reads these, `adapters`, `router` and
// `blind_routers`.
Result<PolicyParameters> choose_policy(const LearningData& data, const PackedLibrary& library,
                                       const Learned& learned,
                                       const core::ProgressCallback& progress);

// Without dev queries: a prior that decides between near equals.
inline constexpr double kCautiousPriorWeight = 0.01;

}  // namespace collegium::router
