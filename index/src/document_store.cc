#include "document_store.h"

#include <algorithm>
#include <cstring>

#include "document_store_batch.h"

namespace collegium::index {

DocumentStore::DocumentStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DocumentStore::~DocumentStore() = default;

const CorpusOptions& DocumentStore::options() const noexcept { return impl_->options; }
const std::string& DocumentStore::corpus_id() const noexcept { return impl_->corpus_id; }
std::uint32_t DocumentStore::format_version() const noexcept { return impl_->format_version; }
std::uint64_t DocumentStore::commit_seq() const noexcept { return impl_->commit_seq; }
std::uint32_t DocumentStore::next_collection() const noexcept { return impl_->next_collection; }

Result<std::map<std::string, CollectionRecord, std::less<>>> DocumentStore::collections() const {
  std::map<std::string, CollectionRecord, std::less<>> found;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kDefault, "c/", nullptr, [&](std::string_view name, std::string_view value) -> Status {
        if (!read_collection(value, found[std::string(name)]))
          return damaged(impl_->folder, "the record of collection '" + std::string(name) + "'");
        return {};
      }));
  return found;
}

Result<std::optional<DocumentEntry>> DocumentStore::entry(std::uint32_t collection,
                                                          std::string_view id,
                                                          const rocksdb::Snapshot* snapshot) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value,
                             impl_->get(kDirectory, document_key(collection, id), snapshot));
  if (!value.has_value()) return std::optional<DocumentEntry>();
  DocumentEntry entry;
  if (!read_entry(*value, entry))
    return damaged(impl_->folder, "the entry of document '" + std::string(id) + "'");
  return std::optional<DocumentEntry>(std::move(entry));
}

Result<std::optional<Document>> DocumentStore::document(std::uint32_t collection,
                                                        std::string_view id,
                                                        const rocksdb::Snapshot* snapshot) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value,
                             impl_->get(kDocuments, document_key(collection, id), snapshot));
  if (!value.has_value()) return std::optional<Document>();
  Document document;
  document.id = id;
  if (!read_document(*value, document))
    return damaged(impl_->folder, "document '" + document.id + "'");
  return std::optional<Document>(std::move(document));
}

Result<std::optional<NewDocument>> DocumentStore::stored_document(
    std::uint32_t collection, std::string_view id, const rocksdb::Snapshot* snapshot) const {
  const auto now = snapshot == nullptr ? impl_->snapshot() : nullptr;
  if (snapshot == nullptr) snapshot = now.get();
  const std::string key = document_key(collection, id);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto entry_bytes, impl_->get(kDirectory, key, snapshot));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto text_bytes, impl_->get(kDocuments, key, snapshot));
  if (!entry_bytes.has_value() && !text_bytes.has_value()) return std::optional<NewDocument>();
  NewDocument stored;
  stored.document.id = id;
  DocumentEntry entry;
  const std::string what = "document '" + stored.document.id + "'";
  if (!entry_bytes.has_value() || !text_bytes.has_value() || !read_entry(*entry_bytes, entry) ||
      !read_document(*text_bytes, stored.document))
    return damaged(impl_->folder, what);
  const std::size_t dim = impl_->options.dim;
  for (std::size_t i = 0; i < entry.passages.size(); ++i) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto value,
        impl_->get(kVectors, vector_key(collection, entry.first_row + i), snapshot));
    if (!value.has_value() || value->size() != dim * sizeof(float))
      return damaged(impl_->folder, "a vector of " + what);
    stored.vectors.resize((i + 1) * dim);
    std::memcpy(stored.vectors.data() + i * dim, value->data(), value->size());
  }
  stored.passages = std::move(entry.passages);
  return std::optional<NewDocument>(std::move(stored));
}

Result<std::optional<std::string>> DocumentStore::record(std::string_view key,
                                                         const rocksdb::Snapshot* snapshot) const {
  return impl_->get(kDefault, name_key("r/", key), snapshot);
}

Result<std::vector<std::pair<std::string, std::string>>> DocumentStore::records(
    std::string_view prefix, const rocksdb::Snapshot* snapshot) const {
  std::vector<std::pair<std::string, std::string>> found;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(kDefault, name_key("r/", prefix), snapshot,
                                        [&](std::string_view rest, std::string_view value) {
                                          found.emplace_back(name_key(prefix, rest), value);
                                          return Status();
                                        }));
  return found;
}

Status DocumentStore::visit_documents(std::uint32_t collection,
                                      const DocumentVisitor& visit) const {
  const auto snapshot = impl_->snapshot();
  struct Listed {
    std::string id;
    DocumentEntry entry;
    std::string metadata;
  };
  std::vector<Listed> entries;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kDirectory, document_key(collection, ""), snapshot.get(),
      [&](std::string_view id, std::string_view value) -> Status {
        DocumentEntry entry;
        if (!read_entry(value, entry))
          return damaged(impl_->folder, "the entry of document '" + std::string(id) + "'");
        entries.push_back({std::string(id), std::move(entry), ""});
        return {};
      }));
  // Texts lie in the same order, so the two are read side by side.
  std::size_t with_text = 0;
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kDocuments, document_key(collection, ""), snapshot.get(),
      [&](std::string_view id, std::string_view value) -> Status {
        Document document;
        if (with_text == entries.size() || id != entries[with_text].id ||
            !read_document(value, document))
          return damaged(impl_->folder, "the text of document '" + std::string(id) + "'");
        entries[with_text++].metadata = std::move(document.metadata);
        return {};
      }));
  if (with_text != entries.size())
    return damaged(impl_->folder, "document '" + entries[with_text].id + "' lacks its text");
  // A document without passages took no row: it shares its first row with the next document.
  std::sort(entries.begin(), entries.end(), [](const Listed& a, const Listed& b) {
    return std::pair(a.entry.first_row, a.entry.passages.size()) <
           std::pair(b.entry.first_row, b.entry.passages.size());
  });

  // Entries and vectors by ascending row, side by side.
  const std::size_t dim = impl_->options.dim;
  std::vector<float> vectors;
  auto next = entries.begin();
  const auto visit_if_whole = [&]() -> Status {
    while (next != entries.end() && vectors.size() == next->entry.passages.size() * dim) {
      COLLEGIUM_RETURN_IF_ERROR(visit(next->id, next->entry, vectors, next->metadata));
      vectors.clear();
      ++next;
    }
    return {};
  };
  COLLEGIUM_RETURN_IF_ERROR(visit_if_whole());  // leading documents without passages
  std::string prefix;
  append_key(prefix, collection);
  append_key(prefix, kPlainSpace);
  COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
      kVectors, prefix, snapshot.get(),
      [&](std::string_view key, std::string_view value) -> Status {
        const std::uint64_t row = read_key_u64(key);
        if (key.size() != kVectorKeyBytes - 8 || value.size() != dim * sizeof(float))
          return damaged(impl_->folder, "vector " + std::to_string(row) + " has " +
                                            std::to_string(value.size()) + " bytes");
        if (next == entries.end() || row != next->entry.first_row + vectors.size() / dim)
          return damaged(impl_->folder, "vector " + std::to_string(row) + " has no passage");
        vectors.resize(vectors.size() + dim);
        std::memcpy(vectors.data() + vectors.size() - dim, value.data(), value.size());
        return visit_if_whole();
      }));
  if (next != entries.end())
    return damaged(impl_->folder, "document '" + next->id + "' lacks vectors");
  return {};
}

Status DocumentStore::visit_log(std::uint64_t after, std::uint64_t upto,
                                const std::function<Status(LogEntry&)>& visit) const {
  std::vector<LogEntry> entries;
  for (std::uint64_t seq = after + 1; seq <= upto; ++seq) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto value, impl_->get(kDefault, log_key(seq)));
    if (!value.has_value())
      return Status::not_found("commit " + std::to_string(seq) + " is not in the change log");
    entries.clear();
    if (!read_log(*value, entries))
      return damaged(impl_->folder, "the change log of commit " + std::to_string(seq));
    for (LogEntry& entry : entries) COLLEGIUM_RETURN_IF_ERROR(visit(entry));
  }
  return {};
}

Status DocumentStore::visit_texts(std::uint32_t collection,
                                  const std::function<Status(const Document&)>& visit,
                                  const rocksdb::Snapshot* snapshot) const {
  return impl_->scan(kDocuments, document_key(collection, ""), snapshot,
                     [&](std::string_view id, std::string_view value) -> Status {
                       Document document;
                       document.id = id;
                       if (!read_document(value, document))
                         return damaged(impl_->folder, "document '" + document.id + "'");
                       return visit(document);
                     });
}

Status DocumentStore::write(Batch& batch) {
  COLLEGIUM_RETURN_IF_ERROR(impl_->failure());
  const Status status = guarded_store(impl_->folder, [&]() -> Status {
    return to_status(impl_->db->Write({}, &batch.impl_->batch), impl_->folder);
  });
  return status.ok() ? status : impl_->note_failure(status);
}

Status DocumentStore::sync() {
  COLLEGIUM_RETURN_IF_ERROR(impl_->failure());
  const Status status = guarded_store(
      impl_->folder, [&]() -> Status { return to_status(impl_->db->SyncWAL(), impl_->folder); });
  ++impl_->num_syncs;
  return status.ok() ? status : impl_->note_failure(status);
}

std::uint64_t DocumentStore::num_syncs() const noexcept { return impl_->num_syncs; }

}  // namespace collegium::index
