#include "vector_block.h"

#include <dirent.h>
#include <omp.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "collegium/core/thread_pool.h"
#include "corpus_testing.h"
#include "vector_testing.h"

namespace collegium::index {
namespace {

// The `k` best positions by a product in double precision.
std::vector<std::size_t> brute_force(std::span<const float> rows, std::span<const float> query,
                                     std::size_t k) {
  std::vector<std::pair<double, std::size_t>> scores;
  for (std::size_t i = 0; i * query.size() < rows.size(); ++i)
    scores.emplace_back(-product(rows.data() + i * query.size(), query.data(), query.size()), i);
  std::sort(scores.begin(), scores.end());
  std::vector<std::size_t> best;
  for (std::size_t i = 0; i < std::min(k, scores.size()); ++i) best.push_back(scores[i].second);
  return best;
}

double mean_recall(const VectorBlock& block, std::span<const float> queries, std::size_t k) {
  const std::size_t dim = block.dim();
  const std::size_t num_queries = queries.size() / dim;
  double sum = 0.0;
  for (std::size_t q = 0; q < num_queries; ++q) {
    const auto query = queries.subspan(q * dim, dim);
    const auto truth = brute_force(block.vectors(), query, k);
    const auto found = block.search(query, k, {}, block.size());
    EXPECT_TRUE(found.ok());
    std::set<std::size_t> positions;
    for (std::size_t i = 0; i < std::min(k, found->best.size()); ++i)
      positions.insert(found->best[i].position);
    for (const std::size_t position : truth) sum += positions.count(position);
  }
  return sum / static_cast<double>(num_queries * k);
}

std::size_t num_tasks() {
  std::size_t tasks = 0;
  DIR* folder = ::opendir("/proc/self/task");
  while (const dirent* entry = ::readdir(folder)) tasks += entry->d_name[0] != '.';
  ::closedir(folder);
  return tasks;
}

TEST(VectorBlock, ExactSearchEqualsBruteForceInDoublePrecision) {
  constexpr std::size_t kDim = 37;  // no multiple of any vector width
  const auto rows = clustered_rows(1500, kDim, 20, 1);
  const auto queries = clustered_rows(20, kDim, 20, 2);
  const auto block = exact_block(rows, kDim);
  for (const std::size_t k : {1u, 10u, 99u, 100u, 250u, 1500u, 4000u}) {
    for (std::size_t q = 0; q < 20; ++q) {
      const std::span query(queries.data() + q * kDim, kDim);
      const auto found = block->search(query, k, {}, 1500);
      ASSERT_OK(found);
      ASSERT_EQ(found->best.size(), std::min<std::size_t>(k, 1500));
      EXPECT_EQ(found->complete, k >= 1500);
      const auto truth = brute_force(rows, query, k);
      for (std::size_t i = 0; i < truth.size(); ++i) {
        const auto row = std::span(rows).subspan(found->best[i].position * kDim, kDim);
        EXPECT_NEAR(found->best[i].score, product(row.data(), query.data(), kDim), 1e-5);
        // Two rows may change places only where double precision hardly tells them apart.
        EXPECT_NEAR(found->best[i].score,
                    product(rows.data() + truth[i] * kDim, query.data(), kDim), 1e-5);
      }
    }
  }
}

TEST(VectorBlock, ARowsScoreHasTheSameBitsWhereverItLies) {
  constexpr std::size_t kDim = 37;
  const auto rows = clustered_rows(64, kDim, 3, 3);
  const auto query = clustered_rows(1, kDim, 3, 4);
  const auto all = exact_block(rows, kDim);
  const auto found = all->search(query, 64, {}, 64);
  ASSERT_OK(found);
  for (const ScoredPosition& best : found->best) {
    const auto alone = exact_block(std::span(rows).subspan(best.position * kDim, kDim), kDim);
    const auto one = alone->search(query, 1, {}, 1);
    ASSERT_OK(one);
    EXPECT_EQ(one->best[0].score, best.score);
  }
  // The graph computes the same score.
  const auto graph = VectorBlock::build_graph(*all, {});
  ASSERT_OK(graph);
  const auto walked = (*graph)->search(query, 5, {}, 64);
  ASSERT_OK(walked);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(walked->best[i].score, found->best[i].score);
}

TEST(VectorBlock, DeadRowsAreNeverFoundAndTheOthersAll) {
  constexpr std::size_t kDim = 8;
  const auto rows = clustered_rows(2000, kDim, 5, 5);
  const auto query = clustered_rows(1, kDim, 5, 6);
  const auto exact = exact_block(rows, kDim);
  const auto graph = VectorBlock::build_graph(*exact, {});
  ASSERT_OK(graph);
  std::vector<std::uint8_t> live((2000 + 7) / 8, 0);
  std::size_t num_live = 0;
  for (std::size_t i = 0; i < 2000; i += 3, ++num_live)
    live[i / 8] = static_cast<std::uint8_t>(live[i / 8] | 1u << (i % 8));
  for (const VectorBlock* block : {exact.get(), graph->get()}) {
    for (const std::size_t want : {1u, 20u, 100u, 5000u}) {
      const auto found = block->search(query, want, live, num_live);
      ASSERT_OK(found);
      EXPECT_GE(found->best.size(), std::min<std::size_t>(want, num_live));
      for (const ScoredPosition& best : found->best) EXPECT_EQ(best.position % 3, 0u);
    }
  }
}

TEST(VectorBlock, GraphRecallAgainstBruteForceIsAtLeast95Percent) {
  // As many clusters as rows: the hardest case. A queue of FAISS's default breadth gives 0.85.
  constexpr std::size_t kDim = 32;
  const auto rows = clustered_rows(5000, kDim, 5000, 7);
  const auto graph = VectorBlock::build_graph(*exact_block(rows, kDim), {});
  ASSERT_OK(graph);
  EXPECT_GE(mean_recall(**graph, clustered_rows(100, kDim, 5000, 8), 10), 0.95);
}

TEST(VectorBlock, SlowGraphRecallAtTheEncodersDimensionIsAtLeast99Percent) {
  constexpr std::size_t kDim = 384;
  const auto rows = clustered_rows(10000, kDim, 100, 9);
  const auto graph = VectorBlock::build_graph(*exact_block(rows, kDim), {});
  ASSERT_OK(graph);
  EXPECT_GE(mean_recall(**graph, clustered_rows(100, kDim, 100, 10), 10), 0.99);
}

TEST(VectorBlock, AGraphIsAFunctionOfItsRowsAndGrowsAlikeAfterLoading) {
  constexpr std::size_t kDim = 16;
  const auto rows = clustered_rows(3000, kDim, 30, 11);
  const auto more = clustered_rows(500, kDim, 30, 12);
  const auto bytes = [](const VectorBlock& block) {
    core::ByteWriter out;
    block.write(out);
    return out.bytes();
  };
  const auto first = VectorBlock::build_graph(*exact_block(rows, kDim), {});
  const auto second = VectorBlock::build_graph(*exact_block(rows, kDim), {});
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(bytes(**first), bytes(**second));

  const auto saved = bytes(**first);
  core::ByteReader in(saved);
  const auto loaded = VectorBlock::read(in, kDim);
  ASSERT_OK(loaded);
  EXPECT_EQ(in.remaining(), 0u);
  EXPECT_EQ(bytes(**loaded), saved);
  const auto grown = VectorBlock::build_graph(**first, more);
  const auto grown_after_loading = VectorBlock::build_graph(**loaded, more);
  ASSERT_OK(grown);
  ASSERT_OK(grown_after_loading);
  EXPECT_EQ((*grown)->size(), 3500u);
  EXPECT_EQ(bytes(**grown), bytes(**grown_after_loading));
  EXPECT_EQ(bytes(**first), saved) << "the graph that was extended must not change";
  EXPECT_GE(mean_recall(**grown, clustered_rows(50, kDim, 30, 13), 10), 0.95);
}

TEST(VectorBlock, ABatchGivesEachQueryTheBitsItGetsAloneOnAnyNumberOfThreads) {
  constexpr std::size_t kDim = 24;
  constexpr std::size_t kRows = 12000;  // enough to be scanned by codes
  constexpr std::size_t kQueries = 40;
  const auto rows = clustered_rows(kRows, kDim, 60, 18);
  const auto queries = clustered_rows(kQueries, kDim, 60, 19);
  const auto exact = exact_block(rows, kDim);
  EXPECT_EQ(exact->scan_kind(), ScanKind::kInt8);
  const auto graph = VectorBlock::build_graph(*exact, {});
  ASSERT_OK(graph);
  std::vector<std::uint8_t> live((kRows + 7) / 8, 0xff);
  live[100] = 0;
  const std::size_t before = core::default_pool().num_threads();
  SearchOptions floats;
  floats.exact = true;
  floats.scan = ScanKind::kFloat32;
  SearchOptions halves = floats;
  halves.scan = ScanKind::kBfloat16;
  SearchOptions bytes = floats;
  bytes.scan = ScanKind::kAuto;
  for (const std::size_t want : {10u, 100u}) {
    core::set_num_threads(1);
    const auto truth = exact->search_batch(queries, want, live, kRows - 8, floats);
    const auto walked = (*graph)->search_batch(queries, want, live, kRows - 8);
    ASSERT_OK(truth);
    ASSERT_OK(walked);
    for (const std::size_t threads : {1u, 2u, 3u}) {
      core::set_num_threads(threads);
      const auto expect_same = [&](const VectorBlock& block, const SearchOptions& options,
                                   const std::vector<BlockResult>& expected) {
        const auto batch = block.search_batch(queries, want, live, kRows - 8, options);
        ASSERT_OK(batch);
        ASSERT_EQ(batch->size(), kQueries);
        for (std::size_t q = 0; q < kQueries; ++q) {
          const auto alone = block.search(std::span(queries).subspan(q * kDim, kDim), want, live,
                                          kRows - 8, options);
          ASSERT_OK(alone);
          for (const BlockResult* found : {&(*batch)[q], &*alone}) {
            ASSERT_EQ(found->best.size(), expected[q].best.size());
            EXPECT_EQ(found->bound, expected[q].bound);
            for (std::size_t i = 0; i < found->best.size(); ++i) {
              ASSERT_EQ(found->best[i].position, expected[q].best[i].position);
              ASSERT_EQ(found->best[i].score, expected[q].best[i].score);
            }
          }
        }
      };
      expect_same(*exact, floats, *truth);
      expect_same(*exact, bytes, *truth);
      expect_same(*exact, halves, *truth);
      expect_same(**graph, bytes, *truth);
      expect_same(**graph, {}, *walked);
    }
  }
  core::set_num_threads(before);
}

TEST(VectorBlock, AKindOfScanThatIsNoneIsAnError) {
  const auto block = exact_block(clustered_rows(10, 4, 2, 20), 4);
  SearchOptions options;
  options.scan = static_cast<ScanKind>(9);
  const std::vector<float> query(4, 0.5f);
  EXPECT_EQ(block->search(query, 1, {}, 10, options).status().code(), StatusCode::kInvalidArgument);
}

// Without an envelope around it: what reaches FAISS must be sound even if every checksum holds.
TEST(VectorBlock, TruncatedAndFlippedBytesAreRefusedOrHarmless) {
  constexpr std::size_t kDim = 4;
  const auto rows = clustered_rows(300, kDim, 5, 14);
  const auto query = clustered_rows(1, kDim, 5, 15);
  const auto graph = VectorBlock::build_graph(*exact_block(rows, kDim), {});
  ASSERT_OK(graph);
  core::ByteWriter out;
  (*graph)->write(out);
  const auto try_bytes = [&](std::span<const std::byte> bytes) {
    core::ByteReader in(bytes);
    const auto block = VectorBlock::read(in, kDim);
    if (!block.ok()) {
      EXPECT_EQ(block.status().code(), StatusCode::kCorruption) << block.status().to_string();
      return false;
    }
    EXPECT_OK((*block)->search(query, 3, {}, (*block)->size()));
    return true;
  };
  ASSERT_TRUE(try_bytes(out.bytes()));
  for (std::size_t size = 0; size < out.bytes().size(); size += 1 + size / 50)
    EXPECT_FALSE(try_bytes(std::span(out.bytes()).first(size))) << size;
  std::mt19937 random(16);
  std::size_t refused = 0;
  for (int i = 0; i < 1500; ++i) {
    auto bytes = out.bytes();
    // Past the vectors, where any change is a change of the graph.
    const std::size_t begin = i % 3 == 0 ? 0 : 9 + rows.size() * sizeof(float);
    const std::size_t at = begin + random() % (bytes.size() - begin);
    bytes[at] ^= static_cast<std::byte>(1u << random() % 8);
    refused += !try_bytes(bytes);
  }
  EXPECT_GT(refused, 500u);
}

TEST(VectorBlock, NoOpenMpThreadAppearsAndTheCallersSettingStays) {
  constexpr std::size_t kDim = 32;
  omp_set_num_threads(4);
  core::default_pool();  // whose threads are there before, and are ours
  const std::size_t before = num_tasks();
  const auto rows = clustered_rows(2000, kDim, 10, 17);
  const auto block = exact_block(rows, kDim);
  const auto graph = VectorBlock::build_graph(*block, {});
  ASSERT_OK(graph);
  for (const VectorBlock* searched : {block.get(), graph->get()})
    ASSERT_OK(searched->search(std::span(rows).first(kDim), 10, {}, 2000));
  EXPECT_EQ(num_tasks(), before);
  EXPECT_EQ(omp_get_max_threads(), 4);
}

}  // namespace
}  // namespace collegium::index
