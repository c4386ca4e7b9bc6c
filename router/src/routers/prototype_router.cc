#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "collegium/core/random.h"
#include "logistic.h"
#include "routers/kinds.h"

namespace collegium::router {
namespace {

using Aggregate = RouterOptions::Aggregate;

constexpr std::size_t kMaxPilots = 50'000'000;  // of all collections, in a file
constexpr std::size_t kResamples = 200;

// What is kept beside the shared parts.
struct Pilots {
  std::vector<float> vectors;         // (pilots, dim), collection by collection
  std::vector<std::uint32_t> counts;  // (collections,) how many each has; at least 1
  Aggregate aggregate = Aggregate::kMean;
  std::uint32_t top_k = 1;
  bool cosine = true;
  float scale = kCosineScale;
  // utterances: a collection is chosen from its threshold on, where its score must be. With the
  // middle 95 % of what resamples of dev give. Empty: no thresholds.
  std::vector<float> thresholds, low, high;  // (collections,)
};

float aggregate(Aggregate how, std::size_t top_k, std::span<float> scores) {
  if (how == Aggregate::kMax) return *std::max_element(scores.begin(), scores.end());
  std::size_t n = scores.size();
  if (how == Aggregate::kTopMean && top_k < n) {
    n = top_k;
    std::nth_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(n), scores.end(),
                     std::greater<>());
    // The sum must not depend on the order that nth_element leaves.
    std::sort(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(n), std::greater<>());
  }
  double sum = 0.0;
  for (std::size_t i = 0; i < n; ++i) sum += double{scores[i]};
  return static_cast<float>(sum / static_cast<double>(n));
}

class PrototypeRouter final : public RouterBase {
 public:
  static RouterResult create(RouterParts parts, Pilots pilots) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, core::PackedVectors::create(pilots.vectors, parts.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto prototypes,
                               core::PackedVectors::create(parts.prototypes, parts.dim));
    return std::shared_ptr<const Router>(new PrototypeRouter(
        std::move(parts), std::move(prototypes), std::move(pilots), std::move(packed)));
  }

  // Similarities before the temperature.
  void similarities(const float* query, std::span<float> out) const noexcept {
    thread_local std::vector<float> all;
    all.resize(packed_.size());
    packed_.scores(query, 1, all.data(), all.size());
    float scale = 1.0f;
    if (pilots_.cosine) {
      double sum = 0.0;
      for (std::size_t d = 0; d < parts_.dim; ++d) sum += double{query[d]} * query[d];
      if (sum > 0.0) scale = static_cast<float>(1.0 / std::sqrt(sum));
    }
    std::size_t first = 0;
    for (std::size_t c = 0; c < pilots_.counts.size(); ++c) {
      const std::span<float> own(all.data() + first, pilots_.counts[c]);
      out[c] = scale * aggregate(pilots_.aggregate, pilots_.top_k, own);
      first += pilots_.counts[c];
    }
  }

  void scores(const float* query, std::span<float> out) const noexcept override {
    similarities(query, out);
    for (std::size_t c = 0; c < pilots_.counts.size(); ++c) out[c] *= pilots_.scale;
  }

  Result<Route> route(std::span<const float> query) const override {
    COLLEGIUM_ASSIGN_OR_RETURN(Route route, Router::route(query));
    if (pilots_.thresholds.empty()) return route;
    std::vector<float> found(pilots_.counts.size());
    similarities(query.data(), found);
    const std::string& first = route.entries.front().collection;
    const auto c = static_cast<std::size_t>(
        std::find(parts_.collections.begin(), parts_.collections.end(), first) -
        parts_.collections.begin());
    char text[128];
    std::snprintf(text, sizeof text, " with %.3f, threshold %.3f (%.3f to %.3f)", found[c],
                  pilots_.thresholds[c], pilots_.low[c], pilots_.high[c]);
    route.abstained = found[c] < pilots_.thresholds[c];
    route.reason = (route.abstained ? "abstained: the nearest is " : "") + first + text;
    return route;
  }

  RouterResult add_expert(std::string_view name, std::span<const float> queries) const override;

  RouterResult remove_expert(std::string_view name) const override {
    std::size_t position = 0;
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_without(name, position));
    Pilots pilots = pilots_;
    std::size_t first = 0;
    for (std::size_t c = 0; c < position; ++c) first += pilots.counts[c];
    const auto begin = pilots.vectors.begin() + static_cast<std::ptrdiff_t>(first * parts.dim);
    pilots.vectors.erase(begin,
                         begin + static_cast<std::ptrdiff_t>(pilots.counts[position] * parts.dim));
    pilots.counts.erase(pilots.counts.begin() + static_cast<std::ptrdiff_t>(position));
    for (auto* values : {&pilots.thresholds, &pilots.low, &pilots.high})
      if (!values->empty()) drop_row(*values, position, 1);
    return create(std::move(parts), std::move(pilots));
  }

 protected:
  void write(PayloadWriter& out) const override {
    out.number(std::uint8_t{1});  // pilots one by one
    out.number(static_cast<std::uint32_t>(pilots_.aggregate));
    out.number(pilots_.top_k);
    out.number(static_cast<std::uint32_t>(pilots_.cosine ? 1 : 0));
    out.number(pilots_.scale);
    out.numbers<std::uint32_t>(pilots_.counts);
    out.numbers<float>(pilots_.vectors);
    out.number(static_cast<std::uint32_t>(pilots_.thresholds.empty() ? 0 : 1));
    for (const auto* values : {&pilots_.thresholds, &pilots_.low, &pilots_.high})
      out.numbers<float>(*values);
  }

  std::string why(const float* query, std::size_t collection) const override {
    std::vector<float> all(packed_.size());
    packed_.scores(query, 1, all.data(), all.size());
    std::size_t first = 0;
    for (std::size_t c = 0; c < collection; ++c) first += pilots_.counts[c];
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    const auto best = std::max_element(begin, begin + pilots_.counts[collection]);
    char text[96];
    std::snprintf(text, sizeof text, ", to pilot %zu of %u %.3f",
                  static_cast<std::size_t>(best - begin), pilots_.counts[collection], *best);
    return text;
  }

 private:
  PrototypeRouter(RouterParts parts, core::PackedVectors prototypes, Pilots pilots,
                  core::PackedVectors packed)
      : RouterBase(std::move(parts), std::move(prototypes)),
        pilots_(std::move(pilots)),
        packed_(std::move(packed)) {}

  const Pilots pilots_;
  const core::PackedVectors packed_;
};

// At most `most` of `rows` (n, dim), evenly spread.
std::vector<float> spread(std::span<const float> rows, std::size_t dim, std::size_t most) {
  const std::size_t n = rows.size() / dim, kept = std::min(n, most);
  std::vector<float> result;
  for (std::size_t i = 0; i < kept; ++i) {
    const float* row = &rows[i * n / kept * dim];
    result.insert(result.end(), row, row + dim);
  }
  return result;
}

std::vector<float> pilots_of(std::span<const float> queries, std::size_t dim,
                             const RouterOptions& options) {
  std::vector<float> pilots = options.centroids > 0
                                  ? k_means(queries, dim, options.centroids, options.seed)
                                  : spread(queries, dim, options.max_pilots);
  if (options.cosine)
    for (std::size_t i = 0; i < pilots.size(); i += dim) normalize(&pilots[i], dim);
  return pilots;
}

// The threshold from which on choosing is right more often than it is wrong by most: right answers
// kept less wrong ones let through. found: (similarity, right).
float best_threshold(std::vector<std::pair<float, bool>> found) {
  std::sort(found.begin(), found.end(), std::greater<>());
  double value = 0.0, best = 0.0;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    value += found[i].second ? 1.0 : -1.0;
    const bool last = i + 1 == found.size() || found[i + 1].first < found[i].first;
    if (last && value >= best) best = value, kept = i + 1;
  }
  if (kept == 0)
    return found.empty() ? 0.0f
                         : std::nextafter(found[0].first, std::numeric_limits<float>::infinity());
  if (kept == found.size()) return found[kept - 1].first;
  return 0.5f * (found[kept - 1].first + found[kept].first);
}

// By collection, of the queries of `dev` that are nearest to it: (similarity, right).
using Outcomes = std::vector<std::vector<std::pair<float, bool>>>;

void fit_thresholds(const Outcomes& outcomes, std::uint64_t seed, Pilots& pilots) {
  core::Random random(seed);
  for (const auto& found : outcomes) {
    pilots.thresholds.push_back(best_threshold(found));
    std::vector<float> resampled;
    for (std::size_t r = 0; r < kResamples; ++r) {
      std::vector<std::pair<float, bool>> drawn;
      for (std::size_t i = 0; i < found.size(); ++i)
        drawn.push_back(found[random.below(found.size())]);
      resampled.push_back(best_threshold(std::move(drawn)));
    }
    std::sort(resampled.begin(), resampled.end());
    pilots.low.push_back(resampled[kResamples / 40]);
    pilots.high.push_back(resampled[kResamples - 1 - kResamples / 40]);
  }
}

}  // namespace

std::vector<float> k_means(std::span<const float> rows, std::size_t dim, std::size_t k,
                           std::uint64_t seed) {
  const std::size_t n = rows.size() / dim;
  if (n <= k) return {rows.begin(), rows.end()};
  core::Random random(seed);
  const auto distance = [&](std::size_t row, const float* centre) {
    double sum = 0.0;
    for (std::size_t d = 0; d < dim; ++d) {
      const double difference = double{rows[row * dim + d]} - double{centre[d]};
      sum += difference * difference;
    }
    return sum;
  };
  std::vector<float> centres;
  std::vector<double> nearest(n, 1e30);
  for (std::size_t chosen = random.below(n); centres.size() < k * dim;) {
    centres.insert(centres.end(), &rows[chosen * dim], &rows[chosen * dim] + dim);
    double total = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      nearest[i] = std::min(nearest[i], distance(i, &centres[centres.size() - dim]));
      total += nearest[i];
    }
    double left = random.uniform() * total;
    for (chosen = 0; chosen + 1 < n && left >= nearest[chosen]; ++chosen) left -= nearest[chosen];
  }
  std::vector<std::size_t> of(n, k);
  for (int iteration = 0; iteration < 25; ++iteration) {
    bool changed = false;
    for (std::size_t i = 0; i < n; ++i) {
      std::size_t best = 0;
      double least = 1e30;
      for (std::size_t c = 0; c < k; ++c)
        if (const double found = distance(i, &centres[c * dim]); found < least)
          least = found, best = c;
      changed = changed || of[i] != best;
      of[i] = best;
    }
    if (!changed) break;
    std::vector<double> sums(k * dim, 0.0), counts(k, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      counts[of[i]] += 1.0;
      for (std::size_t d = 0; d < dim; ++d) sums[of[i] * dim + d] += rows[i * dim + d];
    }
    for (std::size_t c = 0; c < k; ++c)
      for (std::size_t d = 0; d < dim && counts[c] > 0.0; ++d)
        centres[c * dim + d] = static_cast<float>(sums[c * dim + d] / counts[c]);
  }
  return centres;
}

RouterResult PrototypeRouter::add_expert(std::string_view name,
                                         std::span<const float> queries) const {
  COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_with(name, queries));
  Pilots pilots = pilots_;
  RouterOptions options;
  options.cosine = pilots.cosine;
  std::vector<float> added = pilots_of(queries, parts.dim, options);
  pilots.counts.push_back(static_cast<std::uint32_t>(added.size() / parts.dim));
  pilots.vectors.insert(pilots.vectors.end(), added.begin(), added.end());
  if (!pilots.thresholds.empty()) {  // nothing is known of it: the median of the others'
    for (auto* values : {&pilots.thresholds, &pilots.low, &pilots.high}) {
      std::vector<float> sorted = *values;
      std::sort(sorted.begin(), sorted.end());
      values->push_back(sorted[sorted.size() / 2]);
    }
  }
  return create(std::move(parts), std::move(pilots));
}

RouterResult fit_pilots(std::string_view kind, const RouterExamples& train,
                        const RouterExamples& dev, const RouterOptions& options) {
  const std::size_t collections = train.collections.size(), dim = train.dim;
  const RouterRows rows = rows_of(train);
  Pilots pilots;
  pilots.aggregate = kind == "nearest" ? Aggregate::kMax : options.aggregate;
  pilots.top_k = static_cast<std::uint32_t>(options.top_k);
  pilots.cosine = options.cosine;
  std::vector<std::vector<float>> by_collection(collections);
  for (std::size_t i = 0; i < rows.labels.size(); ++i) {
    const float* row = &rows.vectors[i * dim];
    by_collection[rows.labels[i]].insert(by_collection[rows.labels[i]].end(), row, row + dim);
  }
  for (const auto& queries : by_collection) {
    const auto own = pilots_of(queries, dim, options);
    pilots.counts.push_back(static_cast<std::uint32_t>(own.size() / dim));
    pilots.vectors.insert(pilots.vectors.end(), own.begin(), own.end());
  }
  RouterParts parts = fit_parts(std::string(kind), train);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto plain, PrototypeRouter::create(parts, pilots));
  const auto& router = static_cast<const PrototypeRouter&>(*plain);
  std::vector<float> logits(dev.labels.size() * collections);
  Outcomes outcomes(collections);
  for (std::size_t i = 0; i < dev.labels.size(); ++i) {
    const std::span<float> own(&logits[i * collections], collections);
    router.similarities(&dev.vectors[i * dim], own);
    const auto best = std::max_element(own.begin(), own.end());
    const auto chosen = static_cast<std::size_t>(best - own.begin());
    outcomes[chosen].emplace_back(*best, chosen == dev.labels[i]);
  }
  if (kind == "utterances") fit_thresholds(outcomes, options.seed, pilots);
  for (float& logit : logits) logit *= kCosineScale;
  pilots.scale = kCosineScale * static_cast<float>(fit_scale(dev, logits));
  return PrototypeRouter::create(std::move(parts), std::move(pilots));
}

RouterResult read_prototypes(RouterParts parts, PayloadReader& in) {
  const std::size_t collections = parts.collections.size();
  Pilots pilots;
  const auto how = in.number<std::uint32_t>();
  if (how > 2) in.fail("aggregate " + std::to_string(how));
  pilots.aggregate = static_cast<Aggregate>(how);
  pilots.top_k = in.number<std::uint32_t>();
  pilots.cosine = in.number<std::uint32_t>() != 0;
  const auto scale = in.numbers<float>(1);
  pilots.counts = in.numbers<std::uint32_t>(collections);
  std::uint64_t total = 0;
  for (std::uint32_t count : pilots.counts) {
    if (count == 0) in.fail("a collection without pilots");
    total += count;
  }
  if (pilots.top_k == 0 || total > kMaxPilots) in.fail("pilots that no router has");
  if (!in.ok()) return in.finish();
  pilots.scale = scale[0];
  pilots.vectors = in.numbers<float>(total * parts.dim);
  const std::size_t thresholds = in.number<std::uint32_t>() != 0 ? collections : 0;
  pilots.thresholds = in.numbers<float>(thresholds);
  pilots.low = in.numbers<float>(thresholds);
  pilots.high = in.numbers<float>(thresholds);
  COLLEGIUM_RETURN_IF_ERROR(read_parts(parts, in));
  return PrototypeRouter::create(std::move(parts), std::move(pilots));
}

}  // namespace collegium::router
