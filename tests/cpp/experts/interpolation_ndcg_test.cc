#include "experts/interpolation_ndcg.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "collegium/core/random.h"

namespace collegium::core {
namespace {

// Sorts documents by their best passage and sums the gains, by the book.
double brute_force(const std::vector<float>& rows, const std::vector<std::uint32_t>& row_document,
                   std::size_t dim, const float* query, const std::vector<std::uint32_t>& relevant,
                   const std::vector<float>& gains) {
  std::map<std::uint32_t, double> best;
  for (std::size_t row = 0; row < row_document.size(); ++row) {
    double score = 0.0;
    for (std::size_t d = 0; d < dim; ++d) score += double{query[d]} * rows[row * dim + d];
    const auto at = best.emplace(row_document[row], score).first;
    at->second = std::max(at->second, score);
  }
  std::vector<std::pair<double, std::uint32_t>> order;
  for (const auto& [document, score] : best) order.emplace_back(-score, document);
  std::sort(order.begin(), order.end());
  double dcg = 0.0, ideal = 0.0;
  for (std::size_t rank = 0; rank < std::min<std::size_t>(10, order.size()); ++rank)
    for (std::size_t i = 0; i < relevant.size(); ++i)
      if (relevant[i] == order[rank].second)
        dcg += gains[i] / std::log2(static_cast<double>(rank) + 2.0);
  std::vector<float> sorted = gains;
  std::sort(sorted.rbegin(), sorted.rend());
  for (std::size_t rank = 0; rank < std::min<std::size_t>(10, sorted.size()); ++rank)
    ideal += sorted[rank] / std::log2(static_cast<double>(rank) + 2.0);
  return dcg / ideal;
}

TEST(InterpolationNdcg, EqualsSortingUnderTheInterpolatedAdapter) {
  const std::size_t dim = 16, num_rows = 400, num_documents = 150, num_queries = 70;
  Random random(5);
  const auto normals = [&](std::size_t n) {
    std::vector<float> out(n);
    for (float& x : out) x = static_cast<float>(random.normal());
    return out;
  };
  const std::vector<float> rows = normals(num_rows * dim), queries = normals(num_queries * dim);
  std::vector<std::uint32_t> row_document(num_rows);
  for (auto& document : row_document)
    document = static_cast<std::uint32_t>(2 * random.below(num_documents));  // some have no rows
  std::vector<std::vector<std::uint32_t>> positives(num_queries);
  std::vector<std::vector<float>> gains(num_queries);
  for (std::size_t q = 0; q < num_queries; ++q)
    for (std::size_t i = 0; i < 1 + q % 12; ++i) {
      const auto document = static_cast<std::uint32_t>(2 * random.below(num_documents));
      if (std::find(positives[q].begin(), positives[q].end(), document) != positives[q].end())
        continue;
      positives[q].push_back(document);
      gains[q].push_back(static_cast<float>(1 + random.below(3)));
    }
  std::vector<float> weight = normals(dim * dim);
  const HeadAdapter adapter = HeadAdapter::create(dim, weight, normals(dim)).value();
  const float strengths[] = {0.0f, 0.3f, 1.0f};
  const InterpolationNdcg ndcg(rows, row_document, dim, {queries, positives, gains});
  const auto measured = ndcg.measure_each(adapter, strengths);
  for (std::size_t s = 0; s < 3; ++s) {
    const HeadAdapter at = adapter.interpolated(strengths[s]);
    std::vector<float> mapped(dim);
    for (std::size_t q = 0; q < num_queries; ++q) {
      at.apply(&queries[q * dim], mapped.data());
      EXPECT_NEAR(measured[s][q],
                  brute_force(rows, row_document, dim, mapped.data(), positives[q], gains[q]), 1e-9)
          << "strength " << strengths[s] << ", query " << q;
    }
  }
}

TEST(InterpolationNdcg, TiesGoToTheSmallerDocumentNumber) {
  const std::vector<float> rows = {1, 0, 1, 0, 0, 1};  // documents 0 and 1 are equal
  const std::vector<std::uint32_t> row_document = {0, 1, 2};
  const std::vector<float> query = {1, 0};
  const float none[] = {0.0f};
  for (const auto& [relevant, expected] : {std::pair{0u, 1.0}, {1u, 1.0 / std::log2(3.0)}}) {
    const std::vector<std::vector<std::uint32_t>> positives = {{relevant}};
    const InterpolationNdcg ndcg(rows, row_document, 2, {query, positives});
    EXPECT_NEAR(ndcg.measure_each(HeadAdapter::identity(2), none)[0][0], expected, 1e-12);
  }
}

}  // namespace
}  // namespace collegium::core
