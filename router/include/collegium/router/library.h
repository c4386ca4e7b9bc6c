#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/export.h"
#include "collegium/core/lm/language_model.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "collegium/index/lexical.h"
#include "collegium/router/evaluation.h"
#include "collegium/router/gate.h"
#include "collegium/router/learning.h"
#include "collegium/router/operations.h"
#include "collegium/router/policy.h"

namespace collegium::router {

using index::Document;

// A question whose answer is in a document of the collection it is added with. A document may have
// many, and a query many documents.
struct Pair {
  std::string query;
  std::string document_id;
  std::optional<Split> split;  // none: split_of_document(document_id)
  float gain = 1.0f;           // > 0; graded judgments
  // Empty: somebody judged it. Else how it was made ("headings", "cloze", "keywords", "log", ...):
  // 1 to 32 of a-z, 0-9 and '-'. Reports say which kind trained what, and a pair that was made
  // leaves one that was judged as it is.
  std::string kind = {};
};

struct CreateOptions {
  std::string encoder;         // folder of a Hugging Face encoder
  std::string language_model;  // a GGUF file for the internal expert; empty: none
  // Refer to the models where they are instead of copying them. Their paths are kept in the library
  // and must be UTF-8 then (without it, the name of the language model's file).
  bool link = false;
  std::uint64_t hnsw_threshold = 100000;
  // How the encoder is run, as in core::EncoderOptions. Recorded: open() runs it so again, since
  // the stored vectors and what is learned from them belong to it.
  core::Compute compute = core::Compute::kAuto;
  std::size_t truncate_dim = 0;
};

struct OpenOptions {
  std::string encoder;  // where a linked encoder now is, if it moved; its digest must match
  std::string language_model;
  // Open as if nothing had been learned: the way to the documents when a learned file is damaged.
  // fit() then learns anew.
  bool ignore_learned = false;
  // For reading only, whoever holds it: takes no lock, writes nothing, and stays at this state
  // until reopen(). Whatever writes is failed_precondition.
  bool read_only = false;
  // How the language model computes; not recorded, as nothing stored depends on it.
  core::LmCompute lm_compute = core::LmCompute::kExact;
};

struct AddReport {
  std::size_t documents = 0;  // given
  std::size_t unchanged = 0;  // of them, kept with their vectors
  std::size_t replaced = 0;
  std::size_t passages = 0;  // embedded now
  // Of them, cut by the encoder: a title without text that is longer than it reads, or any text
  // of an encoder that reads less than 16 tokens beside its prompt.
  std::size_t truncated = 0;
  std::size_t pairs[3] = {0, 0, 0};  // by Split
  double seconds = 0.0;
};

struct FitOptions {
  LearnOptions learn;
  bool refit = false;  // train every adapter again, also where a collection's data did not change
};

struct COLLEGIUM_API FitReport {
  std::string generation;  // digest of what was learned
  struct Expert {
    std::string collection;
    std::size_t train = 0, dev = 0, test = 0;  // queries
    float strength = 0.0f;                     // 0: no adapter was chosen
    std::size_t epochs = 0;
    std::size_t rank = 0;  // 0: whole
    core::NegativePool pool = core::NegativePool::kWhole;
    double dev_ndcg_plain = 0.0, dev_ndcg = 0.0;
    // As in core::TrainedHeadAdapter.
    core::NdcgGain chosen_on = {}, dev_paired = {}, dev_unpaired = {};
    double standard_error = 0.0;
    std::vector<double> loss = {}, curve = {};  // by epoch
    // Of BM25 beside the expert, and nDCG@10 of the two together on at most 300 dev queries.
    double lexical_weight = 0.0, dev_ndcg_hybrid = 0.0;
    bool kept = false;  // unchanged data: not trained again
    std::string note;
    // Pairs (not queries) in use, by Pair::kind ("judged" for the empty one) and Split.
    std::map<std::string, std::array<std::size_t, 3>> pair_kinds = {};
  };
  std::vector<Expert> experts;
  std::string router;
  std::map<std::string, double> router_dev_accuracy;
  std::map<std::string, double> router_dev_ndcg;  // as Learned has it
  PolicyParameters policy;
  // Whether a ranker merges collections, and what it and fusion are worth on dev (Learned).
  bool ranked = false;
  double ranker_dev_ndcg = 0.0, fusion_dev_ndcg = 0.0;
  std::string gate_note;
  double seconds = 0.0;
  std::string to_text() const;
  std::string to_json() const;
  std::string to_html() const;
};

// What fit() learns a collection's expert from, for training outside of it. Owns what it holds.
struct TrainingData {
  std::size_t dim = 0;
  std::vector<float> vectors;                   // (passages, dim), frozen
  std::vector<std::uint32_t> passage_document;  // (passages,) positions in document_ids
  std::vector<std::string> document_ids;        // bytewise ascending
  std::array<QuerySet, 3> splits;               // by Split; placed as fit() places them
  std::map<std::string, std::array<std::size_t, 3>> pair_kinds;  // as in FitReport::Expert
};

enum class ReadMode { kExtractive, kGenerative };

struct AskOptions {
  std::vector<std::string> collections;  // restrict to these; empty: all
  std::optional<Policy> policy;          // default: what fit chose
  std::size_t k = 5;                     // passages in the answer. Range [1, 1000]
  ReadMode read = ReadMode::kExtractive;
  std::optional<GateDecision> gate;  // force a decision
  core::GenerateOptions generate;
  // Of BM25 beside the vectors in every collection's ranking, [0, 1]. None: what fit chose for each
  // (0 before fit). Which collection has which places is decided by vectors alone: their scores
  // compare across collections.
  std::optional<double> lexical_weight;
  // How every collection is searched. The filter holds in each, whatever the policy; the caps on
  // sources and near-copies hold among the passages of all of them together.
  index::SearchOptions search;
};

struct CitedPassage {
  std::size_t number = 0;  // as cited in the text: [1], [2], ...
  std::string collection, document_id, title, section;
  core::ByteSpan bytes;  // in the document's text
  std::string text;
  // Where a ranker merged the collections, the probability that it is relevant. Else as ranked,
  // with shift and prior; where words were searched too, the score of the place: see
  // AskOptions::lexical_weight.
  double score = 0.0;
  // What made the ranker's log odds; empty: no ranker.
  std::vector<RankerContribution> ranking;
  // Inner product with the query vector that served its collection, and BM25; none: not among the
  // documents that this search of it gave.
  std::optional<double> dense_score, lexical_score;
  double similarity = 0.0;  // plain cosine
  // Of the index it was found in, as in index::Hit. 0: by exact search.
  std::uint64_t index_generation = 0;
  std::string source;  // the value of SearchOptions::source_field, as index::Hit has it
};

struct StageCost {
  std::string stage;  // "encode", "gate", "search", "read", "answer"
  double ms = 0.0;
  double flops = 0.0;
};

struct COLLEGIUM_API Answer {
  std::string question;
  std::string text;    // with [n] after each sentence that cites passage n
  std::string reader;  // "extractive", "generative", "internal", "none"
  std::string note;    // e.g. why generative fell back to extractive
  Route route;
  GateOutcome gate;
  std::vector<CitedPassage> passages;
  std::vector<StageCost> cost;
  std::string generation;        // digest of what was learned; empty before fit
  std::uint64_t commit_seq = 0;  // of the store the answer was read from
  // Of every collection that was searched, as in index::Hit. 0: exactly, or nothing was found in
  // it. The passages are a function of question, options, `generation`, `commit_seq` and these.
  std::map<std::string, std::uint64_t> index_generations;
  std::string to_text() const;  // as `collegium ask` prints it
  std::string to_json() const;
  std::string to_html() const;
};

// How stored vectors were made. Names are as in core::compute_name and core::isa_name.
struct VectorOrigin {
  std::string compute;  // "fp32", "int8", ...
  std::string isa;      // the level of the machine that embedded them: "scalar", "avx2", ...
  friend auto operator<=>(const VectorOrigin&, const VectorOrigin&) = default;
};

struct COLLEGIUM_API LibraryInfo {
  std::string path, version, isa;
  std::uint32_t format_version = 0;
  std::uint64_t commit_seq = 0;
  std::string encoder_folder, encoder_digest;
  std::size_t dim = 0, max_tokens = 0;
  std::string compute;           // what the encoder is run in: "fp32", "int8", ...
  std::size_t truncate_dim = 0;  // asked for when the library was made; 0: what the model says
  std::string language_model, generation, router, gate_note;
  PolicyParameters policy;
  struct Collection {
    index::CollectionInfo index;
    std::size_t pairs[3] = {0, 0, 0};
    std::string expert;  // "none", or its strength and digest
    // Every way in which vectors of passages and of pairs' queries that are or were in the
    // collection were made, ascending. Kept to be read: whatever is here, the library opens. Empty:
    // nothing was embedded since this is recorded.
    std::vector<VectorOrigin> vectors_made;
  };
  std::vector<Collection> collections;
  std::size_t negatives = 0;
  std::string to_text() const;
  std::string to_json() const;
};

// What a user opens: encoder, experts, collections, router, gate and LM experts in one folder.
// Any number of threads may ask, search and read; add, remove and fit are serialised, and readers
// go on with the state they began with. One process holds a library: a second open is `busy`, but
// for OpenOptions::read_only.
// A callback may read from the library whose call it is part of; add, remove, add_negatives, fit,
// backup, verify, tune, compact, purge, reopen and close are failed_precondition there, for they
// would wait for the call that waits for them.
class COLLEGIUM_API Library {
 public:
  // already_exists if the folder holds a library; nothing is left behind on failure.
  static Result<std::shared_ptr<Library>> create(const std::string& path,
                                                 const CreateOptions& options);
  static Result<std::shared_ptr<Library>> open(const std::string& path,
                                               const OpenOptions& options = {});
  // verify() of a library that may not even open: then the reason is a finding. Changes nothing,
  // takes no lock. not_found when there is no library; `options` say where linked models are.
  static Result<VerifyReport> verify_folder(const std::string& path,
                                            const OpenOptions& options = {});
  // Saves what can still be read of the library in `path` into a new one in `to`, and changes
  // nothing in `path` but OWNER. The corpus as index::Corpus::repair; of the rest a copied model
  // that cannot be read becomes a linked one (OpenOptions then say where a good copy is), learned
  // files of which one cannot be read are dropped together (fit() learns anew), and pairs of
  // documents that were dropped go with them; the report names all that. Nothing is left in `to` on
  // failure: corruption when even the settings of the library are lost, else as index::Corpus.
  static Result<RepairReport> repair(const std::string& path, const std::string& to);
  virtual ~Library() = default;

  // Adds or replaces documents, and judged pairs, in `collection` (made if new). All arguments are
  // checked before anything is written: duplicate ids, an empty document or id, text that is not
  // UTF-8, a pair with an unknown id are invalid_argument and nothing is added. So are two pairs of
  // one query and document that disagree in gain or split; alike, they are one. Then whole
  // documents are committed in batches: cancelled or killed midway, the acknowledged ones stay, and
  // adding again skips them. A pair that is there already becomes what the new one says.
  virtual Result<AddReport> add(const std::string& collection, std::span<const Document> documents,
                                std::span<const Pair> pairs = {},
                                const core::ProgressCallback& progress = {}) = 0;
  // Removes documents and their pairs. Ids that are not there are not_found and nothing is removed.
  virtual Status remove(const std::string& collection, std::span<const std::string> ids) = 0;
  // How the words (BM25) of `collection`, made if new, are found and scored. failed_precondition,
  // and nothing changes, if other words would be found and the collection has passages: then only
  // k1 and b can change, and fit() chooses the weight of words anew.
  virtual Status set_lexical(const std::string& collection,
                             const index::LexicalSettings& settings) = 0;
  // not_found: no such collection.
  virtual Result<index::LexicalSettings> lexical_settings(std::string_view collection) const = 0;
  // Questions that need no corpus: what the gate learns from. Split 80/10/10 by their text. They
  // are committed together, at the end; cancelled before that, none is added.
  virtual Status add_negatives(std::span<const std::string> queries,
                               const core::ProgressCallback& progress = {}) = 0;

  virtual Result<FitReport> fit(const FitOptions& options = {},
                                const core::ProgressCallback& progress = {}) = 0;
  // `on_token` is called with each piece of text a language model's answer gets, and with empty
  // ones while it reads and writes: false to text ends the answer there, false to an empty one is
  // cancelled.
  virtual Result<Answer> ask(std::string_view question, const AskOptions& options = {},
                             const core::LanguageModel::TokenCallback& on_token = {}) const = 0;
  // Retrieval alone: route and passages without gate and reading (Answer::text is empty).
  virtual Result<Answer> search(std::string_view query, const AskOptions& options = {}) const = 0;
  virtual Result<Evaluation> evaluate(const EvaluateOptions& options = {},
                                      const core::ProgressCallback& progress = {}) const = 0;

  virtual Result<Document> document(std::string_view collection, std::string_view id) const = 0;
  // The ids of its documents, bytewise ascending. not_found: no such collection.
  virtual Result<std::vector<std::string>> document_ids(std::string_view collection) const = 0;
  // not_found: no such collection, or it has no passages.
  virtual Result<TrainingData> training_data(std::string_view collection) const = 0;
  virtual Result<LibraryInfo> info() const = 0;
  virtual const core::Encoder& encoder() const = 0;

  // Copies the library as of one commit to `folder`, which is new: the corpus, copied models and
  // what was learned. Linked models stay links. It is read back before it gets its name: a backup
  // that is there opens as a library and answers alike. Readers go on; writers wait. Errors as
  // index::Corpus::backup, and corruption if a model or learned file is damaged; then nothing is
  // left in `folder`.
  virtual Result<BackupReport> backup(const std::string& folder) = 0;
  // Reads everything again: the corpus (index::Corpus::verify), the models against the digests they
  // were taken in with, pairs and questions, learned files. What is wrong is in the report; a
  // failure means that it could not look. Changes nothing.
  virtual Result<VerifyReport> verify() = 0;
  // Chooses the index of `collection` and its effort by recall measured against exact search
  // (index::Corpus::tune). not_found, invalid_argument, and questions that are not UTF-8.
  virtual Result<TuneReport> tune(const std::string& collection,
                                  const TuneOptions& options = {}) = 0;
  // As those of index::Corpus. purge() also deletes learned files that are no longer in use; those
  // in use were learned from what was there at the last fit(), which only a new one changes.
  virtual Status compact() = 0;
  virtual Status purge() = 0;
  virtual Result<std::uint64_t> export_jsonl(std::string_view collection,
                                             const std::string& path) const = 0;
  // Reads the files anew: after a failed write to write again, when opened for reading only to see
  // the newest commit and what was learned by then.
  virtual Status reopen() = 0;
  virtual Status close() = 0;
};

}  // namespace collegium::router
