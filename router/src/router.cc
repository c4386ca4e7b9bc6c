#include "collegium/router/router.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "collegium/core/experts/packed_vectors.h"
#include "logistic.h"
#include "payload.h"

namespace collegium::router {
namespace {

constexpr std::size_t kQuantiles = 101;
constexpr std::size_t kMaxCollections = 100000;

// Scores that are linear in the query, made probabilities by a softmax: what both the classifier
// and the pilots come down to (a mean similarity to pilots is a similarity to their mean).
class AffineRouter final : public Router {
 public:
  struct Parts {
    std::string kind;
    std::size_t dim = 0;
    std::vector<std::string> collections;
    std::vector<float> weight;      // (collections, dim), the temperature divided in
    std::vector<float> bias;        // (collections,)
    std::vector<float> prototypes;  // (collections, dim) unit vectors, for familiarity
    std::vector<float> nearness;    // (kQuantiles,) ascending, of the training queries
  };

  static Result<std::shared_ptr<const Router>> create(Parts parts) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, core::PackedVectors::create(parts.weight, parts.dim));
    return std::shared_ptr<const Router>(new AffineRouter(std::move(parts), std::move(packed)));
  }

  std::string_view kind() const noexcept override { return parts_.kind; }
  std::size_t dim() const noexcept override { return parts_.dim; }
  const std::vector<std::string>& collections() const noexcept override {
    return parts_.collections;
  }

  void probabilities(const float* query, std::span<float> out) const noexcept override {
    const std::size_t n = parts_.collections.size();
    packed_.scores(query, 1, out.data(), n);
    for (std::size_t c = 0; c < n; ++c) out[c] += parts_.bias[c];
    const float top = *std::max_element(out.begin(), out.begin() + n);
    double sum = 0.0;
    for (std::size_t c = 0; c < n; ++c) sum += out[c] = std::exp(out[c] - top);
    for (std::size_t c = 0; c < n; ++c) out[c] = static_cast<float>(out[c] / sum);
  }

  float familiarity(const float* query) const noexcept override {
    const float near = nearest(parts_.prototypes, parts_.dim, query);
    const auto above = std::upper_bound(parts_.nearness.begin(), parts_.nearness.end(), near);
    if (above == parts_.nearness.begin()) return 0.0f;
    if (above == parts_.nearness.end()) return 1.0f;
    const float low = *(above - 1), high = *above;
    const auto position = static_cast<float>(above - 1 - parts_.nearness.begin());
    return (position + (near - low) / (high - low)) / static_cast<float>(kQuantiles - 1);
  }

  std::vector<std::byte> serialize() const override {
    PayloadWriter out;
    out.text(parts_.kind);
    out.number(static_cast<std::uint32_t>(parts_.dim));
    out.number(static_cast<std::uint32_t>(parts_.collections.size()));
    for (const auto& name : parts_.collections) out.text(name);
    out.numbers<float>(parts_.weight);
    out.numbers<float>(parts_.bias);
    out.numbers<float>(parts_.prototypes);
    out.numbers<float>(parts_.nearness);
    return out.take();
  }

  static float nearest(const std::vector<float>& prototypes, std::size_t dim,
                       const float* query) noexcept {
    float best = -1.0f;
    for (std::size_t first = 0; first < prototypes.size(); first += dim) {
      double dot = 0.0;
      for (std::size_t d = 0; d < dim; ++d) dot += double{prototypes[first + d]} * query[d];
      best = std::max(best, static_cast<float>(dot));
    }
    return best;
  }

 private:
  AffineRouter(Parts parts, core::PackedVectors packed)
      : parts_(std::move(parts)), packed_(std::move(packed)) {}
  Parts parts_;
  core::PackedVectors packed_;
};

Status check(const RouterExamples& examples, const char* name) {
  const std::string who = std::string("router examples (") + name + ")";
  const std::size_t collections = examples.collections.size();
  if (examples.dim == 0 || collections == 0 || collections > kMaxCollections)
    return Status::invalid_argument(who + ": dim " + std::to_string(examples.dim) + " and " +
                                    std::to_string(collections) +
                                    " collections, both must be at least 1");
  if (examples.vectors.size() != examples.labels.size() * examples.dim)
    return Status::invalid_argument(who + ": " + std::to_string(examples.vectors.size()) +
                                    " floats for " + std::to_string(examples.labels.size()) +
                                    " queries of dim " + std::to_string(examples.dim));
  for (std::size_t i = 0; i < examples.labels.size(); ++i)
    if (examples.labels[i] >= collections)
      return Status::invalid_argument(who + ": label " + std::to_string(examples.labels[i]) +
                                      " of query " + std::to_string(i) + ", must be below " +
                                      std::to_string(collections));
  for (std::size_t i = 0; i < examples.vectors.size(); ++i)
    if (!std::isfinite(examples.vectors[i]))
      return Status::invalid_argument(who + ": query " + std::to_string(i / examples.dim) +
                                      " has a component that is not finite");
  return Status();
}

Status check(const RouterExamples& train, const RouterExamples& dev) {
  COLLEGIUM_RETURN_IF_ERROR(check(train, "train"));
  if (train.centroids.size() != train.collections.size() * train.dim)
    return Status::invalid_argument(
        "router examples (train): " + std::to_string(train.centroids.size()) + " floats for " +
        std::to_string(train.collections.size()) + " centroids of dim " +
        std::to_string(train.dim));
  for (std::size_t i = 0; i < train.centroids.size(); ++i)
    if (!std::isfinite(train.centroids[i]))
      return Status::invalid_argument("router examples (train): centroid of '" +
                                      train.collections[i / train.dim] + "' is not finite");
  if (dev.labels.empty()) return Status();
  COLLEGIUM_RETURN_IF_ERROR(check(dev, "dev"));
  if (dev.dim != train.dim || dev.collections != train.collections)
    return Status::invalid_argument(
        "router examples: train and dev disagree on collections or dim");
  return Status();
}

void normalize(float* vector, std::size_t dim) {
  double sum = 0.0;
  for (std::size_t d = 0; d < dim; ++d) sum += double{vector[d]} * vector[d];
  if (!(sum > 0.0)) return;
  const double scale = 1.0 / std::sqrt(sum);
  for (std::size_t d = 0; d < dim; ++d) vector[d] = static_cast<float>(vector[d] * scale);
}

// (collections, dim): the mean of each one's queries; of its documents where it has none.
std::vector<float> query_means(const RouterExamples& train) {
  const std::size_t dim = train.dim;
  std::vector<double> sums(train.collections.size() * dim, 0.0);
  std::vector<std::size_t> counts(train.collections.size(), 0);
  for (std::size_t i = 0; i < train.labels.size(); ++i) {
    ++counts[train.labels[i]];
    for (std::size_t d = 0; d < dim; ++d)
      sums[train.labels[i] * dim + d] += train.vectors[i * dim + d];
  }
  std::vector<float> means(sums.size());
  for (std::size_t c = 0; c < counts.size(); ++c)
    for (std::size_t d = 0; d < dim; ++d)
      means[c * dim + d] =
          counts[c] == 0 ? train.centroids[c * dim + d]
                         : static_cast<float>(sums[c * dim + d] / static_cast<double>(counts[c]));
  return means;
}

void fit_familiarity(const RouterExamples& train, AffineRouter::Parts& parts) {
  parts.prototypes = query_means(train);
  for (std::size_t c = 0; c < parts.collections.size(); ++c)
    normalize(&parts.prototypes[c * parts.dim], parts.dim);
  std::vector<float> nearness;
  for (std::size_t i = 0; i < train.labels.size(); ++i)
    nearness.push_back(
        AffineRouter::nearest(parts.prototypes, parts.dim, &train.vectors[i * parts.dim]));
  std::sort(nearness.begin(), nearness.end());
  for (std::size_t i = 0; i < kQuantiles; ++i)  // no queries: nothing is farther than all of them
    parts.nearness.push_back(
        nearness.empty() ? -1.0f : nearness[i * (nearness.size() - 1) / (kQuantiles - 1)]);
}

// Of the prior on the temperature: log temperature has a deviation of about 1 / 4 (1 / sqrt(16))
// where dev says nothing. Without a prior a dev that is told apart without error, as a small one
// often is, drives the temperature to zero. Smoothed targets, (n + 1) / (n + K) as in Platt
// (Probabilistic outputs for support vector machines, 1999), fail the other way: with few queries
// they make every probability even.
constexpr double kTemperaturePrior = 16.0;

// Divides weight and bias by a temperature (arXiv 1706.04599): the likeliest a posteriori given
// `dev`, every collection counting the same, under a Gamma prior on s = 1 / temperature with its
// mode at 1, that is "not calibrated"; its negative log is kTemperaturePrior * (s - log s).
void calibrate(const RouterExamples& dev, AffineRouter::Parts& parts) {
  const std::size_t n = dev.labels.size(), collections = parts.collections.size(), dim = parts.dim;
  if (n == 0 || collections < 2) return;
  const auto packed = std::move(core::PackedVectors::create(parts.weight, dim)).value();
  std::vector<float> logits(n * collections);
  packed.scores(dev.vectors.data(), n, logits.data(), collections);
  const std::vector<double> weights = balanced_weights(dev.labels, collections);
  const auto loss = [&](double log_temperature) {
    const double scale = std::exp(-log_temperature);
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      const auto logit = [&](std::size_t c) {
        return scale * (double{logits[i * collections + c]} + parts.bias[c]);
      };
      double top = logit(0);
      for (std::size_t c = 1; c < collections; ++c) top = std::max(top, logit(c));
      double total = 0.0;
      for (std::size_t c = 0; c < collections; ++c) total += std::exp(logit(c) - top);
      sum += weights[i] * (top + std::log(total) - logit(dev.labels[i]));
    }
    return sum + kTemperaturePrior * (scale + log_temperature);
  };
  // Golden section; loss and prior are convex in 1 / temperature, hence unimodal here.
  constexpr double kRatio = 0.6180339887498949;
  double low = std::log(1e-3), high = std::log(20.0);
  double left = high - kRatio * (high - low), right = low + kRatio * (high - low);
  double left_loss = loss(left), right_loss = loss(right);
  for (int i = 0; i < 40; ++i) {
    if (left_loss <= right_loss) {
      high = right, right = left, right_loss = left_loss;
      left = high - kRatio * (high - low), left_loss = loss(left);
    } else {
      low = left, left = right, left_loss = right_loss;
      right = low + kRatio * (high - low), right_loss = loss(right);
    }
  }
  const double scale = std::exp(-0.5 * (low + high));
  for (auto* values : {&parts.weight, &parts.bias})
    for (float& value : *values) value = static_cast<float>(value * scale);
}

}  // namespace

Result<std::shared_ptr<const Router>> fit_linear_router(const RouterExamples& train,
                                                        const RouterExamples& dev,
                                                        const LinearRouterOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(check(train, dev));
  if (!(options.l2 > 0.0 && options.l2 <= 1e6))
    return Status::invalid_argument("LinearRouterOptions.l2 is " + std::to_string(options.l2) +
                                    ", must be in (0, 1e6]");
  const std::size_t collections = train.collections.size(), dim = train.dim;
  AffineRouter::Parts parts{"linear", dim, train.collections, {}, {}, {}, {}};
  std::vector<float> rows = train.vectors;
  std::vector<std::uint32_t> labels = train.labels;
  std::vector<bool> has_queries(collections, false);
  for (std::uint32_t label : train.labels) has_queries[label] = true;
  for (std::uint32_t c = 0; c < collections; ++c) {
    if (has_queries[c]) continue;
    std::vector<float> centroid(&train.centroids[c * dim], &train.centroids[c * dim] + dim);
    normalize(centroid.data(), dim);
    rows.insert(rows.end(), centroid.begin(), centroid.end());
    labels.push_back(c);
  }
  const std::vector<double> weights = balanced_weights(labels, collections);
  LogisticModel model =
      fit_logistic({rows, dim, labels, weights, collections, options.l2, options.max_iterations});
  parts.weight = std::move(model.weight);
  parts.bias = std::move(model.bias);
  calibrate(dev, parts);
  fit_familiarity(train, parts);
  return AffineRouter::create(std::move(parts));
}

Result<std::shared_ptr<const Router>> fit_pilot_router(const RouterExamples& train,
                                                       const RouterExamples& dev,
                                                       std::string_view kind) {
  COLLEGIUM_RETURN_IF_ERROR(check(train, dev));
  if (kind != "pilots-source" && kind != "pilots-winner")
    return Status::invalid_argument("pilot router: kind '" + std::string(kind) +
                                    "', must be 'pilots-source' or 'pilots-winner'");
  AffineRouter::Parts parts{std::string(kind), train.dim, train.collections, {}, {}, {}, {}};
  parts.weight = query_means(train);
  // Cosines differ by tenths: a temperature of 0.05 unless dev knows better.
  for (float& value : parts.weight) value *= 20.0f;
  parts.bias.assign(train.collections.size(), 0.0f);
  calibrate(dev, parts);
  fit_familiarity(train, parts);
  return AffineRouter::create(std::move(parts));
}

Result<std::shared_ptr<const Router>> deserialize_router(std::span<const std::byte> bytes) {
  PayloadReader in("router", bytes);
  AffineRouter::Parts parts;
  parts.kind = in.text(64);
  parts.dim = in.number<std::uint32_t>();
  const std::size_t collections = in.number<std::uint32_t>();
  if (!in.ok()) return in.finish();
  if (parts.dim == 0 || parts.dim > 65536 || collections == 0 || collections > kMaxCollections)
    return Status::corruption("router: dim " + std::to_string(parts.dim) + " and " +
                              std::to_string(collections) + " collections");
  if (parts.kind != "linear" && parts.kind != "pilots-source" && parts.kind != "pilots-winner")
    return Status::not_supported("router: kind '" + parts.kind + "' is not known to this build");
  for (std::size_t c = 0; c < collections && in.ok(); ++c) parts.collections.push_back(in.text());
  parts.weight = in.numbers<float>(collections * parts.dim);
  parts.bias = in.numbers<float>(collections);
  parts.prototypes = in.numbers<float>(collections * parts.dim);
  parts.nearness = in.numbers<float>(kQuantiles);
  COLLEGIUM_RETURN_IF_ERROR(in.finish());
  if (!std::is_sorted(parts.nearness.begin(), parts.nearness.end()))
    return Status::corruption("router: quantiles of familiarity are not ascending");
  return AffineRouter::create(std::move(parts));
}

}  // namespace collegium::router
