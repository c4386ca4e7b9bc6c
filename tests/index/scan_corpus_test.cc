// Exact search and search_batch as a corpus gives them.
#include <algorithm>
#include <random>

#include "collegium/core/thread_pool.h"
#include "corpus_testing.h"

namespace collegium::index {
namespace {

constexpr std::size_t kDim = 20;
constexpr std::size_t kDocuments = 5000;  // of two passages: enough to be scanned by codes

// Half of the documents score exactly alike in threes, so that ids decide.
std::unique_ptr<Corpus> filled_corpus(const std::string& path, std::uint64_t hnsw_threshold) {
  CorpusOptions options;
  options.dim = kDim;
  options.encoder_digest = "digest";
  options.hnsw_threshold = hnsw_threshold;
  auto corpus = Corpus::create(path, options);
  EXPECT_OK(corpus);
  const auto vectors = clustered_rows(2 * kDocuments, kDim, 40, 21);
  WriteSet writes;
  writes.create_collection("all");
  for (std::size_t i = 0; i < kDocuments; ++i) {
    const std::size_t from = i % 2 == 0 ? i / 6 * 6 : i;
    const auto begin = vectors.begin() + static_cast<std::ptrdiff_t>(from * 2 * kDim);
    writes.put_document("all", make_document("d" + std::to_string(i * 7919 % kDocuments), 2,
                                             {begin, begin + 2 * kDim}));
  }
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  WriteSet removal;
  for (std::size_t i = 0; i < kDocuments; i += 9)
    removal.remove_document("all", "d" + std::to_string(i));
  EXPECT_OK((*corpus)->commit(std::move(removal)));
  return std::move(*corpus);
}

void expect_same(const std::vector<Hit>& a, const std::vector<Hit>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].document_id, b[i].document_id) << i;
    EXPECT_EQ(a[i].row, b[i].row);
    EXPECT_EQ(a[i].score, b[i].score);
    EXPECT_EQ(a[i].passage, b[i].passage);
    EXPECT_EQ(a[i].section, b[i].section);
    EXPECT_EQ(a[i].index_generation, b[i].index_generation);
  }
}

TEST(ScanCorpus, ABatchIsToTheBitWhatItsQueriesGetAloneOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  const auto queries = clustered_rows(30, kDim, 40, 22);
  const std::size_t before = core::default_pool().num_threads();
  for (const bool graph : {false, true}) {
    const auto corpus = filled_corpus(folder / (graph ? "graph" : "exact"), graph ? 100 : 1 << 20);
    if (graph) {
      ASSERT_OK(corpus->flush_indexes());
    }
    SearchOptions floats;
    floats.scan = ScanKind::kFloat32;
    SearchOptions one_a_section;
    one_a_section.duplicate_similarity = 0.999;
    for (const SearchOptions& options : {SearchOptions(), floats, one_a_section}) {
      core::set_num_threads(1);
      std::vector<std::vector<Hit>> alone;
      for (std::size_t q = 0; q < 30; ++q) {
        const auto hits =
            corpus->search("all", std::span(queries).subspan(q * kDim, kDim), 10, options);
        ASSERT_OK(hits);
        ASSERT_EQ(hits->size(), 10u);
        for (std::size_t i = 1; i < hits->size(); ++i)
          EXPECT_TRUE((*hits)[i - 1].score > (*hits)[i].score ||
                      ((*hits)[i - 1].score == (*hits)[i].score &&
                       (*hits)[i - 1].document_id < (*hits)[i].document_id));
        alone.push_back(*hits);
      }
      for (const std::size_t threads : {1u, 2u}) {
        core::set_num_threads(threads);
        const auto batch = corpus->search_batch("all", queries, 10, options);
        ASSERT_OK(batch);
        ASSERT_EQ(batch->size(), 30u);
        for (std::size_t q = 0; q < 30; ++q) expect_same((*batch)[q], alone[q]);
      }
    }
    EXPECT_OK(corpus->close());
  }
  core::set_num_threads(before);
}

TEST(ScanCorpus, EveryKindButBinaryGivesTheSameHitsAndTheInfoSaysWhichIsUsed) {
  const TemporaryFolder folder;
  const auto corpus = filled_corpus(folder / "corpus", 1 << 20);
  const auto info = corpus->collection_info("all");
  ASSERT_OK(info);
  EXPECT_EQ(info->index_kind, "exact-int8");
  const auto queries = clustered_rows(20, kDim, 40, 23);
  SearchOptions options;
  options.scan = ScanKind::kFloat32;
  const auto floats = corpus->search_batch("all", queries, 50, options);
  ASSERT_OK(floats);
  for (const ScanKind kind : {ScanKind::kAuto, ScanKind::kInt8, ScanKind::kBfloat16}) {
    options.scan = kind;
    const auto hits = corpus->search_batch("all", queries, 50, options);
    ASSERT_OK(hits);
    for (std::size_t q = 0; q < 20; ++q) expect_same((*hits)[q], (*floats)[q]);
  }
  options.scan = ScanKind::kBinary;
  const auto signs = corpus->search_batch("all", queries, 50, options);
  ASSERT_OK(signs);
  for (const auto& hits : *signs) EXPECT_EQ(hits.size(), 50u);
}

TEST(ScanCorpus, BadBatchesAreErrorsAndAnEmptyOneIsEmpty) {
  const TemporaryFolder folder;
  const auto corpus = filled_corpus(folder / "corpus", 1 << 20);
  const std::vector<float> queries(2 * kDim, 0.5f);
  EXPECT_CODE(corpus->search_batch("all", std::span(queries).first(kDim + 1), 3), kInvalidArgument);
  EXPECT_CODE(corpus->search_batch("all", queries, 0), kInvalidArgument);
  EXPECT_CODE(corpus->search_batch("none", queries, 3), kNotFound);
  auto infinite = queries;
  infinite[kDim + 3] = std::numeric_limits<float>::infinity();
  const auto refused = corpus->search_batch("all", infinite, 3);
  ASSERT_TRUE(has_code(refused, StatusCode::kInvalidArgument));
  EXPECT_NE(refused.status().to_string().find("query 1"), std::string::npos);
  const auto empty = corpus->search_batch("all", {}, 3);
  ASSERT_OK(empty);
  EXPECT_TRUE(empty->empty());
}

}  // namespace
}  // namespace collegium::index
