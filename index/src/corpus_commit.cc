#include <utility>

#include "corpus_impl.h"
#include "lexical_writer.h"

namespace collegium::index {

// Commits are written one after the other, each in a batch of its own, and then made durable: who
// comes to that first syncs for all that were written until then, and the others find it done.
Result<std::uint64_t> CorpusImpl::commit(WriteSet writes, const CommitOptions& options) {
  return guarded([&]() -> Result<std::uint64_t> {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writer());
    if (writes.empty()) return commit_seq();
    COLLEGIUM_RETURN_IF_ERROR(writes.impl().validate(options_.dim));
    std::uint64_t seq = 0;
    {
      const std::lock_guard lock(write_mutex_);
      COLLEGIUM_ASSIGN_OR_RETURN(seq, write_locked(writes.impl()));
      // Behind a commit that waits for its sync it waits too: they are seen in order.
      if (options.durability == Durability::kAsync && pending_.size() == 1) {
        COLLEGIUM_RETURN_IF_ERROR(publish_locked(seq));
        return seq;
      }
    }
    COLLEGIUM_RETURN_IF_ERROR(sync_to(seq));
    return seq;
  });
}

Status CorpusImpl::sync() {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writer());
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    return sync_to(commit_seq_);
  });
}

Status CorpusImpl::sync_to(std::uint64_t seq) {
  const std::lock_guard syncing(sync_mutex_);
  if (durable_seq_ >= seq) return {};
  std::uint64_t last = 0;
  {
    const std::lock_guard lock(write_mutex_);
    if (!failed_.ok()) return failed_.with_context("the commit before it failed");
    last = written_seq_;
  }
  Status status = store_->sync();
  if (status.ok()) status = mark(last);
  const std::lock_guard lock(write_mutex_);
  if (status.ok()) status = publish_locked(last);
  if (!status.ok()) {
    if (failed_.ok()) failed_ = status;
    return status;
  }
  durable_seq_ = last;
  return {};
}

Status CorpusImpl::publish_locked(std::uint64_t last) {
  // An exception on the way would leave readers with half of it.
  const Status before =
      std::exchange(failed_, Status::internal("corpus " + path_ + ": a commit was interrupted"));
  LexicalCache::Update words(lexical_cache_);
  for (const Pending& p : pending_)
    for (const auto& [name, t] : p.touched)
      if (p.seq <= last && t.words != nullptr) words.add(t.record.number, t.words->changes());
  std::size_t done = 0;
  {
    const std::unique_lock publish(publish_mutex_);
    for (; done < pending_.size() && pending_[done].seq <= last; ++done) {
      for (auto& [name, t] : pending_[done].touched) {
        t.collection->index->apply(std::move(t.change));
        if (t.words != nullptr)
          t.collection->words = std::make_shared<const LexicalSummary>(t.words->summary());
        collections_.try_emplace(name, t.collection);
        // Last: reopen() keeps in memory what its record says is that of the store.
        t.collection->record = t.record;
      }
      snapshot_ = std::move(pending_[done].snapshot);
      commit_seq_ = pending_[done].seq;
    }
    lexical_cache_.publish(commit_seq_, words);
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done));
  failed_ = before;
  return {};
}

Status CorpusImpl::mark(std::uint64_t commit_seq) {
  COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal,
                             seal_manifest(path_ + "/store", marker_->manifest()));
  return marker_->advance(commit_seq, seal);
}

Result<std::uint64_t> CorpusImpl::write_locked(WriteSet::Impl& writes) {
  if (!failed_.ok())
    return failed_.with_context("read-only since a write failed; reopen to recover");
  const std::uint64_t seq = written_seq_ + 1;
  DocumentStore::Batch batch(*store_);

  // What each touched collection will be.
  TouchedMap touched;
  const auto words_of = [&](Touched& of) -> LexicalWriter& {
    if (of.words == nullptr)
      of.words = std::make_shared<LexicalWriter>(store_->lexical_tables(), of.record.number,
                                                 *of.collection->written_words, &lexical_cache_);
    return *of.words;
  };
  std::uint32_t next_collection = next_collection_;
  for (const std::string& name : writes.created) {
    if (written_.find(name) != written_.end())
      return Status::already_exists("collection '" + name + "' in " + path_);
    Touched& created = touched[name];
    created.record.number = next_collection++;
    created.collection = std::make_shared<Collection>(created.record);
    created.collection->index =
        std::make_unique<CollectionIndex>(empty_state(options_.dim, seq), options_.hnsw_threshold);
    created.collection->words = std::make_shared<const LexicalSummary>();
    created.collection->written_words = created.collection->words;
    words_of(created);  // writes the summary
  }
  const auto touch = [&](const std::string& name) -> Result<Touched*> {
    if (const auto found = touched.find(name); found != touched.end()) return &found->second;
    const auto collection = written_.find(name);
    if (collection == written_.end())
      return Status::not_found("no collection '" + name + "' in " + path_);
    Touched& existing = touched[name];
    existing.record = collection->second->written;
    existing.collection = collection->second;
    return &existing;
  };
  const auto remove = [&](Touched& from, const std::string& id,
                          const DocumentEntry& entry) -> Status {
    const std::uint64_t passages = entry.passages.size();
    if (from.record.documents == 0 || from.record.passages < passages)
      return Status::corruption("store: the counts of collection " +
                                std::to_string(from.record.number) + " are wrong");
    if (passages > 0) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto document, store_->document(from.record.number, id));
      if (!document.has_value())
        return Status::corruption("store: document '" + id + "' has no text");
      for (const core::PassageSpan& passage : entry.passages)
        if (passage.bytes.begin > passage.bytes.end || passage.bytes.end > document->text.size())
          return Status::corruption("store: document '" + id +
                                    "': a passage lies outside its text");
      words_of(from).remove(document->title, document->text, entry.passages, entry.first_row);
    }
    batch.remove_document(from.record.number, id, entry);
    batch.log_remove(from.record.number, id, entry.first_row, passages);
    from.change.removed.push_back({id, entry.first_row, passages});
    from.record.documents -= 1;
    from.record.passages -= passages;
    return {};
  };

  for (auto& [name, settings] : writes.lexical) {
    COLLEGIUM_ASSIGN_OR_RETURN(Touched * of, touch(name));
    const LexicalSummary& before = *of->collection->written_words;
    if (before.passages > 0 && !before.settings.same_words(settings))
      return Status::failed_precondition("collection '" + name + "' has " +
                                         std::to_string(before.passages) +
                                         " passages whose words were found in another way; only k1 "
                                         "and b can be changed now");
    of->words = std::make_shared<LexicalWriter>(
        store_->lexical_tables(), of->record.number,
        LexicalSummary{std::move(settings), before.passages, before.words}, &lexical_cache_);
  }
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
    if (!added.passages.empty())
      words_of(*to).add(added.document.title, added.document.text, added.passages, first_row);
    record.next_row += added.passages.size();
    record.documents += 1;
    record.passages += added.passages.size();
    to->change.added.push_back({std::move(added.document.id), first_row, std::move(added.passages),
                                std::move(added.vectors), std::move(added.document.metadata)});
  }
  for (const auto& [key, value] : writes.records) batch.put_record(key, value);
  for (const std::string& key : writes.removed_records) batch.remove_record(key);
  for (auto& [name, t] : touched) {
    t.record.changed_seq = t.change.commit_seq = seq;
    batch.put_collection(name, t.record);
    if (t.words != nullptr) COLLEGIUM_RETURN_IF_ERROR(t.words->finish(batch.raw()));
  }
  if (next_collection != next_collection_) batch.put_next_collection(next_collection);
  batch.put_commit_seq(seq);

  // From here on a failure leaves it open whether the commit will be there after a restart, so
  // nothing may follow it.
  failed_ = Status::internal("corpus " + path_ + ": a commit was interrupted");
  pending_.push_back({seq, std::move(touched), nullptr});
  if (const Status status = store_->write(batch); !status.ok()) {
    failed_ = status;
    return status;
  }
  pending_.back().snapshot = store_->snapshot();
  for (auto& [name, t] : pending_.back().touched) {
    t.collection->written = t.record;
    if (t.words != nullptr)
      t.collection->written_words = std::make_shared<const LexicalSummary>(t.words->summary());
    written_.try_emplace(name, t.collection);
  }
  next_collection_ = next_collection;
  written_seq_ = seq;
  failed_ = Status();
  return seq;
}

}  // namespace collegium::index
