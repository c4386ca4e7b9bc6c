#include "experts/interpolation_ndcg.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

constexpr std::size_t kDepth = 10;
constexpr std::size_t kQueriesPerTask = 32;

double discount(std::size_t rank) { return 1.0 / std::log2(static_cast<double>(rank) + 2.0); }

}  // namespace

InterpolationNdcg::InterpolationNdcg(std::span<const float> passages,
                                     std::span<const std::uint32_t> row_document, std::size_t dim,
                                     const JudgedQueries& queries)
    : dim_(dim), queries_(queries) {
  std::vector<std::uint32_t> order(row_document.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return row_document[a] < row_document[b];
  });
  std::vector<float> sorted(passages.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::copy_n(&passages[order[i] * dim], dim, &sorted[i * dim]);
    const std::uint32_t number = row_document[order[i]];
    if (documents_.empty() || documents_.back().number != number)
      documents_.push_back({number, i, i});
    documents_.back().end = i + 1;
  }
  rows_ = std::move(PackedVectors::create(sorted, dim)).value();

  for (std::size_t q = 0; q < queries.size(); ++q) {
    std::vector<std::uint32_t> positions;
    std::vector<double> gains, all;
    for (std::size_t i = 0; i < queries.positives[q].size(); ++i) {
      const std::uint32_t number = queries.positives[q][i];
      const double gain = queries.gains.empty() ? 1.0 : queries.gains[q][i];
      all.push_back(gain);
      const auto at = std::lower_bound(
          documents_.begin(), documents_.end(), number,
          [](const Document& document, std::uint32_t value) { return document.number < value; });
      if (at == documents_.end() || at->number != number) continue;
      positions.push_back(static_cast<std::uint32_t>(at - documents_.begin()));
      gains.push_back(gain);
    }
    std::sort(all.begin(), all.end(), std::greater<>());
    double ideal = 0.0;
    for (std::size_t rank = 0; rank < std::min(kDepth, all.size()); ++rank)
      ideal += all[rank] * discount(rank);
    relevant_.push_back(std::move(positions));
    gains_.push_back(std::move(gains));
    ideal_.push_back(ideal);
  }
}

double InterpolationNdcg::ndcg(const float* scores, std::size_t query) const {
  double dcg = 0.0;
  for (std::size_t i = 0; i < relevant_[query].size(); ++i) {
    const std::size_t own = relevant_[query][i];
    const float score = scores[own];
    // Its rank: documents that score more, or the same with a smaller number.
    std::size_t rank = 0;
    for (std::size_t block = 0; block < documents_.size() && rank < kDepth; block += 256) {
      const std::size_t end = std::min(block + 256, documents_.size());
      std::uint32_t above = 0;
      for (std::size_t j = block; j < end; ++j) above += scores[j] > score ? 1u : 0u;
      rank += above;
    }
    for (std::size_t j = 0; j < own && rank < kDepth; ++j) rank += scores[j] == score ? 1 : 0;
    if (rank < kDepth) dcg += gains_[query][i] * discount(rank);
  }
  return ideal_[query] > 0.0 ? dcg / ideal_[query] : 0.0;
}

std::vector<std::vector<double>> InterpolationNdcg::measure_each(
    const HeadAdapter& adapter, std::span<const float> strengths) const {
  const std::size_t n = queries_.size(), rows = rows_.size();
  std::vector<std::vector<double>> result(strengths.size(), std::vector<double>(n));
  const bool one_row_each = documents_.size() == rows;
  const std::size_t tasks = (n + kQueriesPerTask - 1) / kQueriesPerTask;
  default_pool().parallel_for(tasks, [&](std::size_t task) {
    const std::size_t first = task * kQueriesPerTask;
    const std::size_t count = std::min(kQueriesPerTask, n - first);
    const float* plain_query = &queries_.vectors[first * dim_];
    std::vector<float> mapped(count * dim_);
    for (std::size_t i = 0; i < count; ++i) adapter.map(plain_query + i * dim_, &mapped[i * dim_]);
    std::vector<float> plain(count * rows), adapted(count * rows), mixed(rows);
    rows_.scores(plain_query, count, plain.data(), rows);
    rows_.scores(mapped.data(), count, adapted.data(), rows);
    for (std::size_t i = 0; i < count; ++i) {
      const float* a = &plain[i * rows];
      const float* b = &adapted[i * rows];
      for (std::size_t s = 0; s < strengths.size(); ++s) {
        const float strength = strengths[s];
        for (std::size_t j = 0; j < rows; ++j) mixed[j] = a[j] + strength * (b[j] - a[j]);
        if (!one_row_each)  // in place: a document's position is never behind its first row
          for (std::size_t d = 0; d < documents_.size(); ++d)
            mixed[d] = *std::max_element(&mixed[documents_[d].first], &mixed[documents_[d].end]);
        result[s][first + i] = ndcg(mixed.data(), first + i);
      }
    }
  });
  return result;
}

}  // namespace collegium::core
