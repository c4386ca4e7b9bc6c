#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collection_index.h"
#include "collegium/index/corpus.h"
#include "commit_marker.h"
#include "document_store.h"
#include "folder_lock.h"
#include "index_file.h"
#include "write_set.h"

namespace collegium::index {

// A collection as this process holds it. `record` is guarded by CorpusImpl::publish_mutex_.
struct Collection {
  explicit Collection(const CollectionRecord& r) : number(r.number), record(r) {}

  const std::uint32_t number;
  CollectionRecord record;
  std::unique_ptr<CollectionIndex> index;
  bool rebuilt = false;
  std::string note;
  // What its index file holds; guarded by CorpusImpl::flush_mutex_.
  std::uint64_t file_seq = 0;
  bool file_has_graph = false;
};

// Runs `work`; what is thrown (memory, for the most part) becomes a value.
template <typename Work>
auto guarded(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("corpus: out of memory");
  } catch (const std::exception& error) {
    return Status::internal(std::string("corpus: ") + error.what());
  }
}

std::shared_ptr<CollectionState> empty_state(std::size_t dim, std::uint64_t commit_seq);

// The corpus: opening in corpus_open.cc, commits in corpus_commit.cc, the rest in corpus.cc.
class CorpusImpl final : public Corpus {
 public:
  static Result<std::unique_ptr<Corpus>> create(const std::string& path,
                                                const CorpusOptions& options);
  static Result<std::unique_ptr<Corpus>> open(const std::string& path);
  ~CorpusImpl() override { static_cast<void>(close()); }

  const CorpusOptions& options() const noexcept override { return options_; }
  std::uint64_t commit_seq() const noexcept override { return commit_seq_; }
  std::uint32_t format_version() const noexcept override { return format_version_; }
  Result<std::uint64_t> commit(WriteSet writes) override;
  std::vector<std::string> collections() const override;
  Result<CollectionInfo> collection_info(std::string_view collection) const override;
  Result<Document> document(std::string_view collection, std::string_view id) const override;
  Result<bool> has_document(std::string_view collection, std::string_view id) const override;
  Result<NewDocument> stored_document(std::string_view collection,
                                      std::string_view id) const override;
  Result<StoredPassage> stored_passage(const Hit& hit) const override;
  Result<std::string> record(std::string_view key) const override;
  Result<std::vector<std::pair<std::string, std::string>>> records(
      std::string_view prefix) const override;
  Result<std::shared_ptr<const CollectionView>> view(std::string_view collection) const override;
  Result<std::vector<Hit>> search(std::string_view collection, std::span<const float> query,
                                  std::size_t k, const SearchOptions& options) const override;
  Result<std::vector<Hit>> search_merged(std::span<const CollectionQuery> queries, std::size_t k,
                                         const SearchOptions& options) const override;
  Status flush_indexes() override;
  Status close() override;

 private:
  using CollectionMap = std::map<std::string, std::shared_ptr<Collection>, std::less<>>;

  explicit CorpusImpl(std::string path) : path_(std::move(path)) {}

  Status check_open() const {
    return store_ != nullptr ? Status()
                             : Status::failed_precondition("corpus " + path_ + " is closed");
  }
  // What writes asks this first, before any mutex, which another thread of the parent may have
  // held: a forked child has a copy of the store, whose files are the parent's to write.
  Status check_process() const {
    return ::getpid() == pid_
               ? Status()
               : Status::failed_precondition("corpus " + path_ + " was opened by process " +
                                             std::to_string(pid_) +
                                             ", of which this one is a fork; open it anew here");
  }
  Status load_collections();
  std::string index_path(const Collection& collection) const {
    return path_ + "/index/" + std::to_string(collection.number) + ".index";
  }
  IndexIdentity identity(const Collection& collection) const {
    return {store_->corpus_id(), collection.number, options_.dim, options_.encoder_digest};
  }
  Result<std::shared_ptr<Collection>> find(std::string_view name) const;
  Result<std::uint64_t> commit_locked(WriteSet::Impl& writes);
  Status mark(std::uint64_t commit_seq);  // durable when it returns ok
  Status flush_locked();

  const std::string path_;
  const pid_t pid_ = ::getpid();
  CorpusOptions options_;
  std::uint32_t format_version_ = 0;
  std::atomic<std::uint64_t> commit_seq_{0};

  // Taken in this order. Every call holds life_mutex_ shared, close() alone.
  mutable std::shared_mutex life_mutex_;
  std::mutex flush_mutex_;
  std::mutex write_mutex_;
  mutable std::shared_mutex publish_mutex_;  // guards collections_ and the records in it

  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<CommitMarker> marker_;
  std::unique_ptr<DocumentStore> store_;  // null once closed
  Status failed_;                         // why nothing more can be written
  std::uint32_t next_collection_ = 0;     // guarded by write_mutex_
  CollectionMap collections_;
};

}  // namespace collegium::index
