#include "inverted_lists.h"

#include <omp.h>

#include <algorithm>
#include <random>
#include <set>

#include "collegium/core/thread_pool.h"
#include "corpus_testing.h"
#include "measured_effort.h"
#include "vector_testing.h"

namespace collegium::index {
namespace {

std::vector<std::byte> bytes_of(const VectorBlock& block) {
  core::ByteWriter out;
  block.write(out);
  return out.bytes();
}

// Mean share of the k best by products in double precision that `options` find.
double mean_recall(const VectorBlock& block, std::span<const float> queries, std::size_t k,
                   std::size_t want, const SearchOptions& options) {
  const std::size_t dim = block.dim();
  double sum = 0.0;
  for (std::size_t q = 0; q < queries.size(); q += dim) {
    std::vector<std::pair<double, std::uint32_t>> scores;
    for (std::uint32_t i = 0; i < block.size(); ++i)
      scores.emplace_back(-product(block.vectors().data() + i * dim, queries.data() + q, dim), i);
    std::partial_sort(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(k),
                      scores.end());
    const auto found = block.search(queries.subspan(q, dim), want, {}, block.size(), options);
    EXPECT_OK(found);
    std::set<std::uint32_t> best;
    for (std::size_t i = 0; i < std::min(k, found->best.size()); ++i)
      best.insert(found->best[i].position);
    for (std::size_t i = 0; i < k; ++i) sum += static_cast<double>(best.count(scores[i].second));
  }
  return sum / static_cast<double>(queries.size() / dim * k);
}

TEST(InvertedLists, FindEverythingWithAllProbesAndMostWithFew) {
  constexpr std::size_t kDim = 32;
  const auto rows = clustered_rows(5000, kDim, 100, 1);
  const auto queries = clustered_rows(50, kDim, 100, 2);
  const auto block = VectorBlock::build_lists(*exact_block(rows, kDim), {}, 64);
  ASSERT_OK(block);
  EXPECT_EQ((*block)->kind(), IndexKind::kIvf);
  EXPECT_EQ((*block)->lists()->num_lists(), 64u);
  SearchOptions options;
  options.probes = 64;
  EXPECT_EQ(mean_recall(**block, queries, 10, 10, options), 1.0);
  options.probes = 8;
  const double few = mean_recall(**block, queries, 10, 10, options);
  EXPECT_GE(few, 0.9);
  options.probes = 1;
  EXPECT_LT(mean_recall(**block, queries, 10, 10, options), few);
}

TEST(InvertedLists, AreTheSameBytesForAnyNumberOfThreadsAndGrowAlikeAfterLoading) {
  constexpr std::size_t kDim = 16;
  const auto rows = clustered_rows(4000, kDim, 40, 3);
  const auto more = clustered_rows(500, kDim, 40, 4);
  const std::size_t before = core::default_pool().num_threads();
  std::vector<std::byte> expected, grown;
  for (const std::size_t threads : {1u, 2u, 4u}) {
    core::set_num_threads(threads);
    const auto block = VectorBlock::build_lists(*exact_block(rows, kDim), {});
    ASSERT_OK(block);
    const auto extended = VectorBlock::build_lists(**block, more);
    ASSERT_OK(extended);
    EXPECT_EQ((*extended)->size(), 4500u);
    if (expected.empty()) {
      expected = bytes_of(**block);
      grown = bytes_of(**extended);
    }
    EXPECT_EQ(bytes_of(**block), expected) << threads << " threads";
    EXPECT_EQ(bytes_of(**extended), grown) << threads << " threads";
  }
  core::set_num_threads(before);
  core::ByteReader in(expected);
  const auto loaded = VectorBlock::read(in, kDim);
  ASSERT_OK(loaded);
  EXPECT_EQ(bytes_of(**loaded), expected);
  const auto extended = VectorBlock::build_lists(**loaded, more);
  ASSERT_OK(extended);
  EXPECT_EQ(bytes_of(**extended), grown);
}

TEST(InvertedLists, DeadRowsAreNeverFoundAndABatchIsAsEachAlone) {
  constexpr std::size_t kDim = 16;
  constexpr std::size_t kRows = 4000;
  const auto rows = clustered_rows(kRows, kDim, 40, 5);
  const auto queries = clustered_rows(20, kDim, 40, 6);
  const auto block = VectorBlock::build_lists(*exact_block(rows, kDim), {});
  ASSERT_OK(block);
  std::vector<std::uint8_t> live((kRows + 7) / 8, 0);
  std::size_t num_live = 0;
  for (std::size_t i = 0; i < kRows; ++i) {
    if (i % 5 == 0) continue;
    live[i / 8] = static_cast<std::uint8_t>(live[i / 8] | 1u << (i % 8));
    ++num_live;
  }
  for (const std::size_t want : {1u, 20u, 300u, 9000u}) {
    const auto batch = (*block)->search_batch(queries, want, live, num_live);
    ASSERT_OK(batch);
    for (std::size_t q = 0; q < 20; ++q) {
      const auto alone =
          (*block)->search(std::span(queries).subspan(q * kDim, kDim), want, live, num_live);
      ASSERT_OK(alone);
      const auto& found = (*batch)[q].best;
      ASSERT_EQ(alone->best.size(), found.size());
      EXPECT_GE(found.size(), std::min(want, num_live));
      for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_NE(found[i].position % 5, 0u);
        EXPECT_EQ(found[i].position, alone->best[i].position);
        EXPECT_EQ(found[i].score, alone->best[i].score);
      }
    }
  }
}

TEST(InvertedLists, TruncatedAndFlippedBytesAreRefusedOrHarmless) {
  constexpr std::size_t kDim = 4;
  const auto rows = clustered_rows(400, kDim, 5, 7);
  const auto query = clustered_rows(1, kDim, 5, 8);
  const auto block = VectorBlock::build_lists(*exact_block(rows, kDim), {}, 20);
  ASSERT_OK(block);
  const auto bytes = bytes_of(**block);
  const auto try_bytes = [&](std::span<const std::byte> some) {
    core::ByteReader in(some);
    const auto read = VectorBlock::read(in, kDim);
    if (!read.ok()) {
      EXPECT_CODE(read, kCorruption);
      return false;
    }
    EXPECT_OK((*read)->search(query, 3, {}, (*read)->size()));
    return true;
  };
  ASSERT_TRUE(try_bytes(bytes));
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 50)
    EXPECT_FALSE(try_bytes(std::span(bytes).first(size))) << size;
  std::mt19937 random(9);
  std::size_t refused = 0;
  const std::size_t begin = 9 + rows.size() * sizeof(float);
  for (int i = 0; i < 1500; ++i) {
    auto some = bytes;
    some[begin + random() % (some.size() - begin)] ^= static_cast<std::byte>(1u << random() % 8);
    refused += try_bytes(some) ? 0 : 1;
  }
  EXPECT_GT(refused, 500u);
}

TEST(InvertedLists, TheCallersOpenMpSettingStaysAndFewRowsHaveFewLists) {
  constexpr std::size_t kDim = 8;
  omp_set_num_threads(4);
  for (const std::size_t n : {1u, 2u, 30u}) {
    const auto rows = clustered_rows(n, kDim, 2, 10);
    const auto block = VectorBlock::build_lists(*exact_block(rows, kDim), {});
    ASSERT_OK(block);
    EXPECT_LE((*block)->lists()->num_lists(), n);
    EXPECT_OK((*block)->search(std::span(rows).first(kDim), 1, {}, n));
  }
  EXPECT_EQ(omp_get_max_threads(), 4);
}

TEST(MeasuredEffort, IsTheLeastThatReachesTheTargetByBruteForce) {
  constexpr std::size_t kDim = 32;
  const auto rows = clustered_rows(5000, kDim, 5000, 11);
  const auto exact = exact_block(rows, kDim);
  const auto queries = sample_queries(*exact, 100, 7);
  EXPECT_EQ(queries, sample_queries(*exact, 100, 7));
  EXPECT_NE(queries, sample_queries(*exact, 100, 8));
  for (const bool graph : {true, false}) {
    const auto block = graph ? VectorBlock::build_graph(*exact, {}, {8, 16})
                             : VectorBlock::build_lists(*exact, {});
    ASSERT_OK(block);
    for (const double target : {0.8, 0.95, 0.99}) {
      EffortQuestion question;
      question.queries = queries;
      question.target = target;
      const auto answer = measure_effort(**block, question);
      ASSERT_OK(answer);
      EXPECT_EQ(answer->measured.queries, 100u);
      for (const TuneTrial& trial : answer->trials) {
        SearchOptions options;
        options.breadth = options.probes = trial.effort;
        EXPECT_NEAR(mean_recall(**block, queries, 10, passages_for(10), options), trial.recall,
                    1e-9);
        EXPECT_EQ(trial.recall >= target, trial.effort == answer->measured.effort);
      }
      EXPECT_EQ(answer->trials.back().effort, answer->measured.effort);
    }
  }
}

}  // namespace
}  // namespace collegium::index
