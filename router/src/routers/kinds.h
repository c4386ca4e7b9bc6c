#pragma once

#include <memory>
#include <vector>

#include "routers/router_base.h"

namespace collegium::router {

// The kinds of fit_router(), which has checked the arguments.
RouterResult fit_linear(const RouterExamples& train, const RouterExamples& dev,
                        const RouterOptions& options);
RouterResult fit_mlp(const RouterExamples& train, const RouterExamples& dev,
                     const RouterOptions& options);
// Pilots by their mean similarity, which is the similarity to their mean.
RouterResult fit_mean_pilots(std::string_view kind, const RouterExamples& train,
                             const RouterExamples& dev);
// Pilots that are kept. kind: "pilots-source", "pilots-winner", "nearest", "utterances".
RouterResult fit_pilots(std::string_view kind, const RouterExamples& train,
                        const RouterExamples& dev, const RouterOptions& options);
RouterResult fit_gaussians(const RouterExamples& train, const RouterExamples& dev,
                           const RouterOptions& options);
RouterResult fit_two_step(const RouterExamples& train, const RouterExamples& dev,
                          const RouterOptions& options);

// The training queries, and for each collection without any its centroid, normalised.
struct RouterRows {
  std::vector<float> vectors;         // (n, dim)
  std::vector<std::uint32_t> labels;  // (n,)
  std::vector<double> weights;        // (n,) every label that occurs counts the same; mean 1
};
RouterRows rows_of(const RouterExamples& train);

// `k` centroids of `rows` (n, dim) by Lloyd's iterations from k-means++ (Arthur and Vassilvitskii,
// 2007); the rows themselves if there are no more.
std::vector<float> k_means(std::span<const float> rows, std::size_t dim, std::size_t k,
                           std::uint64_t seed);

}  // namespace collegium::router
