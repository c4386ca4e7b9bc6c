#include "document_store_layout.h"

namespace collegium::index {

std::uint64_t read_key_u64(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::string document_key(std::uint32_t collection, std::string_view id) {
  std::string key;
  append_key(key, collection);
  return key.append(id);
}

std::string vector_key(std::uint32_t collection, std::uint64_t row) {
  std::string key;
  append_key(key, collection);
  append_key(key, kPlainSpace);
  append_key(key, row);
  return key;
}

std::string name_key(std::string_view prefix, std::string_view name) {
  return std::string(prefix).append(name);
}

std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

bool read_entry(std::string_view bytes, DocumentEntry& entry) {
  core::ByteReader in = reader(bytes);
  std::uint64_t count = 0;
  if (!in.read(entry.first_row) || !in.read(count) || count > in.remaining() / 24) return false;
  entry.passages.resize(count);
  for (core::PassageSpan& passage : entry.passages) {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    if (!in.read(begin) || !in.read(end) || begin > end || !in.read_string(passage.section))
      return false;
    passage.bytes = {begin, end};
  }
  return in.remaining() == 0;
}

bool read_collection(std::string_view bytes, CollectionRecord& record) {
  core::ByteReader in = reader(bytes);
  return in.read(record.number) && in.read(record.next_row) && in.read(record.documents) &&
         in.read(record.passages) && in.read(record.changed_seq) && in.remaining() == 0;
}

bool read_document(std::string_view bytes, Document& document) {
  core::ByteReader in = reader(bytes);
  return in.read_string(document.title) && in.read_string(document.text) &&
         in.read_string(document.metadata) && in.remaining() == 0;
}

bool read_log(std::string_view bytes, std::vector<LogEntry>& entries) {
  core::ByteReader in = reader(bytes);
  while (in.remaining() > 0) {
    LogEntry entry;
    if (!in.read(entry.kind) || entry.kind < 1 || entry.kind > 2 || !in.read(entry.collection) ||
        !in.read_string(entry.id) || !in.read(entry.first_row) || !in.read(entry.passages))
      return false;
    entries.push_back(std::move(entry));
  }
  return true;
}

std::string log_key(std::uint64_t commit_seq) {
  std::string key = "l/";
  append_key(key, commit_seq);
  return key;
}

}  // namespace collegium::index
