#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/experts/packed_vectors.h"

namespace collegium::core {

// nDCG@10 over documents, exactly, for a map at several strengths at once. Interpolating W toward
// the identity interpolates the scores (normalising a query does not change its order), so two
// score matrices give every strength.
class InterpolationNdcg {
 public:
  // Shapes as in train_head_adapter, already checked. Keeps a packed copy of `passages`; borrows
  // `queries`.
  InterpolationNdcg(std::span<const float> passages, std::span<const std::uint32_t> row_document,
                    std::size_t dim, const JudgedQueries& queries);

  // (strengths, queries), under adapter.interpolated(strength).
  std::vector<std::vector<double>> measure_each(const HeadAdapter& adapter,
                                                std::span<const float> strengths) const;

 private:
  // Rows of one document stand together, in ascending order of documents.
  struct Document {
    std::uint32_t number = 0;
    std::size_t first = 0, end = 0;
  };
  double ndcg(const float* document_scores, std::size_t query) const;

  std::size_t dim_ = 0;
  JudgedQueries queries_;
  PackedVectors rows_;
  std::vector<Document> documents_;
  // For each query, positions in `documents_` (of those that have rows) and gains parallel to them.
  std::vector<std::vector<std::uint32_t>> relevant_;
  std::vector<std::vector<double>> gains_;
  std::vector<double> ideal_;
};

}  // namespace collegium::core
