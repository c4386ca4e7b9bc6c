#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"

namespace collegium::core {

// What queries are trained against. Borrows `passages`.
struct TrainingPassages {
  std::span<const float> vectors;  // (rows, dim)
  std::size_t dim = 0;
  std::vector<std::vector<std::uint32_t>> document_rows;  // by document; none for one without rows
  std::size_t rows() const noexcept { return vectors.size() / dim; }
};

// By training query: rows that it is pushed from, and rows that are likely relevant though nobody
// judged them, which it is not pushed from. Both ascending, apart, without its relevant documents.
struct HardNegatives {
  std::vector<std::vector<std::uint32_t>> rows, left_out;
};

// The best `depth` rows of the plain encoder (ties: the smaller row) and all of train.hard. Left
// out: what scores above the query's best relevant row less `margin`; nothing where no relevant
// document has rows. Positive-aware mining, TopK-MarginPos of arXiv 2407.15831.
HardNegatives mine_hard_negatives(const TrainingPassages& passages, const JudgedQueries& train,
                                  std::size_t depth, float margin);

}  // namespace collegium::core
