#include <algorithm>
#include <cmath>
#include <set>

#include "collegium/index/result_caps.h"
#include "corpus_impl.h"
#include "filter_state.h"
#include "merged_search.h"

namespace collegium::index {
namespace {

Status check_query(std::span<const float> query, std::size_t dim, std::size_t k) {
  if (k == 0) return Status::invalid_argument("k is 0, must be at least 1");
  if (query.size() != dim)
    return Status::invalid_argument("query: dim " + std::to_string(query.size()) +
                                    ", the corpus has " + std::to_string(dim));
  return check_vector(query, "query");
}

// (dim,), or empty if no passage that lives in `state` has this row.
std::span<const float> find_vector(const CollectionState& state, std::uint64_t row) {
  for (const LiveSegment& part : state.segments) {
    const std::vector<std::uint64_t>& rows = part.segment->rows;
    const auto at = std::lower_bound(rows.begin(), rows.end(), row);
    if (at == rows.end() || *at != row) continue;
    const auto position = static_cast<std::size_t>(at - rows.begin());
    if (part.alive(position))
      return part.segment->block->vectors().subspan(position * state.dim, state.dim);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Collection>> CorpusImpl::find(std::string_view name) const {
  const std::shared_lock lock(publish_mutex_);
  const auto found = collections_.find(name);
  if (found == collections_.end())
    return Status::not_found("no collection '" + std::string(name) + "' in " + path_);
  return found->second;
}

std::shared_ptr<const rocksdb::Snapshot> CorpusImpl::published() const {
  const std::shared_lock lock(publish_mutex_);
  return snapshot_;
}

std::vector<std::string> CorpusImpl::collections() const {
  const std::shared_lock lock(publish_mutex_);
  std::vector<std::string> names;
  for (const auto& [name, collection] : collections_) names.push_back(name);
  return names;
}

Result<CollectionInfo> CorpusImpl::collection_info(std::string_view name) const {
  return guarded([&]() -> Result<CollectionInfo> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    CollectionInfo info;
    info.name = name;
    info.index_rebuilt = collection->rebuilt;
    info.index_note = collection->note;
    const std::shared_lock lock(publish_mutex_);
    info.documents = collection->record.documents;
    info.passages = collection->record.passages;
    info.postings_rebuilt = collection->postings_rebuilt;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto state, collection->index->state());
    info.index_generation = state->index_generation();
    info.index_kind = index_kind(*state);
    info.index_parameters = index_parameters(*state);
    info.index_reason = index_reason(*collection->index, *state);
    return info;
  });
}

Result<Document> CorpusImpl::document(std::string_view collection, std::string_view id) const {
  return guarded([&]() -> Result<Document> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    const auto snapshot = published();
    COLLEGIUM_ASSIGN_OR_RETURN(auto document, store_->document(found->number, id, snapshot.get()));
    if (!document.has_value())
      return Status::not_found("no document '" + std::string(id) + "' in collection '" +
                               std::string(collection) + "'");
    return std::move(*document);
  });
}

Result<bool> CorpusImpl::has_document(std::string_view collection, std::string_view id) const {
  return guarded([&]() -> Result<bool> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    const auto snapshot = published();
    COLLEGIUM_ASSIGN_OR_RETURN(const auto entry, store_->entry(found->number, id, snapshot.get()));
    return entry.has_value();
  });
}

Result<NewDocument> CorpusImpl::stored_document(std::string_view collection,
                                                std::string_view id) const {
  return guarded([&]() -> Result<NewDocument> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    const auto snapshot = published();
    COLLEGIUM_ASSIGN_OR_RETURN(auto stored,
                               store_->stored_document(found->number, id, snapshot.get()));
    if (!stored.has_value())
      return Status::not_found("no document '" + std::string(id) + "' in collection '" +
                               std::string(collection) + "'");
    return std::move(*stored);
  });
}

Result<StoredPassage> CorpusImpl::stored_passage(const Hit& hit) const {
  return guarded([&]() -> Result<StoredPassage> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(hit.collection));
    const auto gone = [&] {
      return Status::not_found("document '" + hit.document_id + "' in collection '" +
                               hit.collection + "' was replaced or removed since it was found");
    };
    std::shared_ptr<const CollectionState> state;
    std::shared_ptr<const rocksdb::Snapshot> snapshot;
    {
      const std::shared_lock lock(publish_mutex_);  // both of one commit
      COLLEGIUM_ASSIGN_OR_RETURN(state, found->index->state());
      snapshot = snapshot_;
    }
    COLLEGIUM_ASSIGN_OR_RETURN(auto document,
                               store_->document(found->number, hit.document_id, snapshot.get()));
    COLLEGIUM_ASSIGN_OR_RETURN(auto entry,
                               store_->entry(found->number, hit.document_id, snapshot.get()));
    if (!document.has_value() || !entry.has_value() || hit.row < entry->first_row ||
        hit.row - entry->first_row >= entry->passages.size())
      return gone();
    const auto vector = find_vector(*state, hit.row);
    if (vector.empty()) return gone();
    StoredPassage stored;
    stored.title = std::move(document->title);
    stored.passage = std::move(entry->passages[hit.row - entry->first_row]);
    const core::ByteSpan bytes = stored.passage.bytes;
    if (bytes.begin > bytes.end || bytes.end > document->text.size())
      return Status::corruption("document '" + hit.document_id + "' in " + path_ +
                                ": a passage lies outside its text");
    stored.text = document->text.substr(bytes.begin, bytes.end - bytes.begin);
    stored.vector.assign(vector.begin(), vector.end());
    return stored;
  });
}

Result<std::string> CorpusImpl::record(std::string_view key) const {
  return guarded([&]() -> Result<std::string> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    const auto snapshot = published();
    COLLEGIUM_ASSIGN_OR_RETURN(auto value, store_->record(key, snapshot.get()));
    if (!value.has_value()) return Status::not_found("no record '" + std::string(key) + "'");
    return std::move(*value);
  });
}

Result<std::vector<std::pair<std::string, std::string>>> CorpusImpl::records(
    std::string_view prefix) const {
  return guarded([&]() -> Result<std::vector<std::pair<std::string, std::string>>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    const auto snapshot = published();
    return store_->records(prefix, snapshot.get());
  });
}

Result<std::shared_ptr<const CollectionView>> CorpusImpl::view(std::string_view name) const {
  return guarded([&]() -> Result<std::shared_ptr<const CollectionView>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    COLLEGIUM_ASSIGN_OR_RETURN(auto state, collection->index->flat_state());
    return make_view(std::move(state));
  });
}

Result<std::vector<Hit>> CorpusImpl::search(std::string_view collection,
                                            std::span<const float> query, std::size_t k,
                                            const SearchOptions& options) const {
  const CollectionQuery one{collection, query, 0.0f};
  return search_merged(std::span(&one, 1), k, options);
}

Result<std::vector<Hit>> CorpusImpl::search_merged(std::span<const CollectionQuery> queries,
                                                   std::size_t k,
                                                   const SearchOptions& options) const {
  return guarded([&]() -> Result<std::vector<Hit>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_RETURN_IF_ERROR(options.validate());
    // The states of all collections as of one commit.
    std::vector<std::shared_ptr<const CollectionState>> states;
    {
      std::set<std::string_view> names;
      const std::shared_lock lock(publish_mutex_);
      for (const CollectionQuery& query : queries) {
        COLLEGIUM_RETURN_IF_ERROR(check_query(query.query, options_.dim, k));
        if (!std::isfinite(query.shift))
          return Status::invalid_argument("shift of collection '" + std::string(query.collection) +
                                          "' is not finite");
        if (!names.insert(query.collection).second)
          return Status::invalid_argument("collection '" + std::string(query.collection) +
                                          "' is searched twice");
        const auto found = collections_.find(query.collection);
        if (found == collections_.end())
          return Status::not_found("no collection '" + std::string(query.collection) + "' in " +
                                   path_);
        COLLEGIUM_ASSIGN_OR_RETURN(auto state, found->second->index->state());
        states.push_back(std::move(state));
      }
    }
    COLLEGIUM_ASSIGN_OR_RETURN(const auto merged, search_states(states, queries, k, options));
    std::vector<Hit> hits;
    hits.reserve(merged.size());
    for (const auto& [document, i] : merged) {
      hits.push_back(make_hit(queries[i].collection, document));
      hits.back().index_generation = states[i]->index_generation();
      hits.back().source = source_of(document, options.source_field);
    }
    return hits;
  });
}

Result<std::vector<std::vector<Hit>>> CorpusImpl::search_batch(std::string_view collection,
                                                               std::span<const float> queries,
                                                               std::size_t k,
                                                               const SearchOptions& options) const {
  return guarded([&]() -> Result<std::vector<std::vector<Hit>>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_RETURN_IF_ERROR(options.validate());
    const std::size_t dim = options_.dim;
    if (queries.size() % dim != 0)
      return Status::invalid_argument("queries: " + std::to_string(queries.size()) +
                                      " floats is not a multiple of dim " + std::to_string(dim));
    const std::size_t num_queries = queries.size() / dim;
    for (std::size_t q = 0; q < num_queries; ++q) {
      const Status checked = check_query(queries.subspan(q * dim, dim), dim, k);
      if (!checked.ok()) return checked.with_context("query " + std::to_string(q));
    }
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto state, found->index->state());
    const auto filtered = filter_state(state, options.filter);
    std::vector<std::vector<DocumentScore>> documents(num_queries);
    if (!ResultCaps::wanted(options)) {
      COLLEGIUM_ASSIGN_OR_RETURN(documents,
                                 search_documents_batch(*filtered, queries, k, 0.0f, options));
    } else {
      for (std::size_t q = 0; q < num_queries; ++q) {
        const CollectionQuery one{collection, queries.subspan(q * dim, dim), 0.0f};
        COLLEGIUM_ASSIGN_OR_RETURN(
            const auto merged, search_states(std::span(&state, 1), std::span(&one, 1), k, options));
        for (const MergedDocument& document : merged) documents[q].push_back(document.score);
      }
    }
    std::vector<std::vector<Hit>> hits(num_queries);
    for (std::size_t q = 0; q < num_queries; ++q) {
      for (const DocumentScore& document : documents[q]) {
        hits[q].push_back(make_hit(collection, document));
        hits[q].back().index_generation = state->index_generation();
        hits[q].back().source = source_of(document, options.source_field);
      }
    }
    return hits;
  });
}

Status CorpusImpl::flush_indexes() {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writer());
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    return flush_locked();
  });
}

Status CorpusImpl::flush_locked() {
  const std::lock_guard flushing(flush_mutex_);
  CollectionMap collections;
  {
    const std::shared_lock lock(publish_mutex_);
    collections = collections_;
  }
  Status first_failure;
  for (const auto& [name, collection] : collections) {
    const auto flush = [&, &one = *collection]() -> Status {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto state, one.index->settle());
      if (one.file_seq == state->commit_seq && one.file_generation == state->index_generation())
        return {};
      // A file that is ahead of a store which lost its last, unsynced commits would tell of data
      // loss.
      COLLEGIUM_RETURN_IF_ERROR(sync_to(state->commit_seq));
      COLLEGIUM_RETURN_IF_ERROR(write_index_file(index_path(one), identity(one), *state));
      one.file_seq = state->commit_seq;
      one.file_generation = state->index_generation();
      return {};
    };
    if (const Status status = flush(); !status.ok() && first_failure.ok())
      first_failure = status.with_context("index of collection '" + name + "'");
  }
  return first_failure;
}

Status CorpusImpl::close() {
  return guarded([&]() -> Status {
    if (!check_process().ok()) {
      // Closing RocksDB writes, and waits for threads that a child does not have: what cannot be
      // closed is dropped as it is.
      closed_ = true;
      static_cast<void>(store_.release());
      lock_.reset();
      return {};
    }
    const std::unique_lock life(life_mutex_);
    if (closed_) return {};
    closed_ = true;
    Status done;
    if (!read_only_ && store_ != nullptr) {
      if (failed_.ok()) done = sync_to(written_seq_);
      if (const Status flushed = flush_locked(); done.ok()) done = flushed;
    }
    {
      const std::unique_lock lock(publish_mutex_);
      snapshot_.reset();  // it is of the store
      pending_.clear();
    }
    store_.reset();
    // Tables that were written since the last commit are sealed too.
    if (!read_only_ && marker_ != nullptr)
      if (const Status marked = mark(marker_->commit_seq()); done.ok()) done = marked;
    marker_.reset();
    lock_.reset();
    const std::unique_lock lock(publish_mutex_);
    collections_.clear();
    written_.clear();
    return done;
  });
}

Result<std::vector<Hit>> search_collections(const Corpus& corpus,
                                            std::span<const CollectionQuery> queries, std::size_t k,
                                            const SearchOptions& options) {
  return corpus.search_merged(queries, k, options);
}

}  // namespace collegium::index
