#include "policy_steps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace collegium::router {

std::vector<double> priors(std::span<const double> probabilities, double weight) {
  std::vector<double> result;
  for (double probability : probabilities)
    result.push_back(weight == 0.0 ? 0.0
                                   : weight * std::log(std::max(probability, kMinProbability)));
  return result;
}

std::vector<std::size_t> research_order(std::span<const double> best_plain,
                                        std::span<const double> prior) {
  std::vector<std::size_t> order;
  for (std::size_t c = 0; c < best_plain.size(); ++c)
    if (best_plain[c] > -std::numeric_limits<double>::infinity()) order.push_back(c);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return best_plain[a] + prior[a] > best_plain[b] + prior[b];
  });
  return order;
}

double comparability_shift(std::span<const float> plain, std::span<const float> adapted,
                           std::size_t depth) {
  const std::size_t n = std::min({plain.size(), adapted.size(), depth});
  if (n == 0) return 0.0;
  double difference = 0.0;
  for (std::size_t i = 0; i < n; ++i) difference += double{plain[i]} - double{adapted[i]};
  return difference / static_cast<double>(n);
}

ScoreMap comparable(const PolicyParameters& parameters, std::string_view collection,
                    std::span<const float> plain, std::span<const float> adapted) {
  if (parameters.comparability != Comparability::kTopMean) {
    const auto found = parameters.score_maps.find(collection);
    if (found != parameters.score_maps.end()) return found->second;
  }
  return {1.0, comparability_shift(plain, adapted, parameters.shift_depth)};
}

std::vector<float> mixture(std::size_t dim, std::span<const float* const> vectors,
                           std::span<const double> probabilities) {
  std::vector<double> sum(dim, 0.0);
  for (std::size_t c = 0; c < vectors.size(); ++c)
    for (std::size_t d = 0; d < dim; ++d) sum[d] += probabilities[c] * double{vectors[c][d]};
  double square = 0.0;
  for (double value : sum) square += value * value;
  const double scale = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
  std::vector<float> result;
  for (double value : sum) result.push_back(static_cast<float>(value * scale));
  return result;
}

void merge_hits(std::vector<index::Hit>& hits, std::size_t k) {
  const auto before = [](const index::Hit& a, const index::Hit& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::tie(a.document_id, a.collection) < std::tie(b.document_id, b.collection);
  };
  const std::size_t kept = std::min(k, hits.size());
  std::partial_sort(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(kept), hits.end(),
                    before);
  hits.resize(kept);
}

}  // namespace collegium::router
