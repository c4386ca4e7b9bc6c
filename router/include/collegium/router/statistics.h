#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

// Whether a difference is more than luck, and whether a probability means what it says.
namespace collegium::router {

struct COLLEGIUM_API BootstrapOptions {
  std::size_t resamples = 2000;  // Range [100, 1000000]
  double level = 0.95;           // of the interval, in (0, 1)
  std::uint64_t seed = 1;
  Status validate() const;
};

// One method less another on the same queries.
struct Comparison {
  double difference = 0.0;
  double low = 0.0, high = 0.0;  // percentile interval
  double p = 1.0;                // two-sided, of no difference
  double p_holm = 1.0;           // the same corrected over the sets of a table; alone: p
  std::size_t queries = 0;
};

// The paired bootstrap (Efron and Tibshirani, 1993; for retrieval Sakai, SIGIR 2006) of the mean
// over sets of the mean difference over their queries: queries are drawn anew within each set.
// `differences` by set, none empty. p is the share of resamples whose distance from the observed
// difference is at least that difference (one more on both sides, so never 0), but no less than
// 2^(1 - n) of n queries that differ: what a sign test could at most say, since few queries that
// agree would fool the bootstrap. A function of its arguments, whatever the number of threads.
// invalid_argument: no set, an empty set, a difference that is not finite, options out of range.
COLLEGIUM_API Result<Comparison> paired_bootstrap(std::span<const std::vector<double>> differences,
                                                  const BootstrapOptions& options = {});

// Many methods at once on the same resamples: differences (queries, methods) row-major, `set` by
// query in [0, num_sets). (num_sets + 1, methods): each set's comparison, corrected by Holm over
// the sets, then the mean over sets. Sets without queries are left empty (queries 0) and out.
COLLEGIUM_API Result<std::vector<Comparison>> paired_bootstrap_table(
    std::span<const double> differences, std::span<const std::uint32_t> set, std::size_t num_sets,
    std::size_t methods, const BootstrapOptions& options = {});

// P-values corrected for their number (Holm, 1979): the chance that any of them is wrong is
// bounded. Parallel to `p`.
COLLEGIUM_API std::vector<double> holm(std::span<const double> p);

struct ReliabilityBin {
  double low = 0.0, high = 0.0;  // confidences in (low, high]; the first holds 0 too
  std::size_t count = 0;
  double confidence = 0.0, accuracy = 0.0;  // means; 0 in an empty bin
};

// Expected calibration error over equal-width bins (Guo et al., arXiv 1706.04599).
struct Calibration {
  double ece = 0.0;
  std::vector<ReliabilityBin> bins;
};
// `confidence` in [0, 1], `right` 0 or 1 parallel to it. invalid_argument: sizes, values, no bins.
COLLEGIUM_API Result<Calibration> measure_calibration(std::span<const double> confidence,
                                                      std::span<const std::uint8_t> right,
                                                      std::size_t bins = 10);

// What abstaining below a threshold gives: the surest `coverage` of the queries are routed, the
// others are not.
struct CoveragePoint {
  double coverage = 0.0;   // share routed
  double threshold = 0.0;  // of the confidence: those routed have at least it
  double quality = 0.0;    // mean over sets of all their queries, routed or not
  double accuracy = 0.0;   // of the routed ones' routes; 0 at coverage 0
};
// At coverages 0, 1/steps, ..., 1 of the queries by (confidence descending, position). Queries:
// `routed` and `otherwise` are their qualities either way, `right` whether the route was right,
// `set` in [0, num_sets). invalid_argument: sizes that differ, no queries, numbers not finite.
COLLEGIUM_API Result<std::vector<CoveragePoint>> coverage_curve(
    std::span<const double> confidence, std::span<const double> routed,
    std::span<const double> otherwise, std::span<const std::uint8_t> right,
    std::span<const std::uint32_t> set, std::size_t num_sets, std::size_t steps = 20);

// Share of what the oracle gains over `base` that `method` wins; 0 where the oracle gains nothing.
COLLEGIUM_API double gain_share(double method, double base, double oracle) noexcept;

}  // namespace collegium::router
