// What is done with the store's files as a whole.
#include <rocksdb/options.h>

#include <limits>

#include "document_store_impl.h"
#include "file_copy.h"

namespace collegium::index {

Status DocumentStore::compact() {
  COLLEGIUM_RETURN_IF_ERROR(impl_->failure());
  return guarded_store(impl_->folder, [&]() -> Status {
    rocksdb::FlushOptions flush;
    flush.allow_write_stall = true;
    COLLEGIUM_RETURN_IF_ERROR(to_status(impl_->db->Flush(flush, impl_->handles), impl_->folder));
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    options.exclusive_manual_compaction = true;
    for (rocksdb::ColumnFamilyHandle* family : impl_->handles)
      COLLEGIUM_RETURN_IF_ERROR(
          to_status(impl_->db->CompactRange(options, family, nullptr, nullptr), impl_->folder));
    return {};
  });
}

Status DocumentStore::copy_files(const std::string& to, const std::function<void()>& listed,
                                 std::uint64_t& files, std::uint64_t& bytes) {
  return guarded_store(impl_->folder, [&]() -> Status {
    rocksdb::DB& db = *impl_->db;
    COLLEGIUM_RETURN_IF_ERROR(to_status(db.DisableFileDeletions(), impl_->folder));
    const std::shared_ptr<void> enable(
        nullptr, [&db](void*) { static_cast<void>(db.EnableFileDeletions(/*force=*/false)); });
    rocksdb::LiveFilesStorageInfoOptions options;
    // The log is copied as it is: a flush would fail where a write did.
    options.wal_size_for_flush = std::numeric_limits<std::uint64_t>::max();
    std::vector<rocksdb::LiveFileStorageInfo> found;
    COLLEGIUM_RETURN_IF_ERROR(
        to_status(db.GetLiveFilesStorageInfo(options, &found), impl_->folder));
    listed();
    for (const rocksdb::LiveFileStorageInfo& file : found) {
      const std::string target = to + "/" + file.relative_filename;
      if (!file.replacement_contents.empty()) {
        COLLEGIUM_ASSIGN_OR_RETURN(const auto writer, FileWriter::create(target));
        COLLEGIUM_RETURN_IF_ERROR(writer->write(file.replacement_contents));
        COLLEGIUM_RETURN_IF_ERROR(writer->close());
      } else {
        COLLEGIUM_RETURN_IF_ERROR(
            copy_file(file.directory + "/" + file.relative_filename, target, file.size));
      }
      ++files;
      bytes += file.size;
    }
    return sync_folder(to);
  });
}

}  // namespace collegium::index
