#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "lexical_tables.h"

namespace collegium::index {

inline constexpr std::uint32_t kStoreVersion = 2;
inline constexpr std::size_t kMaxDim = 1 << 16;

struct CollectionRecord {
  std::uint32_t number = 0;    // stands for the name in keys and file names; never reused
  std::uint64_t next_row = 1;  // the next passage's; rows are never reused
  std::uint64_t documents = 0;
  std::uint64_t passages = 0;
  std::uint64_t changed_seq = 0;  // the last commit that changed its documents
};

// What verify and repair found. Beyond a number of findings it only counts.
class FindingList {
 public:
  void add(std::string where, std::string problem);
  std::vector<CorpusFinding> take();

 private:
  std::vector<CorpusFinding> found_;
  std::size_t more_ = 0;
};

// Where a document's passages are: rows first_row, first_row + 1, ...
struct DocumentEntry {
  std::uint64_t first_row = 0;
  std::vector<core::PassageSpan> passages;
};

// Of the change log.
struct LogEntry {
  std::uint8_t kind = 0;  // 1 put, 2 remove
  std::uint32_t collection = 0;
  std::string id;
  std::uint64_t first_row = 0;
  std::uint64_t passages = 0;
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
    rocksdb::WriteBatch& raw() noexcept;  // for the postings
    void put_next_collection(std::uint32_t number);
    void put_collection(std::string_view name, const CollectionRecord& record);
    // The document, its passages and its vectors (passages, dim).
    void put_document(std::uint32_t collection, const NewDocument& document,
                      std::uint64_t first_row);
    void remove_document(std::uint32_t collection, std::string_view id, const DocumentEntry& entry);
    void put_record(std::string_view key, std::string_view value);
    void remove_record(std::string_view key);
    // The change log begins at `commit_seq` from now on.
    void remove_log_before(std::uint64_t commit_seq);
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
  // For reading, while another process may hold the store and write: what is found is whole only if
  // the MANIFEST did not change meanwhile (manifest_seal.h). Keeps every table file open, so that
  // it can be read after the holder removed it. Errors as open(), never busy.
  static Result<std::unique_ptr<DocumentStore>> open_read_only(const std::string& folder);
  // For reading what is left: opens although table files are damaged or missing (what lies in them
  // is then corruption, one read at a time), and skips damaged parts of the log. corruption when
  // the list of files or the settings cannot be read; not_supported (newer), io_error.
  static Result<std::unique_ptr<DocumentStore>> salvage(const std::string& folder);
  ~DocumentStore();

  const CorpusOptions& options() const noexcept;
  const std::string& corpus_id() const noexcept;  // random, from create()
  std::uint32_t format_version() const noexcept;
  std::uint64_t commit_seq() const noexcept;  // as of create() or open()
  std::uint32_t next_collection() const noexcept;

  Result<std::map<std::string, CollectionRecord, std::less<>>> collections() const;
  // As of `snapshot`, or now; so are those below.
  Result<std::optional<DocumentEntry>> entry(std::uint32_t collection, std::string_view id,
                                             const rocksdb::Snapshot* snapshot = nullptr) const;
  Result<std::optional<Document>> document(std::uint32_t collection, std::string_view id,
                                           const rocksdb::Snapshot* snapshot = nullptr) const;
  // Document, passages and vectors as of one commit.
  Result<std::optional<NewDocument>> stored_document(
      std::uint32_t collection, std::string_view id,
      const rocksdb::Snapshot* snapshot = nullptr) const;
  Result<std::optional<std::string>> record(std::string_view key,
                                            const rocksdb::Snapshot* snapshot = nullptr) const;
  Result<std::vector<std::pair<std::string, std::string>>> records(
      std::string_view prefix, const rocksdb::Snapshot* snapshot = nullptr) const;

  // All documents of a collection with their vectors and metadata, by ascending first row.
  // corruption when vectors are missing, left over or of another dimension, or a text is missing.
  using DocumentVisitor =
      std::function<Status(std::string_view id, const DocumentEntry& entry,
                           std::span<const float> vectors, std::string_view metadata)>;
  Status visit_documents(std::uint32_t collection, const DocumentVisitor& visit) const;

  // What the commits after `after`, up to `upto`, did to documents, in their order. not_found when
  // the log begins later or has a gap, corruption when it is damaged. `visit` may move from it.
  Status visit_log(std::uint64_t after, std::uint64_t upto,
                   const std::function<Status(LogEntry&)>& visit) const;

  LexicalTables lexical_tables() const;
  // Says that the store is as this version has it, once what version 1 lacked (postings) is there.
  Status raise_format();
  // What was committed last, for readers; keeps the store from closing cleanly, so it goes first.
  std::shared_ptr<const rocksdb::Snapshot> snapshot() const;

  // All documents of a collection as of one commit, by ascending id.
  Status visit_texts(std::uint32_t collection, const std::function<Status(const Document&)>& visit,
                     const rocksdb::Snapshot* snapshot = nullptr) const;

  // With the system when it returns ok, and seen by readers; durable after the next sync(). After a
  // failure of either nothing more can be written until the store is opened again.
  Status write(Batch& batch);
  Status sync();  // any thread, also during write()
  std::uint64_t num_syncs() const noexcept;

  // Moves the log into tables and merges all tables, whether or not anything is gained; what was
  // overwritten or removed is in none of them afterwards, unless a snapshot still sees it.
  Status compact();

  // Copies the store as of the last write into `to`, an empty folder. Writers must wait until
  // `listed` was called, and may go on during the copying. Adds to `files` and `bytes`.
  Status copy_files(const std::string& to, const std::function<void()>& listed,
                    std::uint64_t& files, std::uint64_t& bytes);

  // Reads all of it as of now; see Corpus::verify. Fills the counts too. `listed` is called when
  // what it looks at no longer depends on writers.
  Status verify(const std::function<void()>& listed, FindingList& findings,
                VerifyReport& report) const;

  // None in a store of version 1.
  Result<std::optional<LexicalSettings>> lexical_settings(std::uint32_t collection) const;

  // Of salvage(). Names of whatever can still be named; what cannot be read is said in `findings`.
  std::map<std::string, CollectionRecord, std::less<>> salvage_collections(
      FindingList& findings) const;
  std::vector<std::string> salvage_record_keys(FindingList& findings) const;
  // Of all collections that have a document to be named, deleted ones among them.
  std::map<std::uint32_t, std::set<std::string>> salvage_ids(std::uint64_t acknowledged,
                                                             FindingList& findings) const;

 private:
  struct Impl;
  explicit DocumentStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::index
