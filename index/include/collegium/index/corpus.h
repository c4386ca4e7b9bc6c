#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/core/text/passages.h"
#include "collegium/index/search_options.h"

namespace collegium::index {

struct Document {
  std::string id;        // the user's; unique within a collection; 1..1024 bytes of UTF-8
  std::string title;     // may be empty
  std::string text;      // UTF-8
  std::string metadata;  // a JSON object with the user's other fields, or empty
};

// A document with what was made from it. `vectors` (passages, dim) are normalised by the encoder;
// they are stored as they are. A document without passages is kept, but no search finds it.
struct NewDocument {
  Document document;
  std::vector<core::PassageSpan> passages;
  std::vector<float> vectors;
};

// A retrieved document: it scores by its best passage.
struct Hit {
  std::string collection;
  std::string document_id;
  std::uint64_t row = 0;      // of the passage; never reused
  std::uint32_t passage = 0;  // ordinal within its document
  core::ByteSpan bytes;       // of the passage, in the document's text
  std::string section;
  float score = 0.0f;  // inner product of query and passage vector
  // Of the collection's index that was searched. 0: exactly, so that the hits are a function of
  // (commit, query, k). Else a digest of the graph, of which they are a function too: a graph that
  // was extended and one that was built at once differ, and so may what they miss.
  std::uint64_t index_generation = 0;
};

// What a hit points at. `vector` (dim,).
struct StoredPassage {
  std::string title;  // of its document
  core::PassageSpan passage;
  std::string text;  // passage.bytes of the document's text
  std::vector<float> vector;
};

struct CollectionInfo {
  std::string name;
  std::uint64_t documents = 0;
  std::uint64_t passages = 0;
  std::string index_kind;  // how it is searched now: "exact", or "hnsw" when it has a graph
  std::uint64_t index_generation = 0;  // as in Hit, now
  bool index_rebuilt = false;          // open() had to rebuild its index from the store
  std::string index_note;              // why, or empty
};

// One collection as it stood at one commit: immutable, shared, safe to read from any thread.
// Passages are numbered 0 .. num_passages-1 here ("position"), documents 0 .. num_documents-1 in
// bytewise order of their ids.
class COLLEGIUM_API CollectionView {
 public:
  virtual ~CollectionView() = default;
  virtual std::uint64_t commit_seq() const noexcept = 0;
  virtual std::size_t dim() const noexcept = 0;
  virtual std::size_t num_passages() const noexcept = 0;
  virtual std::size_t num_documents() const noexcept = 0;
  // (num_passages, dim), row-major.
  virtual std::span<const float> vectors() const noexcept = 0;
  // (num_passages,): the document's number.
  virtual std::span<const std::uint32_t> passage_document() const noexcept = 0;
  virtual std::string_view document_id(std::size_t document) const = 0;
  virtual std::optional<std::size_t> find_document(std::string_view id) const = 0;
};

// Writes that become visible and durable together. Their order does not matter: a collection may
// be created together with its first documents, and what is named twice is an error of commit().
// A moved-from WriteSet is empty and can be used again.
class COLLEGIUM_API WriteSet {
 public:
  WriteSet();
  ~WriteSet();
  WriteSet(WriteSet&&) noexcept;
  WriteSet& operator=(WriteSet&&) noexcept;

  void create_collection(std::string name);
  // Replaces a document with the same id.
  void put_document(std::string collection, NewDocument document);
  // commit() is not_found when there is no such document.
  void remove_document(std::string collection, std::string id);
  // Records are the engine's own small truths (pairs, settings, the current generation), by key.
  void put_record(std::string key, std::string value);
  // Nothing happens when there is no such record.
  void remove_record(std::string key);
  bool empty() const noexcept;

 private:
  friend class CorpusImpl;
  struct Impl;
  Impl& impl();
  std::unique_ptr<Impl> impl_;
};

struct CorpusOptions {
  std::size_t dim = 0;
  std::string encoder_digest;  // stored vectors belong to this encoder
  // Collections with more passages than this are searched with HNSW (arXiv 1603.09320), others
  // exactly. The graph is built by flush_indexes(), never by a search: what is not in it yet is
  // searched exactly. Recorded in the store when the corpus is created.
  std::uint64_t hnsw_threshold = 100000;
};

// A query vector for each collection, as bound experts need it.
struct CollectionQuery {
  std::string_view collection;
  std::span<const float> query;  // (dim,)
  float shift = 0.0f;            // added to every score of this collection; finite
};

// Documents in RocksDB (the truth) and vectors in FAISS (a cache of it), kept in step.
// Any number of threads may read; writes are serialised inside. One process holds a corpus: a
// second open is `busy` and names the holder. In a forked child commit() and flush_indexes() are
// failed_precondition, and close() leaves the parent's corpus alone. Files: docs/formats.md.
class COLLEGIUM_API Corpus {
 public:
  // Makes the folder `path`, readable by its owner alone. already_exists if it holds a corpus or
  // the rest of one; invalid_argument for options out of range (dim [1, 65536]).
  static Result<std::unique_ptr<Corpus>> create(const std::string& path,
                                                const CorpusOptions& options);
  // not_found, busy, corruption (the store is damaged, or has lost acknowledged data),
  // not_supported (newer format). A missing or damaged index file is rebuilt from the store and
  // said in CollectionInfo.
  static Result<std::unique_ptr<Corpus>> open(const std::string& path);
  virtual ~Corpus() = default;  // closes

  virtual const CorpusOptions& options() const noexcept = 0;
  virtual std::uint64_t commit_seq() const noexcept = 0;
  virtual std::uint32_t format_version() const noexcept = 0;

  // All of `writes` or nothing, in one synced batch; when it returns ok they survive kill -9.
  // invalid_argument (dimension, non-finite vector, empty or long id, not UTF-8, metadata that is
  // no JSON object, a passage outside its text, more than 1 GiB at once, the same id twice),
  // not_found (unknown collection, a document to remove), already_exists (a collection),
  // resource_exhausted (disk full), io_error. After one of the last two the corpus is read-only:
  // reads and searches go on, every commit fails in the same way until it is opened again.
  // Returns the new commit_seq; an empty set writes nothing and returns the current one.
  virtual Result<std::uint64_t> commit(WriteSet writes) = 0;

  virtual std::vector<std::string> collections() const = 0;  // bytewise ascending
  virtual Result<CollectionInfo> collection_info(std::string_view collection) const = 0;
  virtual Result<Document> document(std::string_view collection, std::string_view id) const = 0;
  // Without reading its text or vectors. An unknown collection is not_found.
  virtual Result<bool> has_document(std::string_view collection, std::string_view id) const = 0;
  // The stored passages and vectors of a document, so that an unchanged one is not embedded again.
  virtual Result<NewDocument> stored_document(std::string_view collection,
                                              std::string_view id) const = 0;
  // The passage of `hit` as it was found: not_found if its document was replaced or removed since.
  virtual Result<StoredPassage> stored_passage(const Hit& hit) const = 0;
  virtual Result<std::string> record(std::string_view key) const = 0;  // not_found
  // (key, value) of every record whose key starts with `prefix`, bytewise ascending.
  virtual Result<std::vector<std::pair<std::string, std::string>>> records(
      std::string_view prefix) const = 0;

  // Its vectors are the index's own storage, except where a graph holds only part of the rows.
  virtual Result<std::shared_ptr<const CollectionView>> view(std::string_view collection) const = 0;

  // The `k` documents of `collection` nearest to `query` (dim,) by inner product; ties by (score
  // descending, id bytewise ascending), also across the k boundary. k 0, another dimension or a
  // query without finite length is invalid_argument; fewer hits than k when the collection is
  // smaller. The result does not depend on other calls.
  virtual Result<std::vector<Hit>> search(std::string_view collection, std::span<const float> query,
                                          std::size_t k,
                                          const SearchOptions& options = {}) const = 0;

  // What search_collections() calls.
  virtual Result<std::vector<Hit>> search_merged(std::span<const CollectionQuery> queries,
                                                 std::size_t k,
                                                 const SearchOptions& options = {}) const = 0;

  // Builds the graphs that are due and writes every index file that is behind the store. close()
  // calls it. Readers and writers go on meanwhile. For a graph expect minutes per 100,000 rows.
  virtual Status flush_indexes() = 0;
  // Waits for calls under way, flushes, and releases the store even if a flush fails (an index
  // file is a cache; the first failure is returned). Later calls are failed_precondition; views
  // stay valid. A second close is ok.
  virtual Status close() = 0;
};

// One search over several collections, merged: (score + shift descending, document id, collection
// ascending), each collection once. Hit::score includes the shift. Each collection's part is as
// search() would give it.
COLLEGIUM_API Result<std::vector<Hit>> search_collections(const Corpus& corpus,
                                                          std::span<const CollectionQuery> queries,
                                                          std::size_t k,
                                                          const SearchOptions& options = {});

}  // namespace collegium::index
