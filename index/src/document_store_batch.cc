#include "document_store_batch.h"

namespace collegium::index {

DocumentStore::Batch::Batch(const DocumentStore& store)
    : impl_(std::make_unique<Impl>(*store.impl_)) {}
DocumentStore::Batch::~Batch() = default;

std::size_t DocumentStore::Batch::bytes() const noexcept { return impl_->batch.GetDataSize(); }

void DocumentStore::Batch::put_commit_seq(std::uint64_t commit_seq) {
  core::ByteWriter value;
  value.write(commit_seq);
  impl_->put(kDefault, "m/commit_seq", value);
  impl_->put(kDefault, log_key(commit_seq), impl_->log);
}

void DocumentStore::Batch::remove_log_before(std::uint64_t commit_seq) {
  static_cast<void>(
      impl_->batch.DeleteRange(impl_->handles[kDefault], log_key(0), log_key(commit_seq)));
  core::ByteWriter value;
  value.write(commit_seq);
  impl_->put(kDefault, "m/log_begin", value);
}

void DocumentStore::Batch::put_next_collection(std::uint32_t number) {
  core::ByteWriter value;
  value.write(number);
  impl_->put(kDefault, "m/collections", value);
}

void DocumentStore::Batch::put_collection(std::string_view name, const CollectionRecord& record) {
  core::ByteWriter value;
  value.write(record.number);
  value.write(record.next_row);
  value.write(record.documents);
  value.write(record.passages);
  value.write(record.changed_seq);
  impl_->put(kDefault, name_key("c/", name), value);
}

void DocumentStore::Batch::put_document(std::uint32_t collection, const NewDocument& document,
                                        std::uint64_t first_row) {
  const std::string key = document_key(collection, document.document.id);
  core::ByteWriter entry;
  entry.write(first_row);
  entry.write<std::uint64_t>(document.passages.size());
  for (const core::PassageSpan& passage : document.passages) {
    entry.write<std::uint64_t>(passage.bytes.begin);
    entry.write<std::uint64_t>(passage.bytes.end);
    entry.write_string(passage.section);
  }
  impl_->put(kDirectory, key, entry);
  core::ByteWriter text;
  text.write_string(document.document.title);
  text.write_string(document.document.text);
  text.write_string(document.document.metadata);
  impl_->put(kDocuments, key, text);
  if (document.passages.empty()) return;
  const std::size_t bytes = document.vectors.size() / document.passages.size() * sizeof(float);
  const auto* vectors = reinterpret_cast<const char*>(document.vectors.data());
  for (std::size_t i = 0; i < document.passages.size(); ++i)
    impl_->put(kVectors, vector_key(collection, first_row + i), {vectors + i * bytes, bytes});
}

void DocumentStore::Batch::remove_document(std::uint32_t collection, std::string_view id,
                                           const DocumentEntry& entry) {
  const std::string key = document_key(collection, id);
  impl_->remove(kDirectory, key);
  impl_->remove(kDocuments, key);
  for (std::size_t i = 0; i < entry.passages.size(); ++i)
    impl_->remove(kVectors, vector_key(collection, entry.first_row + i));
}

void DocumentStore::Batch::put_record(std::string_view key, std::string_view value) {
  impl_->put(kDefault, name_key("r/", key), slice(value));
}
void DocumentStore::Batch::remove_record(std::string_view key) {
  impl_->remove(kDefault, name_key("r/", key));
}
void DocumentStore::Batch::log_put(std::uint32_t collection, std::string_view id,
                                   std::uint64_t first_row, std::uint64_t passages) {
  impl_->log_entry(1, collection, id, first_row, passages);
}
void DocumentStore::Batch::log_remove(std::uint32_t collection, std::string_view id,
                                      std::uint64_t first_row, std::uint64_t passages) {
  impl_->log_entry(2, collection, id, first_row, passages);
}

}  // namespace collegium::index
