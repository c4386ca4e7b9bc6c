#include "evaluation_baselines.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "collegium/core/random.h"

namespace collegium::router {

std::vector<core::HeadAdapter> noise_maps(std::span<const double> distances, std::size_t dim,
                                          std::uint64_t seed) {
  std::vector<core::HeadAdapter> maps;
  const double distance = std::accumulate(distances.begin(), distances.end(), 0.0) /
                          static_cast<double>(std::max<std::size_t>(distances.size(), 1));
  for (std::size_t i = 0; i < distances.size(); ++i) {
    core::Random random(core::derive_seed(seed, 1000 + i));
    std::vector<double> noise(dim * dim);
    double square = 0.0;
    for (double& value : noise) {
      value = random.normal();
      square += value * value;
    }
    std::vector<float> weight = core::HeadAdapter::identity(dim).weight();
    for (std::size_t j = 0; j < weight.size(); ++j)
      weight[j] += static_cast<float>(noise[j] * distance / std::sqrt(square));
    maps.push_back(
        std::move(core::HeadAdapter::create(dim, std::move(weight), std::vector<float>(dim, 0.0f)))
            .value());
  }
  return maps;
}

void fuse(std::span<const float* const> vectors, std::span<const float> weights, std::size_t dim,
          float* out) {
  std::vector<double> sum(dim, 0.0);
  for (std::size_t i = 0; i < vectors.size(); ++i)
    for (std::size_t d = 0; d < dim; ++d) sum[d] += double{weights[i]} * double{vectors[i][d]};
  double square = 0.0;
  for (double value : sum) square += value * value;
  if (!(square > 0.0)) {
    std::copy_n(vectors.front(), dim, out);
    return;
  }
  for (std::size_t d = 0; d < dim; ++d) out[d] = static_cast<float>(sum[d] / std::sqrt(square));
}

std::optional<NearestQuery> NearestQuery::create(const LearningData& data) {
  NearestQuery result;
  std::vector<float> vectors;
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const QuerySet& train = data.collections[c].splits[static_cast<std::size_t>(Split::kTrain)];
    vectors.insert(vectors.end(), train.vectors.begin(), train.vectors.end());
    result.collection_.insert(result.collection_.end(), train.size(), c);
  }
  if (vectors.empty()) return std::nullopt;
  result.queries_ = std::move(core::PackedVectors::create(vectors, data.dim)).value();
  return result;
}

std::size_t NearestQuery::choose(const float* query) const {
  std::vector<float> scores(queries_.size());
  queries_.scores(query, 1, scores.data(), scores.size());
  return collection_[static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) -
                                              scores.begin())];
}

}  // namespace collegium::router
