#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "document_store.h"
#include "lexical_tables.h"

namespace collegium::index {

// What the rest of the store says of a collection.
struct IndexedCollection {
  std::string name;
  std::uint64_t passages = 0;       // its record
  std::vector<std::uint64_t> rows;  // of its passages, ascending
};

// Decodes every block of postings and of positions as of `snapshot`, by collection number: terms'
// counts, rows that ascend and exist, lengths, and the summary must agree with one another. What is
// wrong goes to `findings`; fails when they cannot be read to their end.
Status verify_postings(const LexicalTables& tables, const rocksdb::Snapshot* snapshot,
                       const std::map<std::uint32_t, IndexedCollection>& collections,
                       FindingList& findings);

}  // namespace collegium::index
