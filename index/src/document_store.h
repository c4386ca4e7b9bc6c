#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/index/corpus.h"

namespace collegium::index {

inline constexpr std::uint32_t kStoreVersion = 1;
inline constexpr std::size_t kMaxDim = 1 << 16;

struct CollectionRecord {
  std::uint32_t number = 0;    // stands for the name in keys and file names; never reused
  std::uint64_t next_row = 1;  // the next passage's; rows are never reused
  std::uint64_t documents = 0;
  std::uint64_t passages = 0;
  std::uint64_t changed_seq = 0;  // the last commit that changed its documents
};

// Where a document's passages are: rows first_row, first_row + 1, ...
struct DocumentEntry {
  std::uint64_t first_row = 0;
  std::vector<core::PassageSpan> passages;
};

// Documents, vectors, records and settings in RocksDB: the truth. Everything a commit does is one
// Batch, written and synced at once. Reads are thread-safe; write() has one caller at a time.
// Key layout and values: document_store.cc and docs/formats.md.
class DocumentStore {
 public:
  class Batch {
   public:
    explicit Batch(const DocumentStore& store);  // which must outlive it
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    std::size_t bytes() const noexcept;

    // Also names the change log's entry, so last.
    void put_commit_seq(std::uint64_t commit_seq);
    void put_next_collection(std::uint32_t number);
    void put_collection(std::string_view name, const CollectionRecord& record);
    // The document, its passages and its vectors (passages, dim).
    void put_document(std::uint32_t collection, const NewDocument& document,
                      std::uint64_t first_row);
    void remove_document(std::uint32_t collection, std::string_view id, const DocumentEntry& entry);
    void put_record(std::string_view key, std::string_view value);
    void remove_record(std::string_view key);
    // What this commit did to the documents: for replaying it over an older index.
    void log_put(std::uint32_t collection, std::string_view id, std::uint64_t first_row,
                 std::uint64_t passages);
    void log_remove(std::uint32_t collection, std::string_view id, std::uint64_t first_row,
                    std::uint64_t passages);

   private:
    friend class DocumentStore;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  // `folder` must not exist. resource_exhausted, io_error.
  static Result<std::unique_ptr<DocumentStore>> create(const std::string& folder,
                                                       const CorpusOptions& options);
  // corruption, not_supported (newer), busy, io_error.
  static Result<std::unique_ptr<DocumentStore>> open(const std::string& folder);
  // The commit_seq that open() would find; errors alike. Changes nothing, whereas RocksDB, when it
  // opens a store, deletes what it takes for leftovers: the rest of a damaged log, for one.
  static Result<std::uint64_t> look(const std::string& folder);
  ~DocumentStore();

  const CorpusOptions& options() const noexcept;
  const std::string& corpus_id() const noexcept;  // random, from create()
  std::uint32_t format_version() const noexcept;
  std::uint64_t commit_seq() const noexcept;  // as of create() or open()
  std::uint32_t next_collection() const noexcept;

  Result<std::map<std::string, CollectionRecord, std::less<>>> collections() const;
  Result<std::optional<DocumentEntry>> entry(std::uint32_t collection, std::string_view id) const;
  Result<std::optional<Document>> document(std::uint32_t collection, std::string_view id) const;
  // Document, passages and vectors as of one commit.
  Result<std::optional<NewDocument>> stored_document(std::uint32_t collection,
                                                     std::string_view id) const;
  Result<std::optional<std::string>> record(std::string_view key) const;
  Result<std::vector<std::pair<std::string, std::string>>> records(std::string_view prefix) const;

  // All documents of a collection with their vectors, by ascending first row. corruption when
  // vectors are missing, left over or of another dimension.
  using DocumentVisitor = std::function<Status(std::string_view id, const DocumentEntry& entry,
                                               std::span<const float> vectors)>;
  Status visit_documents(std::uint32_t collection, const DocumentVisitor& visit) const;

  // Durable when it returns ok. After a failure nothing more can be written until it is reopened.
  Status write(Batch& batch);

 private:
  struct Impl;
  explicit DocumentStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::index
