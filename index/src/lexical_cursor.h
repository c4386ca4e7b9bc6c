#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lexical_blocks.h"
#include "lexical_cache.h"
#include "lexical_postings.h"
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

// The postings of a term as a reader of `lexical` sees them: from the cache, or read into it. A
// term that is nowhere has none. corruption when the store's are not sound.
Result<std::shared_ptr<const TermPostings>> find_postings(const LexicalTables& tables,
                                                          std::uint32_t collection,
                                                          const LexicalState& lexical,
                                                          std::string_view term);

// Walks the postings of one term by ascending row, block by block; what it skips is not unpacked.
class PostingCursor {
 public:
  explicit PostingCursor(std::shared_ptr<const TermPostings> postings)
      : postings_(std::move(postings)) {
    enter(0);
  }

  std::uint64_t df() const noexcept { return postings_->df(); }
  bool at_end() const noexcept { return loaded_ == nullptr; }

  // The block it is in, and the posting in it. Pre: not at the end.
  const LoadedBlock& loaded() const noexcept { return *loaded_; }
  const PostingBlock& block() const noexcept { return loaded_->block(); }
  std::size_t at() const noexcept { return at_; }
  std::uint64_t row() const noexcept { return row_; }
  std::uint64_t last_row() const noexcept { return last_row_; }  // of the block
  // The greatest saturation in this block.
  double block_bound(const Bm25& bm25);

  // To the first posting whose row is at least `row`; never back.
  void skip_to(std::uint64_t row);
  // The same, but only as far as the block that has it; row() is then the block's first or where it
  // stood.
  void skip_to_block(std::uint64_t row) {
    if (!at_end() && last_row_ < row) enter(postings_->find_block(row, number_));
  }
  // Makes score() of more rows of this block cheaper.
  void unpack(double weight, const Bm25& bm25);
  // weight * saturation of `row` if it is in this block, else 0; stands at or behind it afterwards.
  // Pre: not at the end, row() <= row <= last_row().
  double score(std::uint64_t row, double weight, const Bm25& bm25) {
    if (unpacked_) {
      while (columns_->rows[at_] < row) ++at_;
      row_ = columns_->rows[at_];
      return row_ == row ? columns_->scores[at_] : 0.0;
    }
    at_ = block().find(row, at_);
    row_ = block().row(at_);
    return row_ == row ? weight * bm25.saturation(block().tf(at_), block().length(at_)) : 0.0;
  }
  // skip_to(row), and whether the row is there.
  bool find(std::uint64_t row) {
    skip_to(row);
    return !at_end() && row_ == row;
  }
  // Adds weight * saturation of every posting with row in [begin, end) to sums[row - begin] and
  // says in which groups of 64 rows they are, a bit a group; stands behind them afterwards. A
  // cursor has one `weight`. Pre: not at the end, row() >= begin, end - begin <= 4096.
  std::uint64_t add_up(std::uint64_t begin, std::uint64_t end, double weight, const Bm25& bm25,
                       std::span<double> sums);

 private:
  void enter(std::size_t block);

  std::shared_ptr<const TermPostings> postings_;
  const LoadedBlock* loaded_ = nullptr;  // null: at the end
  std::size_t number_ = 0;               // of the block
  std::size_t at_ = 0;
  std::uint64_t row_ = 0;
  std::uint64_t last_row_ = 0;
  double bound_ = -1.0;  // of the block; below 0: not computed
  bool unpacked_ = false;
  struct Unpacked {
    std::array<std::uint64_t, PostingBlock::kMaxPostings> rows;
    std::array<double, PostingBlock::kMaxPostings> scores;
  };
  std::unique_ptr<Unpacked> columns_;
};

// Words next to each other: whether a passage has them all so. One word is one too.
class PhraseCursor {
 public:
  struct Word {
    std::string term;
    std::uint32_t offset = 0;  // from the phrase's first word
  };
  static Result<PhraseCursor> open(const LexicalTables& tables, std::uint32_t collection,
                                   const LexicalState& lexical, std::span<const Word> words);

  // Passages with the rarest of the words.
  std::uint64_t df() const noexcept;
  const std::string& rarest() const noexcept;
  // Whether all words are in the passage; rows ascend from call to call.
  bool has_words(std::uint64_t row);
  // Whether they stand as a phrase. Pre: has_words(row) was the last call and true.
  bool is_phrase();
  const Status& status() const noexcept { return status_; }

 private:
  struct Part {
    Word word;
    PostingCursor cursor;
    const LoadedBlock* block = nullptr;    // whose positions are here
    std::vector<std::uint32_t> positions;  // of all its postings
    std::vector<std::size_t> begins;       // (postings + 1,)
  };
  Status load_positions(Part& part);

  LexicalTables tables_;
  std::uint32_t collection_ = 0;
  const rocksdb::Snapshot* snapshot_ = nullptr;
  std::vector<Part> parts_;
  Status status_;
};

}  // namespace collegium::index
