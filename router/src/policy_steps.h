#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "collegium/index/corpus.h"
#include "collegium/router/policy.h"

// The steps of a policy that learning repeats thousands of times when it chooses parameters, so
// that what is chosen is what run_policy() does.
namespace collegium::router {

// (n,) weight x log(max(probability, kMinProbability)).
std::vector<double> priors(std::span<const double> probabilities, double weight);

// Positions of collections by (best plain score + prior) descending, then position. Collections
// without a hit (best is -infinity) are left out.
std::vector<std::size_t> research_order(std::span<const double> best_plain,
                                        std::span<const double> prior);

// What is added to adapted scores so that their best `depth` have the mean of the plain ones'.
// Both descending. Only as many are compared as both have; none: 0.
double comparability_shift(std::span<const float> plain, std::span<const float> adapted,
                           std::size_t depth);

// By which adapted scores of a collection compare with its plain ones; both descending.
ScoreMap comparable(const PolicyParameters& parameters, std::string_view collection,
                    std::span<const float> plain, std::span<const float> adapted);

// The mean of what the experts made of a query, by probability, of length 1 (0 stays 0). Each of
// `vectors` has dim numbers; both are by collection.
std::vector<float> mixture(std::size_t dim, std::span<const float* const> vectors,
                           std::span<const double> probabilities);

// Keeps the best `k`, by (score descending, id bytewise ascending, collection).
void merge_hits(std::vector<index::Hit>& hits, std::size_t k);

}  // namespace collegium::router
