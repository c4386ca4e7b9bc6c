#include "lexical_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "document_store_batch.h"

namespace collegium::index {
namespace {

constexpr std::size_t kRebuildBytes = std::size_t{64} << 20;  // collected before a write

void append_u64(std::string& out, std::uint64_t value) {
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(value >> 8 * i & 0xff));
}

std::uint64_t read_u64(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

LexicalWriter::LexicalWriter(LexicalTables tables, std::uint32_t collection, LexicalSummary summary,
                             const LexicalCache* cache)
    : tables_(std::move(tables)),
      collection_(collection),
      summary_(std::move(summary)),
      cache_(cache),
      words_(summary_.settings) {
  if (summary_.digest == 0) summary_.digest = words_digest(summary_.settings);
}

void LexicalWriter::add(std::string_view title, std::string_view text,
                        std::span<const core::PassageSpan> passages, std::uint64_t first_row) {
  visit_passages(title, text, passages, first_row, true);
}

void LexicalWriter::remove(std::string_view title, std::string_view text,
                           std::span<const core::PassageSpan> passages, std::uint64_t first_row) {
  visit_passages(title, text, passages, first_row, false);
}

void LexicalWriter::visit_passages(std::string_view title, std::string_view text,
                                   std::span<const core::PassageSpan> passages,
                                   std::uint64_t first_row, bool added) {
  const LexicalWords::Sink sink = [this](const LexicalWords::Word& word) {
    const auto [at, fresh] =
        numbers_.try_emplace(std::string(word.term), static_cast<std::uint32_t>(changes_.size()));
    if (fresh) {
      changes_.emplace_back();
      bytes_ += word.term.size() + 200;
    }
    found_.emplace_back(at->second, word.position);
  };
  if (passages.empty()) return;
  found_.clear();
  const std::uint32_t after_title = words_.run(title, 0, sink);
  const auto of_title = found_;
  for (std::size_t i = 0; i < passages.size(); ++i) {
    found_ = of_title;
    const core::ByteSpan bytes = whole_characters(text, passages[i].bytes);
    // One position between them is empty, so no phrase begins in the title and ends in the text.
    words_.run(text.substr(bytes.begin, bytes.end - bytes.begin), after_title + 1, sink);
    change_passage(first_row + i, added);
  }
}

void LexicalWriter::change_passage(std::uint64_t row, bool added) {
  const std::size_t length = found_.size();
  if (added) {
    summary_.passages += 1;
    summary_.words += length;
  } else {
    summary_.passages -= 1;
    summary_.words -= length;
  }
  std::sort(found_.begin(), found_.end());
  for (std::size_t begin = 0; begin < length;) {
    const std::uint32_t term = found_[begin].first;
    positions_.clear();
    std::size_t end = begin;
    for (; end < length && found_[end].first == term; ++end)
      positions_.push_back(found_[end].second);
    Change& change = changes_[term];
    bytes_ += 20;
    if (added) {
      change.added.push_back(
          {row, static_cast<std::uint32_t>(end - begin), static_cast<std::uint32_t>(length)});
      append_positions(change.positions, positions_);
    } else {
      change.removed.push_back(row);
    }
    begin = end;
  }
}

Status LexicalWriter::finish(rocksdb::WriteBatch& batch, bool with_summary) {
  std::vector<std::pair<std::string_view, std::uint32_t>> order(numbers_.begin(), numbers_.end());
  std::sort(order.begin(), order.end());  // as they lie in the store
  written_.clear();
  for (const auto& [term, number] : order)
    COLLEGIUM_RETURN_IF_ERROR(finish_term(std::string(term), changes_[number], batch));
  order.clear();
  numbers_.clear();
  changes_.clear();
  bytes_ = 0;
  if (!with_summary) return {};
  return tables_.check(batch.Put(tables_.postings, summary_key(collection_), summary_.write()));
}

Result<LexicalWriter::Block> LexicalWriter::read_block(const std::string& key,
                                                       std::string_view postings) const {
  PostingBlock block;
  if (!block.read(postings)) return tables_.damaged("a block of postings is malformed");
  Block found;
  found.postings = block.postings();
  if (found.postings.empty()) return found;
  COLLEGIUM_ASSIGN_OR_RETURN(auto positions, tables_.get(tables_.positions, key, nullptr));
  if (!positions.has_value()) return tables_.damaged("positions of postings are missing");
  found.positions = std::move(*positions);
  return found;
}

Status LexicalWriter::take_out(Block& block, std::uint64_t row, const std::string& term) const {
  std::size_t at = 0;  // in the positions
  for (std::size_t i = 0; i < block.postings.size(); ++i) {
    const std::string_view rest = std::string_view(block.positions).substr(at);
    const std::size_t size = positions_size(rest, block.postings[i].tf);
    if (size > rest.size()) return tables_.damaged("positions of postings are malformed");
    if (block.postings[i].row == row) {
      block.postings.erase(block.postings.begin() + static_cast<std::ptrdiff_t>(i));
      block.positions.erase(at, size);
      return {};
    }
    at += size;
  }
  return tables_.damaged("term '" + term + "' has no posting of row " + std::to_string(row));
}

Status LexicalWriter::finish_term(const std::string& term, const Change& change,
                                  rocksdb::WriteBatch& batch) {
  const std::string key = term_key(collection_, term);
  TermChange written{term, cache_ != nullptr && cache_->holds(collection_, term), 0, "", {}};
  Status failed;  // a batch fails only beyond 4 GB
  const auto put = [&](const std::string& at, const Block& block, std::string head) {
    const auto both = [&](const rocksdb::Status& status) {
      if (!status.ok() && failed.ok()) failed = tables_.check(status);
    };
    std::string postings;
    if (!block.postings.empty() || at == key) postings = PostingBlock::write(block.postings);
    if (written.complete && at == key) written.last = postings;
    if (written.complete && at != key) written.full.emplace_back(row_of_key(at), postings);
    if (postings.empty()) {
      both(batch.Delete(tables_.postings, at));
      both(batch.Delete(tables_.positions, at));
      return;
    }
    both(batch.Put(tables_.postings, at, head.append(postings)));
    both(batch.Put(tables_.positions, at, block.positions));
  };

  std::uint64_t df = 0;
  Block last;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto record, tables_.get(tables_.postings, key, nullptr));
  if (record.has_value()) {
    if (record->size() < 8) return tables_.damaged("the record of a term is malformed");
    df = read_u64(*record);
    COLLEGIUM_ASSIGN_OR_RETURN(last, read_block(key, std::string_view(*record).substr(8)));
  }
  if (df + change.added.size() < change.removed.size())
    return tables_.damaged("term '" + term + "' has fewer postings than are removed");

  std::map<std::string, Block> full;  // those that change, by key
  for (const std::uint64_t row : change.removed) {
    if (!last.postings.empty() && row >= last.postings.front().row) {
      COLLEGIUM_RETURN_IF_ERROR(take_out(last, row, term));
      continue;
    }
    // The first block whose key is not below the row.
    rocksdb::ReadOptions read;
    read.total_order_seek = true;
    const std::string end = after_prefix(key);
    const rocksdb::Slice upper(end);
    read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> it(tables_.db->NewIterator(read, tables_.postings));
    it->Seek(block_key(key, row));
    if (!it->Valid()) {
      COLLEGIUM_RETURN_IF_ERROR(tables_.check(it->status()));
      return tables_.damaged("term '" + term + "' has no posting of row " + std::to_string(row));
    }
    const std::string at = it->key().ToString();
    auto found = full.find(at);
    if (found == full.end()) {
      COLLEGIUM_ASSIGN_OR_RETURN(Block block, read_block(at, view(it->value())));
      found = full.emplace(at, std::move(block)).first;
    }
    COLLEGIUM_RETURN_IF_ERROR(take_out(found->second, row, term));
  }
  for (const auto& [at, block] : full) put(at, block, "");

  last.postings.insert(last.postings.end(), change.added.begin(), change.added.end());
  last.positions.append(change.positions);
  // What is too much for the last block goes into full ones.
  std::size_t begin = 0;
  std::size_t positions_begin = 0;
  while (last.postings.size() - begin > PostingBlock::kMaxPostings) {
    const auto first = last.postings.begin() + static_cast<std::ptrdiff_t>(begin);
    Block block;
    block.postings.assign(first, first + PostingBlock::kMaxPostings);
    std::size_t count = 0;
    for (const Posting& posting : block.postings) count += posting.tf;
    const std::string_view rest = std::string_view(last.positions).substr(positions_begin);
    const std::size_t size = positions_size(rest, count);
    if (size > rest.size()) return tables_.damaged("positions of postings are malformed");
    block.positions = rest.substr(0, size);
    put(block_key(key, block.postings.back().row), block, "");
    begin += PostingBlock::kMaxPostings;
    positions_begin += size;
  }
  last.postings.erase(last.postings.begin(),
                      last.postings.begin() + static_cast<std::ptrdiff_t>(begin));
  last.positions.erase(0, positions_begin);

  df = df + change.added.size() - change.removed.size();
  written.df = df;
  const auto note = [&] {
    if (cache_ != nullptr) written_.push_back(std::move(written));
  };
  if (df == 0) {
    note();
    if (!record.has_value()) return failed;
    const rocksdb::Status postings = batch.Delete(tables_.postings, key);
    const rocksdb::Status positions = batch.Delete(tables_.positions, key);
    COLLEGIUM_RETURN_IF_ERROR(failed);
    COLLEGIUM_RETURN_IF_ERROR(tables_.check(postings));
    return tables_.check(positions);
  }
  std::string head;
  append_u64(head, df);
  put(key, last, std::move(head));
  note();
  return failed;
}

Result<LexicalSummary> rebuild_lexical(DocumentStore& store, std::uint32_t collection,
                                       const LexicalSettings& settings) {
  const LexicalTables tables = store.lexical_tables();
  LexicalWriter writer(tables, collection, {settings, 0, 0});
  {
    // What a rebuild that was cut off left behind.
    DocumentStore::Batch batch(store);
    // Not the summary: if this is cut off too, it still has the settings, and a digest that
    // differs.
    const std::string begin = summary_key(collection) + '\0';
    const std::string end = after_prefix(document_key(collection, ""));
    for (rocksdb::ColumnFamilyHandle* family : {tables.postings, tables.positions})
      COLLEGIUM_RETURN_IF_ERROR(tables.check(batch.raw().DeleteRange(family, begin, end)));
    COLLEGIUM_RETURN_IF_ERROR(store.write(batch));
  }
  const Status visited = store.visit_documents(
      collection, [&](std::string_view id, const DocumentEntry& entry, auto&&...) -> Status {
        if (entry.passages.empty()) return {};
        COLLEGIUM_ASSIGN_OR_RETURN(const auto document, store.document(collection, id));
        const std::string what = "document '" + std::string(id) + "'";
        if (!document.has_value()) return tables.damaged(what + " has no text");
        for (const core::PassageSpan& passage : entry.passages)
          if (passage.bytes.end > document->text.size())
            return tables.damaged(what + ": a passage lies outside its text");
        writer.add(document->title, document->text, entry.passages, entry.first_row);
        if (writer.bytes() < kRebuildBytes) return {};
        DocumentStore::Batch batch(store);
        COLLEGIUM_RETURN_IF_ERROR(writer.finish(batch.raw(), false));
        return store.write(batch);
      });
  COLLEGIUM_RETURN_IF_ERROR(visited);
  // The summary last: only with it they count.
  DocumentStore::Batch batch(store);
  COLLEGIUM_RETURN_IF_ERROR(writer.finish(batch.raw()));
  COLLEGIUM_RETURN_IF_ERROR(store.write(batch));
  return writer.summary();
}

}  // namespace collegium::index
