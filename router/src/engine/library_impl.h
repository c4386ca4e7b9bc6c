#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/index/corpus.h"
#include "collegium/router/library.h"
#include "engine/hybrid.h"
#include "engine/learned_files.h"
#include "engine/records.h"

namespace collegium::router {

// The store as learn() and evaluate() see it; owns what LearningData borrows.
struct LearningSnapshot {
  LearningData data;
  std::vector<std::shared_ptr<const index::CollectionView>> views;
  // By collection: digest of its passages and pairs.
  std::map<std::string, std::string> data_digest;
  // By collection, then as FitReport::Expert has it.
  std::map<std::string, std::map<std::string, std::array<std::size_t, 3>>> pair_kinds;
};

// What the folder <path> holds (docs/formats.md):
//   store/, index/    the corpus
//   encoder/          a copy of the encoder, unless linked
//   language-model/   a copy of the GGUF file, unless linked or absent
//   learned/          what fit learned, by digest
//
// Threads: readers take the current generation once and keep it; the corpus takes care of itself;
// `writer_` serialises add, remove and fit; `lifetime_` is held shared by every call (class Call)
// and alone by close(), which therefore waits for calls under way.
class LibraryImpl : public Library {
 public:
  static Result<std::shared_ptr<Library>> open_library(const std::string& path,
                                                       const OpenOptions& options);
  ~LibraryImpl() override;

  Result<AddReport> add(const std::string& collection, std::span<const Document> documents,
                        std::span<const Pair> pairs,
                        const core::ProgressCallback& progress) override;
  Status remove(const std::string& collection, std::span<const std::string> ids) override;
  Status set_lexical(const std::string& collection,
                     const index::LexicalSettings& settings) override;
  Result<index::LexicalSettings> lexical_settings(std::string_view collection) const override;
  Status add_negatives(std::span<const std::string> queries,
                       const core::ProgressCallback& progress) override;
  Result<FitReport> fit(const FitOptions& options, const core::ProgressCallback& progress) override;
  Result<Answer> ask(std::string_view question, const AskOptions& options,
                     const core::LanguageModel::TokenCallback& on_token) const override;
  Result<Answer> search(std::string_view query, const AskOptions& options) const override;
  Result<Evaluation> evaluate(const EvaluateOptions& options,
                              const core::ProgressCallback& progress) const override;
  Result<Document> document(std::string_view collection, std::string_view id) const override;
  Result<std::vector<std::string>> document_ids(std::string_view collection) const override;
  Result<TrainingData> training_data(std::string_view collection) const override;
  Result<LibraryInfo> info() const override;
  const core::Encoder& encoder() const override { return *encoder_; }
  Result<BackupReport> backup(const std::string& folder) override;
  Result<VerifyReport> verify() override;
  Result<TuneReport> tune(const std::string& collection, const TuneOptions& options) override;
  Status compact() override;
  Status purge() override;
  Result<std::uint64_t> export_jsonl(std::string_view collection,
                                     const std::string& path) const override;
  Status reopen() override;
  Status close() override;

 private:
  // One call of a library on this thread; every public function makes one first. The outermost
  // holds `lifetime_` shared. A call from inside a callback of it must not lock that again: a
  // shared_mutex is not recursive.
  class Call {
   public:
    explicit Call(const LibraryImpl& library);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    // failed_precondition if the library is closed.
    Status check_reader() const;
    // The same, or if this is a call from inside a callback.
    Status check_outermost(std::string_view what) const;
    // The same, or if the library is open for reading only.
    Status check_writer(std::string_view what) const;

    // True if this thread is inside a call of `library`.
    static bool inside(const LibraryImpl& library);

   private:
    // The calls of any library that this thread is inside of: the innermost, and by outer_ the
    // others.
    static inline thread_local const Call* innermost_ = nullptr;

    const LibraryImpl& library_;
    const Call* const outer_;
    const bool nested_;
    std::shared_lock<std::shared_mutex> lock_;
  };

  LibraryImpl() = default;
  Status check_open() const;
  std::shared_ptr<const Generation> generation() const;
  void set_generation(std::shared_ptr<const Generation> generation);
  // Sets what the corpus's record of it and the files say (library_operations.cc).
  Status read_generation();
  Result<LearningSnapshot> learning_snapshot() const;
  // hard_documents.cc: what training looks at beside pairs, where `options` ask for it; not for
  // adapters in `kept`, which are not trained.
  Status add_hard_documents(const LearnOptions& options,
                            const std::map<std::string, core::TrainedHeadAdapter>& kept,
                            LearningSnapshot& snapshot,
                            const core::ProgressCallback& progress) const;
  // hybrid.cc
  Result<std::map<std::string, CollectionFusion>> choose_fusions(
      const LearningSnapshot& snapshot, const Learned& learned,
      const core::ProgressCallback& progress) const;
  // ranking.cc: fits the ranker on dev and keeps it where it wins there.
  struct Asked;
  Status ask_for_ranker(const LearningData& data, const std::vector<std::string>& names,
                        const core::ProgressCallback& progress, Asked& asked) const;
  Status choose_ranker(const LearningSnapshot& snapshot, const std::shared_ptr<Generation>& next,
                       const core::ProgressCallback& progress) const;
  // The vectors of `queries`; checked for UTF-8 by the encoder.
  Result<std::map<std::string, std::vector<float>>> encode_queries(
      const std::vector<std::string>& queries, const core::ProgressCallback& progress) const;

  struct Question;  // library_ask.cc
  Result<Question> prepare(std::string_view question, const AskOptions& options) const;
  Status retrieve(Question& question, const AskOptions& options) const;
  Status add_words(Question& question, const AskOptions& options,
                   const index::SearchOptions& search) const;
  // What search() ranks for a question whose vector is known, at most `k` hits.
  Result<std::vector<index::Hit>> served_hits(std::shared_ptr<const Generation> generation,
                                              std::string_view question,
                                              std::span<const float> vector,
                                              std::vector<std::string> collections,
                                              std::size_t k) const;
  // library_evaluate.cc
  Result<std::size_t> place_judged(const std::map<std::string, std::vector<JudgedQuery>>& judged,
                                   LearningSnapshot& snapshot,
                                   const core::ProgressCallback& progress) const;
  // The rows "BM25", "hybrid" and "served".
  std::vector<EvaluatedMethod> methods_with_words(
      const std::shared_ptr<const Generation>& current) const;
  Status measure_encoding(const EvaluateOptions& options, Evaluation& evaluation) const;
  // For choose_ranker(): what retrieve() would rank, with every collection's words, and how it does
  // without a ranker.
  struct RankerCase {
    std::map<std::string, CollectionRankings, std::less<>> rankings;
    Route route;
    std::vector<index::Hit> hits;
  };
  Result<RankerCase> ranker_case(std::shared_ptr<const Generation> generation,
                                 std::string_view question, std::span<const float> vector,
                                 std::vector<std::string> collections) const;
  Status collect_passages(Question& question, const std::vector<index::Hit>& hits) const;
  Status answer_internally(Question& question, const AskOptions& options,
                           const core::LanguageModel::TokenCallback& on_token) const;
  Status read(Question& question, const AskOptions& options,
              const core::LanguageModel::TokenCallback& on_token) const;
  Result<Question> ask_once(std::string_view question, const AskOptions& options,
                            const core::LanguageModel::TokenCallback& on_token) const;
  // Whether everything in it is of one commit and of one generation of each index.
  bool is_whole(const Question& question) const;

  std::string path_;
  OpenOptions options_;
  LibrarySettings settings_;
  std::string encoder_folder_, language_model_path_;
  std::unique_ptr<index::Corpus> corpus_;
  std::shared_ptr<const core::Encoder> encoder_;
  std::shared_ptr<const core::LanguageModel> language_model_;  // null: none

  mutable std::shared_mutex lifetime_;
  std::mutex writer_;
  mutable std::mutex generation_mutex_;  // guards the pointer alone
  std::shared_ptr<const Generation> generation_;
  std::atomic<bool> closed_{false};
};

}  // namespace collegium::router
