#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lexical_blocks.h"
#include "lexical_tables.h"

namespace collegium::index {

// A block of a term's postings in memory. Immutable, and looked over once: not empty, its rows
// ascend.
class LoadedBlock {
 public:
  // Of the block that the record of a term holds; of a full one the row in its key.
  static constexpr std::uint64_t kLast = ~std::uint64_t{0};

  // Null when `bytes` are not such a block.
  static std::shared_ptr<const LoadedBlock> make(std::string_view bytes, std::uint64_t key_row);

  const PostingBlock& block() const noexcept { return block_; }
  std::uint64_t key_row() const noexcept { return key_row_; }
  std::uint64_t last_row() const noexcept { return last_row_; }
  std::size_t memory() const noexcept { return sizeof(LoadedBlock) + bytes_.size() + 32; }

 private:
  std::string bytes_;
  PostingBlock block_;  // points into bytes_
  std::uint64_t key_row_ = 0;
  std::uint64_t last_row_ = 0;
};

// That a commit changes a term and, if `complete`, what it writes.
struct TermChange {
  std::string term;
  bool complete = false;
  std::uint64_t df = 0;
  std::string last;  // the block in its record; empty: there is no record any more
  // By ascending row of their keys; empty ones are gone.
  std::vector<std::pair<std::uint64_t, std::string>> full;
};

// All postings of one term as of one commit. Immutable; what a commit leaves alone is shared by
// what was before and after it.
class TermPostings {
 public:
  // Of a term that is nowhere: df() is 0.
  static std::shared_ptr<const TermPostings> none();
  // corruption when they are not sound.
  static Result<std::shared_ptr<const TermPostings>> load(const LexicalTables& tables,
                                                          const rocksdb::Snapshot* snapshot,
                                                          std::uint32_t collection,
                                                          std::string_view term);
  // These with `change`; null when that does not fit.
  std::shared_ptr<const TermPostings> with(const TermChange& change) const;

  std::uint64_t df() const noexcept { return df_; }
  std::size_t num_blocks() const noexcept { return full_->blocks.size() + (last_ ? 1 : 0); }
  const LoadedBlock& block(std::size_t i) const noexcept {
    return i < full_->blocks.size() ? *full_->blocks[i] : *last_;
  }
  // The first block at or behind `from` whose last row is at least `row`; num_blocks() if there is
  // none.
  std::size_t find_block(std::uint64_t row, std::size_t from) const noexcept;
  std::size_t memory() const noexcept { return memory_; }

 private:
  struct Full {
    std::vector<std::shared_ptr<const LoadedBlock>> blocks;
    std::vector<std::uint64_t> last_rows;
    std::size_t memory = 0;

    // False when it does not follow those that are there.
    [[nodiscard]] bool append(std::shared_ptr<const LoadedBlock> block);
  };
  // Null when the parts do not belong together.
  static std::shared_ptr<const TermPostings> make(std::uint64_t df,
                                                  std::shared_ptr<const Full> full,
                                                  std::shared_ptr<const LoadedBlock> last);

  std::uint64_t df_ = 0;
  std::shared_ptr<const Full> full_;
  std::shared_ptr<const LoadedBlock> last_;  // null: it is empty
  std::size_t memory_ = 0;
};

}  // namespace collegium::index
