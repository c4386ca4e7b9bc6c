#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collegium/index/corpus.h"
#include "corpus_testing.h"

namespace collegium::index {

// A corpus of one collection, "law", with a document a commit.

inline constexpr std::size_t kLawDim = 8;

inline std::vector<float> row_of(std::size_t i) {
  const auto rows = clustered_rows(i + 1, kLawDim, 7, 3);
  return {rows.end() - kLawDim, rows.end()};
}

inline Status put(Corpus& corpus, const std::string& id, const std::string& text, std::size_t i,
                  const CommitOptions& options = {}) {
  NewDocument document;
  document.document = {id, "title of " + id, text, R"({"n":)" + std::to_string(i) + "}"};
  document.passages.push_back({{0, text.size()}, "section of " + id});
  document.vectors = row_of(i);
  WriteSet writes;
  writes.put_document("law", std::move(document));
  writes.put_record("last", id);
  return corpus.commit(std::move(writes), options).status();
}
inline Status remove(Corpus& corpus, const std::string& id) {
  WriteSet writes;
  writes.remove_document("law", id);
  return corpus.commit(std::move(writes)).status();
}
inline std::unique_ptr<Corpus> make_corpus(const std::string& path, std::size_t documents,
                                           std::uint64_t hnsw_threshold = 100000) {
  auto corpus = Corpus::create(path, {kLawDim, "digest", hnsw_threshold});
  EXPECT_OK(corpus);
  WriteSet writes;
  writes.create_collection("law");
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  for (std::size_t i = 0; i < documents; ++i)
    EXPECT_OK(put(**corpus, "d" + std::to_string(i), "text number " + std::to_string(i), i));
  return std::move(*corpus);
}

inline std::string describe(const std::vector<CorpusFinding>& findings) {
  std::string all;
  for (const CorpusFinding& finding : findings)
    all += finding.where + ": " + finding.problem + "\n";
  return all;
}

}  // namespace collegium::index
