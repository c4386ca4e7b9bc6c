#pragma once

#include <rocksdb/write_batch.h>

#include "document_store_impl.h"

namespace collegium::index {

struct DocumentStore::Batch::Impl {
  explicit Impl(const DocumentStore::Impl& store) : handles(store.handles) {}

  const std::vector<rocksdb::ColumnFamilyHandle*>& handles;
  rocksdb::WriteBatch batch;
  core::ByteWriter log;

  // Only a batch over 4 GB can fail here; commit() stops long before.
  void put(Family family, std::string_view key, rocksdb::Slice value) {
    static_cast<void>(batch.Put(handles[family], slice(key), value));
  }
  void put(Family family, std::string_view key, const core::ByteWriter& value) {
    put(family, key, slice(value));
  }
  void remove(Family family, std::string_view key) {
    static_cast<void>(batch.Delete(handles[family], slice(key)));
  }
  void log_entry(std::uint8_t kind, std::uint32_t collection, std::string_view id,
                 std::uint64_t first_row, std::uint64_t passages) {
    log.write(kind);
    log.write(collection);
    log.write_string(id);
    log.write(first_row);
    log.write(passages);
  }
};

}  // namespace collegium::index
