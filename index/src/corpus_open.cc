#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "collegium/core/file_envelope.h"
#include "corpus_impl.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

std::string store_folder(const std::string& path) { return path + "/store"; }
std::string index_folder(const std::string& path) { return path + "/index"; }
bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Status sync_folder(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return Status::from_errno(errno, path);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error == 0 ? Status() : Status::from_errno(error, path);
}

// Its owner's alone. One that is there already keeps what it has.
Status make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Status::from_errno(errno, path);
  const fs::path parent = fs::path(path).parent_path();
  return sync_folder(parent.empty() ? "." : parent.string());
}

// What a killed process was writing when it was killed.
void remove_temporaries(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().native().ends_with(core::kTemporarySuffix)) found.push_back(it->path());
  for (const fs::path& path : found) fs::remove(path, error);
}

Result<std::shared_ptr<const CollectionState>> rebuild_state(const DocumentStore& store,
                                                             const CollectionRecord& record) {
  const std::size_t dim = store.options().dim;
  COLLEGIUM_ASSIGN_OR_RETURN(SegmentBuilder builder, SegmentBuilder::create(dim));
  // The count is believed only as far as memory goes: a wrong one is noticed below.
  COLLEGIUM_RETURN_IF_ERROR(builder.reserve(std::min<std::size_t>(record.passages, 1 << 20)));
  std::set<std::string> without;
  std::uint64_t documents = 0;
  COLLEGIUM_RETURN_IF_ERROR(store.visit_documents(
      record.number,
      [&](std::string_view id, const DocumentEntry& entry, std::span<const float> vectors) {
        ++documents;
        if (!entry.passages.empty())
          return builder.add_document(id, entry.first_row, entry.passages, vectors);
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

}  // namespace

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
  return std::unique_ptr<Corpus>(std::move(corpus));
}

Result<std::unique_ptr<Corpus>> CorpusImpl::open(const std::string& path) {
  const bool has_marker = exists(path + "/COMMITTED");
  const bool has_store = exists(store_folder(path));
  if (!has_marker && !exists(store_folder(path) + "/CURRENT"))  // a folder "store" may be anyone's
    return Status::not_found("no corpus in '" + path + "'");
  std::unique_ptr<CorpusImpl> corpus(new CorpusImpl(path));
  COLLEGIUM_ASSIGN_OR_RETURN(corpus->lock_, FolderLock::acquire(path));
  if (!has_marker || !has_store)
    return Status::corruption("corpus " + path + ": its " + (has_store ? "COMMITTED" : "store") +
                              " is missing");
  COLLEGIUM_ASSIGN_OR_RETURN(corpus->marker_, CommitMarker::open(path));
  // Everything that can tell of lost data is asked before RocksDB may write to the folder, so that
  // a file that turns up again helps.
  const std::string folder = store_folder(path);
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t commit_seq, DocumentStore::look(folder));
  if (commit_seq < corpus->marker_->commit_seq())
    return Status::corruption("corpus " + path + ": the store is at commit " +
                              std::to_string(commit_seq) + ", but commit " +
                              std::to_string(corpus->marker_->commit_seq()) +
                              " was acknowledged: data is lost");
  COLLEGIUM_RETURN_IF_ERROR(check_manifest(folder, corpus->marker_->manifest()));
  COLLEGIUM_ASSIGN_OR_RETURN(auto store, DocumentStore::open(folder));
  if (store->commit_seq() != commit_seq)
    return Status::corruption("corpus " + path + ": the store was at commit " +
                              std::to_string(commit_seq) + " and is now at " +
                              std::to_string(store->commit_seq()));
  // A commit that was cut off before it was acknowledged, and is whole, counts from now on.
  COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal, seal_manifest(folder, {}));
  COLLEGIUM_RETURN_IF_ERROR(corpus->marker_->advance(commit_seq, seal));
  corpus->store_ = std::move(store);
  corpus->options_ = corpus->store_->options();
  corpus->format_version_ = corpus->store_->format_version();
  corpus->commit_seq_ = corpus->store_->commit_seq();
  corpus->next_collection_ = corpus->store_->next_collection();
  if (const Status status = corpus->load_collections(); !status.ok()) {
    corpus->store_.reset();
    return status;
  }
  return std::unique_ptr<Corpus>(std::move(corpus));
}

Status CorpusImpl::load_collections() {
  COLLEGIUM_RETURN_IF_ERROR(make_folder(index_folder(path_)));
  remove_temporaries(index_folder(path_));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto records, store_->collections());
  for (const auto& [name, record] : records) {
    auto collection = std::make_shared<Collection>(record);
    if (record.number >= next_collection_ || record.changed_seq > commit_seq_)
      return Status::corruption("corpus " + path_ + ": collection '" + name + "' has number " +
                                std::to_string(record.number) + " and commit " +
                                std::to_string(record.changed_seq) + ", beyond the store's");
    const std::string path = index_path(*collection);
    auto read = read_index_file(path, identity(*collection));
    std::shared_ptr<const CollectionState> state;
    if (read.ok()) {
      state = *read;
      if (state->commit_seq > record.changed_seq)
        return Status::corruption(path + " is at commit " + std::to_string(state->commit_seq) +
                                  ", the store's collection '" + name + "' at " +
                                  std::to_string(record.changed_seq) +
                                  ": acknowledged data is lost");
      const std::uint64_t rows_end =
          state->segments.empty() ? 0 : state->segments.back().segment->rows.back() + 1;
      if (state->commit_seq < record.changed_seq)
        collection->note = path + " is at commit " + std::to_string(state->commit_seq) +
                           ", the store at " + std::to_string(record.changed_seq);
      else if (state->num_live() != record.passages || rows_end > record.next_row)
        collection->note = path + " disagrees with the store";
    } else {
      collection->note = read.status().to_string();
    }
    if (collection->note.empty()) {
      collection->file_seq = state->commit_seq;
      collection->file_has_graph = state->has_graph();
    } else {
      collection->rebuilt = true;
      COLLEGIUM_ASSIGN_OR_RETURN(state, rebuild_state(*store_, record));
    }
    collection->index =
        std::make_unique<CollectionIndex>(std::move(state), options_.hnsw_threshold);
    collections_.emplace(name, std::move(collection));
  }
  return {};
}

Result<std::unique_ptr<Corpus>> Corpus::create(const std::string& path,
                                               const CorpusOptions& options) {
  return guarded([&] { return CorpusImpl::create(path, options); });
}

Result<std::unique_ptr<Corpus>> Corpus::open(const std::string& path) {
  return guarded([&] { return CorpusImpl::open(path); });
}

}  // namespace collegium::index
