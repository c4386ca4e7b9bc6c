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
#include "collegium/index/index_settings.h"
#include "collegium/index/lexical.h"
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
  float score = 0.0f;  // inner product of query and passage vector, or BM25
  // Of the collection's index that was searched. 0: exactly, so that the hits are a function of
  // (commit, query, k). Else a digest of the graph or the lists and of the default effort, of which
  // they are a function too: a graph that was extended and one that was built at once differ, and
  // so may what they miss.
  std::uint64_t index_generation = 0;
  // The value of SearchOptions::source_field in the document's metadata, as JSON (a string in its
  // quotes); of an array the first element's. Empty: not asked for, not there, or an object.
  std::string source;
  // Of a lexical search that was asked to explain itself: the words that matched.
  std::vector<LexicalMatch> matches;
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
  // How it is searched now: "hnsw" when it has a graph, "ivf" when it has lists, "exact-int8" when
  // rows are read as bytes first (with the hits and scores of "exact"), or "exact".
  std::string index_kind;
  std::string index_parameters;  // of "hnsw" and "ivf", the default effort included, to read
  std::string index_reason;      // why this kind and this effort: size, and recall as measured
  std::uint64_t index_generation = 0;  // as in Hit, now
  bool index_rebuilt = false;          // open() had to rebuild its index from the store
  // Why, or that its file was behind and the change log brought it forward; or empty.
  std::string index_note;
  // open() had to make its postings from its documents: the store lacked them, or had those of a
  // library that finds other words.
  bool postings_rebuilt = false;
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
  // How words are found and scored; without it as LexicalSettings has it. commit() is
  // failed_precondition if that finds other words and the collection has passages already.
  void set_lexical(std::string collection, LexicalSettings settings);
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
  // exactly, unless their IndexSettings say otherwise. The graph is built by flush_indexes(), never
  // by a search: what is not in it yet is searched exactly. Recorded in the store when the corpus
  // is created.
  std::uint64_t hnsw_threshold = 100000;
};

// When commit() returns.
enum class Durability {
  // When the commit is on the disk: it survives the loss of power. Commits of several threads that
  // wait at the same time share one sync.
  kSync,
  // When the system has it: it survives the end of this process however it ends, kill -9 too. Power
  // lost before the next synced commit, sync(), flush_indexes() or close() may take the last of
  // these commits, always from the end; open() does not call that data loss. Many times faster.
  kAsync,
};

struct CommitOptions {
  Durability durability = Durability::kSync;
};

// One thing that is wrong, or that was dropped: `where` is a file, or says which document.
struct CorpusFinding {
  std::string where;
  std::string problem;
};

struct VerifyReport {
  std::uint64_t commit_seq = 0;
  std::uint64_t collections = 0;
  std::uint64_t documents = 0;
  std::uint64_t passages = 0;
  std::uint64_t records = 0;
  std::vector<CorpusFinding> findings;  // at most 1000, then one that says how many more there were
  bool ok() const noexcept { return findings.empty(); }
};

struct BackupReport {
  std::uint64_t commit_seq = 0;  // which commit the backup is equal to
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

struct RepairReport {
  std::uint64_t documents = 0;  // saved
  std::uint64_t records = 0;    // saved
  std::vector<CorpusFinding> dropped;
};

// A query vector for each collection, as bound experts need it.
struct CollectionQuery {
  std::string_view collection;
  std::span<const float> query;  // (dim,)
  float shift = 0.0f;            // added to every score of this collection; finite
};

// Documents in RocksDB (the truth) and an index over their vectors (a cache of it), kept in step.
// Any number of threads may read and write. One process holds a corpus: a second open is `busy` and
// names the holder, while open_read_only() needs no leave. In a forked child everything that writes
// is failed_precondition, and close() leaves the parent's corpus alone. Files: docs/formats.md.
class COLLEGIUM_API Corpus {
 public:
  // Makes the folder `path`, readable by its owner alone. already_exists if it holds a corpus or
  // the rest of one; invalid_argument for options out of range (dim [1, 65536]).
  static Result<std::unique_ptr<Corpus>> create(const std::string& path,
                                                const CorpusOptions& options);
  // not_found, busy, corruption (the store is damaged, or has lost acknowledged data),
  // not_supported (newer format). An index file that is behind the store is brought forward by the
  // change log; one that is missing or damaged, or too far behind, is rebuilt from the store.
  // CollectionInfo says so. Until the next flush_indexes() what is not in a graph is searched
  // exactly.
  static Result<std::unique_ptr<Corpus>> open(const std::string& path);
  // The corpus as it is now, for reading only, whoever holds it: takes no lock, writes nothing, and
  // stays at this commit whatever the holder does (its files are kept open) until reopen(). Errors
  // as open(), never busy; failed_precondition if the store has an older version, which opening for
  // writing brings up to date; io_error if the holder changes the files faster than they can be
  // opened.
  static Result<std::unique_ptr<Corpus>> open_read_only(const std::string& path);
  // verify() of a corpus that may not even open: then the report has the reason as its finding.
  // not_found when there is no corpus; changes nothing.
  static Result<VerifyReport> verify_folder(const std::string& path);
  // Saves what can still be read of the corpus in `path` into a new one in `to`, and changes
  // nothing in `path` but OWNER. A document is saved whole, with all its passages and vectors and
  // as it was last written, or dropped and named in the report; likewise a record; nothing is made
  // up, and nothing that was removed comes back, except what only an unreadable commit had removed
  // (the report names those commits). Rows and commit numbers begin anew. corruption when RocksDB's
  // list of files (CURRENT, MANIFEST) or the settings cannot be read: which of the files are the
  // store cannot be told then, so that only a backup helps. not_found, busy, already_exists (`to`
  // is no empty folder), resource_exhausted, io_error.
  static Result<RepairReport> repair(const std::string& path, const std::string& to);
  virtual ~Corpus() = default;  // closes

  virtual const CorpusOptions& options() const noexcept = 0;
  virtual std::uint64_t commit_seq() const noexcept = 0;
  virtual std::uint32_t format_version() const noexcept = 0;

  // All of `writes` or nothing, in one batch; what ok promises says `options`.
  // invalid_argument (dimension, non-finite vector, empty or long id, not UTF-8, metadata that is
  // no JSON object or nested more than 64 deep, a passage outside its text, more than 1 GiB at
  // once, the same id twice), not_found (unknown collection, a document to remove), already_exists
  // (a collection), resource_exhausted (disk full), io_error. After one of the last two the corpus
  // is read-only: reads and searches go on, every commit fails in the same way until reopen().
  // failed_precondition when opened for reading only.
  // Returns the new commit_seq; an empty set writes nothing and returns the current one.
  virtual Result<std::uint64_t> commit(WriteSet writes, const CommitOptions& options = {}) = 0;
  // All commits so far are on the disk when it returns ok. Errors as commit().
  virtual Status sync() = 0;

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
  // smaller, or less of it passes the filter and the caps in `options`. The result does not depend
  // on other calls.
  virtual Result<std::vector<Hit>> search(std::string_view collection, std::span<const float> query,
                                          std::size_t k,
                                          const SearchOptions& options = {}) const = 0;

  // search() for each of `queries` (n, dim), n any number, on one state of the collection: to the
  // bit what search() gives for the query alone. Rows are read once for a dozen queries, so a batch
  // takes a fraction of the time.
  virtual Result<std::vector<std::vector<Hit>>> search_batch(
      std::string_view collection, std::span<const float> queries, std::size_t k,
      const SearchOptions& options = {}) const = 0;

  // What search_collections() calls.
  virtual Result<std::vector<Hit>> search_merged(std::span<const CollectionQuery> queries,
                                                 std::size_t k,
                                                 const SearchOptions& options = {}) const = 0;

  // The `k` documents whose best passage has the highest BM25 for `query`; see LexicalQuery. Ties
  // as in search(), and the same filter and caps; `exact` and `breadth` mean nothing here. k 0 and
  // text that is not UTF-8 are invalid_argument.
  virtual Result<std::vector<Hit>> search_lexical(std::string_view collection,
                                                  const LexicalQuery& query, std::size_t k,
                                                  const SearchOptions& options = {}) const = 0;
  virtual Result<LexicalSettings> lexical_settings(std::string_view collection) const = 0;

  // The settings of the collection's index as recorded in the store.
  virtual Result<IndexSettings> index_settings(std::string_view collection) const = 0;
  // Records them in one synced commit; the next flush_indexes() builds what they say, until then
  // searches are as before. not_found, invalid_argument (out of range), and the errors of commit().
  virtual Status set_index_settings(std::string_view collection, const IndexSettings& settings) = 0;
  // Builds the index that `options` ask for, as flush_indexes() does, measures recall against exact
  // search, and records the kind with the least effort that reaches the target, and why. The other
  // settings stay as they are. Every collection's index is flushed. not_found, invalid_argument,
  // and the errors of commit() and flush_indexes().
  virtual Result<TuneReport> tune(std::string_view collection, const TuneOptions& options = {}) = 0;

  // Builds the graphs and lists that are due and writes every index file that is behind the store.
  // close() calls it. Readers and writers go on meanwhile. For a graph expect some ten seconds per
  // 100,000 rows.
  virtual Status flush_indexes() = 0;
  // Reads the files anew, without giving up the lock: after a failed write to write again, when
  // opened for reading only to see the newest commit. Waits for calls under way; views stay valid.
  // A commit that failed may turn out to have been kept. Errors as open(); the corpus then reads
  // and searches on as it did (if its store cannot even be opened for reading, or holds a commit
  // that was not published, only searches by vectors do), and reopen() can be tried again.
  virtual Status reopen() = 0;

  // Copies the corpus as of one commit into `to`, while readers and writers go on; every file is
  // synced. The copy is a corpus: to restore, open it, or copy it back to where it came from when
  // nobody holds that. already_exists (`to` is no empty folder), not_found (its parent),
  // resource_exhausted, io_error, failed_precondition when opened for reading only. On failure
  // nothing stays in `to`.
  virtual Result<BackupReport> backup(const std::string& to) = 0;

  // Reads everything: every checksum of RocksDB's tables and logs, the change log from its first
  // entry to its last and the directory against it, every document with its passages and vectors,
  // the counts, every posting of its words, every index file. What is wrong is in the report; a
  // failure means that it could not look. Changes nothing; readers go on, commits wait for its
  // first part. About a read of the folder, and memory for the ids of the documents.
  virtual Result<VerifyReport> verify() = 0;

  // Merges the store's files, which gives back the room of what was replaced or removed. Readers
  // and writers go on.
  virtual Status compact() = 0;

  // What was replaced or removed is gone when it returns ok: from every file in the folder, logs,
  // index files and RocksDB's lists included (not from blocks that the disk holds free, and not
  // from backups). The change log begins anew. Rewrites everything, a graph with removed rows too;
  // waits for calls under way, and everything else waits for it. Views stay valid, and may hold
  // what was removed; so may the files that a reader who opened the corpus before still has open.
  virtual Status purge() = 0;

  // Writes the documents of `collection` as of one commit to the file `path`, by ascending id, one
  // JSON object a line: "_id", "title", "text", "metadata" (an object). Under another name first,
  // then renamed over `path`; readable by its owner alone. Returns their number. not_found
  // (collection, folder), corruption, resource_exhausted, io_error.
  virtual Result<std::uint64_t> export_jsonl(std::string_view collection,
                                             const std::string& path) const = 0;

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
