#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "collegium/router/gate.h"
#include "logistic.h"
#include "sampling.h"

namespace collegium::router {
namespace {

constexpr std::size_t kNearQuestions = 5, kNearNegatives = 3;

double dot(const float* a, const float* b, std::size_t dim) {
  double sum = 0.0;
  for (std::size_t d = 0; d < dim; ++d) sum += double{a[d]} * double{b[d]};
  return sum;
}

// The mean similarity to the `count` nearest rows; 0 without rows.
double near(std::span<const float> rows, std::size_t dim, const float* query, std::size_t count) {
  std::vector<double> similarities;
  for (std::size_t first = 0; first < rows.size(); first += dim)
    similarities.push_back(dot(&rows[first], query, dim));
  const std::size_t n = std::min(count, similarities.size());
  if (n == 0) return 0.0;
  std::partial_sort(similarities.begin(), similarities.begin() + static_cast<std::ptrdiff_t>(n),
                    similarities.end(), std::greater<>());
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) sum += similarities[i];
  return sum / static_cast<double>(n);
}

}  // namespace

Result<GateReference> make_gate_reference(std::size_t dim, std::span<const float> centroids,
                                          std::span<const float> questions,
                                          std::span<const float> negatives) {
  const std::pair<const char*, std::span<const float>> inputs[] = {
      {"centroids", centroids}, {"questions", questions}, {"negatives", negatives}};
  for (const auto& [name, values] : inputs) {
    if (dim == 0 || values.size() % dim != 0)
      return Status::invalid_argument(std::string("gate ") + name + ": " +
                                      std::to_string(values.size()) +
                                      " floats is not a multiple of dim " + std::to_string(dim));
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!std::isfinite(values[i]))
        return Status::invalid_argument(std::string("gate ") + name + ": row " +
                                        std::to_string(i / dim) + " is not finite");
  }
  GateReference reference;
  reference.dim = dim;
  reference.centroids.assign(centroids.begin(), centroids.end());
  for (std::size_t first = 0; first < centroids.size(); first += dim) {
    float* row = &reference.centroids[first];
    const double norm = std::sqrt(dot(row, row, dim));
    if (norm > 0.0)
      for (std::size_t d = 0; d < dim; ++d) row[d] = static_cast<float>(row[d] / norm);
  }
  const auto thin = [dim](std::span<const float> rows, std::size_t at_most) {
    std::vector<float> kept;
    for (std::size_t row : evenly(rows.size() / dim, at_most))
      kept.insert(kept.end(), &rows[row * dim], &rows[row * dim] + dim);
    return kept;
  };
  reference.questions = thin(questions, GateReference::kMaxQuestions);
  reference.negatives = thin(negatives, GateReference::kMaxNegatives);
  reference.direction.assign(dim, 0.0f);
  if (questions.empty() || negatives.empty()) return reference;

  std::vector<float> rows(questions.begin(), questions.end());
  rows.insert(rows.end(), negatives.begin(), negatives.end());
  std::vector<std::uint32_t> labels(rows.size() / dim, 0);
  std::fill_n(labels.begin(), questions.size() / dim, 1u);
  const std::vector<double> weights = balanced_weights(labels, 2);
  const LogisticModel model = fit_logistic({rows, dim, labels, weights, 2, 1e-2, 100});
  for (std::size_t d = 0; d < dim; ++d)
    reference.direction[d] = model.weight[dim + d] - model.weight[d];
  reference.direction_bias = double{model.bias[1]} - double{model.bias[0]};
  return reference;
}

std::vector<GateFeature> gate_features_before(const GateReference& reference, const Router* router,
                                              std::span<const float> query) {
  double entropy = 1.0, highest = 0.0, margin = 0.0, familiarity = 0.0;
  if (router != nullptr) {
    std::vector<float> probabilities(router->collections().size());
    router->probabilities(query.data(), probabilities);
    std::sort(probabilities.begin(), probabilities.end(), std::greater<>());
    highest = probabilities[0];
    margin = probabilities.size() > 1 ? double{probabilities[0]} - double{probabilities[1]} : 1.0;
    entropy = 0.0;
    for (float p : probabilities)
      if (p > 0.0f) entropy -= double{p} * std::log(double{p});
    if (probabilities.size() > 1) entropy /= std::log(static_cast<double>(probabilities.size()));
    familiarity = router->familiarity(query.data());
  }
  const std::size_t dim = reference.dim;
  return {
      {"router_entropy", entropy},
      {"router_max", highest},
      {"router_margin", margin},
      {"familiarity", familiarity},
      {"nearest_centroid", near(reference.centroids, dim, query.data(), 1)},
      {"near_questions", near(reference.questions, dim, query.data(), kNearQuestions)},
      {"near_negatives", near(reference.negatives, dim, query.data(), kNearNegatives)},
      {"direction", dot(reference.direction.data(), query.data(), dim) + reference.direction_bias}};
}

std::vector<GateFeature> gate_features_after(std::span<const GateFeature> before,
                                             std::span<const float> plain_scores) {
  std::vector<GateFeature> features(before.begin(), before.end());
  const std::size_t n = std::min<std::size_t>(plain_scores.size(), kGateDepth);
  const double top = n > 0 ? plain_scores[0] : 0.0;
  const auto drop = [&](std::size_t rank) {
    return n > 0 ? top - double{plain_scores[std::min(rank, n) - 1]} : 0.0;
  };
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) sum += plain_scores[i];
  features.push_back({"top_score", top});
  features.push_back({"drop_2", drop(2)});
  features.push_back({"drop_5", drop(5)});
  features.push_back({"drop_10", drop(10)});
  features.push_back({"mean_top_10", n > 0 ? sum / static_cast<double>(n) : 0.0});
  return features;
}

std::vector<GateFeature> gate_features_after(std::span<const GateFeature> before,
                                             const PolicyResult& searched) {
  std::vector<float> scores;
  for (const auto& hit : searched.plain_hits) scores.push_back(hit.score);
  return gate_features_after(before, scores);
}

}  // namespace collegium::router
