#pragma once

#include <rocksdb/db.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "document_store.h"
#include "document_store_layout.h"

// What the document_store*.cc share. No other file includes RocksDB.

namespace collegium::index {

inline rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline rocksdb::Slice slice(const core::ByteWriter& writer) {
  return {reinterpret_cast<const char*>(writer.bytes().data()), writer.bytes().size()};
}
inline std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

Status to_status(const rocksdb::Status& status, const std::string& folder);
inline Status damaged(const std::string& folder, const std::string& what) {
  return Status::corruption("store " + folder + ": " + what);
}

// Runs `work` with what a third party throws turned into values.
template <typename Work>
auto guarded_store(const std::string& folder, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("store " + folder + ": out of memory");
  } catch (const std::exception& error) {
    return Status::internal("store " + folder + ": " + error.what());
  }
}

struct DocumentStore::Impl {
  std::string folder;
  CorpusOptions options;
  std::uint32_t format_version = kStoreVersion;
  std::uint64_t commit_seq = 0;
  std::uint32_t next_collection = 0;
  std::string corpus_id;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;  // of kFamilies, then any others
  bool read_only = false;  // another process may remove files that are open here
  std::mutex failure_mutex;
  Status failed_write;
  std::atomic<std::uint64_t> num_syncs{0};

  // What was said when writing first failed; ok until then.
  Status failure() {
    const std::lock_guard lock(failure_mutex);
    return failed_write.ok() ? Status()
                             : failed_write.with_context("read-only since a write failed");
  }
  Status note_failure(Status status) {
    const std::lock_guard lock(failure_mutex);
    if (failed_write.ok()) failed_write = status;
    return status;
  }

  ~Impl() {
    if (db == nullptr) return;
    for (rocksdb::ColumnFamilyHandle* handle : handles)
      static_cast<void>(db->DestroyColumnFamilyHandle(handle));
    static_cast<void>(db->Close());
  }

  Result<std::optional<std::string>> get(Family family, const std::string& key,
                                         const rocksdb::Snapshot* snapshot = nullptr) const {
    return guarded_store(folder, [&]() -> Result<std::optional<std::string>> {
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
    return guarded_store(folder, [&]() -> Status {
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

  // Without prefix; see salvage().
  void scan_around_damage(Family family, const std::string& prefix, const std::string& what,
                          const std::function<void(std::string_view key)>& visit,
                          FindingList& findings) const;

  enum class Mode { kCreate, kOpen, kLook, kSalvage };
  Status open_database(Mode mode);
  Status read_meta();
  Status read_meta(const std::string& key,
                   const std::function<bool(core::ByteReader&)>& read) const;
};

}  // namespace collegium::index
