#include "collegium/router/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"

namespace collegium::router {
namespace {

constexpr std::size_t kResamplesPerTask = 50;

bool all_finite(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
}

// As numpy.quantile does by default. `sorted` ascending, not empty.
double quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// Means of `resamples` draws of n rows out of `rows` (n, methods): (resamples, methods).
std::vector<double> resampled_means(const std::vector<double>& rows, std::size_t n,
                                    std::size_t methods, const BootstrapOptions& options,
                                    std::uint64_t stream) {
  std::vector<double> means(options.resamples * methods, 0.0);
  const std::uint64_t seed = core::derive_seed(options.seed, stream);
  const std::size_t tasks = (options.resamples + kResamplesPerTask - 1) / kResamplesPerTask;
  core::default_pool().parallel_for(tasks, [&](std::size_t task) {
    const std::size_t first = task * kResamplesPerTask;
    for (std::size_t b = first; b < std::min(first + kResamplesPerTask, options.resamples); ++b) {
      core::Random random(core::derive_seed(seed, b));
      double* sum = &means[b * methods];
      for (std::size_t i = 0; i < n; ++i) {
        const double* row = &rows[random.below(n) * methods];
        for (std::size_t m = 0; m < methods; ++m) sum[m] += row[m];
      }
      for (std::size_t m = 0; m < methods; ++m) sum[m] /= static_cast<double>(n);
    }
  });
  return means;
}

Comparison compare(std::vector<double> resampled, double difference, std::size_t queries,
                   std::size_t differing, const BootstrapOptions& options) {
  Comparison result;
  result.difference = difference;
  result.queries = queries;
  // A resample that equals the observed difference but for rounding is as far from it as 0 is.
  const double slack = 1e-12 * std::max(1.0, std::abs(difference));
  const auto as_far =
      static_cast<double>(std::count_if(resampled.begin(), resampled.end(), [&](double mean) {
        return std::abs(mean - difference) >= std::abs(difference) - slack;
      }));
  const double least =
      differing == 0 ? 1.0
                     : std::exp2(1.0 - static_cast<double>(std::min<std::size_t>(differing, 1000)));
  result.p = std::max((as_far + 1.0) / (static_cast<double>(resampled.size()) + 1.0), least);
  result.p_holm = result.p;
  std::sort(resampled.begin(), resampled.end());
  result.low = quantile(resampled, 0.5 - options.level / 2.0);
  result.high = quantile(resampled, 0.5 + options.level / 2.0);
  return result;
}

}  // namespace

Status BootstrapOptions::validate() const {
  if (resamples < 100 || resamples > 1000000)
    return Status::invalid_argument("BootstrapOptions.resamples is " + std::to_string(resamples) +
                                    ", must be in [100, 1000000]");
  if (!(level > 0.0 && level < 1.0))
    return Status::invalid_argument("BootstrapOptions.level is " + std::to_string(level) +
                                    ", must be in (0, 1)");
  return Status();
}

Result<std::vector<Comparison>> paired_bootstrap_table(std::span<const double> differences,
                                                       std::span<const std::uint32_t> set,
                                                       std::size_t num_sets, std::size_t methods,
                                                       const BootstrapOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (differences.size() != set.size() * methods)
    return Status::invalid_argument("bootstrap: " + std::to_string(differences.size()) +
                                    " differences for " + std::to_string(set.size()) +
                                    " queries and " + std::to_string(methods) + " methods");
  if (!all_finite(differences))
    return Status::invalid_argument("bootstrap: a difference is not finite");
  std::vector<std::vector<double>> rows(num_sets);  // by set: (its queries, methods)
  for (std::size_t q = 0; q < set.size(); ++q) {
    if (set[q] >= num_sets)
      return Status::invalid_argument("bootstrap: query " + std::to_string(q) + " is of set " +
                                      std::to_string(set[q]) + " of " + std::to_string(num_sets));
    const double* row = &differences[q * methods];
    rows[set[q]].insert(rows[set[q]].end(), row, row + methods);
  }
  std::vector<Comparison> table((num_sets + 1) * methods);
  std::vector<double> all(options.resamples * methods, 0.0);  // means over sets
  std::vector<double> mean(methods, 0.0);
  std::vector<std::size_t> total_differing(methods, 0);
  std::vector<std::size_t> present;
  for (std::size_t s = 0; s < num_sets; ++s)
    if (!rows[s].empty()) present.push_back(s);
  for (const std::size_t s : present) {
    const std::size_t n = rows[s].size() / methods;
    const std::vector<double> means = resampled_means(rows[s], n, methods, options, s);
    const double share = 1.0 / static_cast<double>(present.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] += means[i] * share;
    for (std::size_t m = 0; m < methods; ++m) {
      std::vector<double> resampled(options.resamples);
      for (std::size_t b = 0; b < options.resamples; ++b) resampled[b] = means[b * methods + m];
      double sum = 0.0;
      std::size_t differing = 0;
      for (std::size_t i = 0; i < n; ++i) {
        sum += rows[s][i * methods + m];
        differing += rows[s][i * methods + m] != 0.0 ? 1 : 0;
      }
      table[s * methods + m] =
          compare(std::move(resampled), sum / static_cast<double>(n), n, differing, options);
      mean[m] += sum / static_cast<double>(n) * share;
      total_differing[m] += differing;
    }
  }
  for (std::size_t m = 0; m < methods && !present.empty(); ++m) {
    std::vector<double> resampled(options.resamples);
    for (std::size_t b = 0; b < options.resamples; ++b) resampled[b] = all[b * methods + m];
    table[num_sets * methods + m] =
        compare(std::move(resampled), mean[m], set.size(), total_differing[m], options);
    std::vector<double> p;
    for (const std::size_t s : present) p.push_back(table[s * methods + m].p);
    const std::vector<double> corrected = holm(p);
    for (std::size_t i = 0; i < present.size(); ++i)
      table[present[i] * methods + m].p_holm = corrected[i];
  }
  return table;
}

Result<Comparison> paired_bootstrap(std::span<const std::vector<double>> differences,
                                    const BootstrapOptions& options) {
  if (differences.empty()) return Status::invalid_argument("bootstrap: no set of differences");
  std::vector<double> flat;
  std::vector<std::uint32_t> set;
  for (std::size_t s = 0; s < differences.size(); ++s) {
    if (differences[s].empty())
      return Status::invalid_argument("bootstrap: set " + std::to_string(s) + " has no queries");
    flat.insert(flat.end(), differences[s].begin(), differences[s].end());
    set.insert(set.end(), differences[s].size(), static_cast<std::uint32_t>(s));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto table,
                             paired_bootstrap_table(flat, set, differences.size(), 1, options));
  return table.back();
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> corrected(p.size());
  double least = 0.0;  // a larger p never becomes the smaller one
  for (std::size_t i = 0; i < order.size(); ++i) {
    least = std::max(least, std::min(1.0, p[order[i]] * static_cast<double>(p.size() - i)));
    corrected[order[i]] = least;
  }
  return corrected;
}

Result<Calibration> measure_calibration(std::span<const double> confidence,
                                        std::span<const std::uint8_t> right, std::size_t bins) {
  if (confidence.size() != right.size() || confidence.empty() || bins == 0)
    return Status::invalid_argument("calibration: " + std::to_string(confidence.size()) +
                                    " confidences, " + std::to_string(right.size()) +
                                    " outcomes and " + std::to_string(bins) +
                                    " bins; as many of the first two, and some of each");
  Calibration result;
  result.bins.resize(bins);
  for (std::size_t b = 0; b < bins; ++b) {
    result.bins[b].low = static_cast<double>(b) / static_cast<double>(bins);
    result.bins[b].high = static_cast<double>(b + 1) / static_cast<double>(bins);
  }
  for (std::size_t i = 0; i < confidence.size(); ++i) {
    if (!(confidence[i] >= 0.0 && confidence[i] <= 1.0))
      return Status::invalid_argument("calibration: confidence " + std::to_string(i) + " is " +
                                      std::to_string(confidence[i]) + ", must be in [0, 1]");
    std::size_t b = 0;
    while (b + 1 < bins && confidence[i] > result.bins[b].high) ++b;
    ++result.bins[b].count;
    result.bins[b].confidence += confidence[i];
    result.bins[b].accuracy += right[i] != 0 ? 1.0 : 0.0;
  }
  for (ReliabilityBin& bin : result.bins) {
    if (bin.count == 0) continue;
    const auto count = static_cast<double>(bin.count);
    result.ece += std::abs(bin.confidence - bin.accuracy) / static_cast<double>(confidence.size());
    bin.confidence /= count;
    bin.accuracy /= count;
  }
  return result;
}

Result<std::vector<CoveragePoint>> coverage_curve(std::span<const double> confidence,
                                                  std::span<const double> routed,
                                                  std::span<const double> otherwise,
                                                  std::span<const std::uint8_t> right,
                                                  std::span<const std::uint32_t> set,
                                                  std::size_t num_sets, std::size_t steps) {
  const std::size_t n = confidence.size();
  if (n == 0 || steps == 0 || routed.size() != n || otherwise.size() != n || right.size() != n ||
      set.size() != n)
    return Status::invalid_argument("coverage: no queries, no steps or sizes that differ: " +
                                    std::to_string(n) + " confidences");
  if (!all_finite(confidence) || !all_finite(routed) || !all_finite(otherwise))
    return Status::invalid_argument("coverage: a number is not finite");
  std::vector<double> weight(num_sets, 0.0);  // of a query of the set in the mean over sets
  for (const std::uint32_t s : set) {
    if (s >= num_sets) return Status::invalid_argument("coverage: a set is out of range");
    weight[s] += 1.0;
  }
  const auto present = static_cast<double>(num_sets) -
                       static_cast<double>(std::count(weight.begin(), weight.end(), 0.0));
  double quality = 0.0;
  for (double& w : weight) w = w > 0.0 ? 1.0 / (w * present) : 0.0;
  for (std::size_t q = 0; q < n; ++q) quality += weight[set[q]] * otherwise[q];
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return confidence[a] > confidence[b]; });
  std::vector<CoveragePoint> curve;
  double correct = 0.0;
  for (std::size_t step = 0, done = 0; step <= steps; ++step) {
    for (; done < step * n / steps; ++done) {
      const std::size_t q = order[done];
      quality += weight[set[q]] * (routed[q] - otherwise[q]);
      correct += right[q] != 0 ? 1.0 : 0.0;
    }
    CoveragePoint point;
    point.coverage = static_cast<double>(done) / static_cast<double>(n);
    point.threshold = done > 0 ? confidence[order[done - 1]] : confidence[order[0]];
    point.quality = quality;
    point.accuracy = done > 0 ? correct / static_cast<double>(done) : 0.0;
    curve.push_back(point);
  }
  return curve;
}

double gain_share(double method, double base, double oracle) noexcept {
  return oracle > base ? (method - base) / (oracle - base) : 0.0;
}

}  // namespace collegium::router
