#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "collegium/index/filter.h"
#include "corpus_testing.h"

namespace collegium::index {
namespace {

constexpr std::size_t kDim = 24;

std::unique_ptr<Corpus> filled(const std::string& path, std::size_t documents,
                               std::uint64_t hnsw_threshold) {
  auto corpus = Corpus::create(path, {kDim, "digest", hnsw_threshold});
  EXPECT_OK(corpus);
  const auto rows = clustered_rows(documents, kDim, 50, 1);
  WriteSet writes;
  writes.create_collection("c");
  for (std::size_t i = 0; i < documents; ++i) {
    const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i * kDim);
    NewDocument made = make_document("d" + std::to_string(i), 1, {row, row + kDim});
    made.document.metadata = "{\"n\":" + std::to_string(i % 10) + "}";
    writes.put_document("c", std::move(made));
  }
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  return std::move(*corpus);
}

std::vector<std::pair<std::string, float>> ids_of(const Corpus& corpus,
                                                  std::span<const float> query,
                                                  const SearchOptions& options = {}) {
  const auto hits = corpus.search("c", query, 10, options);
  EXPECT_OK(hits);
  std::vector<std::pair<std::string, float>> ids;
  for (const Hit& hit : *hits) ids.emplace_back(hit.document_id, hit.score);
  return ids;
}

double mean_recall(const Corpus& corpus, std::span<const float> queries) {
  SearchOptions exact;
  exact.exact = true;
  double same = 0.0;
  for (std::size_t q = 0; q < queries.size(); q += kDim) {
    const auto found = ids_of(corpus, queries.subspan(q, kDim));
    for (const auto& one : ids_of(corpus, queries.subspan(q, kDim), exact))
      same += static_cast<double>(std::count(found.begin(), found.end(), one));
  }
  return same / static_cast<double>(queries.size() / kDim * 10);
}

TEST(CorpusTune, MeasuresRecordsAndKeepsWhatReachesTheTarget) {
  const auto queries = clustered_rows(60, kDim, 50, 2);
  for (const IndexKind kind : {IndexKind::kHnsw, IndexKind::kIvf}) {
    const TemporaryFolder folder;
    const std::string path = folder / "corpus";
    auto corpus = filled(path, 4000, 100000);
    EXPECT_EQ(corpus->collection_info("c")->index_kind, "exact");
    TuneOptions options;
    options.kind = kind;
    options.queries = queries;
    for (const double target : {0.95, 0.99}) {
      options.target_recall = target;
      const auto report = corpus->tune("c", options);
      ASSERT_OK(report);
      EXPECT_EQ(report->kind, kind);
      EXPECT_EQ(report->queries, 60u);
      EXPECT_TRUE(report->reached);
      ASSERT_FALSE(report->trials.empty());
      EXPECT_EQ(report->settings.effort, report->trials.back().effort);
      for (std::size_t i = 0; i + 1 < report->trials.size(); ++i)
        EXPECT_LT(report->trials[i].recall, target);
      // The same recall as the searches that users then make have.
      EXPECT_NEAR(mean_recall(*corpus, queries), report->recall, 1e-9);
      EXPECT_GE(report->recall, target);
      EXPECT_EQ(*corpus->index_settings("c"), report->settings);
    }
    const auto info = corpus->collection_info("c");
    EXPECT_EQ(info->index_kind, index_kind_name(kind));
    EXPECT_NE(info->index_parameters.find(kind == IndexKind::kHnsw ? "breadth" : "probes"),
              std::string::npos);
    EXPECT_NE(info->index_reason.find("recall@10"), std::string::npos) << info->index_reason;
    EXPECT_NE(info->index_generation, 0u);

    // A filter's rows are all found, and a call's own effort counts.
    const std::span query = std::span(queries).first(kDim);
    SearchOptions filtered;
    filtered.filter = *Filter::parse(R"({"n": 3})");
    const auto hits = corpus->search("c", query, 400, filtered);
    ASSERT_OK(hits);
    EXPECT_EQ(hits->size(), 400u);
    for (const Hit& hit : *hits) EXPECT_EQ(std::stoi(hit.document_id.substr(1)) % 10, 3);
    SearchOptions all;
    all.breadth = all.probes = 4096;
    SearchOptions exact;
    exact.exact = true;
    EXPECT_EQ(ids_of(*corpus, query, all), ids_of(*corpus, query, exact));

    // Everything is as it was after reopening, and after removing and adding rows.
    const auto answers = ids_of(*corpus, query);
    ASSERT_OK(corpus->close());
    corpus = std::move(*Corpus::open(path));
    EXPECT_FALSE(corpus->collection_info("c")->index_rebuilt);
    EXPECT_EQ(corpus->collection_info("c")->index_generation, info->index_generation);
    EXPECT_EQ(corpus->collection_info("c")->index_reason, info->index_reason);
    EXPECT_EQ(ids_of(*corpus, query), answers);
    WriteSet writes;
    writes.remove_document("c", answers[0].first);
    writes.put_document("c", make_document("new", 1, {query.begin(), query.end()}));
    ASSERT_OK(corpus->commit(std::move(writes)));
    const auto now = ids_of(*corpus, query);
    EXPECT_EQ(now[0].first, "new");
    for (const auto& [id, score] : now) EXPECT_NE(id, answers[0].first);
    ASSERT_OK(corpus->purge());
    EXPECT_EQ(corpus->collection_info("c")->index_kind, index_kind_name(kind));
    EXPECT_EQ(ids_of(*corpus, query)[0].first, "new");

    // Back to exact.
    options.kind = IndexKind::kExact;
    ASSERT_OK(corpus->tune("c", options));
    EXPECT_EQ(corpus->collection_info("c")->index_kind, "exact");
    EXPECT_EQ(corpus->collection_info("c")->index_generation, 0u);
  }
}

TEST(CorpusTune, ASizeAboveTheThresholdGetsAGraphWhoseEffortWasMeasured) {
  const TemporaryFolder folder;
  const auto corpus = filled(folder / "corpus", 3000, 1000);
  EXPECT_NE(corpus->collection_info("c")->index_reason.find("next flush"), std::string::npos);
  ASSERT_OK(corpus->flush_indexes());
  const auto info = corpus->collection_info("c");
  EXPECT_EQ(info->index_kind, "hnsw");
  EXPECT_NE(info->index_reason.find("more than hnsw_threshold 1000"), std::string::npos);
  EXPECT_NE(info->index_reason.find("recall@10"), std::string::npos) << info->index_reason;
  // The same again is nothing new.
  ASSERT_OK(corpus->flush_indexes());
  EXPECT_EQ(corpus->collection_info("c")->index_generation, info->index_generation);
  // Other settings are another generation; those of before are the one of before.
  IndexSettings settings = *corpus->index_settings("c");
  IndexSettings other = settings;
  other.links = 16;
  ASSERT_OK(corpus->set_index_settings("c", other));
  EXPECT_EQ(corpus->collection_info("c")->index_generation, info->index_generation);
  ASSERT_OK(corpus->flush_indexes());
  EXPECT_NE(corpus->collection_info("c")->index_generation, info->index_generation);
  EXPECT_NE(corpus->collection_info("c")->index_parameters.find("links 16"), std::string::npos);
  ASSERT_OK(corpus->set_index_settings("c", settings));
  ASSERT_OK(corpus->flush_indexes());
  EXPECT_EQ(corpus->collection_info("c")->index_generation, info->index_generation);
}

TEST(CorpusTune, WhatIsOutOfRangeIsAnErrorAndChangesNothing) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = filled(path, 100, 100000);
  const std::uint64_t commit = corpus->commit_seq();
  const auto expect_refused = [&](const TuneOptions& options) {
    EXPECT_CODE(corpus->tune("c", options), kInvalidArgument);
  };
  TuneOptions options;
  options.kind = static_cast<IndexKind>(9);
  expect_refused(options);
  for (const double target : {0.0, -1.0, 1.1, std::nan("")}) {
    options = {};
    options.target_recall = target;
    expect_refused(options);
  }
  for (const std::size_t k : {0u, 1001u}) {
    options = {};
    options.k = k;
    expect_refused(options);
  }
  options = {};
  options.num_samples = 0;
  expect_refused(options);
  std::vector<float> queries(kDim + 1, 0.5f);
  options = {};
  options.queries = queries;
  expect_refused(options);
  queries.assign(kDim, std::numeric_limits<float>::infinity());
  options.queries = queries;
  expect_refused(options);
  EXPECT_CODE(corpus->tune("none"), kNotFound);
  EXPECT_CODE(corpus->index_settings("none"), kNotFound);
  EXPECT_CODE(corpus->set_index_settings("none", {}), kNotFound);
  IndexSettings settings;
  settings.links = 1;
  EXPECT_CODE(corpus->set_index_settings("c", settings), kInvalidArgument);
  settings = {};
  settings.lists = 65537;
  EXPECT_CODE(corpus->set_index_settings("c", settings), kInvalidArgument);
  settings = {};
  settings.reason.assign(4097, 'x');
  EXPECT_CODE(corpus->set_index_settings("c", settings), kInvalidArgument);
  EXPECT_EQ(corpus->commit_seq(), commit);
  EXPECT_CODE(parse_index_kind("tree"), kInvalidArgument);
  ASSERT_OK(corpus->close());
  EXPECT_CODE(corpus->tune("c"), kFailedPrecondition);
  corpus = std::move(*Corpus::open_read_only(path));
  EXPECT_CODE(corpus->tune("c"), kFailedPrecondition);
  EXPECT_CODE(corpus->set_index_settings("c", {}), kFailedPrecondition);
}

TEST(CorpusTune, AnEmptyCollectionAndATinyOneAreTunedToo) {
  const TemporaryFolder folder;
  for (const std::size_t documents : {0u, 1u, 5u}) {
    const auto corpus = filled(folder / std::to_string(documents), documents, 100000);
    for (const IndexKind kind : {IndexKind::kAuto, IndexKind::kHnsw, IndexKind::kIvf}) {
      TuneOptions options;
      options.kind = kind;
      const auto report = corpus->tune("c", options);
      ASSERT_OK(report);
      EXPECT_EQ(report->passages, documents);
      EXPECT_EQ(report->recall, 1.0);
    }
  }
}

TEST(CorpusTune, SettingsThatAreNoneAreCorruption) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  {
    const auto corpus = filled(path, 10, 100000);
    WriteSet writes;
    writes.put_record("index/c", R"({"kind":"tree"})");
    ASSERT_OK(corpus->commit(std::move(writes)));
  }
  EXPECT_CODE(Corpus::open(path), kCorruption);
}

}  // namespace
}  // namespace collegium::index
