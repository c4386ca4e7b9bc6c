#include "document_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <random>

#include "collegium/core/bytes.h"

// The store, format version 1. Values are little-endian; numbers in keys are big-endian, so that
// bytewise order is numeric order. `string` is a u64 length and the bytes.
//
// Column family "default":
//   "m/format"         u32 format version
//   "m/options"        u64 dim, u64 hnsw_threshold, string encoder digest, string corpus id
//   "m/commit_seq"     u64
//   "m/collections"    u32 number of the next collection
//   "c/" name          u32 number, u64 next row, u64 documents, u64 passages, u64 changed_seq
//   "r/" key           a record's value as it is
//   "l/" u64 seq       change log of commit seq: entries of u8 kind (1 put, 2 remove),
//                      u32 collection, string id, u64 first row, u64 passages
// Column family "directory":
//   u32 collection, id             u64 first row, u64 passages, each u64 begin, u64 end,
//                                  string section
// Column family "documents":
//   u32 collection, id             string title, string text, string metadata
// Column family "vectors":
//   u32 collection, u32 space, u64 row    f32[dim]; space 0 is the corpus's encoder, others are
//                                         kept for experts that embed documents themselves

namespace collegium::index {
namespace {

constexpr std::uint32_t kPlainSpace = 0;
constexpr std::size_t kVectorKeyBytes = 16;
const char* const kFamilies[] = {"default", "directory", "documents", "vectors"};
enum Family : std::size_t { kDefault, kDirectory, kDocuments, kVectors, kNumFamilies };

template <typename T>
void append_key(std::string& key, T value) {
  for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(value >> shift & 0xff));
}

std::uint64_t read_key_u64(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::string document_key(std::uint32_t collection, std::string_view id) {
  std::string key;
  append_key(key, collection);
  return key.append(id);
}

std::string vector_key(std::uint32_t collection, std::uint64_t row) {
  std::string key;
  append_key(key, collection);
  append_key(key, kPlainSpace);
  append_key(key, row);
  return key;
}

std::string name_key(std::string_view prefix, std::string_view name) {
  return std::string(prefix).append(name);
}

// The first key after all that start with `prefix`; empty if there is none.
std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
rocksdb::Slice slice(const core::ByteWriter& writer) {
  return {reinterpret_cast<const char*>(writer.bytes().data()), writer.bytes().size()};
}
std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }
core::ByteReader reader(std::string_view bytes) {
  return core::ByteReader(std::as_bytes(std::span(bytes)));
}

Status to_status(const rocksdb::Status& status, const std::string& folder) {
  if (status.ok()) return {};
  const std::string message = "store " + folder + ": " + status.ToString();
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kNoSpace ||
      status.subcode() == rocksdb::Status::kSpaceLimit || status.IsMemoryLimit())
    return Status::resource_exhausted(message);
  // A file of the store's that is not there is damage, as a wrong byte is.
  if (status.IsCorruption() || status.IsPathNotFound() || status.IsNotFound() ||
      status.IsInvalidArgument() || status.IsNotSupported())
    return Status::corruption(message);
  if (status.IsIOError()) {
    if (message.find("lock") != std::string::npos && message.find("LOCK") != std::string::npos)
      return Status::busy(message);
    return Status::io_error(message);
  }
  return Status::internal(message);
}

Status damaged(const std::string& folder, const std::string& what) {
  return Status::corruption("store " + folder + ": " + what);
}

bool read_entry(std::string_view bytes, DocumentEntry& entry) {
  core::ByteReader in = reader(bytes);
  std::uint64_t count = 0;
  if (!in.read(entry.first_row) || !in.read(count) || count > in.remaining() / 24) return false;
  entry.passages.resize(count);
  for (core::PassageSpan& passage : entry.passages) {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    if (!in.read(begin) || !in.read(end) || begin > end || !in.read_string(passage.section))
      return false;
    passage.bytes = {begin, end};
  }
  return in.remaining() == 0;
}

bool read_collection(std::string_view bytes, CollectionRecord& record) {
  core::ByteReader in = reader(bytes);
  return in.read(record.number) && in.read(record.next_row) && in.read(record.documents) &&
         in.read(record.passages) && in.read(record.changed_seq) && in.remaining() == 0;
}

bool read_document(std::string_view bytes, Document& document) {
  core::ByteReader in = reader(bytes);
  return in.read_string(document.title) && in.read_string(document.text) &&
         in.read_string(document.metadata) && in.remaining() == 0;
}

// RocksDB's log of its own doings goes nowhere: nobody reads it, and the packaged build has
// assertions on and aborts when a full disk stops that log.
class SilentLogger final : public rocksdb::Logger {
 public:
  SilentLogger() : Logger(rocksdb::InfoLogLevel::FATAL_LEVEL) {}
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// Tells this corpus from every other.
std::string random_id() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string id;
  for (int i = 0; i < 32; ++i) id.push_back(kDigits[random() % 16]);
  return id;
}

rocksdb::DBOptions database_options(bool create) {
  rocksdb::DBOptions options;
  options.create_if_missing = create;
  options.create_missing_column_families = create;
  options.error_if_exists = create;
  options.paranoid_checks = true;
  options.track_and_verify_wals_in_manifest = true;
  // A write that was torn before it was acknowledged is dropped; CommitMarker tells it from one
  // that had been acknowledged. Damage before the tail is an error.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  // After a failed write the corpus is read-only until it is reopened.
  options.max_bgerror_resume_count = 0;
  options.max_background_jobs = 2;
  options.allow_fallocate = false;  // a small library takes little room
  options.info_log = std::make_shared<SilentLogger>();
  options.max_manifest_file_size = 1 << 20;  // read whole whenever it grew (manifest_seal.h)
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

rocksdb::ColumnFamilyOptions family_options(std::string_view name,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 32 << 20;
  // Text packs well, normalised vectors do not.
  options.compression =
      name == kFamilies[kVectors] ? rocksdb::kNoCompression : rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 << 10;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Runs `work` with what a third party throws turned into values.
template <typename Work>
auto guarded(const std::string& folder, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("store " + folder + ": out of memory");
  } catch (const std::exception& error) {
    return Status::internal("store " + folder + ": " + error.what());
  }
}

}  // namespace

struct DocumentStore::Impl {
  std::string folder;
  CorpusOptions options;
  std::uint32_t format_version = kStoreVersion;
  std::uint64_t commit_seq = 0;
  std::uint32_t next_collection = 0;
  std::string corpus_id;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;  // of kFamilies, then any others
  Status failed_write;

  ~Impl() {
    if (db == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* handle : handles)
      static_cast<void>(db->DestroyColumnFamilyHandle(handle));
    static_cast<void>(db->Close());
  }

  Result<std::optional<std::string>> get(Family family, const std::string& key,
                                         const rocksdb::Snapshot* snapshot = nullptr) const {
    return guarded(folder, [&]() -> Result<std::optional<std::string>> {
      rocksdb::ReadOptions read;
      read.snapshot = snapshot;
      std::string value;
      const rocksdb::Status status = db->Get(read, handles[family], key, &value);
      if (status.IsNotFound()) return std::optional<std::string>();
      COLLEGIUM_RETURN_IF_ERROR(to_status(status, folder));
      return std::optional<std::string>(std::move(value));
    });
  }

  // Calls visit(key without prefix, value) for every key that starts with `prefix`, ascending.
  template <typename Visit>
  Status scan(Family family, const std::string& prefix, const rocksdb::Snapshot* snapshot,
              Visit visit) const {
    return guarded(folder, [&]() -> Status {
      rocksdb::ReadOptions read;
      read.snapshot = snapshot;
      read.total_order_seek = true;
      read.fill_cache = false;
      const std::string end = after_prefix(prefix);
      const rocksdb::Slice upper(end);
      if (!end.empty()) read.iterate_upper_bound = &upper;
      const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(read, handles[family]));
      for (it->Seek(prefix); it->Valid(); it->Next())
        COLLEGIUM_RETURN_IF_ERROR(visit(view(it->key()).substr(prefix.size()), view(it->value())));
      return to_status(it->status(), folder);
    });
  }

  // A consistent view for a read of several keys.
  std::shared_ptr<const rocksdb::Snapshot> snapshot() const {
    return {db->GetSnapshot(), [this](const rocksdb::Snapshot* s) { db->ReleaseSnapshot(s); }};
  }

  enum class Mode { kCreate, kOpen, kLook };
  Status open_database(Mode mode);
  Status read_meta();
  template <typename Read>
  Status read_meta(const std::string& key, Read read) const;
};

Status DocumentStore::Impl::open_database(Mode mode) {
  return guarded(folder, [&]() -> Status {
    const bool create = mode == Mode::kCreate;
    const rocksdb::DBOptions settings = database_options(create);
    std::vector<std::string> names(std::begin(kFamilies), std::end(kFamilies));
    if (!create) {
      // A newer format may have families of its own: they must be opened to learn its version.
      std::vector<std::string> existing;
      COLLEGIUM_RETURN_IF_ERROR(
          to_status(rocksdb::DB::ListColumnFamilies(settings, folder, &existing), folder));
      for (const std::string& name : existing)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    const auto cache = rocksdb::NewLRUCache(32 << 20);
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, family_options(name, cache));
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status =
        mode == Mode::kLook
            ? rocksdb::DB::OpenForReadOnly(settings, folder, families, &handles, &opened)
            : rocksdb::DB::Open(settings, folder, families, &handles, &opened);
    db.reset(opened);
    return to_status(status, folder);
  });
}

template <typename Read>
Status DocumentStore::Impl::read_meta(const std::string& key, Read read) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::optional<std::string> value, get(kDefault, key));
  if (!value.has_value()) return damaged(folder, "'" + key + "' is missing");
  core::ByteReader in = reader(*value);
  return read(in) ? Status() : damaged(folder, "'" + key + "' is malformed");
}

Status DocumentStore::Impl::read_meta() {
  COLLEGIUM_RETURN_IF_ERROR(
      read_meta("m/format", [this](core::ByteReader& in) { return in.read(format_version); }));
  if (format_version > kStoreVersion)
    return Status::not_supported("store " + folder + " has version " +
                                 std::to_string(format_version) + ", this build reads up to " +
                                 std::to_string(kStoreVersion));
  std::uint64_t dim = 0;
  COLLEGIUM_RETURN_IF_ERROR(read_meta("m/options", [&](core::ByteReader& in) {
    return in.read(dim) && in.read(options.hnsw_threshold) &&
           in.read_string(options.encoder_digest) && in.read_string(corpus_id);
  }));
  if (format_version == 0 || dim == 0 || dim > kMaxDim)
    return damaged(folder,
                   "version " + std::to_string(format_version) + ", dim " + std::to_string(dim));
  options.dim = dim;
  COLLEGIUM_RETURN_IF_ERROR(
      read_meta("m/commit_seq", [this](core::ByteReader& in) { return in.read(commit_seq); }));
  return read_meta("m/collections",
                   [this](core::ByteReader& in) { return in.read(next_collection); });
}

struct DocumentStore::Batch::Impl {
  explicit Impl(const DocumentStore::Impl& store) : handles(store.handles) {}

  const std::vector<rocksdb::ColumnFamilyHandle*>& handles;
  rocksdb::WriteBatch batch;
  core::ByteWriter log;

  // Only a batch over 4 GB can fail here; commit() stops long before.
  void put(Family family, std::string_view key, rocksdb::Slice value) {
    static_cast<void>(batch.Put(handles[family], slice(key), value));
  }
  void put(Family family, std::string_view key, const core::ByteWriter& value) {
    put(family, key, slice(value));
  }
  void remove(Family family, std::string_view key) {
    static_cast<void>(batch.Delete(handles[family], slice(key)));
  }
  void log_entry(std::uint8_t kind, std::uint32_t collection, std::string_view id,
                 std::uint64_t first_row, std::uint64_t passages) {
    log.write(kind);
    log.write(collection);
    log.write_string(id);
    log.write(first_row);
    log.write(passages);
  }
};

DocumentStore::Batch::Batch(const DocumentStore& store)
    : impl_(std::make_unique<Impl>(*store.impl_)) {}
DocumentStore::Batch::~Batch() = default;

std::size_t DocumentStore::Batch::bytes() const noexcept { return impl_->batch.GetDataSize(); }

void DocumentStore::Batch::put_commit_seq(std::uint64_t commit_seq) {
  core::ByteWriter value;
  value.write(commit_seq);
  impl_->put(kDefault, "m/commit_seq", value);
  std::string key = "l/";
  append_key(key, commit_seq);
  impl_->put(kDefault, key, impl_->log);
}

void DocumentStore::Batch::put_next_collection(std::uint32_t number) {
  core::ByteWriter value;
  value.write(number);
  impl_->put(kDefault, "m/collections", value);
}

void DocumentStore::Batch::put_collection(std::string_view name, const CollectionRecord& record) {
  core::ByteWriter value;
  value.write(record.number);
  value.write(record.next_row);
  value.write(record.documents);
  value.write(record.passages);
  value.write(record.changed_seq);
  impl_->put(kDefault, name_key("c/", name), value);
}

void DocumentStore::Batch::put_document(std::uint32_t collection, const NewDocument& document,
                                        std::uint64_t first_row) {
  const std::string key = document_key(collection, document.document.id);
  core::ByteWriter entry;
  entry.write(first_row);
  entry.write<std::uint64_t>(document.passages.size());
  for (const core::PassageSpan& passage : document.passages) {
    entry.write<std::uint64_t>(passage.bytes.begin);
    entry.write<std::uint64_t>(passage.bytes.end);
    entry.write_string(passage.section);
  }
  impl_->put(kDirectory, key, entry);
  core::ByteWriter text;
  text.write_string(document.document.title);
  text.write_string(document.document.text);
  text.write_string(document.document.metadata);
  impl_->put(kDocuments, key, text);
  if (document.passages.empty()) return;
  const std::size_t bytes = document.vectors.size() / document.passages.size() * sizeof(float);
  const auto* vectors = reinterpret_cast<const char*>(document.vectors.data());
  for (std::size_t i = 0; i < document.passages.size(); ++i)
    impl_->put(kVectors, vector_key(collection, first_row + i), {vectors + i * bytes, bytes});
}

void DocumentStore::Batch::remove_document(std::uint32_t collection, std::string_view id,
                                           const DocumentEntry& entry) {
  const std::string key = document_key(collection, id);
  impl_->remove(kDirectory, key);
  impl_->remove(kDocuments, key);
  for (std::size_t i = 0; i < entry.passages.size(); ++i)
    impl_->remove(kVectors, vector_key(collection, entry.first_row + i));
}

void DocumentStore::Batch::put_record(std::string_view key, std::string_view value) {
  impl_->put(kDefault, name_key("r/", key), slice(value));
}
void DocumentStore::Batch::remove_record(std::string_view key) {
  impl_->remove(kDefault, name_key("r/", key));
}
void DocumentStore::Batch::log_put(std::uint32_t collection, std::string_view id,
                                   std::uint64_t first_row, std::uint64_t passages) {
  impl_->log_entry(1, collection, id, first_row, passages);
}
void DocumentStore::Batch::log_remove(std::uint32_t collection, std::string_view id,
                                      std::uint64_t first_row, std::uint64_t passages) {
  impl_->log_entry(2, collection, id, first_row, passages);
}

DocumentStore::DocumentStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DocumentStore::~DocumentStore() = default;

Result<std::unique_ptr<DocumentStore>> DocumentStore::create(const std::string& folder,
                                                             const CorpusOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  impl->options = options;
  impl->corpus_id = random_id();
  COLLEGIUM_RETURN_IF_ERROR(impl->open_database(Impl::Mode::kCreate));
  std::unique_ptr<DocumentStore> store(new DocumentStore(std::move(impl)));
  Batch batch(*store);
  core::ByteWriter version;
  version.write(kStoreVersion);
  batch.impl_->put(kDefault, "m/format", version);
  core::ByteWriter settings;
  settings.write<std::uint64_t>(options.dim);
  settings.write(options.hnsw_threshold);
  settings.write_string(options.encoder_digest);
  settings.write_string(store->corpus_id());
  batch.impl_->put(kDefault, "m/options", settings);
  batch.put_next_collection(0);
  batch.put_commit_seq(0);
  COLLEGIUM_RETURN_IF_ERROR(store->write(batch));
  return store;
}

Result<std::unique_ptr<DocumentStore>> DocumentStore::open(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl->open_database(Impl::Mode::kOpen));
  COLLEGIUM_RETURN_IF_ERROR(impl->read_meta());
  return std::unique_ptr<DocumentStore>(new DocumentStore(std::move(impl)));
}

Result<std::uint64_t> DocumentStore::look(const std::string& folder) {
  Impl impl;
  impl.folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl.open_database(Impl::Mode::kLook));
  COLLEGIUM_RETURN_IF_ERROR(impl.read_meta());
  return impl.commit_seq;
}

const CorpusOptions& DocumentStore::options() const noexcept { return impl_->options; }
const std::string& DocumentStore::corpus_id() const noexcept { return impl_->corpus_id; }
std::uint32_t DocumentStore::format_version() const noexcept { return impl_->format_version; }
std::uint64_t DocumentStore::commit_seq() const noexcept { return impl_->commit_seq; }
std::uint32_t DocumentStore::next_collection() const noexcept { return impl_->next_collection; }

Result<std::map<std::string, CollectionRecord, std::less<>>> DocumentStore::collections() const {
  std::map<std::string, CollectionRecord, std::less<>> found;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kDefault, "c/", nullptr, [&](std::string_view name, std::string_view value) -> Status {
        if (!read_collection(value, found[std::string(name)]))
          return damaged(impl_->folder, "the record of collection '" + std::string(name) + "'");
        return {};
      }));
  return found;
}

Result<std::optional<DocumentEntry>> DocumentStore::entry(std::uint32_t collection,
                                                          std::string_view id) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value,
                             impl_->get(kDirectory, document_key(collection, id)));
  if (!value.has_value()) return std::optional<DocumentEntry>();
  DocumentEntry entry;
  if (!read_entry(*value, entry))
    return damaged(impl_->folder, "the entry of document '" + std::string(id) + "'");
  return std::optional<DocumentEntry>(std::move(entry));
}

Result<std::optional<Document>> DocumentStore::document(std::uint32_t collection,
                                                        std::string_view id) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value,
                             impl_->get(kDocuments, document_key(collection, id)));
  if (!value.has_value()) return std::optional<Document>();
  Document document;
  document.id = id;
  if (!read_document(*value, document))
    return damaged(impl_->folder, "document '" + document.id + "'");
  return std::optional<Document>(std::move(document));
}

Result<std::optional<NewDocument>> DocumentStore::stored_document(std::uint32_t collection,
                                                                  std::string_view id) const {
  const auto snapshot = impl_->snapshot();
  const std::string key = document_key(collection, id);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto entry_bytes, impl_->get(kDirectory, key, snapshot.get()));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto text_bytes, impl_->get(kDocuments, key, snapshot.get()));
  if (!entry_bytes.has_value() && !text_bytes.has_value()) return std::optional<NewDocument>();
  NewDocument stored;
  stored.document.id = id;
  DocumentEntry entry;
  const std::string what = "document '" + stored.document.id + "'";
  if (!entry_bytes.has_value() || !text_bytes.has_value() || !read_entry(*entry_bytes, entry) ||
      !read_document(*text_bytes, stored.document))
    return damaged(impl_->folder, what);
  const std::size_t dim = impl_->options.dim;
  for (std::size_t i = 0; i < entry.passages.size(); ++i) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto value,
        impl_->get(kVectors, vector_key(collection, entry.first_row + i), snapshot.get()));
    if (!value.has_value() || value->size() != dim * sizeof(float))
      return damaged(impl_->folder, "a vector of " + what);
    stored.vectors.resize((i + 1) * dim);
    std::memcpy(stored.vectors.data() + i * dim, value->data(), value->size());
  }
  stored.passages = std::move(entry.passages);
  return std::optional<NewDocument>(std::move(stored));
}

Result<std::optional<std::string>> DocumentStore::record(std::string_view key) const {
  return impl_->get(kDefault, name_key("r/", key));
}

Result<std::vector<std::pair<std::string, std::string>>> DocumentStore::records(
    std::string_view prefix) const {
  std::vector<std::pair<std::string, std::string>> found;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(kDefault, name_key("r/", prefix), nullptr,
                                        [&](std::string_view rest, std::string_view value) {
                                          found.emplace_back(name_key(prefix, rest), value);
                                          return Status();
                                        }));
  return found;
}

Status DocumentStore::visit_documents(std::uint32_t collection,
                                      const DocumentVisitor& visit) const {
  const auto snapshot = impl_->snapshot();
  std::vector<std::pair<std::string, DocumentEntry>> entries;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kDirectory, document_key(collection, ""), snapshot.get(),
      [&](std::string_view id, std::string_view value) -> Status {
        DocumentEntry entry;
        if (!read_entry(value, entry))
          return damaged(impl_->folder, "the entry of document '" + std::string(id) + "'");
        entries.emplace_back(id, std::move(entry));
        return {};
      }));
  // A document without passages took no row: it shares its first row with the next document.
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.first_row, a.second.passages.size()) <
           std::pair(b.second.first_row, b.second.passages.size());
  });

  // Entries and vectors by ascending row, side by side.
  const std::size_t dim = impl_->options.dim;
  std::vector<float> vectors;
  auto next = entries.begin();
  const auto visit_if_whole = [&]() -> Status {
    while (next != entries.end() && vectors.size() == next->second.passages.size() * dim) {
      COLLEGIUM_RETURN_IF_ERROR(visit(next->first, next->second, vectors));
      vectors.clear();
      ++next;
    }
    return {};
  };
  COLLEGIUM_RETURN_IF_ERROR(visit_if_whole());  // leading documents without passages
  std::string prefix;
  append_key(prefix, collection);
  append_key(prefix, kPlainSpace);
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kVectors, prefix, snapshot.get(),
      [&](std::string_view key, std::string_view value) -> Status {
        const std::uint64_t row = read_key_u64(key);
        if (key.size() != kVectorKeyBytes - 8 || value.size() != dim * sizeof(float))
          return damaged(impl_->folder, "vector " + std::to_string(row) + " has " +
                                            std::to_string(value.size()) + " bytes");
        if (next == entries.end() || row != next->second.first_row + vectors.size() / dim)
          return damaged(impl_->folder, "vector " + std::to_string(row) + " has no passage");
        vectors.resize(vectors.size() + dim);
        std::memcpy(vectors.data() + vectors.size() - dim, value.data(), value.size());
        return visit_if_whole();
      }));
  if (next != entries.end())
    return damaged(impl_->folder, "document '" + next->first + "' lacks vectors");
  return {};
}

Status DocumentStore::write(Batch& batch) {
  if (!impl_->failed_write.ok())
    return impl_->failed_write.with_context(
        "read-only since a write failed; close and open again to recover");
  const Status status = guarded(impl_->folder, [&]() -> Status {
    rocksdb::WriteOptions options;
    options.sync = true;
    return to_status(impl_->db->Write(options, &batch.impl_->batch), impl_->folder);
  });
  if (!status.ok()) impl_->failed_write = status;
  return status;
}

}  // namespace collegium::index
