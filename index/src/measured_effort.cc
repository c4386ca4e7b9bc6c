#include "measured_effort.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

namespace collegium::index {
namespace {

// Efforts to try: about four for each doubling, from the least that differs for `want` passages. A
// walk is broader than they are anyway, and lists that hold fewer give way to the exact scan.
std::vector<std::uint32_t> efforts_for(const VectorBlock& block, std::size_t want) {
  const bool walks = block.kind() == IndexKind::kHnsw;
  const std::size_t most = walks
                               ? std::min(kMostBreadth, std::max<std::size_t>(block.size() / 8, 1))
                               : block.lists()->num_lists();
  std::vector<std::uint32_t> efforts;
  const std::size_t least =
      walks ? std::max<std::size_t>(want + 1, 16)
            : std::max<std::size_t>(2 * want * most / std::max<std::size_t>(block.size(), 1), 1);
  for (std::size_t at = least; at < most; at += std::max<std::size_t>(at / 4, 1))
    efforts.push_back(static_cast<std::uint32_t>(at));
  efforts.push_back(static_cast<std::uint32_t>(most));
  return efforts;
}

// Of the k best that `exact` has, ties with the last included, how many `found` has.
double recall(const BlockResult& exact, const BlockResult& found, std::size_t k) {
  k = std::min(k, exact.best.size());
  if (k == 0) return 1.0;
  const float least = exact.best[k - 1].score;
  const auto end = found.best.begin() + static_cast<std::ptrdiff_t>(std::min(k, found.best.size()));
  const auto hits = std::count_if(found.best.begin(), end,
                                  [&](const ScoredPosition& one) { return one.score >= least; });
  return static_cast<double>(hits) / static_cast<double>(k);
}

}  // namespace

std::vector<float> sample_queries(const VectorBlock& block, std::size_t n, std::uint64_t seed) {
  const std::size_t dim = block.dim();
  std::mt19937_64 random(seed);
  std::vector<float> queries;
  if (block.size() == 0) return queries;
  queries.reserve(n * dim);
  // The same numbers wherever this runs: no distribution of the standard library. A sum of four
  // uniform ones is close enough to a normal one.
  const auto noise = [&random] {
    const std::uint64_t bits = random();
    double sum = 0.0;
    for (int part = 0; part < 4; ++part)
      sum += static_cast<double>(bits >> (16 * part) & 0xffff) / 65535.0 - 0.5;
    return sum * std::sqrt(3.0);  // variance 1
  };
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = block.vectors().data() + random() % block.size() * dim;
    double squares = 0.0;
    for (std::size_t d = 0; d < dim; ++d) squares += static_cast<double>(row[d]) * row[d];
    // Along the row 0.8, across it 0.6, about.
    const double across = 0.6 * std::sqrt(squares / static_cast<double>(dim));
    for (std::size_t d = 0; d < dim; ++d)
      queries.push_back(static_cast<float>(0.8 * row[d] + across * noise()));
  }
  return queries;
}

Result<EffortAnswer> measure_effort(const VectorBlock& block, const EffortQuestion& question) {
  using Clock = std::chrono::steady_clock;
  const std::vector<float> samples =
      question.queries.empty() ? sample_queries(block, question.num_samples, question.seed)
                               : std::vector<float>();
  const std::span<const float> queries = question.queries.empty() ? samples : question.queries;
  const std::size_t num_queries = queries.size() / block.dim();
  const std::size_t want = passages_for(question.k);
  const auto us_since = [&](Clock::time_point begin) {
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
           static_cast<double>(std::max<std::size_t>(num_queries, 1));
  };

  EffortAnswer answer;
  SearchOptions options;
  options.exact = true;
  if (question.timed)  // the first search makes what it reads
    COLLEGIUM_RETURN_IF_ERROR(
        block.search(queries.first(block.dim()), want, {}, block.size(), options).status());
  auto begin = Clock::now();
  COLLEGIUM_ASSIGN_OR_RETURN(const auto exact,
                             block.search_batch(queries, want, {}, block.size(), options));
  answer.exact_query_us = us_since(begin);
  options.exact = false;
  MeasuredEffort& measured = answer.measured;
  measured.queries = static_cast<std::uint32_t>(num_queries);
  measured.target = static_cast<float>(question.target);
  for (const std::uint32_t effort : efforts_for(block, want)) {
    options.breadth = options.probes = effort;
    begin = Clock::now();
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found,
                               block.search_batch(queries, want, {}, block.size(), options));
    TuneTrial trial{effort, 0.0, us_since(begin)};
    for (std::size_t q = 0; q < num_queries; ++q)
      trial.recall += recall(exact[q], found[q], question.k);
    trial.recall /= static_cast<double>(std::max<std::size_t>(num_queries, 1));
    answer.trials.push_back(trial);
    measured.effort = effort;
    measured.recall = static_cast<float>(trial.recall);
    if (trial.recall >= question.target) break;
  }
  return answer;
}

}  // namespace collegium::index
