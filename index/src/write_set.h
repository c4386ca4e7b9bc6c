#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/index/corpus.h"

namespace collegium::index {

inline constexpr std::size_t kMaxIdBytes = 1024;
inline constexpr std::size_t kMaxMetadataDepth = 64;  // as Filter::kMaxDepth
inline constexpr std::size_t kMaxCommitBytes = std::size_t{1} << 30;

struct WriteSet::Impl {
  std::vector<std::string> created;
  std::vector<std::pair<std::string, NewDocument>> documents;          // (collection, document)
  std::vector<std::pair<std::string, std::string>> removed_documents;  // (collection, id)
  std::vector<std::pair<std::string, std::string>> records;            // (key, value)
  std::vector<std::string> removed_records;
  std::vector<std::pair<std::string, LexicalSettings>> lexical;  // (collection, settings)

  // Everything that can be said without the store: see Corpus::commit.
  Status validate(std::size_t dim) const;
};

// `vector` (dim,) must be finite, and its squared length too: then so is every inner product.
Status check_vector(std::span<const float> vector, const std::string& what);

}  // namespace collegium::index
