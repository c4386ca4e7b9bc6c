#include "lexical_verify.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include "document_store_impl.h"
#include "lexical_blocks.h"

namespace collegium::index {
namespace {

std::uint64_t read_u64(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Gets the keys of both families in their order.
class PostingsReader {
 public:
  PostingsReader(const std::map<std::uint32_t, IndexedCollection>& collections,
                 FindingList& findings)
      : collections_(collections), findings_(findings) {}

  // `positions`: what lies at the same key, if anything does. False for a summary, which has none.
  bool read(std::string_view key, std::string_view value,
            std::optional<std::string_view> positions) {
    if (key.size() < 5) {
      findings_.add("the postings", "a malformed key");
      return true;
    }
    enter(static_cast<std::uint32_t>(read_key_u64(key.substr(0, 4))));
    if (collection_ == nullptr) return true;
    const std::string_view rest = key.substr(4);
    const std::size_t zero = rest.find('\0');
    if (zero == 0 && rest.size() == 1) {
      read_summary(value);
      return false;
    }
    if (zero == 0 || zero == std::string_view::npos ||
        (rest.size() != zero + 1 && rest.size() != zero + 9)) {
      findings_.add(where(), "a malformed key");
      return true;
    }
    const std::string_view term = rest.substr(0, zero);
    if (rest.size() == zero + 1) {
      finish_term();
      term_ = term;
      in_term_ = true;
      if (value.size() < 8) {
        wrong("its record is malformed");
        return true;
      }
      df_ = read_u64(value);
      count_ = 0;
      above_ = 0;
      // Its last block: behind those that follow.
      const std::vector<Posting> last = read_block(value.substr(8), positions);
      last_first_row_ = last.empty() ? std::nullopt : std::optional(last.front().row);
      return true;
    }
    if (!in_term_ || term != term_) {
      finish_term();
      findings_.add(where(), "term '" + std::string(term) + "' has a block and no record");
      return true;
    }
    const std::uint64_t named = read_key_u64(rest.substr(zero + 1));
    const std::vector<Posting> block = read_block(value, positions);
    if (block.empty()) {
      if (!broken_) wrong("a block is empty");
      return true;
    }
    if (block.front().row < above_ || block.back().row > named)
      wrong("the block at row " + std::to_string(named) + " holds rows of another");
    above_ = named + 1;
    return true;
  }

  void finish() {
    finish_collection();
    for (const auto& [number, collection] : collections_)
      if (std::find(seen_.begin(), seen_.end(), number) == seen_.end())
        findings_.add("collection '" + collection.name + "'", "has no postings");
  }

  std::string where() const {
    return collection_ == nullptr ? "the postings"
                                  : "the postings of collection '" + collection_->name + "'";
  }

 private:
  void enter(std::uint32_t number) {
    if (entered_ && number == number_) return;
    finish_collection();
    entered_ = true;
    number_ = number;
    const auto found = collections_.find(number);
    if (found == collections_.end()) {
      collection_ = nullptr;
      findings_.add("the postings",
                    "of collection number " + std::to_string(number) + ", which there is not");
      return;
    }
    collection_ = &found->second;
    seen_.push_back(number);
    summary_.reset();
    broken_ = false;
    lengths_.assign(collection_->rows.size(), 0);
    words_.assign(collection_->rows.size(), 0);
  }

  void read_summary(std::string_view value) {
    LexicalSummary summary;
    if (!summary.read(value)) return findings_.add(where(), "the summary is malformed");
    if (summary.passages != collection_->passages)
      findings_.add(where(), "the summary says " + std::to_string(summary.passages) +
                                 " passages, the collection's record " +
                                 std::to_string(collection_->passages));
    summary_ = std::move(summary);
  }

  std::vector<Posting> read_block(std::string_view bytes,
                                  std::optional<std::string_view> positions) {
    PostingBlock block;
    if (!block.read(bytes)) {
      wrong("a block is malformed");
      return {};
    }
    std::vector<Posting> postings = block.postings();
    std::size_t at = 0;  // in the rows of the collection
    for (std::size_t i = 0; i < postings.size(); ++i) {
      const Posting& posting = postings[i];
      const std::string row = "row " + std::to_string(posting.row);
      if (i > 0 && posting.row <= postings[i - 1].row) wrong("its rows do not ascend at " + row);
      const std::vector<std::uint64_t>& rows = collection_->rows;
      if (i > 0 && posting.row < postings[i - 1].row) at = 0;
      at = static_cast<std::size_t>(std::lower_bound(rows.begin() + static_cast<std::ptrdiff_t>(at),
                                                     rows.end(), posting.row) -
                                    rows.begin());
      if (at == rows.size() || rows[at] != posting.row) {
        wrong(row + " is no passage's");
        continue;
      }
      if (posting.tf == 0) wrong(row + " has it no time");
      if (lengths_[at] == 0) lengths_[at] = posting.length;
      if (lengths_[at] != posting.length)
        wrong(row + " has " + std::to_string(posting.length) + " words, and " +
              std::to_string(lengths_[at]) + " according to another term");
      words_[at] += posting.tf;
    }
    count_ += postings.size();
    if (!positions.has_value()) {
      wrong("positions are missing");
      return postings;
    }
    std::string_view left = *positions;
    for (const Posting& posting : postings) {
      found_.clear();
      if (!read_positions(left, posting.tf, found_)) {
        wrong("positions are malformed");
        return postings;
      }
    }
    if (!left.empty()) wrong("has more positions than postings");
    return postings;
  }

  void finish_term() {
    if (!in_term_) return;
    in_term_ = false;
    if (last_first_row_.has_value() && *last_first_row_ < above_)
      wrong("its last block holds rows of another");
    if (df_ == 0 || df_ != count_)
      wrong("its record says " + std::to_string(df_) + " passages, its blocks hold " +
            std::to_string(count_));
  }

  void finish_collection() {
    if (!entered_ || collection_ == nullptr) return;
    finish_term();
    if (!summary_.has_value()) return findings_.add(where(), "the summary is missing");
    if (broken_) return;  // it was said; what follows would say it once more for every row
    std::uint64_t words = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      words += words_[i];
      if (words_[i] != lengths_[i])
        findings_.add(where(), "row " + std::to_string(collection_->rows[i]) + " has " +
                                   std::to_string(words_[i]) + " words, its postings say " +
                                   std::to_string(lengths_[i]));
    }
    if (words != summary_->words)
      findings_.add(where(), "hold " + std::to_string(words) + " words, the summary says " +
                                 std::to_string(summary_->words));
  }

  // Of the term that is being read.
  void wrong(const std::string& problem) {
    broken_ = true;
    findings_.add(where(), "term '" + term_ + "': " + problem);
  }

  const std::map<std::uint32_t, IndexedCollection>& collections_;
  FindingList& findings_;
  bool entered_ = false;
  std::uint32_t number_ = 0;
  const IndexedCollection* collection_ = nullptr;  // null: unknown
  std::vector<std::uint32_t> seen_;
  std::optional<LexicalSummary> summary_;
  bool broken_ = false;
  std::vector<std::uint64_t> lengths_;  // by row: what its postings say; 0 until one does
  std::vector<std::uint64_t> words_;    // by row: what its postings add up to
  std::string term_;
  bool in_term_ = false;
  std::uint64_t df_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t above_ = 0;  // rows of the next block are at least this
  std::optional<std::uint64_t> last_first_row_;
  std::vector<std::uint32_t> found_;
};

}  // namespace

Status verify_postings(const LexicalTables& tables, const rocksdb::Snapshot* snapshot,
                       const std::map<std::uint32_t, IndexedCollection>& collections,
                       FindingList& findings) {
  return guarded_store(tables.folder, [&]() -> Status {
    rocksdb::ReadOptions read;
    read.snapshot = snapshot;
    read.total_order_seek = true;
    read.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> postings(
        tables.db->NewIterator(read, tables.postings));
    const std::unique_ptr<rocksdb::Iterator> positions(
        tables.db->NewIterator(read, tables.positions));
    PostingsReader reader(collections, findings);
    positions->SeekToFirst();
    const auto left_over = [&] {
      findings.add(reader.where(), "positions without postings");
      positions->Next();
    };
    for (postings->SeekToFirst(); postings->Valid(); postings->Next()) {
      while (positions->Valid() && positions->key().compare(postings->key()) < 0) left_over();
      const bool both = positions->Valid() && positions->key() == postings->key();
      const bool has_positions =
          reader.read(view(postings->key()), view(postings->value()),
                      both ? std::optional(view(positions->value())) : std::nullopt);
      if (both && has_positions) positions->Next();
    }
    COLLEGIUM_RETURN_IF_ERROR(tables.check(postings->status()));
    while (positions->Valid()) left_over();
    COLLEGIUM_RETURN_IF_ERROR(tables.check(positions->status()));
    reader.finish();
    return {};
  });
}

}  // namespace collegium::index
