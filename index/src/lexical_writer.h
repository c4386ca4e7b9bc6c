#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "collegium/core/text/passages.h"
#include "lexical_blocks.h"
#include "lexical_cache.h"
#include "lexical_tables.h"
#include "lexical_words.h"

namespace collegium::index {

// What one commit does to the words of one collection. Collects; finish() reads the blocks that
// change and writes them, so a term is read and written once however many documents have it.
// Whoever uses it is the only writer meanwhile.
class LexicalWriter {
 public:
  // With `cache`, changes() are collected for it.
  LexicalWriter(LexicalTables tables, std::uint32_t collection, LexicalSummary summary,
                const LexicalCache* cache = nullptr);

  // Rows first_row, first_row + 1, ...: above every row there was.
  void add(std::string_view title, std::string_view text,
           std::span<const core::PassageSpan> passages, std::uint64_t first_row);
  // What add() was given.
  void remove(std::string_view title, std::string_view text,
              std::span<const core::PassageSpan> passages, std::uint64_t first_row);

  // Roughly what is collected.
  std::size_t bytes() const noexcept { return bytes_; }

  // Into `batch`, with the summary if `with_summary`; the writer is then empty. corruption when
  // something to be removed is not there.
  Status finish(rocksdb::WriteBatch& batch, bool with_summary = true);
  // Of the last finish(): complete for words that the cache had then.
  std::span<const TermChange> changes() const noexcept { return written_; }
  const LexicalSummary& summary() const noexcept { return summary_; }
  LexicalSummary& summary() noexcept { return summary_; }

 private:
  // A term's changes.
  struct Change {
    std::vector<Posting> added;  // by ascending row
    std::string positions;       // of `added`
    std::vector<std::uint64_t> removed;
  };
  struct Block {
    std::vector<Posting> postings;
    std::string positions;
  };
  void visit_passages(std::string_view title, std::string_view text,
                      std::span<const core::PassageSpan> passages, std::uint64_t first_row,
                      bool added);
  void change_passage(std::uint64_t row, bool added);
  Status finish_term(const std::string& term, const Change& change, rocksdb::WriteBatch& batch);
  Result<Block> read_block(const std::string& key, std::string_view postings) const;
  Status take_out(Block& block, std::uint64_t row, const std::string& term) const;

  LexicalTables tables_;
  std::uint32_t collection_;
  LexicalSummary summary_;
  const LexicalCache* cache_;
  std::vector<TermChange> written_;
  LexicalWords words_;
  std::size_t bytes_ = 0;
  std::unordered_map<std::string, std::uint32_t> numbers_;      // of terms
  std::vector<Change> changes_;                                 // by number
  std::vector<std::pair<std::uint32_t, std::uint32_t>> found_;  // a passage's (term, position)
  std::vector<std::uint32_t> positions_;
};

// Makes the postings of a collection from its documents, for a store that has none.
class DocumentStore;
Result<LexicalSummary> rebuild_lexical(DocumentStore& store, std::uint32_t collection,
                                       const LexicalSettings& settings);

}  // namespace collegium::index
