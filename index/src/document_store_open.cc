#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <random>

#include "document_store_batch.h"

namespace collegium::index {
namespace {

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

rocksdb::DBOptions database_options(bool create, bool salvage) {
  rocksdb::DBOptions options;
  options.create_if_missing = create;
  options.create_missing_column_families = true;  // a store from before them lacks the postings
  options.error_if_exists = create;
  options.paranoid_checks = true;
  options.track_and_verify_wals_in_manifest = true;
  // What was not synced may be lost from anywhere in the log, not only from its tail, when the
  // power goes: the log counts up to its first damage. CommitMarker tells whether what lies behind
  // that had been acknowledged as durable.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  if (salvage) {
    options.paranoid_checks = false;
    options.track_and_verify_wals_in_manifest = false;
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
  }
  // After a failed write the corpus is read-only until it is reopened.
  options.max_bgerror_resume_count = 0;
  options.max_background_jobs = 2;
  options.db_host_id = "";  // else the name of the user's machine is written into every table
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
  // Text packs well, normalised vectors do not, and postings are packed.
  options.compression = name == kFamilies[kVectors] || name == kFamilies[kPostings]
                            ? rocksdb::kNoCompression
                            : rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 << 10;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

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
    // How RocksDB's own words begin; behind them stands the path, which is the user's.
    const std::string_view said = status.getState() != nullptr ? status.getState() : "";
    if (said.starts_with("lock hold by current process") || said.starts_with("While lock file") ||
        said.starts_with("while lock file"))
      return Status::busy(message);
    return Status::io_error(message);
  }
  return Status::internal(message);
}

Status DocumentStore::Impl::open_database(Mode mode) {
  return guarded_store(folder, [&]() -> Status {
    const bool create = mode == Mode::kCreate;
    const rocksdb::DBOptions settings = database_options(create, mode == Mode::kSalvage);
    std::vector<std::string> names(std::begin(kFamilies), std::end(kFamilies));
    if (!create) {
      // A newer format may have families of its own: they must be opened to learn its version.
      std::vector<std::string> existing;
      COLLEGIUM_RETURN_IF_ERROR(
          to_status(rocksdb::DB::ListColumnFamilies(settings, folder, &existing), folder));
      for (const std::string& name : existing)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      if (mode == Mode::kLook ||
          mode == Mode::kSalvage) {  // creates nothing; the last ones may be missing
        std::erase_if(names, [&](const std::string& name) {
          return std::find(existing.begin(), existing.end(), name) == existing.end();
        });
      }
    }
    const auto cache = rocksdb::NewLRUCache(32 << 20);
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    // What every lexical search reads is not pushed out by documents.
    const auto postings_cache = rocksdb::NewLRUCache(64 << 20);
    for (const std::string& name : names)
      families.emplace_back(
          name, family_options(name, name == kFamilies[kPostings] ? postings_cache : cache));
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status =
        mode == Mode::kLook || mode == Mode::kSalvage
            ? rocksdb::DB::OpenForReadOnly(settings, folder, families, &handles, &opened)
            : rocksdb::DB::Open(settings, folder, families, &handles, &opened);
    db.reset(opened);
    return to_status(status, folder);
  });
}

Status DocumentStore::Impl::read_meta(const std::string& key,
                                      const std::function<bool(core::ByteReader&)>& read) const {
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
  COLLEGIUM_RETURN_IF_ERROR(store->sync());
  return store;
}

Result<std::unique_ptr<DocumentStore>> DocumentStore::open(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl->open_database(Impl::Mode::kOpen));
  COLLEGIUM_RETURN_IF_ERROR(impl->read_meta());
  return std::unique_ptr<DocumentStore>(new DocumentStore(std::move(impl)));
}

Result<std::unique_ptr<DocumentStore>> DocumentStore::open_read_only(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->read_only = true;
  impl->folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl->open_database(Impl::Mode::kLook));
  COLLEGIUM_RETURN_IF_ERROR(impl->read_meta());
  return std::unique_ptr<DocumentStore>(new DocumentStore(std::move(impl)));
}

Result<std::unique_ptr<DocumentStore>> DocumentStore::salvage(const std::string& folder) {
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl->open_database(Impl::Mode::kSalvage));
  // The counters are only a help: without them fewer documents can be named.
  const Status status = impl->read_meta();
  if (!status.ok() && impl->options.dim == 0) return status;
  return std::unique_ptr<DocumentStore>(new DocumentStore(std::move(impl)));
}

Result<std::uint64_t> DocumentStore::look(const std::string& folder) {
  Impl impl;
  impl.folder = folder;
  COLLEGIUM_RETURN_IF_ERROR(impl.open_database(Impl::Mode::kLook));
  COLLEGIUM_RETURN_IF_ERROR(impl.read_meta());
  return impl.commit_seq;
}

}  // namespace collegium::index
