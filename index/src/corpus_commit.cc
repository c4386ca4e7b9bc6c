#include <map>

#include "corpus_impl.h"

namespace collegium::index {

Result<std::uint64_t> CorpusImpl::commit(WriteSet writes) {
  return guarded([&]() -> Result<std::uint64_t> {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    if (writes.empty()) return commit_seq();
    COLLEGIUM_RETURN_IF_ERROR(writes.impl().validate(options_.dim));
    const std::lock_guard lock(write_mutex_);
    return commit_locked(writes.impl());
  });
}

Status CorpusImpl::mark(std::uint64_t commit_seq) {
  COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal,
                             seal_manifest(path_ + "/store", marker_->manifest()));
  return marker_->advance(commit_seq, seal);
}

Result<std::uint64_t> CorpusImpl::commit_locked(WriteSet::Impl& writes) {
  if (!failed_.ok())
    return failed_.with_context("read-only since a write failed; close and open again to recover");
  const std::uint64_t seq = commit_seq_ + 1;
  DocumentStore::Batch batch(*store_);

  // What each touched collection will be.
  struct Touched {
    std::shared_ptr<Collection> collection;
    CollectionRecord record;
    CollectionChange change;
  };
  std::map<std::string, Touched, std::less<>> touched;
  std::uint32_t next_collection = next_collection_;
  for (const std::string& name : writes.created) {
    if (find(name).ok()) return Status::already_exists("collection '" + name + "' in " + path_);
    Touched& created = touched[name];
    created.record.number = next_collection++;
    created.collection = std::make_shared<Collection>(created.record);
    created.collection->index =
        std::make_unique<CollectionIndex>(empty_state(options_.dim, seq), options_.hnsw_threshold);
  }
  const auto touch = [&](const std::string& name) -> Result<Touched*> {
    if (const auto found = touched.find(name); found != touched.end()) return &found->second;
    COLLEGIUM_ASSIGN_OR_RETURN(auto collection, find(name));
    Touched& existing = touched[name];
    existing.record = collection->record;  // only commits, serialised, change it
    existing.collection = std::move(collection);
    return &existing;
  };
  const auto remove = [&](Touched& from, const std::string& id,
                          const DocumentEntry& entry) -> Status {
    const std::uint64_t passages = entry.passages.size();
    if (from.record.documents == 0 || from.record.passages < passages)
      return Status::corruption("store: the counts of collection " +
                                std::to_string(from.record.number) + " are wrong");
    batch.remove_document(from.record.number, id, entry);
    batch.log_remove(from.record.number, id, entry.first_row, passages);
    from.change.removed.push_back({id, entry.first_row, passages});
    from.record.documents -= 1;
    from.record.passages -= passages;
    return {};
  };

  for (const auto& [name, id] : writes.removed_documents) {
    COLLEGIUM_ASSIGN_OR_RETURN(Touched * from, touch(name));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto entry, store_->entry(from->record.number, id));
    if (!entry.has_value())
      return Status::not_found("no document '" + id + "' in collection '" + name + "'");
    COLLEGIUM_RETURN_IF_ERROR(remove(*from, id, *entry));
  }
  for (auto& [name, added] : writes.documents) {
    COLLEGIUM_ASSIGN_OR_RETURN(Touched * to, touch(name));
    CollectionRecord& record = to->record;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto replaced,
                               store_->entry(record.number, added.document.id));
    if (replaced.has_value()) COLLEGIUM_RETURN_IF_ERROR(remove(*to, added.document.id, *replaced));
    batch.put_document(record.number, added, record.next_row);
    batch.log_put(record.number, added.document.id, record.next_row, added.passages.size());
    const std::uint64_t first_row = record.next_row;
    record.next_row += added.passages.size();
    record.documents += 1;
    record.passages += added.passages.size();
    to->change.added.push_back({std::move(added.document.id), first_row, std::move(added.passages),
                                std::move(added.vectors)});
  }
  for (const auto& [key, value] : writes.records) batch.put_record(key, value);
  for (const std::string& key : writes.removed_records) batch.remove_record(key);
  for (auto& [name, t] : touched) {
    t.record.changed_seq = t.change.commit_seq = seq;
    batch.put_collection(name, t.record);
  }
  if (next_collection != next_collection_) batch.put_next_collection(next_collection);
  batch.put_commit_seq(seq);

  // From here on a failure leaves it open whether the commit will be there after a restart, so
  // nothing may follow it.
  failed_ = Status::internal("corpus " + path_ + ": a commit was interrupted");
  Status status = store_->write(batch);
  if (status.ok()) status = mark(seq);
  if (!status.ok()) {
    failed_ = status;
    return status;
  }
  const std::unique_lock publish(publish_mutex_);
  for (auto& [name, t] : touched) {
    t.collection->record = t.record;
    t.collection->index->apply(std::move(t.change));
    collections_.try_emplace(name, t.collection);
  }
  next_collection_ = next_collection;
  commit_seq_ = seq;
  failed_ = Status();
  return seq;
}

}  // namespace collegium::index
