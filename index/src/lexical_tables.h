#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "collegium/core/status.h"
#include "collegium/index/lexical.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Snapshot;
class Status;
class WriteBatch;
}  // namespace rocksdb

namespace collegium::index {

// The store's two column families of postings. Numbers in keys are big-endian, in values
// little-endian. A term has no zero byte, so no key begins another term's.
//
// "postings":
//   u32 collection, 0                   summary: see LexicalSummary::write
//   u32 collection, term, 0             u64 passages with the term, block of the last of them
//   u32 collection, term, 0, u64 row    block that is full; row: its last when it was written
// "positions": the same keys without the summary; positions of the block's postings.
//
// A commit appends to a term's last block, which its one record holds, so most terms are one
// record. Postings of removed documents are taken out of their block; a block may then be nearly
// empty, and goes when it is empty.
struct LexicalTables {
  rocksdb::DB* db = nullptr;
  rocksdb::ColumnFamilyHandle* postings = nullptr;
  rocksdb::ColumnFamilyHandle* positions = nullptr;
  std::string folder;  // for messages

  Result<std::optional<std::string>> get(rocksdb::ColumnFamilyHandle* family,
                                         const std::string& key,
                                         const rocksdb::Snapshot* snapshot) const;
  Status damaged(const std::string& what) const;
  Status check(const rocksdb::Status& status) const;
};

std::string term_key(std::uint32_t collection, std::string_view term);
std::string block_key(std::string term_key, std::uint64_t row);
std::uint64_t row_of_key(std::string_view block_key);  // pre: it is one
std::string summary_key(std::uint32_t collection);

// What is known of a collection's words as a whole.
struct LexicalSummary {
  LexicalSettings settings;
  std::uint64_t passages = 0;
  std::uint64_t words = 0;  // of all passages

  // words_digest() of the settings where the words were found; 0: not known. When it is another
  // here, this library finds other words than are in the postings.
  std::uint64_t digest = 0;

  // u32 layout (2), f64 k1, f64 b, string stemmer, u8 fold accents, u8 split names, u64 stop words,
  // strings; u64 passages, u64 words, u64 digest. Layout 1 had no digest.
  std::string write() const;
  [[nodiscard]] bool read(std::string_view bytes);

  static Result<std::optional<LexicalSummary>> load(const LexicalTables& tables,
                                                    std::uint32_t collection);
};

class LexicalCache;

// A collection's words as of one commit, for readers.
struct LexicalState {
  std::uint64_t commit_seq = 0;
  LexicalCache* cache = nullptr;
  std::shared_ptr<const LexicalSummary> summary;
  std::shared_ptr<const rocksdb::Snapshot> snapshot;
};

}  // namespace collegium::index
