#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
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
#include "lexical_cache.h"
#include "write_set.h"

namespace collegium::index {

class LexicalWriter;

// A collection as this process holds it. `record` is guarded by CorpusImpl::publish_mutex_.
struct Collection {
  explicit Collection(const CollectionRecord& r) : number(r.number), record(r), written(r) {}

  const std::uint32_t number;
  CollectionRecord record;   // as readers see it
  CollectionRecord written;  // with commits that are not published yet; of CorpusImpl::write_mutex_
  std::unique_ptr<CollectionIndex> index;
  std::shared_ptr<const LexicalSummary> words;          // guarded by publish_mutex_
  std::shared_ptr<const LexicalSummary> written_words;  // as `written`
  bool postings_rebuilt = false;
  bool rebuilt = false;
  std::string note;
  // What its index file holds; guarded by CorpusImpl::flush_mutex_.
  std::uint64_t file_seq = 0;
  std::uint64_t file_generation = 0;
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

// A flat state made from the store's documents of one collection; corruption when they are not what
// its record says.
Result<std::shared_ptr<const CollectionState>> rebuild_state(const DocumentStore& store,
                                                             const CollectionRecord& record);
// `state` of an earlier commit brought forward to the one of `record` by what the change log says;
// its graph stays. Fails, for rebuild_state() to be asked, when the log does not reach back so far,
// is damaged or does not fit, or when reading the whole collection would be quicker.
Result<std::shared_ptr<const CollectionState>> replay_state(
    const DocumentStore& store, const CollectionRecord& record,
    std::shared_ptr<const CollectionState> state);

// The corpus: opening in corpus_open.cc, commits in corpus_commit.cc, backup and export in
// corpus_backup.cc, verify in corpus_verify.cc, repair in corpus_repair.cc, replay_state() in
// corpus_replay.cc, compact and purge in corpus_purge.cc, the rest in corpus.cc.
class CorpusImpl final : public Corpus {
 public:
  static Result<std::unique_ptr<Corpus>> create(const std::string& path,
                                                const CorpusOptions& options);
  static Result<std::unique_ptr<Corpus>> open(const std::string& path, bool read_only);
  ~CorpusImpl() override { static_cast<void>(close()); }

  const CorpusOptions& options() const noexcept override { return options_; }
  std::uint64_t commit_seq() const noexcept override { return commit_seq_; }
  std::uint32_t format_version() const noexcept override { return format_version_; }
  Result<std::uint64_t> commit(WriteSet writes, const CommitOptions& options) override;
  Status sync() override;
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
  Result<std::vector<std::vector<Hit>>> search_batch(std::string_view collection,
                                                     std::span<const float> queries, std::size_t k,
                                                     const SearchOptions& options) const override;
  Result<std::vector<Hit>> search_merged(std::span<const CollectionQuery> queries, std::size_t k,
                                         const SearchOptions& options) const override;
  Result<std::vector<Hit>> search_lexical(std::string_view collection, const LexicalQuery& query,
                                          std::size_t k,
                                          const SearchOptions& options) const override;
  Result<LexicalSettings> lexical_settings(std::string_view collection) const override;
  Result<IndexSettings> index_settings(std::string_view collection) const override;
  Status set_index_settings(std::string_view collection, const IndexSettings& settings) override;
  Result<TuneReport> tune(std::string_view collection, const TuneOptions& options) override;
  Status flush_indexes() override;
  Status reopen() override;
  Result<BackupReport> backup(const std::string& to) override;
  Result<VerifyReport> verify() override;
  Status compact() override;
  Status purge() override;
  Result<std::uint64_t> export_jsonl(std::string_view collection,
                                     const std::string& path) const override;
  Status close() override;

  // What commit() asks of `writes` before it looks at the store.
  static Status validate(WriteSet& writes, std::size_t dim) { return writes.impl().validate(dim); }
  // For tests:
  std::uint64_t num_syncs() const { return store_->num_syncs(); }
  // No commit becomes durable, nor is seen, while it is held.
  std::unique_lock<std::mutex> hold_syncs() { return std::unique_lock(sync_mutex_); }
  // Writes past the corpus, as damage does.
  template <typename Work>
  void with_store(Work work) {
    work(*store_);
  }
  std::uint64_t written_seq() {
    const std::lock_guard lock(write_mutex_);
    return written_seq_;
  }

 private:
  using CollectionMap = std::map<std::string, std::shared_ptr<Collection>, std::less<>>;

  explicit CorpusImpl(std::string path) : path_(std::move(path)) {}

  Status check_not_closed() const {
    return !closed_ ? Status() : Status::failed_precondition("corpus " + path_ + " is closed");
  }
  // What reads the store asks this.
  Status check_open() const {
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    return store_ != nullptr ? Status() : failed_.with_context("the store is not open");
  }
  // What writes to the folder asks this.
  Status check_writer() const {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    return !read_only_
               ? Status()
               : Status::failed_precondition("corpus " + path_ + " was opened for reading only");
  }
  // What rewrites the store's files asks this: after a failed reopen() it is open for reading only.
  Status check_writable() const {
    COLLEGIUM_RETURN_IF_ERROR(check_writer());
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    return marker_ != nullptr ? Status() : failed_.with_context("the store is read-only");
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
  Status look_at_store() const;  // what can tell of lost data; changes nothing
  Status look_undisturbed(const std::function<void(std::unique_ptr<CommitMarker>,
                                                   std::unique_ptr<DocumentStore>)>& take) const;
  Status open_store();
  Status open_store_read_only();
  Status load_collections();
  Result<std::shared_ptr<Collection>> load_collection(const std::string& name,
                                                      const CollectionRecord& record);
  Status reopen_locked();
  Status load_words(Collection& collection);
  Result<IndexSettings> load_index_settings(const std::string& collection) const;
  std::string index_reason(const CollectionIndex& index, const CollectionState& state) const;
  std::string index_path(const Collection& collection) const {
    return path_ + "/index/" + std::to_string(collection.number) + ".index";
  }
  IndexIdentity identity(const Collection& collection) const {
    return {store_->corpus_id(), collection.number, options_.dim, options_.encoder_digest};
  }
  Result<std::shared_ptr<Collection>> find(std::string_view name) const;
  // The store as the last published commit left it: what readers see of it. Commits that wait for
  // their sync, or failed it, are in the store too.
  std::shared_ptr<const rocksdb::Snapshot> published() const;
  // A commit that was written and is not published: it may not be durable yet.
  struct Touched {
    std::shared_ptr<Collection> collection;
    CollectionRecord record;
    CollectionChange change;
    std::shared_ptr<LexicalWriter> words;
  };
  using TouchedMap = std::map<std::string, Touched, std::less<>>;
  struct Pending {
    std::uint64_t seq = 0;
    TouchedMap touched;
    std::shared_ptr<const rocksdb::Snapshot> snapshot;  // of the store as it left it
  };
  Result<std::uint64_t> write_locked(WriteSet::Impl& writes);
  Status publish_locked(std::uint64_t last);
  // All commits up to `seq` are durable and published when it returns ok.
  Status sync_to(std::uint64_t seq);
  Status mark(std::uint64_t commit_seq);  // durable when it returns ok; of sync_mutex_
  Status flush_locked();

  const std::string path_;
  const pid_t pid_ = ::getpid();
  CorpusOptions options_;  // set before others see this; reopen() leaves them
  std::atomic<std::uint32_t> format_version_{0};
  std::atomic<std::uint64_t> commit_seq_{0};

  // Taken in this order. Every call holds life_mutex_ shared; close(), reopen() and purge() alone.
  std::mutex settings_mutex_;  // of set_index_settings()
  mutable std::shared_mutex life_mutex_;
  std::mutex flush_mutex_;
  std::mutex sync_mutex_;  // one sync at a time; those who waited find theirs done
  std::mutex write_mutex_;
  mutable std::shared_mutex publish_mutex_;  // guards collections_ and the records in it

  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<CommitMarker> marker_;
  std::unique_ptr<DocumentStore> store_;  // null once closed, or when reopen() failed
  bool read_only_ = false;
  bool closed_ = false;
  CollectionMap collections_;
  // What the last published commit left in the store; guarded by publish_mutex_.
  std::shared_ptr<const rocksdb::Snapshot> snapshot_;
  mutable LexicalCache lexical_cache_;

  std::uint64_t durable_seq_ = 0;  // of sync_mutex_
  // Of write_mutex_:
  Status failed_;                      // why nothing more can be written
  std::uint64_t written_seq_ = 0;      // commit_seq_, and what is pending
  std::uint32_t next_collection_ = 0;  // with what is pending
  CollectionMap written_;              // collections_, and those that are pending
  std::vector<Pending> pending_;
};

}  // namespace collegium::index
