#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/experts/packed_vectors.h"
#include "collegium/router/learning.h"

// What evaluation sets beside the routers and policies, and no library serves.
namespace collegium::router {

// As many random maps as `distances`, each as far from the identity (Frobenius norm of W - I) as
// they are on average: experts that know nothing. Empty for none.
std::vector<core::HeadAdapter> noise_maps(std::span<const double> distances, std::size_t dim,
                                          std::uint64_t seed);

// Soft fusion: out (dim,) = normalise(sum over i of weights[i] * vectors[i]), (n, dim) unit
// vectors; the first of them if the sum is zero.
void fuse(std::span<const float* const> vectors, std::span<const float> weights, std::size_t dim,
          float* out);

// The nearest-neighbour router: a query goes where the nearest training query came from.
class NearestQuery {
 public:
  // None where the data have no training queries. `data` is checked (pack_library).
  static std::optional<NearestQuery> create(const LearningData& data);
  std::size_t size() const noexcept { return collection_.size(); }
  // Position among data.collections. Of equally near ones the first in (collection, query).
  std::size_t choose(const float* query) const;

 private:
  core::PackedVectors queries_;
  std::vector<std::size_t> collection_;  // by training query
};

}  // namespace collegium::router
