#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/experts/packed_vectors.h"
#include "collegium/core/status.h"
#include "collegium/router/learning.h"

// Exact document search over collections held in memory, for learning and evaluation: many query
// vectors at once instead of one index search each.
namespace collegium::router {

struct ScoredDocument {
  std::uint32_t document = 0;  // number within its collection
  float score = 0.0f;
};

class MemoryCollection {
 public:
  // invalid_argument if shapes disagree, a document number is out of range, ids are not ascending
  // or a component is not finite. Copies the vectors.
  static Result<MemoryCollection> create(const CollectionData& data, std::size_t dim);

  std::size_t num_documents() const noexcept { return num_documents_; }
  std::size_t num_passages() const noexcept { return rows_.size(); }

  // The best min(k, documents) documents of each of `n` query vectors (n, dim), by (score
  // descending, number ascending). A document scores by its best passage. Runs on the caller's
  // thread; thread-safe.
  std::vector<std::vector<ScoredDocument>> search(const float* queries, std::size_t n,
                                                  std::size_t k) const;

 private:
  core::PackedVectors rows_;            // in order of documents
  std::vector<std::uint32_t> numbers_;  // (documents with passages,) ascending
  std::vector<std::size_t> ends_;       // parallel: where the document's rows end
  std::size_t num_documents_ = 0;
};

}  // namespace collegium::router
