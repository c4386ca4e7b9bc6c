#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "collegium/index/corpus.h"
#include "collegium/router/library.h"
#include "engine/learned_files.h"
#include "engine/records.h"

namespace collegium::router {

// The store as learn() and evaluate() see it; owns what LearningData borrows.
struct LearningSnapshot {
  LearningData data;
  std::vector<std::shared_ptr<const index::CollectionView>> views;
  // By collection: digest of its passages and pairs.
  std::map<std::string, std::string> data_digest;
};

// What the folder <path> holds (docs/formats.md):
//   store/, index/    the corpus
//   encoder/          a copy of the encoder, unless linked
//   language-model/   a copy of the GGUF file, unless linked or absent
//   learned/          what fit learned, by digest
//
// Threads: readers take the current generation once and keep it; the corpus takes care of itself;
// `writer_` serialises add, remove and fit; `lifetime_` is held shared by every call and alone by
// close(), which therefore waits for calls under way.
class LibraryImpl : public Library {
 public:
  static Result<std::shared_ptr<Library>> open_library(const std::string& path,
                                                       const OpenOptions& options);
  ~LibraryImpl() override;

  Result<AddReport> add(const std::string& collection, std::span<const Document> documents,
                        std::span<const Pair> pairs,
                        const core::ProgressCallback& progress) override;
  Status remove(const std::string& collection, std::span<const std::string> ids) override;
  Status add_negatives(std::span<const std::string> queries) override;
  Result<FitReport> fit(const FitOptions& options, const core::ProgressCallback& progress) override;
  Result<Answer> ask(std::string_view question, const AskOptions& options,
                     const core::LanguageModel::TokenCallback& on_token) const override;
  Result<Answer> search(std::string_view query, const AskOptions& options) const override;
  Result<Evaluation> evaluate(const EvaluateOptions& options,
                              const core::ProgressCallback& progress) const override;
  Result<Document> document(std::string_view collection, std::string_view id) const override;
  Result<LibraryInfo> info() const override;
  const core::Encoder& encoder() const override { return *encoder_; }
  Status close() override;

 private:
  LibraryImpl() = default;
  Status check_open() const;
  std::shared_ptr<const Generation> generation() const;
  void set_generation(std::shared_ptr<const Generation> generation);
  Result<LearningSnapshot> learning_snapshot() const;
  // The vectors of `queries`; checked for UTF-8 by the encoder.
  Result<std::map<std::string, std::vector<float>>> encode_queries(
      const std::vector<std::string>& queries, const core::ProgressCallback& progress) const;

  struct Question;  // library_ask.cc
  Result<Question> prepare(std::string_view question, const AskOptions& options) const;
  Status retrieve(Question& question, const AskOptions& options) const;
  Status collect_passages(Question& question, const std::vector<index::Hit>& hits) const;
  Status answer_internally(Question& question, const AskOptions& options,
                           const core::LanguageModel::TokenCallback& on_token) const;
  Status read(Question& question, const AskOptions& options,
              const core::LanguageModel::TokenCallback& on_token) const;
  Result<Answer> ask_once(std::string_view question, const AskOptions& options,
                          const core::LanguageModel::TokenCallback& on_token) const;

  std::string path_;
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
