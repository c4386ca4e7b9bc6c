#include "lexical_tables.h"

#include <unistd.h>

#include "collegium/core/bytes.h"
#include "document_store_batch.h"

namespace collegium::index {
namespace {

void append_big_endian(std::string& key, std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(value >> shift & 0xff));
}

}  // namespace

Result<std::optional<std::string>> LexicalTables::get(rocksdb::ColumnFamilyHandle* family,
                                                      const std::string& key,
                                                      const rocksdb::Snapshot* snapshot) const {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  std::string value;
  const rocksdb::Status status = db->Get(read, family, key, &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  COLLEGIUM_RETURN_IF_ERROR(check(status));
  return std::optional<std::string>(std::move(value));
}

Status LexicalTables::damaged(const std::string& what) const {
  return Status::corruption("store " + folder + ": " + what);
}

Status LexicalTables::check(const rocksdb::Status& status) const {
  return to_status(status, folder);
}

std::string term_key(std::uint32_t collection, std::string_view term) {
  std::string key;
  key.reserve(4 + term.size() + 1 + 8);
  append_big_endian(key, collection, 4);
  key.append(term).push_back('\0');
  return key;
}

std::string block_key(std::string term_key, std::uint64_t row) {
  append_big_endian(term_key, row, 8);
  return term_key;
}

std::uint64_t row_of_key(std::string_view block_key) {
  std::uint64_t row = 0;
  for (const char c : block_key.substr(block_key.size() - 8))
    row = row << 8 | static_cast<unsigned char>(c);
  return row;
}

std::string summary_key(std::uint32_t collection) { return term_key(collection, ""); }

std::string LexicalSummary::write() const {
  core::ByteWriter out;
  out.write<std::uint32_t>(2);
  out.write(settings.k1);
  out.write(settings.b);
  out.write_string(settings.stemmer);
  out.write<std::uint8_t>(settings.fold_accents ? 1 : 0);
  out.write<std::uint8_t>(settings.split_names ? 1 : 0);
  out.write<std::uint64_t>(settings.stop_words.size());
  for (const std::string& word : settings.stop_words) out.write_string(word);
  out.write(passages);
  out.write(words);
  out.write(digest);
  return {reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size()};
}

bool LexicalSummary::read(std::string_view bytes) {
  core::ByteReader in(std::as_bytes(std::span(bytes)));
  std::uint32_t layout = 0;
  std::uint8_t fold = 0;
  std::uint8_t split = 0;
  std::uint64_t count = 0;
  if (!in.read(layout) || (layout != 1 && layout != 2) || !in.read(settings.k1) ||
      !in.read(settings.b) || !in.read_string(settings.stemmer) || !in.read(fold) || fold > 1 ||
      !in.read(split) || split > 1 || !in.read(count) || count > in.remaining() / 8)
    return false;
  settings.fold_accents = fold == 1;
  settings.split_names = split == 1;
  settings.stop_words.resize(count);
  for (std::string& word : settings.stop_words)
    if (!in.read_string(word)) return false;
  digest = 0;
  if (!in.read(passages) || !in.read(words) || (layout == 2 && !in.read(digest))) return false;
  return in.remaining() == 0 && settings.validate().ok();
}

Result<std::optional<LexicalSummary>> LexicalSummary::load(const LexicalTables& tables,
                                                           std::uint32_t collection) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value,
                             tables.get(tables.postings, summary_key(collection), nullptr));
  if (!value.has_value()) return std::optional<LexicalSummary>();
  LexicalSummary summary;
  if (!summary.read(*value))
    return tables.damaged("the lexical summary of collection " + std::to_string(collection));
  return std::optional<LexicalSummary>(std::move(summary));
}

Status DocumentStore::raise_format() {
  if (impl_->format_version == kStoreVersion) return {};
  Batch batch(*this);
  core::ByteWriter version;
  version.write(kStoreVersion);
  batch.impl_->put(kDefault, "m/format", version);
  COLLEGIUM_RETURN_IF_ERROR(write(batch));
  impl_->format_version = kStoreVersion;
  return {};
}

rocksdb::WriteBatch& DocumentStore::Batch::raw() noexcept { return impl_->batch; }

LexicalTables DocumentStore::lexical_tables() const {
  return {impl_->db.get(), impl_->handles[kPostings], impl_->handles[kPositions], impl_->folder};
}

std::shared_ptr<const rocksdb::Snapshot> DocumentStore::snapshot() const {
  // A forked child leaves it alone: RocksDB's mutex may be held by a thread it does not have.
  return {impl_->db->GetSnapshot(),
          [db = impl_->db.get(), owner = ::getpid()](const rocksdb::Snapshot* s) {
            if (::getpid() == owner) db->ReleaseSnapshot(s);
          }};
}

}  // namespace collegium::index
