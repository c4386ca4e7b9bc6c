#pragma once

#include <rocksdb/iterator.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lexical_blocks.h"
#include "lexical_tables.h"

namespace collegium::index {

// BM25 of one collection as of one commit; see LexicalSettings.
struct Bm25 {
  double flat = 0.0;      // k1 * (1 - b)
  double per_word = 0.0;  // k1 * b / mean length

  explicit Bm25(const LexicalSummary& summary);
  // Below 1; grows with tf, shrinks with length.
  double saturation(double tf, double length) const noexcept {
    return tf / (tf + (flat + per_word * length));
  }
  static double idf(std::uint64_t passages, std::uint64_t df);
};

// Walks the postings of one term by ascending row, block by block; what it skips is not unpacked.
// When something is wrong with the store it stands at the end and status() says so.
class PostingCursor {
 public:
  // `snapshot` must outlive it. A term that is nowhere has df() 0 and stands at the end.
  static Result<std::unique_ptr<PostingCursor>> open(const LexicalTables& tables,
                                                     const rocksdb::Snapshot* snapshot,
                                                     std::uint32_t collection,
                                                     std::string_view term);

  std::uint64_t df() const noexcept { return df_; }
  bool at_end() const noexcept { return where_ == Where::kEnd; }
  const Status& status() const noexcept { return status_; }

  // The block it is in, and the posting in it. Pre: not at the end.
  const PostingBlock& block() const noexcept { return block_; }
  std::size_t at() const noexcept { return at_; }
  std::uint64_t row() const noexcept { return block_.row(at_); }
  // Of the block it is in: the key of its positions.
  std::string positions_key() const;
  // The greatest saturation in this block.
  double block_bound(const Bm25& bm25);

  // To the first posting whose row is at least `row`; never back.
  void skip_to(std::uint64_t row);
  // The same, but only as far as the block that has it.
  void skip_to_block(std::uint64_t row);
  // skip_to(row), and whether the row is there.
  bool find(std::uint64_t row) {
    skip_to(row);
    return !at_end() && this->row() == row;
  }
  // Adds weight * saturation of every posting with row in [begin, end) to sums[row - begin] and
  // marks it in `marks`, a bit a row; stands behind them afterwards. Pre: not at the end,
  // row() >= begin.
  void add_up(std::uint64_t begin, std::uint64_t end, double weight, const Bm25& bm25,
              std::span<double> sums, std::span<std::uint64_t> marks);

 private:
  enum class Where : std::uint8_t { kFull, kLast, kEnd };
  PostingCursor() = default;
  void enter_full();  // where the iterator stands, or the last block
  void enter_last();
  void next_block();
  void fail(Status status);
  void unpack(const Bm25& bm25);

  LexicalTables tables_;
  std::string key_;       // of the term
  std::string end_key_;   // after all its blocks
  rocksdb::Slice upper_;  // the same
  std::string record_;
  std::uint64_t df_ = 0;
  PostingBlock last_;
  std::unique_ptr<rocksdb::Iterator> full_;  // over full blocks; null: there are none
  Where where_ = Where::kEnd;
  PostingBlock block_;
  std::size_t at_ = 0;
  std::uint64_t next_row_ = 0;  // rows of later blocks are at least this
  double bound_ = -1.0;         // of block_; below 0: not computed
  bool unpacked_ = false;
  struct Unpacked {
    std::array<std::uint64_t, PostingBlock::kMaxPostings> rows;
    std::array<double, PostingBlock::kMaxPostings> saturation;
  };
  std::unique_ptr<Unpacked> columns_;
  Status status_;
};

// Words next to each other: whether a passage has them all so. One word is one too.
class PhraseCursor {
 public:
  struct Word {
    std::string term;
    std::uint32_t offset = 0;  // from the phrase's first word
  };
  static Result<PhraseCursor> open(const LexicalTables& tables, const rocksdb::Snapshot* snapshot,
                                   std::uint32_t collection, std::span<const Word> words);

  // Passages with the rarest of the words.
  std::uint64_t df() const noexcept;
  const std::string& rarest() const noexcept;
  // Whether all words are in the passage; rows ascend from call to call.
  bool has_words(std::uint64_t row);
  // Whether they stand as a phrase. Pre: has_words(row) was the last call and true.
  bool is_phrase();
  Status status() const;

 private:
  struct Part {
    Word word;
    std::unique_ptr<PostingCursor> cursor;
    std::string key;                       // of the block whose positions are here
    std::vector<std::uint32_t> positions;  // of all its postings
    std::vector<std::size_t> begins;       // (postings + 1,)
  };
  Status load_positions(Part& part);

  LexicalTables tables_;
  const rocksdb::Snapshot* snapshot_ = nullptr;
  std::vector<Part> parts_;
  Status status_;
};

}  // namespace collegium::index
