#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "collection_state.h"
#include "collegium/core/status.h"

namespace collegium::index {

// What an index file must agree with to be believed.
struct IndexIdentity {
  std::string corpus_id;
  std::uint32_t collection = 0;  // number
  std::size_t dim = 0;
  std::string encoder_digest;
};

// `state` as a file of kind "index" (docs/formats.md). It is a cache: whoever cannot read it
// rebuilds it from the store.
Status write_index_file(const std::string& path, const IndexIdentity& identity,
                        const CollectionState& state);

// not_found, corruption, not_supported (newer), failed_precondition (another corpus's), io_error.
Result<std::shared_ptr<const CollectionState>> read_index_file(const std::string& path,
                                                               const IndexIdentity& identity);

}  // namespace collegium::index
