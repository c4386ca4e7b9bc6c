#include <algorithm>
#include <filesystem>
#include <system_error>

#include "corpus_impl.h"
#include "file_copy.h"

namespace collegium::index {

Status CorpusImpl::compact() {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writable());
    COLLEGIUM_RETURN_IF_ERROR(store_->compact());
    const std::lock_guard syncing(sync_mutex_);
    return mark(marker_->commit_seq());
  });
}

Status CorpusImpl::purge() {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::unique_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writable());
    COLLEGIUM_RETURN_IF_ERROR(sync_to(written_seq_));
    {
      // The change log names what was removed.
      DocumentStore::Batch batch(*store_);
      batch.remove_log_before(written_seq_ + 1);
      Status status = store_->write(batch);
      if (status.ok()) status = store_->sync();
      if (!status.ok()) {
        failed_ = status;
        return status;
      }
    }
    {
      // One from before would keep in the tables what it sees.
      auto snapshot = store_->snapshot();
      const std::unique_lock publish(publish_mutex_);
      snapshot_ = std::move(snapshot);
    }
    // Index files: none holds a removed row afterwards, and none belongs to no collection.
    for (auto& [name, collection] : collections_) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto state, collection->index->state());
      const bool has_dead = std::any_of(
          state->segments.begin(), state->segments.end(),
          [](const LiveSegment& part) { return part.num_live != part.segment->size(); });
      if (has_dead) {
        COLLEGIUM_ASSIGN_OR_RETURN(auto rebuilt, rebuild_state(*store_, collection->record));
        collection->index = std::make_unique<CollectionIndex>(
            std::move(rebuilt), options_.hnsw_threshold, collection->index->settings());
      }
      collection->file_seq = 0;
    }
    std::error_code error;
    std::filesystem::remove_all(path_ + "/index", error);
    if (error) return Status::from_errno(error.value(), path_ + "/index");
    COLLEGIUM_RETURN_IF_ERROR(make_folder(path_ + "/index"));
    COLLEGIUM_RETURN_IF_ERROR(flush_locked());
    // Tables without what was removed; then, by opening it anew, a list of files that does not name
    // their predecessors, and no log.
    COLLEGIUM_RETURN_IF_ERROR(store_->compact());
    COLLEGIUM_RETURN_IF_ERROR(mark(marker_->commit_seq()));
    return reopen_locked();
  });
}

}  // namespace collegium::index
