#include <algorithm>
#include <cmath>
#include <set>

#include "corpus_impl.h"

namespace collegium::index {
namespace {

Status check_query(std::span<const float> query, std::size_t dim, std::size_t k) {
  if (k == 0) return Status::invalid_argument("k is 0, must be at least 1");
  if (query.size() != dim)
    return Status::invalid_argument("query: dim " + std::to_string(query.size()) +
                                    ", the corpus has " + std::to_string(dim));
  return check_vector(query, "query");
}

}  // namespace

Result<std::shared_ptr<Collection>> CorpusImpl::find(std::string_view name) const {
  const std::shared_lock lock(publish_mutex_);
  const auto found = collections_.find(name);
  if (found == collections_.end())
    return Status::not_found("no collection '" + std::string(name) + "' in " + path_);
  return found->second;
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
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    CollectionInfo info;
    info.name = name;
    info.index_rebuilt = collection->rebuilt;
    info.index_note = collection->note;
    const std::shared_lock lock(publish_mutex_);
    info.documents = collection->record.documents;
    info.passages = collection->record.passages;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto state, collection->index->state());
    info.index_kind = state->has_graph() ? "hnsw" : "exact";
    return info;
  });
}

Result<Document> CorpusImpl::document(std::string_view collection, std::string_view id) const {
  return guarded([&]() -> Result<Document> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    COLLEGIUM_ASSIGN_OR_RETURN(auto document, store_->document(found->number, id));
    if (!document.has_value())
      return Status::not_found("no document '" + std::string(id) + "' in collection '" +
                               std::string(collection) + "'");
    return std::move(*document);
  });
}

Result<NewDocument> CorpusImpl::stored_document(std::string_view collection,
                                                std::string_view id) const {
  return guarded([&]() -> Result<NewDocument> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    COLLEGIUM_ASSIGN_OR_RETURN(auto stored, store_->stored_document(found->number, id));
    if (!stored.has_value())
      return Status::not_found("no document '" + std::string(id) + "' in collection '" +
                               std::string(collection) + "'");
    return std::move(*stored);
  });
}

Result<std::string> CorpusImpl::record(std::string_view key) const {
  return guarded([&]() -> Result<std::string> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(auto value, store_->record(key));
    if (!value.has_value()) return Status::not_found("no record '" + std::string(key) + "'");
    return std::move(*value);
  });
}

Result<std::vector<std::pair<std::string, std::string>>> CorpusImpl::records(
    std::string_view prefix) const {
  return guarded([&]() -> Result<std::vector<std::pair<std::string, std::string>>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    return store_->records(prefix);
  });
}

Result<std::shared_ptr<const CollectionView>> CorpusImpl::view(std::string_view name) const {
  return guarded([&]() -> Result<std::shared_ptr<const CollectionView>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    COLLEGIUM_ASSIGN_OR_RETURN(auto state, collection->index->flat_state());
    return make_view(std::move(state));
  });
}

Result<std::vector<Hit>> CorpusImpl::search(std::string_view collection,
                                            std::span<const float> query, std::size_t k) const {
  const CollectionQuery one{collection, query, 0.0f};
  return search_merged(std::span(&one, 1), k);
}

Result<std::vector<Hit>> CorpusImpl::search_merged(std::span<const CollectionQuery> queries,
                                                   std::size_t k) const {
  return guarded([&]() -> Result<std::vector<Hit>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
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
    std::vector<std::pair<DocumentScore, std::string_view>> merged;  // with their collections
    for (std::size_t i = 0; i < queries.size(); ++i) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto found, search_documents(*states[i], queries[i].query, k, queries[i].shift));
      for (const DocumentScore& document : found)
        merged.emplace_back(document, queries[i].collection);
    }
    std::sort(merged.begin(), merged.end(), [](const auto& a, const auto& b) {
      if (a.first.score != b.first.score) return a.first.score > b.first.score;
      const int by_id = a.first.id().compare(b.first.id());
      return by_id != 0 ? by_id < 0 : a.second < b.second;
    });
    if (merged.size() > k) merged.resize(k);
    std::vector<Hit> hits;
    hits.reserve(merged.size());
    for (const auto& [document, collection] : merged)
      hits.push_back(make_hit(collection, document));
    return hits;
  });
}

Status CorpusImpl::flush_indexes() {
  return guarded([&]() -> Status {
    const std::shared_lock life(life_mutex_);
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
      if (one.file_seq == state->commit_seq && one.file_has_graph == state->has_graph()) return {};
      COLLEGIUM_RETURN_IF_ERROR(write_index_file(index_path(one), identity(one), *state));
      one.file_seq = state->commit_seq;
      one.file_has_graph = state->has_graph();
      return {};
    };
    if (const Status status = flush(); !status.ok() && first_failure.ok())
      first_failure = status.with_context("index of collection '" + name + "'");
  }
  return first_failure;
}

Status CorpusImpl::close() {
  return guarded([&]() -> Status {
    const std::unique_lock life(life_mutex_);
    if (store_ == nullptr) return {};
    const Status flushed = flush_locked();
    store_.reset();
    marker_.reset();
    lock_.reset();
    {
      const std::unique_lock lock(publish_mutex_);
      collections_.clear();
    }
    return flushed;
  });
}

Result<std::vector<Hit>> search_collections(const Corpus& corpus,
                                            std::span<const CollectionQuery> queries,
                                            std::size_t k) {
  return corpus.search_merged(queries, k);
}

}  // namespace collegium::index
