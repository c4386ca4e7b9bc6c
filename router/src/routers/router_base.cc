#include "routers/router_base.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <unordered_map>

#include "logistic.h"

namespace collegium::router {
namespace {

// The largest similarity to any of `prototypes`.
float nearest(const core::PackedVectors& prototypes, const float* query) noexcept {
  thread_local std::vector<float> scores;
  scores.resize(prototypes.size());
  prototypes.scores(query, 1, scores.data(), scores.size());
  return *std::max_element(scores.begin(), scores.end());
}

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
  if (!examples.quality.empty() && examples.quality.size() != examples.labels.size() * collections)
    return Status::invalid_argument(who + ": " + std::to_string(examples.quality.size()) +
                                    " qualities for " + std::to_string(examples.labels.size()) +
                                    " queries and " + std::to_string(collections) + " collections");
  for (std::size_t i = 0; i < examples.quality.size(); ++i)
    if (!std::isfinite(examples.quality[i]))
      return Status::invalid_argument(who + ": a quality of query " +
                                      std::to_string(i / collections) + " is not finite");
  return Status();
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value);
  return text;
}

// Of the prior on the temperature: log temperature has a deviation of about 1 / 4 (1 / sqrt(16))
// where dev says nothing. Without a prior a dev that is told apart without error, as a small one
// often is, drives the temperature to zero. Smoothed targets, (n + 1) / (n + K) as in Platt
// (Probabilistic outputs for support vector machines, 1999), fail the other way: with few queries
// they make every probability even.
constexpr double kTemperaturePrior = 16.0;

}  // namespace

void RouterBase::probabilities(const float* query, std::span<float> out) const noexcept {
  const std::size_t n = parts_.collections.size();
  scores(query, out);
  const float top = *std::max_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n));
  double sum = 0.0;
  for (std::size_t c = 0; c < n; ++c) sum += out[c] = std::exp(out[c] - top);
  for (std::size_t c = 0; c < n; ++c) out[c] = static_cast<float>(out[c] / sum);
}

float RouterBase::familiarity(const float* query) const noexcept {
  return quantile_of(nearest(packed_prototypes_, query));
}

float RouterBase::quantile_of(float near) const noexcept {
  const auto above = std::upper_bound(parts_.nearness.begin(), parts_.nearness.end(), near);
  if (above == parts_.nearness.begin()) return 0.0f;
  if (above == parts_.nearness.end()) return 1.0f;
  const float low = *(above - 1), high = *above;
  const auto position = static_cast<float>(above - 1 - parts_.nearness.begin());
  return (position + (near - low) / (high - low)) / static_cast<float>(kQuantiles - 1);
}

std::vector<std::byte> RouterBase::serialize() const {
  PayloadWriter out;
  out.text(parts_.kind);
  out.number(static_cast<std::uint32_t>(parts_.dim));
  out.number(static_cast<std::uint32_t>(parts_.collections.size()));
  for (const auto& name : parts_.collections) out.text(name);
  write(out);
  out.numbers<float>(parts_.prototypes);
  out.numbers<float>(parts_.nearness);
  return out.take();
}

Result<std::vector<RouterReason>> RouterBase::explain(std::span<const float> query) const {
  COLLEGIUM_ASSIGN_OR_RETURN(auto reasons, Router::explain(query));
  const std::size_t n = parts_.collections.size();
  std::vector<float> raw(n), near(n);
  scores(query.data(), raw);
  packed_prototypes_.scores(query.data(), 1, near.data(), n);
  for (RouterReason& reason : reasons) {
    const auto c = static_cast<std::size_t>(
        std::find(parts_.collections.begin(), parts_.collections.end(), reason.collection) -
        parts_.collections.begin());
    reason.score = double{raw[c]};
    reason.why = "similarity to its mean query " + rounded(near[c]) + why(query.data(), c);
  }
  return reasons;
}

Result<RouterParts> RouterBase::parts_with(std::string_view name,
                                           std::span<const float> queries) const {
  if (std::find(parts_.collections.begin(), parts_.collections.end(), name) !=
      parts_.collections.end())
    return Status::already_exists("router '" + parts_.kind + "' knows '" + std::string(name) +
                                  "' already");
  if (parts_.collections.size() == kMaxCollections)
    return Status::invalid_argument("router '" + parts_.kind + "' has " +
                                    std::to_string(kMaxCollections) + " collections, the most");
  if (queries.empty() || queries.size() % parts_.dim != 0)
    return Status::invalid_argument("router: " + std::to_string(queries.size()) +
                                    " floats are not one or more queries of dim " +
                                    std::to_string(parts_.dim));
  for (std::size_t i = 0; i < queries.size(); ++i)
    if (!std::isfinite(queries[i]))
      return Status::invalid_argument("router: query " + std::to_string(i / parts_.dim) + " of '" +
                                      std::string(name) + "' is not finite");
  RouterParts parts = parts_;
  parts.collections.emplace_back(name);
  std::vector<double> mean(parts.dim, 0.0);
  for (std::size_t i = 0; i < queries.size(); ++i) mean[i % parts.dim] += queries[i];
  for (double sum : mean)
    parts.prototypes.push_back(
        static_cast<float>(sum / static_cast<double>(queries.size() / parts.dim)));
  normalize(&parts.prototypes[parts.prototypes.size() - parts.dim], parts.dim);
  return parts;
}

Result<RouterParts> RouterBase::parts_without(std::string_view name, std::size_t& position) const {
  const auto at = std::find(parts_.collections.begin(), parts_.collections.end(), name);
  if (at == parts_.collections.end())
    return Status::not_found("router '" + parts_.kind + "' knows no '" + std::string(name) + "'");
  if (parts_.collections.size() == 1)
    return Status::invalid_argument("router '" + parts_.kind + "': '" + std::string(name) +
                                    "' is its only collection");
  position = static_cast<std::size_t>(at - parts_.collections.begin());
  RouterParts parts = parts_;
  parts.collections.erase(parts.collections.begin() + static_cast<std::ptrdiff_t>(position));
  drop_row(parts.prototypes, position, parts.dim);
  return parts;
}

Status check_examples(const RouterExamples& train, const RouterExamples& dev) {
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
  if (!train.weights.empty() && train.weights.size() != train.labels.size())
    return Status::invalid_argument(
        "router examples (train): " + std::to_string(train.weights.size()) + " weights for " +
        std::to_string(train.labels.size()) + " queries");
  for (std::size_t i = 0; i < train.weights.size(); ++i)
    if (!(train.weights[i] > 0.0) || !std::isfinite(train.weights[i]))
      return Status::invalid_argument("router examples (train): weight " + std::to_string(i) +
                                      " is " + std::to_string(train.weights[i]) +
                                      ", must be above 0 and finite");
  if (dev.labels.empty()) return Status();
  COLLEGIUM_RETURN_IF_ERROR(check(dev, "dev"));
  if (dev.dim != train.dim || dev.collections != train.collections)
    return Status::invalid_argument(
        "router examples: train and dev disagree on collections or dim");
  const std::vector<std::size_t> places = places_in(train, dev);
  for (std::size_t i = 0; i < places.size(); ++i)
    if (places[i] != kNotThere)
      return Status::invalid_argument("router examples: dev query " + std::to_string(i) +
                                      " is training query " + std::to_string(places[i]) +
                                      ": what was learned from must not calibrate");
  return Status();
}

std::vector<std::size_t> places_in(const RouterExamples& train, const RouterExamples& dev) {
  // + 0: a negative zero is the same number.
  const auto plain_zeros = [](std::vector<float> vectors) {
    for (float& value : vectors) value += 0.0f;
    return vectors;
  };
  const std::vector<float> trained = plain_zeros(train.vectors), others = plain_zeros(dev.vectors);
  const auto row = [dim = train.dim](const std::vector<float>& vectors, std::size_t i) {
    return std::string_view(reinterpret_cast<const char*>(&vectors[i * dim]), dim * sizeof(float));
  };
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < train.labels.size(); ++i) seen[row(trained, i)] = i;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < dev.labels.size(); ++i) {
    const auto at = seen.find(row(others, i));
    places.push_back(at == seen.end() ? kNotThere : at->second);
  }
  return places;
}

void normalize(float* vector, std::size_t dim) {
  double sum = 0.0;
  for (std::size_t d = 0; d < dim; ++d) sum += double{vector[d]} * vector[d];
  if (!(sum > 0.0)) return;
  const double scale = 1.0 / std::sqrt(sum);
  for (std::size_t d = 0; d < dim; ++d) vector[d] = static_cast<float>(vector[d] * scale);
}

std::vector<float> query_means(const RouterExamples& train) {
  const std::size_t dim = train.dim;
  std::vector<double> sums(train.collections.size() * dim, 0.0);
  std::vector<double> counts(train.collections.size(), 0.0);
  for (std::size_t i = 0; i < train.labels.size(); ++i) {
    const double weight = train.weights.empty() ? 1.0 : train.weights[i];
    counts[train.labels[i]] += weight;
    for (std::size_t d = 0; d < dim; ++d)
      sums[train.labels[i] * dim + d] += weight * double{train.vectors[i * dim + d]};
  }
  std::vector<float> means(sums.size());
  for (std::size_t c = 0; c < counts.size(); ++c)
    for (std::size_t d = 0; d < dim; ++d)
      means[c * dim + d] = counts[c] == 0.0 ? train.centroids[c * dim + d]
                                            : static_cast<float>(sums[c * dim + d] / counts[c]);
  return means;
}

std::vector<float> quantiles(std::vector<float> values) {
  std::sort(values.begin(), values.end());
  std::vector<float> result;
  for (std::size_t i = 0; i < kQuantiles; ++i)  // no values: nothing is farther than all of them
    result.push_back(values.empty() ? -1.0f : values[i * (values.size() - 1) / (kQuantiles - 1)]);
  return result;
}

RouterParts fit_parts(std::string kind, const RouterExamples& train) {
  RouterParts parts{std::move(kind), train.dim, train.collections, query_means(train), {}};
  for (std::size_t c = 0; c < parts.collections.size(); ++c)
    normalize(&parts.prototypes[c * parts.dim], parts.dim);
  const auto packed = core::PackedVectors::create(parts.prototypes, parts.dim).value();
  std::vector<float> nearness;
  for (std::size_t i = 0; i < train.labels.size(); ++i)
    nearness.push_back(nearest(packed, &train.vectors[i * parts.dim]));
  parts.nearness = quantiles(std::move(nearness));
  return parts;
}

// The likeliest scale a posteriori given `dev`, every collection counting the same, under a Gamma
// prior with its mode at 1, that is "not calibrated"; its negative log is kTemperaturePrior * (s -
// log s).
double fit_scale(const RouterExamples& dev, std::span<const float> logits) {
  const std::size_t n = dev.labels.size(), collections = dev.collections.size();
  if (n == 0 || collections < 2) return 1.0;
  const std::vector<double> weights = balanced_weights(dev.labels, collections);
  const auto loss = [&](double log_temperature) {
    const double scale = std::exp(-log_temperature);
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      const auto logit = [&](std::size_t c) { return scale * double{logits[i * collections + c]}; };
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
  return std::exp(-0.5 * (low + high));
}

void drop_row(std::vector<float>& rows, std::size_t position, std::size_t width) {
  const auto first = rows.begin() + static_cast<std::ptrdiff_t>(position * width);
  rows.erase(first, first + static_cast<std::ptrdiff_t>(width));
}

Status read_parts(RouterParts& parts, PayloadReader& in) {
  parts.prototypes = in.numbers<float>(parts.collections.size() * parts.dim);
  parts.nearness = in.numbers<float>(kQuantiles);
  COLLEGIUM_RETURN_IF_ERROR(in.finish());
  if (!std::is_sorted(parts.nearness.begin(), parts.nearness.end()))
    return Status::corruption("router: quantiles of familiarity are not ascending");
  return Status();
}

}  // namespace collegium::router
