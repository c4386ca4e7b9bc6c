#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collection_state.h"
#include "collegium/core/status.h"

namespace collegium::index {

struct MergedDocument {
  DocumentScore score;
  std::size_t query = 0;  // which of `queries`
};

// The value of the metadata field in the document that was found, as Hit::source has it.
std::string source_of(const DocumentScore& found, std::string_view field);

// What Corpus::search_merged() answers: `states` has one for each of `queries`, and the result
// points into them. Arguments are checked already.
Result<std::vector<MergedDocument>> search_states(
    std::span<const std::shared_ptr<const CollectionState>> states,
    std::span<const CollectionQuery> queries, std::size_t k, const SearchOptions& options);

}  // namespace collegium::index
