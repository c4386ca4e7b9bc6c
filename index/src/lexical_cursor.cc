#include "lexical_cursor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "document_store_impl.h"

namespace collegium::index {
namespace {

constexpr int kStepsBeforeSeek = 8;  // a step to the next block costs about a tenth of a seek
constexpr std::uint64_t kMaxRow = ~std::uint64_t{0} >> 1;  // so that no sum with a row wraps

// Of a block with postings. The rows between first and last are looked at when they are read.
bool sound(const PostingBlock& block, std::uint64_t next_row) {
  const std::uint64_t last = block.last_row();
  return block.base() >= next_row && block.row(0) >= block.base() && block.row(0) <= last &&
         last <= kMaxRow;
}

}  // namespace

Bm25::Bm25(const LexicalSummary& summary) {
  const double mean = summary.passages == 0 ? 0.0
                                            : static_cast<double>(summary.words) /
                                                  static_cast<double>(summary.passages);
  const LexicalSettings& s = summary.settings;
  flat = s.k1 * (1.0 - s.b);
  per_word = mean > 0.0 ? s.k1 * s.b / mean : 0.0;
}

double Bm25::idf(std::uint64_t passages, std::uint64_t df) {
  const auto n = static_cast<double>(passages);
  const auto with = static_cast<double>(df);
  return std::log1p((n - with + 0.5) / (with + 0.5));
}

Result<std::unique_ptr<PostingCursor>> PostingCursor::open(const LexicalTables& tables,
                                                           const rocksdb::Snapshot* snapshot,
                                                           std::uint32_t collection,
                                                           std::string_view term) {
  std::unique_ptr<PostingCursor> cursor(new PostingCursor());
  cursor->tables_ = tables;
  cursor->key_ = term_key(collection, term);
  COLLEGIUM_ASSIGN_OR_RETURN(auto record, tables.get(tables.postings, cursor->key_, snapshot));
  if (!record.has_value()) return cursor;
  cursor->record_ = std::move(*record);
  const std::string_view bytes = cursor->record_;
  if (bytes.size() < 8 || !cursor->last_.read(bytes.substr(8)))
    return tables.damaged("the record of a term is malformed");
  for (std::size_t i = 8; i-- > 0;)
    cursor->df_ = cursor->df_ << 8 | static_cast<unsigned char>(bytes[i]);
  if (cursor->df_ < std::max<std::size_t>(cursor->last_.size(), 1))
    return tables.damaged("the record of a term is malformed");
  if (cursor->df_ == cursor->last_.size()) {
    cursor->enter_last();
    COLLEGIUM_RETURN_IF_ERROR(cursor->status_);
    return cursor;
  }
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  read.total_order_seek = true;
  cursor->end_key_ = after_prefix(cursor->key_);
  cursor->upper_ = slice(cursor->end_key_);
  read.iterate_upper_bound = &cursor->upper_;
  cursor->full_.reset(tables.db->NewIterator(read, tables.postings));
  cursor->full_->Seek(block_key(cursor->key_, 0));
  cursor->enter_full();
  COLLEGIUM_RETURN_IF_ERROR(cursor->status_);
  return cursor;
}

void PostingCursor::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
  where_ = Where::kEnd;
}

void PostingCursor::enter_full() {
  if (!full_->Valid()) {
    if (const Status status = tables_.check(full_->status()); !status.ok())
      fail(status);
    else
      enter_last();
    return;
  }
  where_ = Where::kFull;
  at_ = 0;
  bound_ = -1.0;
  unpacked_ = false;
  if (!block_.read(view(full_->value())) || block_.size() == 0 || !sound(block_, next_row_))
    return fail(tables_.damaged("a block of postings is malformed"));
  next_row_ = block_.last_row() + 1;
}

void PostingCursor::enter_last() {
  where_ = last_.size() == 0 ? Where::kEnd : Where::kLast;
  if (at_end() && next_row_ == 0)
    return fail(tables_.damaged("term of " + std::to_string(df_) + " postings has none"));
  if (at_end()) return;
  at_ = 0;
  bound_ = -1.0;
  unpacked_ = false;
  block_ = last_;
  if (!sound(block_, next_row_)) fail(tables_.damaged("the record of a term is malformed"));
}

void PostingCursor::next_block() {
  if (where_ != Where::kFull) {
    where_ = Where::kEnd;
    return;
  }
  full_->Next();
  enter_full();
}

void PostingCursor::skip_to_block(std::uint64_t row) {
  for (int step = 0; !at_end() && block_.last_row() < row; ++step) {
    if (where_ == Where::kFull && last_.size() > 0 && row >= last_.base()) {
      enter_last();
    } else if (where_ == Where::kFull && step == kStepsBeforeSeek) {
      full_->Seek(block_key(key_, row));
      enter_full();
      step = -1;  // its key is of when it was written: rows may have gone since
    } else {
      next_block();
    }
  }
}

void PostingCursor::skip_to(std::uint64_t row) {
  skip_to_block(row);
  if (at_end()) return;
  at_ = block_.find(row, at_);
  if (at_ == block_.size() || this->row() > block_.last_row())
    fail(tables_.damaged("the rows of a block of postings do not ascend"));
}

std::string PostingCursor::positions_key() const {
  return where_ == Where::kFull ? full_->key().ToString() : key_;
}

double PostingCursor::block_bound(const Bm25& bm25) {
  if (bound_ >= 0.0) return bound_;
  for (std::size_t i = 0; i < block_.num_impacts(); ++i) {
    const Impact impact = block_.impact(i);
    bound_ = std::max(bound_, bm25.saturation(impact.tf, impact.length));
  }
  return bound_;
}

void PostingCursor::unpack(const Bm25& bm25) {
  if (columns_ == nullptr) columns_ = std::make_unique<Unpacked>();
  block_.unpack(columns_->rows, columns_->saturation, bm25.flat, bm25.per_word);
  for (std::size_t i = 1; i < block_.size(); ++i)
    if (columns_->rows[i] <= columns_->rows[i - 1])
      return fail(tables_.damaged("the rows of a block of postings do not ascend"));
  unpacked_ = true;
}

void PostingCursor::add_up(std::uint64_t begin, std::uint64_t end, double weight, const Bm25& bm25,
                           std::span<double> sums, std::span<std::uint64_t> marks) {
  while (!at_end() && row() < end) {
    if (!unpacked_) unpack(bm25);
    if (at_end()) return;
    const std::size_t size = block_.size();
    std::size_t i = at_;
    for (; i < size && columns_->rows[i] < end; ++i) {
      const std::uint64_t d = columns_->rows[i] - begin;
      sums[d] += weight * columns_->saturation[i];
      marks[d / 64] |= std::uint64_t{1} << (d % 64);
    }
    at_ = i;
    if (i < size) return;
    next_block();
  }
}

Result<PhraseCursor> PhraseCursor::open(const LexicalTables& tables,
                                        const rocksdb::Snapshot* snapshot, std::uint32_t collection,
                                        std::span<const Word> words) {
  PhraseCursor phrase;
  phrase.tables_ = tables;
  phrase.snapshot_ = snapshot;
  for (const Word& word : words) {
    phrase.parts_.emplace_back();
    phrase.parts_.back().word = word;
    COLLEGIUM_ASSIGN_OR_RETURN(phrase.parts_.back().cursor,
                               PostingCursor::open(tables, snapshot, collection, word.term));
  }
  std::stable_sort(phrase.parts_.begin(), phrase.parts_.end(),
                   [](const Part& a, const Part& b) { return a.cursor->df() < b.cursor->df(); });
  return phrase;
}

std::uint64_t PhraseCursor::df() const noexcept { return parts_.front().cursor->df(); }
const std::string& PhraseCursor::rarest() const noexcept { return parts_.front().word.term; }

bool PhraseCursor::has_words(std::uint64_t row) {
  for (Part& part : parts_)
    if (!part.cursor->find(row)) return false;
  return true;
}

bool PhraseCursor::is_phrase() {
  if (parts_.size() == 1) return true;
  for (Part& part : parts_) {
    if (const Status status = load_positions(part); !status.ok()) {
      if (status_.ok()) status_ = status;
      return false;
    }
  }
  const auto positions = [](const Part& part) {
    const std::size_t at = part.cursor->at();
    return std::span(part.positions)
        .subspan(part.begins[at], part.begins[at + 1] - part.begins[at]);
  };
  const Part& first = parts_.front();
  for (const std::uint32_t position : positions(first)) {
    if (position < first.word.offset) continue;
    const std::uint32_t begin = position - first.word.offset;
    const auto has = [&](const Part& part) {
      const auto all = positions(part);
      return std::binary_search(all.begin(), all.end(), begin + part.word.offset);
    };
    if (std::all_of(parts_.begin() + 1, parts_.end(), has)) return true;
  }
  return false;
}

Status PhraseCursor::load_positions(Part& part) {
  std::string key = part.cursor->positions_key();
  if (key == part.key) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const auto bytes, tables_.get(tables_.positions, key, snapshot_));
  if (!bytes.has_value()) return tables_.damaged("positions of postings are missing");
  part.positions.clear();
  part.begins.assign(1, 0);
  std::string_view rest = *bytes;
  const PostingBlock& block = part.cursor->block();
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (!read_positions(rest, block.tf(i), part.positions))
      return tables_.damaged("positions of postings are malformed");
    part.begins.push_back(part.positions.size());
  }
  if (!rest.empty()) return tables_.damaged("positions of postings are malformed");
  part.key = std::move(key);
  return {};
}

Status PhraseCursor::status() const {
  COLLEGIUM_RETURN_IF_ERROR(status_);
  for (const Part& part : parts_) COLLEGIUM_RETURN_IF_ERROR(part.cursor->status());
  return {};
}

}  // namespace collegium::index
