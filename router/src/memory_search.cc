#include "memory_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

namespace collegium::router {
namespace {

bool better(const ScoredDocument& a, const ScoredDocument& b) {
  return a.score != b.score ? a.score > b.score : a.document < b.document;
}

// The best k of (numbers[i], scores[i]). Documents come in ascending order, so one that only equals
// the k-th best so far cannot enter.
std::vector<ScoredDocument> best_of(const std::vector<std::uint32_t>& numbers, const float* scores,
                                    std::size_t k) {
  const std::size_t n = numbers.size();
  std::vector<ScoredDocument> kept;
  kept.reserve(2 * k);
  float threshold = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    if (!(scores[i] > threshold)) continue;
    kept.push_back({numbers[i], scores[i]});
    if (kept.size() < 2 * k) continue;
    std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(k - 1), kept.end(),
                     better);
    kept.resize(k);
    threshold = kept.back().score;
  }
  std::sort(kept.begin(), kept.end(), better);
  if (kept.size() > k) kept.resize(k);
  return kept;
}

}  // namespace

Result<MemoryCollection> MemoryCollection::create(const CollectionData& data, std::size_t dim) {
  const std::size_t rows = data.passage_document.size();
  const std::string who = "collection '" + data.name + "'";
  if (data.vectors.size() != rows * dim)
    return Status::invalid_argument(who + ": " + std::to_string(data.vectors.size()) +
                                    " floats for " + std::to_string(rows) + " passages of dim " +
                                    std::to_string(dim));
  for (std::size_t i = 1; i < data.document_ids.size(); ++i)
    if (data.document_ids[i - 1] >= data.document_ids[i])
      return Status::invalid_argument(who + ": document ids are not ascending and unique at '" +
                                      data.document_ids[i] + "'");
  for (std::size_t i = 0; i < rows; ++i)
    if (data.passage_document[i] >= data.document_ids.size())
      return Status::invalid_argument(who + ": passage " + std::to_string(i) + " is of document " +
                                      std::to_string(data.passage_document[i]) + " of " +
                                      std::to_string(data.document_ids.size()));
  for (std::size_t i = 0; i < data.vectors.size(); ++i)
    if (!std::isfinite(data.vectors[i]))
      return Status::invalid_argument(who + ": passage " + std::to_string(i / dim) +
                                      " has a component that is not finite");

  MemoryCollection result;
  result.num_documents_ = data.document_ids.size();
  std::vector<std::uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return data.passage_document[a] < data.passage_document[b];
  });
  std::vector<float> sorted(data.vectors.size());
  for (std::size_t i = 0; i < rows; ++i) {
    std::copy_n(&data.vectors[std::size_t{order[i]} * dim], dim, &sorted[i * dim]);
    const std::uint32_t number = data.passage_document[order[i]];
    if (result.numbers_.empty() || result.numbers_.back() != number) {
      result.numbers_.push_back(number);
      result.ends_.push_back(i);
    }
    result.ends_.back() = i + 1;
  }
  COLLEGIUM_ASSIGN_OR_RETURN(result.rows_, core::PackedVectors::create(sorted, dim));
  return result;
}

std::vector<std::vector<ScoredDocument>> MemoryCollection::search(const float* queries,
                                                                  std::size_t n,
                                                                  std::size_t k) const {
  constexpr std::size_t kBlock = 64;  // queries whose scores are held at once
  const std::size_t rows = rows_.size();
  k = std::min(k, numbers_.size());
  std::vector<std::vector<ScoredDocument>> result(n);
  if (k == 0) return result;
  std::vector<float> scores(std::min(kBlock, n) * rows);
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t count = std::min(kBlock, n - first);
    rows_.scores(queries + first * rows_.dim(), count, scores.data(), rows);
    for (std::size_t i = 0; i < count; ++i) {
      float* row = &scores[i * rows];
      if (numbers_.size() != rows) {  // in place: a document never stands behind its first row
        std::size_t begin = 0;
        for (std::size_t d = 0; d < numbers_.size(); ++d) {
          row[d] = *std::max_element(row + begin, row + ends_[d]);
          begin = ends_[d];
        }
      }
      result[first + i] = best_of(numbers_, row, k);
    }
  }
  return result;
}

}  // namespace collegium::router
