#include "lexical_postings.h"

#include <algorithm>

#include "document_store_impl.h"

namespace collegium::index {
namespace {

constexpr std::uint64_t kMaxRow = ~std::uint64_t{0} >> 1;  // so that no sum with a row wraps

std::uint64_t df_of(std::string_view record) {
  std::uint64_t df = 0;
  for (std::size_t i = 8; i-- > 0;) df = df << 8 | static_cast<unsigned char>(record[i]);
  return df;
}

}  // namespace

std::shared_ptr<const LoadedBlock> LoadedBlock::make(std::string_view bytes,
                                                     std::uint64_t key_row) {
  const auto made = std::make_shared<LoadedBlock>();
  made->bytes_ = bytes;
  made->key_row_ = key_row;
  PostingBlock& block = made->block_;
  if (!block.read(made->bytes_) || block.size() == 0) return nullptr;
  std::uint64_t before = block.row(0);
  if (before != block.base()) return nullptr;
  for (std::size_t i = 1; i < block.size(); ++i) {
    const std::uint64_t row = block.row(i);
    if (row <= before) return nullptr;
    before = row;
  }
  if (before > kMaxRow) return nullptr;
  made->last_row_ = before;
  return made;
}

bool TermPostings::Full::append(std::shared_ptr<const LoadedBlock> block) {
  if (block == nullptr || block->last_row() > block->key_row()) return false;
  if (!blocks.empty() &&
      (block->block().row(0) <= last_rows.back() || block->key_row() <= blocks.back()->key_row()))
    return false;
  last_rows.push_back(block->last_row());
  memory += block->memory() + sizeof(block) + sizeof(std::uint64_t);
  blocks.push_back(std::move(block));
  return true;
}

std::shared_ptr<const TermPostings> TermPostings::make(std::uint64_t df,
                                                       std::shared_ptr<const Full> full,
                                                       std::shared_ptr<const LoadedBlock> last) {
  if (last != nullptr && !full->blocks.empty() && last->block().row(0) <= full->last_rows.back())
    return nullptr;
  const auto made = std::make_shared<TermPostings>();
  made->df_ = df;
  made->memory_ = sizeof(TermPostings) + sizeof(Full) + full->memory;
  if (last != nullptr) made->memory_ += last->memory();
  made->full_ = std::move(full);
  made->last_ = std::move(last);
  return (df == 0) == (made->num_blocks() == 0) ? made : nullptr;
}

std::shared_ptr<const TermPostings> TermPostings::none() {
  return make(0, std::make_shared<Full>(), nullptr);
}

Result<std::shared_ptr<const TermPostings>> TermPostings::load(const LexicalTables& tables,
                                                               const rocksdb::Snapshot* snapshot,
                                                               std::uint32_t collection,
                                                               std::string_view term) {
  const std::string key = term_key(collection, term);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto record, tables.get(tables.postings, key, snapshot));
  if (!record.has_value()) return none();
  auto full = std::make_shared<Full>();
  const auto malformed = [&tables] { return tables.damaged("the record of a term is malformed"); };
  PostingBlock in_record;
  if (record->size() < 8 || !in_record.read(std::string_view(*record).substr(8)))
    return malformed();
  const std::uint64_t df = df_of(*record);
  if (df < std::max<std::size_t>(in_record.size(), 1)) return malformed();
  std::shared_ptr<const LoadedBlock> last;
  if (in_record.size() > 0) {
    last = LoadedBlock::make(std::string_view(*record).substr(8), LoadedBlock::kLast);
    if (last == nullptr) return malformed();
  }
  if (df > in_record.size()) {
    rocksdb::ReadOptions read;
    read.snapshot = snapshot;
    read.total_order_seek = true;
    const std::string end = after_prefix(key);
    const rocksdb::Slice upper(end);
    read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> it(tables.db->NewIterator(read, tables.postings));
    for (it->Seek(block_key(key, 0)); it->Valid(); it->Next()) {
      if (it->key().size() != key.size() + 8 ||
          !full->append(LoadedBlock::make(view(it->value()), row_of_key(view(it->key())))))
        return tables.damaged("a block of postings is malformed");
    }
    COLLEGIUM_RETURN_IF_ERROR(tables.check(it->status()));
  }
  auto made = make(df, std::move(full), std::move(last));
  if (made == nullptr)
    return tables.damaged("a term of " + std::to_string(df) +
                          " postings has none, or they do not ascend");
  return made;
}

std::shared_ptr<const TermPostings> TermPostings::with(const TermChange& change) const {
  std::shared_ptr<const LoadedBlock> last;
  if (!change.last.empty()) {
    PostingBlock block;
    if (!block.read(change.last)) return nullptr;
    if (block.size() > 0) {
      last = LoadedBlock::make(change.last, LoadedBlock::kLast);
      if (last == nullptr) return nullptr;
    }
  }
  if (change.full.empty()) return make(change.df, full_, std::move(last));
  auto full = std::make_shared<Full>();
  full->blocks.reserve(full_->blocks.size() + change.full.size());
  full->last_rows.reserve(full->blocks.capacity());
  auto next = change.full.begin();
  const auto put_before = [&](std::uint64_t key_row) {
    for (; next != change.full.end() && next->first < key_row; ++next)
      if (!next->second.empty() && !full->append(LoadedBlock::make(next->second, next->first)))
        return false;
    return true;
  };
  for (const auto& block : full_->blocks) {
    if (!put_before(block->key_row())) return nullptr;
    const bool replaced = next != change.full.end() && next->first == block->key_row();
    if (!replaced && !full->append(block)) return nullptr;
  }
  if (!put_before(LoadedBlock::kLast)) return nullptr;
  return make(change.df, std::move(full), std::move(last));
}

std::size_t TermPostings::find_block(std::uint64_t row, std::size_t from) const noexcept {
  const std::vector<std::uint64_t>& rows = full_->last_rows;
  std::size_t step = 1;
  std::size_t begin = from;
  while (begin + step < rows.size() && rows[begin + step - 1] < row) {
    begin += step;
    step *= 2;
  }
  const auto first = rows.begin() + static_cast<std::ptrdiff_t>(std::min(begin, rows.size()));
  const auto end = rows.begin() + static_cast<std::ptrdiff_t>(std::min(begin + step, rows.size()));
  const auto found = static_cast<std::size_t>(std::lower_bound(first, end, row) - rows.begin());
  if (found < rows.size()) return std::max(found, from);
  if (last_ != nullptr && from <= rows.size() && last_->last_row() >= row) return rows.size();
  return num_blocks();
}

}  // namespace collegium::index
