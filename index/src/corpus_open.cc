#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "corpus_impl.h"
#include "file_copy.h"
#include "lexical_writer.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

std::string store_folder(const std::string& path) { return path + "/store"; }
std::string index_folder(const std::string& path) { return path + "/index"; }
bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// What a killed process was writing when it was killed.
void remove_temporaries(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().native().ends_with(core::kTemporarySuffix)) found.push_back(it->path());
  for (const fs::path& path : found) fs::remove(path, error);
}

}  // namespace

Result<std::shared_ptr<const CollectionState>> rebuild_state(const DocumentStore& store,
                                                             const CollectionRecord& record) {
  const std::size_t dim = store.options().dim;
  COLLEGIUM_ASSIGN_OR_RETURN(SegmentBuilder builder, SegmentBuilder::create(dim));
  // The count is believed only as far as memory goes: a wrong one is noticed below.
  COLLEGIUM_RETURN_IF_ERROR(builder.reserve(std::min<std::size_t>(record.passages, 1 << 20)));
  std::set<std::string> without;
  std::uint64_t documents = 0;
  COLLEGIUM_RETURN_IF_ERROR(store.visit_documents(
      record.number, [&](std::string_view id, const DocumentEntry& entry,
                         std::span<const float> vectors, std::string_view metadata) {
        ++documents;
        if (!entry.passages.empty())
          return builder.add_document(id, entry.first_row, entry.passages, vectors, metadata);
        without.emplace(id);
        return Status();
      }));
  if (documents != record.documents || builder.size() != record.passages)
    return Status::corruption("store: collection " + std::to_string(record.number) + " holds " +
                              std::to_string(documents) + " documents and " +
                              std::to_string(builder.size()) + " passages, its record says " +
                              std::to_string(record.documents) + " and " +
                              std::to_string(record.passages));
  auto state = empty_state(dim, record.changed_seq);
  if (builder.size() > 0) state->segments.push_back(builder.finish());
  state->without_passages = std::make_shared<const std::set<std::string>>(std::move(without));
  return std::shared_ptr<const CollectionState>(std::move(state));
}

std::shared_ptr<CollectionState> empty_state(std::size_t dim, std::uint64_t commit_seq) {
  auto state = std::make_shared<CollectionState>();
  state->dim = dim;
  state->commit_seq = commit_seq;
  state->without_passages = std::make_shared<const std::set<std::string>>();
  return state;
}

Result<std::unique_ptr<Corpus>> CorpusImpl::create(const std::string& path,
                                                   const CorpusOptions& options) {
  if (path.empty()) return Status::invalid_argument("corpus: the path is empty");
  if (options.dim == 0 || options.dim > kMaxDim)
    return Status::invalid_argument("corpus: dim " + std::to_string(options.dim) +
                                    ", allowed are 1 to " + std::to_string(kMaxDim));
  COLLEGIUM_RETURN_IF_ERROR(make_folder(path));
  std::unique_ptr<CorpusImpl> corpus(new CorpusImpl(path));
  COLLEGIUM_ASSIGN_OR_RETURN(corpus->lock_, FolderLock::acquire(path));
  if (exists(path + "/COMMITTED") || exists(store_folder(path)))
    return Status::already_exists(path + " holds a corpus already, or the rest of one");
  // The marker comes last: a folder with it is a whole corpus.
  const auto make = [&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(make_folder(store_folder(path)));
    COLLEGIUM_RETURN_IF_ERROR(make_folder(index_folder(path)));
    COLLEGIUM_ASSIGN_OR_RETURN(corpus->store_, DocumentStore::create(store_folder(path), options));
    COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal, seal_manifest(store_folder(path), {}));
    COLLEGIUM_ASSIGN_OR_RETURN(corpus->marker_, CommitMarker::create(path, 0, seal));
    return {};
  };
  if (const Status status = make(); !status.ok()) {
    corpus->store_.reset();
    std::error_code ignored;
    fs::remove_all(store_folder(path), ignored);
    fs::remove(path + "/COMMITTED", ignored);
    return status;
  }
  corpus->options_ = options;
  corpus->format_version_ = corpus->store_->format_version();
  corpus->snapshot_ = corpus->store_->snapshot();
  return std::unique_ptr<Corpus>(std::move(corpus));
}

Result<std::unique_ptr<Corpus>> CorpusImpl::open(const std::string& path, bool read_only) {
  const bool has_marker = exists(path + "/COMMITTED");
  const bool has_store = exists(store_folder(path));
  if (!has_marker && !exists(store_folder(path) + "/CURRENT"))  // a folder "store" may be anyone's
    return Status::not_found("no corpus in '" + path + "'");
  std::unique_ptr<CorpusImpl> corpus(new CorpusImpl(path));
  corpus->read_only_ = read_only;
  if (!read_only) {
    COLLEGIUM_ASSIGN_OR_RETURN(corpus->lock_, FolderLock::acquire(path));
  }
  if (!has_marker || !has_store)
    return Status::corruption("corpus " + path + ": its " + (has_store ? "COMMITTED" : "store") +
                              " is missing");
  Status status = read_only ? corpus->open_store_read_only() : corpus->open_store();
  if (status.ok()) status = corpus->load_collections();
  if (!status.ok()) {
    corpus->closed_ = true;  // as it is: nothing is flushed, nothing is marked
    return status;
  }
  return std::unique_ptr<Corpus>(std::move(corpus));
}

Status CorpusImpl::look_at_store() const {
  return look_undisturbed([](std::unique_ptr<CommitMarker>, std::unique_ptr<DocumentStore>) {});
}

// A look is whole only if RocksDB, of this process or of the holder's, changed nothing meanwhile.
Status CorpusImpl::look_undisturbed(
    const std::function<void(std::unique_ptr<CommitMarker>, std::unique_ptr<DocumentStore>)>& take)
    const {
  constexpr int kAttempts = 12;
  const std::string folder = store_folder(path_);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) ::usleep(500u << std::min(attempt, 7));
    // The marker first: the store may only be ahead of it.
    COLLEGIUM_ASSIGN_OR_RETURN(auto marker, CommitMarker::open_read_only(path_));
    const auto before = look_at_manifest(folder);
    auto store = DocumentStore::open_read_only(folder);
    const Status sealed = check_manifest(folder, marker->manifest());
    const auto after = look_at_manifest(folder);
    if (before.ok() != after.ok() || (before.ok() && !(*before == *after))) continue;
    if (!store.ok()) return store.status();
    if ((*store)->commit_seq() < marker->commit_seq())
      return Status::corruption("corpus " + path_ + ": the store is at commit " +
                                std::to_string((*store)->commit_seq()) + ", but commit " +
                                std::to_string(marker->commit_seq()) +
                                " was acknowledged: data is lost");
    COLLEGIUM_RETURN_IF_ERROR(sealed);
    take(std::move(marker), std::move(*store));
    return {};
  }
  return Status::io_error("corpus " + path_ + ": its files change faster than they can be opened");
}

Status CorpusImpl::open_store() {
  // Everything that can tell of lost data is asked before RocksDB may write to the folder, so that
  // a file that turns up again helps.
  COLLEGIUM_RETURN_IF_ERROR(look_at_store());
  const std::string folder = store_folder(path_);
  COLLEGIUM_ASSIGN_OR_RETURN(marker_, CommitMarker::open(path_));
  COLLEGIUM_ASSIGN_OR_RETURN(auto store, DocumentStore::open(folder));
  if (store->commit_seq() < marker_->commit_seq())
    return Status::corruption(
        "corpus " + path_ + ": commit " + std::to_string(marker_->commit_seq()) +
        " was there, and the store is now at " + std::to_string(store->commit_seq()));
  // A commit that was cut off before it was acknowledged, and is whole, counts from now on.
  COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal, seal_manifest(folder, {}));
  COLLEGIUM_RETURN_IF_ERROR(marker_->advance(store->commit_seq(), seal));
  store_ = std::move(store);
  return {};
}

Status CorpusImpl::open_store_read_only() {
  return look_undisturbed(
      [this](std::unique_ptr<CommitMarker> marker, std::unique_ptr<DocumentStore> store) {
        marker_ = std::move(marker);
        store_ = std::move(store);
      });
}

// Of a store that was just opened. Collections whose state in memory is that of the store keep it.
Status CorpusImpl::load_collections() {
  const CorpusOptions& stored = store_->options();
  if (options_.dim == 0)
    options_ = stored;
  else if (stored.dim != options_.dim || stored.encoder_digest != options_.encoder_digest ||
           stored.hnsw_threshold != options_.hnsw_threshold)
    return Status::corruption("corpus " + path_ +
                              ": its settings are not those it was opened with");
  const std::uint32_t version = store_->format_version();
  if (read_only_ && version < kStoreVersion)
    return Status::failed_precondition(
        "corpus " + path_ + " has version " + std::to_string(version) +
        "; open it for writing once, which brings it to version " + std::to_string(kStoreVersion));
  if (!read_only_) {
    COLLEGIUM_RETURN_IF_ERROR(make_folder(index_folder(path_)));
    remove_temporaries(index_folder(path_));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto records, store_->collections());
  CollectionMap loaded;
  for (const auto& [name, record] : records) {
    if (record.number >= store_->next_collection() || record.changed_seq > store_->commit_seq())
      return Status::corruption("corpus " + path_ + ": collection '" + name + "' has number " +
                                std::to_string(record.number) + " and commit " +
                                std::to_string(record.changed_seq) + ", beyond the store's");
    if (const auto known = collections_.find(name);
        known != collections_.end() && known->second->number == record.number &&
        known->second->record.changed_seq == record.changed_seq) {
      known->second->written = known->second->record = record;
      known->second->written_words = known->second->words;
      // Settings are a record of their own: their commit leaves the collection's.
      COLLEGIUM_ASSIGN_OR_RETURN(IndexSettings settings, load_index_settings(name));
      known->second->index->set_settings(std::move(settings));
      loaded.emplace(name, known->second);
      continue;
    }
    COLLEGIUM_ASSIGN_OR_RETURN(auto collection, load_collection(name, record));
    loaded.emplace(name, std::move(collection));
  }
  if (version < kStoreVersion) {
    COLLEGIUM_RETURN_IF_ERROR(store_->raise_format());
    COLLEGIUM_RETURN_IF_ERROR(store_->sync());
  }
  format_version_ = store_->format_version();
  const std::unique_lock publish(publish_mutex_);
  snapshot_ = store_->snapshot();
  collections_ = loaded;
  written_ = std::move(loaded);
  pending_.clear();
  next_collection_ = store_->next_collection();
  durable_seq_ = written_seq_ = commit_seq_ = store_->commit_seq();
  lexical_cache_.clear(commit_seq_);
  failed_ = Status();
  return {};
}

Result<std::shared_ptr<Collection>> CorpusImpl::load_collection(const std::string& name,
                                                                const CollectionRecord& record) {
  auto collection = std::make_shared<Collection>(record);
  const std::string path = index_path(*collection);
  const auto read = read_index_file(path, identity(*collection));
  std::shared_ptr<const CollectionState> state;
  if (read.ok()) {
    state = *read;
    // Its holder may have written it since the store was opened for reading.
    if (state->commit_seq > record.changed_seq && !read_only_)
      return Status::corruption(path + " is at commit " + std::to_string(state->commit_seq) +
                                ", the store's collection '" + name + "' at " +
                                std::to_string(record.changed_seq) + ": acknowledged data is lost");
    const std::uint64_t rows_end =
        state->segments.empty() ? 0 : state->segments.back().segment->rows.back() + 1;
    if (rows_end > record.next_row ||
        (state->commit_seq == record.changed_seq && state->num_live() != record.passages)) {
      collection->note = path + " disagrees with the store";
      collection->rebuilt = true;
    } else {
      collection->file_seq = state->commit_seq;
      collection->file_generation = state->index_generation();
    }
    if (!collection->rebuilt && state->commit_seq != record.changed_seq) {
      collection->note = path + " is at commit " + std::to_string(state->commit_seq) +
                         ", the store at " + std::to_string(record.changed_seq);
      if (auto replayed = replay_state(*store_, record, std::move(state)); replayed.ok()) {
        state = std::move(*replayed);
        collection->note += "; the commits between were replayed";
      } else {
        collection->rebuilt = true;
        collection->note += "; " + replayed.status().message();
      }
    }
  } else {
    collection->note = read.status().to_string();
    collection->rebuilt = true;
  }
  if (collection->rebuilt) {
    COLLEGIUM_ASSIGN_OR_RETURN(state, rebuild_state(*store_, record));
  }
  COLLEGIUM_RETURN_IF_ERROR(load_words(*collection));
  collection->written_words = collection->words;
  COLLEGIUM_ASSIGN_OR_RETURN(IndexSettings settings, load_index_settings(name));
  collection->index = std::make_unique<CollectionIndex>(std::move(state), options_.hnsw_threshold,
                                                        std::move(settings));
  return collection;
}

Status CorpusImpl::reopen() {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::unique_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    return reopen_locked();
  });
}

Status CorpusImpl::reopen_locked() {
  if (read_only_) {
    std::unique_ptr<CommitMarker> marker;
    std::unique_ptr<DocumentStore> store;
    COLLEGIUM_RETURN_IF_ERROR(look_undisturbed([&](auto found_marker, auto found_store) {
      marker = std::move(found_marker);
      store = std::move(found_store);
    }));
    auto snapshot = std::exchange(snapshot_, nullptr);
    marker_.swap(marker);
    store_.swap(store);
    const Status status = load_collections();
    if (!status.ok()) {
      marker_.swap(marker);
      store_.swap(store);
      snapshot_.swap(snapshot);
    }
    snapshot.reset();  // before the store that it is of
    return status;
  }
  // As long as a look fails nothing is given up.
  COLLEGIUM_RETURN_IF_ERROR(look_at_store());
  snapshot_.reset();
  pending_.clear();
  store_.reset();
  marker_.reset();
  Status status = open_store();
  if (status.ok()) status = load_collections();
  if (status.ok()) return status;
  failed_ = status;
  marker_.reset();
  store_.reset();
  // A store that is ahead holds a commit that was not published: reads would show it beside an
  // index without it.
  if (auto store = DocumentStore::open_read_only(store_folder(path_));
      store.ok() && (*store)->commit_seq() == commit_seq_) {
    store_ = std::move(*store);
    snapshot_ = store_->snapshot();
  }
  return status;
}

Result<std::unique_ptr<Corpus>> Corpus::create(const std::string& path,
                                               const CorpusOptions& options) {
  return guarded([&] { return CorpusImpl::create(path, options); });
}

Result<std::unique_ptr<Corpus>> Corpus::open(const std::string& path) {
  return guarded([&] { return CorpusImpl::open(path, /*read_only=*/false); });
}

Result<std::unique_ptr<Corpus>> Corpus::open_read_only(const std::string& path) {
  return guarded([&] { return CorpusImpl::open(path, /*read_only=*/true); });
}

}  // namespace collegium::index
