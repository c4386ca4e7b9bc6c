#include "scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "scan_kernels.h"
#include "vector_testing.h"

namespace collegium::index {
namespace {

std::vector<std::uint8_t> random_bits(std::size_t n, double share, std::size_t& num_set,
                                      std::mt19937& random) {
  std::vector<std::uint8_t> bits((n + 7) / 8, 0);
  std::bernoulli_distribution alive(share);
  num_set = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!alive(random)) continue;
    bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1u << (i % 8));
    ++num_set;
  }
  return bits;
}

void expect_same(const std::vector<BlockResult>& a, const std::vector<BlockResult>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t q = 0; q < a.size(); ++q) {
    ASSERT_EQ(a[q].best.size(), b[q].best.size()) << what << " query " << q;
    EXPECT_EQ(a[q].complete, b[q].complete) << what;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(a[q].bound), std::bit_cast<std::uint32_t>(b[q].bound));
    for (std::size_t i = 0; i < a[q].best.size(); ++i) {
      ASSERT_EQ(a[q].best[i].position, b[q].best[i].position) << what << " query " << q;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(a[q].best[i].score),
                std::bit_cast<std::uint32_t>(b[q].best[i].score))
          << what << " query " << q << " rank " << i;
    }
  }
}

// Puts the process's threads back.
class Threads {
 public:
  Threads() : before_(core::default_pool().num_threads()) {}
  ~Threads() { core::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  std::size_t before_;
};

TEST(ScanKernels, ProductsAreThoseOfDoublePrecisionAndTheirBitsDependOnNothingElse) {
  for (const core::Isa isa : core::available_isas()) {
    const ScanKernels& kernels = scan_kernels_for(isa);
    std::uint32_t seed = 1;
    for (const std::size_t dim :
         {1u, 2u, 3u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 384u, 399u}) {
      constexpr std::size_t kRows = 29;
      constexpr std::size_t kQueries = 11;
      const auto rows = normal_numbers(kRows * dim, seed++);
      const auto queries = normal_numbers(kQueries * dim, seed++);
      std::vector<float> all(kQueries * kRows);
      kernels.score_rows(rows.data(), nullptr, kRows, dim, queries.data(), kQueries, all.data(),
                         kRows, {});
      for (std::size_t q = 0; q < kQueries; ++q) {
        for (std::size_t i = 0; i < kRows; ++i) {
          const float* row = rows.data() + i * dim;
          const float* query = queries.data() + q * dim;
          const double scale = length(row, dim) * length(query, dim);
          const float score = all[q * kRows + i];
          EXPECT_NEAR(score, product(row, query, dim), static_cast<double>(dim) * 6e-8 * scale);
          EXPECT_EQ(score, kernels.product(row, query, dim));
          EXPECT_EQ(score, kernels.product(query, row, dim));
        }
      }
      // Any number of rows and queries, rows named in any order.
      std::mt19937 random(seed);
      for (std::size_t n : {1u, 2u, 3u, 5u, 8u, 12u, 17u}) {
        for (std::size_t count = 1; count <= kQueries; ++count) {
          std::vector<std::uint32_t> positions(n);
          for (auto& p : positions) p = static_cast<std::uint32_t>(random() % kRows);
          std::vector<float> some(count * (n + 3), -7.0f);
          kernels.score_rows(rows.data(), positions.data(), n, dim, queries.data(), count,
                             some.data(), n + 3, {rows.data(), rows.size() * sizeof(float)});
          for (std::size_t q = 0; q < count; ++q)
            for (std::size_t i = 0; i < n + 3; ++i)
              ASSERT_EQ(some[q * (n + 3) + i], i < n ? all[q * kRows + positions[i]] : -7.0f)
                  << core::isa_name(isa) << " dim " << dim;
        }
      }
    }
  }
}

TEST(ScanKernels, SquaredDistancesAreThoseOfDoublePrecision) {
  for (const core::Isa isa : core::available_isas()) {
    for (std::size_t dim = 1; dim < 70; ++dim) {
      const auto a = normal_numbers(dim, 5);
      const auto b = normal_numbers(dim, 6);
      double sum = 0.0;
      for (std::size_t d = 0; d < dim; ++d)
        sum += (static_cast<double>(a[d]) - b[d]) * (static_cast<double>(a[d]) - b[d]);
      EXPECT_NEAR(scan_kernels_for(isa).squared_distance(a.data(), b.data(), dim), sum,
                  sum * 1e-6 * static_cast<double>(dim));
    }
  }
}

TEST(ScanKernels, IntegerProductsAreExactAtTheirLimits) {
  std::mt19937 random(7);
  for (const core::Isa isa : core::available_isas()) {
    const int most = scan_kernels_for(isa).query_offset - 1;
    for (const std::size_t dim : {64u, 192u, 384u, 4096u}) {
      constexpr std::size_t kRows = 13;
      constexpr std::size_t kQueries = 7;
      std::vector<std::int8_t> rows(kRows * dim);
      std::vector<std::int8_t> codes(kQueries * dim);
      for (std::size_t i = 0; i < rows.size(); ++i)
        rows[i] = i < dim       ? std::int8_t{127}
                  : i < 2 * dim ? std::int8_t{-127}
                                : static_cast<std::int8_t>(random() % 255 - 127);
      for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::int8_t>(
            i < dim ? most
            : i < 2 * dim
                ? -most
                : static_cast<int>(random() % static_cast<unsigned>(2 * most + 1)) - most);
      std::vector<std::uint8_t> queries(codes.size());
      for (std::size_t i = 0; i < codes.size(); ++i)
        queries[i] = static_cast<std::uint8_t>(codes[i] + most + 1);
      std::vector<std::int32_t> row_sum(kRows);
      for (std::size_t i = 0; i < kRows; ++i)
        row_sum[i] = std::accumulate(rows.data() + i * dim, rows.data() + (i + 1) * dim, 0);
      const std::vector<float> row_scale(kRows, 0.5f);
      const std::vector<float> query_scale(kQueries, 2.0f);
      for (std::size_t count = 1; count <= kQueries; ++count) {
        std::vector<float> out(count * kRows);
        scan_kernels_for(isa).score_rows_int8(rows.data(), row_scale.data(), row_sum.data(), kRows,
                                              dim, queries.data(), query_scale.data(), count,
                                              out.data(), kRows, {});
        for (std::size_t q = 0; q < count; ++q) {
          for (std::size_t i = 0; i < kRows; ++i) {
            std::int64_t sum = 0;
            for (std::size_t d = 0; d < dim; ++d)
              sum += std::int64_t{rows[i * dim + d]} * codes[q * dim + d];
            ASSERT_EQ(out[q * kRows + i], static_cast<float>(sum))
                << core::isa_name(isa) << " row " << i << " query " << q;
          }
        }
      }
    }
  }
}

TEST(ScanKernels, SelectionsAndBitCountsEqualPlainLoops) {
  std::mt19937 random(8);
  for (const core::Isa isa : core::available_isas()) {
    const ScanKernels& kernels = scan_kernels_for(isa);
    for (std::size_t n = 0; n < 70; ++n) {
      auto values = normal_numbers(n, static_cast<std::uint32_t>(n));
      for (float& v : values) v = std::round(v * 4) / 4;  // equal to the threshold now and then
      std::vector<float> error(n, 0.25f);
      std::vector<std::uint32_t> above, possible, out(n);
      for (std::uint32_t i = 0; i < n; ++i) {
        if (values[i] > 0.5f) above.push_back(i);
        if (values[i] + 0.25f * 2.0f >= 0.5f) possible.push_back(i);
      }
      out.resize(kernels.select_above(values.data(), n, 0.5f, out.data()));
      EXPECT_EQ(out, above);
      out.resize(n);
      out.resize(kernels.select_possible(values.data(), error.data(), n, 2.0f, 0.5f, out.data()));
      EXPECT_EQ(out, possible);
    }
    std::vector<std::uint64_t> rows(20 * 3), query(3);
    for (auto& word : rows) word = (std::uint64_t{random()} << 32) | random();
    for (auto& word : query) word = (std::uint64_t{random()} << 32) | random();
    std::vector<std::uint32_t> differences(20);
    kernels.count_differences(rows.data(), 20, 3, query.data(), differences.data());
    for (std::size_t i = 0; i < 20; ++i) {
      std::uint32_t expected = 0;
      for (std::size_t bit = 0; bit < 192; ++bit)
        expected += ((rows[i * 3 + bit / 64] ^ query[bit / 64]) >> (bit % 64) & 1) != 0;
      EXPECT_EQ(differences[i], expected);
    }
  }
}

// The rows that must be found: all whose product in double precision is clearly above the k-th.
TEST(Scan, FindsTheBestLiveRowsOfDoublePrecisionForRandomShapes) {
  std::mt19937 random(9);
  for (int round = 0; round < 60; ++round) {
    const std::size_t dim = 1 + random() % 400;
    const std::size_t n = 1 + random() % 700;
    const std::size_t num_queries = 1 + random() % 20;
    const auto vectors = normal_numbers(n * dim, random());
    const auto queries = normal_numbers(num_queries * dim, random());
    ScanRows rows{vectors, dim, {}, n};
    std::vector<std::uint8_t> bits;
    if (round % 3 != 0) {
      bits = random_bits(n, round % 3 == 1 ? 0.9 : 0.1, rows.num_live, random);
      rows.live = bits;
    }
    const std::size_t want = 1 + random() % 60;
    const std::size_t k = std::min(want, rows.num_live);
    const auto results = scan_floats(rows, queries, want);
    ASSERT_EQ(results.size(), num_queries);
    for (std::size_t q = 0; q < num_queries; ++q) {
      const float* query = queries.data() + q * dim;
      ASSERT_EQ(results[q].best.size(), k);
      EXPECT_EQ(results[q].complete, k == rows.num_live);
      std::vector<std::pair<double, std::size_t>> truth;
      double scale = 0.0;
      for (std::size_t i = 0; i < n; ++i) {
        const float* row = vectors.data() + i * dim;
        if (rows.alive(i)) truth.emplace_back(-product(row, query, dim), i);
        scale = std::max(scale, length(row, dim) * length(query, dim));
      }
      std::sort(truth.begin(), truth.end());
      const double tolerance = static_cast<double>(dim) * 6e-8 * scale;
      for (std::size_t i = 0; i < k; ++i) {
        const auto [score, position] = results[q].best[i];
        EXPECT_TRUE(rows.alive(position));
        EXPECT_NEAR(score, product(vectors.data() + position * dim, query, dim), tolerance);
        EXPECT_NEAR(score, -truth[i].first, tolerance);
        if (i > 0) {
          EXPECT_TRUE(scores_better(results[q].best[i - 1], results[q].best[i]));
        }
      }
    }
  }
}

TEST(Scan, TiesGoToTheLowestPositionsAlsoAcrossTheEnd) {
  // Every row three times, and a third of all rows equal: whole numbers, so that products are
  // exact.
  constexpr std::size_t kDim = 19;
  constexpr std::size_t kRows = 5000;
  std::mt19937 random(10);
  std::vector<float> vectors(kRows * kDim);
  for (std::size_t i = 0; i < kRows; ++i) {
    std::mt19937 of_row(i % 3 == 0 ? 0 : i / 3);
    for (std::size_t d = 0; d < kDim; ++d)
      vectors[i * kDim + d] = static_cast<float>(of_row() % 3) - 1.0f;
  }
  std::vector<float> queries(6 * kDim);
  for (float& x : queries) x = static_cast<float>(random() % 3) - 1.0f;
  const ScanRows rows{vectors, kDim, {}, kRows};
  for (const std::size_t k : {1u, 7u, 300u, 2500u, 5000u, 9000u}) {
    std::vector<std::vector<ScoredPosition>> truth;
    for (std::size_t q = 0; q < 6; ++q) {
      auto& all = truth.emplace_back();
      for (std::uint32_t i = 0; i < kRows; ++i)
        all.push_back({static_cast<float>(
                           product(vectors.data() + i * kDim, queries.data() + q * kDim, kDim)),
                       i});
      std::sort(all.begin(), all.end(), scores_better);
      all.resize(std::min<std::size_t>(k, kRows));
    }
    for (const ScanKind kind : {ScanKind::kFloat32, ScanKind::kInt8, ScanKind::kBfloat16}) {
      const auto results = scan_codes(rows, make_codes(vectors, kDim, kind), queries, k);
      for (std::size_t q = 0; q < 6; ++q) {
        ASSERT_EQ(results[q].best.size(), truth[q].size());
        for (std::size_t i = 0; i < truth[q].size(); ++i) {
          ASSERT_EQ(results[q].best[i].position, truth[q][i].position);
          ASSERT_EQ(results[q].best[i].score, truth[q][i].score);
        }
      }
    }
  }
}

TEST(Scan, CodesWithRescoringGiveTheBitsOfFloatsAloneInBatchesAndOnAnyThreads) {
  const Threads restore;
  std::mt19937 random(11);
  for (int round = 0; round < 24; ++round) {
    const std::size_t dim = round < 4 ? 384 : 1 + random() % 400;
    const std::size_t n = round < 4 ? 9000 : 1 + random() % 3000;
    const std::size_t num_queries = 1 + random() % 40;
    auto vectors = normal_numbers(n * dim, random());
    const auto centres = normal_numbers(10 * dim, random());
    // Clustered, of very different lengths in some rounds, with some rows of zeros.
    for (std::size_t i = 0; i < n; ++i) {
      const float scale = round % 4 == 3 ? std::exp2(static_cast<float>(random() % 60) - 30) : 1.0f;
      for (std::size_t d = 0; d < dim; ++d) {
        float& x = vectors[i * dim + d];
        x = i % 97 == 5 ? 0.0f : scale * (centres[i % 10 * dim + d] + 0.5f * x);
      }
    }
    auto queries = normal_numbers(num_queries * dim, random());
    std::copy_n(vectors.data(), dim, queries.data());
    if (round % 5 == 4) std::fill_n(queries.data(), dim, 0.0f);
    ScanRows rows{vectors, dim, {}, n};
    std::vector<std::uint8_t> bits;
    if (round % 3 == 2) {
      bits = random_bits(n, 0.7, rows.num_live, random);
      rows.live = bits;
    }
    const std::size_t want = 1 + random() % 80;
    core::set_num_threads(1);
    const auto floats = scan_floats(rows, queries, want);
    for (const ScanKind kind : {ScanKind::kInt8, ScanKind::kBfloat16}) {
      const ScanCodes codes = make_codes(vectors, dim, kind);
      expect_same(scan_codes(rows, codes, queries, want), floats, "one thread");
      for (std::size_t q = 0; q < num_queries; q += 7) {
        const auto alone = scan_codes(rows, codes, std::span(queries).subspan(q * dim, dim), want);
        expect_same(alone, {floats[q]}, "alone");
      }
    }
    for (const std::size_t threads : {2u, 3u}) {
      core::set_num_threads(threads);
      expect_same(scan_floats(rows, queries, want), floats, "threads");
      const ScanCodes codes = make_codes(vectors, dim, ScanKind::kInt8);
      expect_same(scan_codes(rows, codes, queries, want), floats, "threads, int8");
      expect_same(scan_floats(rows, std::span(queries).first(dim), want), {floats[0]}, "alone");
    }
  }
}

TEST(Scan, NumbersAtTheEdgesOfFloatsGiveTheBitsOfFloatsToo) {
  constexpr std::size_t kDim = 24;
  constexpr std::size_t kRows = 400;
  for (const float scale : {1e-44f, 1e-38f, 1e-30f, 1e-19f, 1e15f, 1e18f}) {
    auto vectors = normal_numbers(kRows * kDim, 12);
    for (float& x : vectors) x *= scale;
    for (const float query_scale : {1e-44f, 1e-20f, 1.0f, 1e17f}) {
      auto queries = normal_numbers(3 * kDim, 13);
      for (float& x : queries) x *= query_scale;
      const ScanRows rows{vectors, kDim, {}, kRows};
      const auto floats = scan_floats(rows, queries, 20);
      for (const ScanKind kind : {ScanKind::kInt8, ScanKind::kBfloat16})
        expect_same(scan_codes(rows, make_codes(vectors, kDim, kind), queries, 20), floats,
                    std::to_string(scale) + " " + std::to_string(query_scale));
    }
  }
}

TEST(Scan, SignsWithRescoringFindNearlyAllOfClusteredRows) {
  constexpr std::size_t kDim = 384;
  constexpr std::size_t kRows = 10000;
  constexpr std::size_t kQueries = 50;
  auto vectors = normal_numbers(kRows * kDim, 14);
  const auto centres = normal_numbers(100 * kDim, 15);
  for (std::size_t i = 0; i < vectors.size(); ++i)
    vectors[i] = centres[i / kDim % 100 * kDim + i % kDim] + 0.7f * vectors[i];
  auto queries = normal_numbers(kQueries * kDim, 16);
  for (std::size_t i = 0; i < queries.size(); ++i)
    queries[i] = centres[i / kDim % 100 * kDim + i % kDim] + 0.7f * queries[i];
  const ScanRows rows{vectors, kDim, {}, kRows};
  const auto truth = scan_floats(rows, queries, 10);
  const auto found = scan_codes(rows, make_codes(vectors, kDim, ScanKind::kBinary), queries, 10);
  std::size_t both = 0;
  for (std::size_t q = 0; q < kQueries; ++q) {
    ASSERT_EQ(found[q].best.size(), 10u);
    for (const auto& a : truth[q].best)
      for (const auto& b : found[q].best) {
        if (a.position != b.position) continue;
        EXPECT_EQ(a.score, b.score);
        ++both;
      }
  }
  EXPECT_GE(static_cast<double>(both), 0.95 * 10 * kQueries);
}

TEST(Scan, NothingAliveOrNothingWantedIsAnEmptyResult) {
  const auto vectors = normal_numbers(40, 17);
  const std::vector<std::uint8_t> none(2, 0);
  const std::span query(vectors.data(), 4);
  const auto dead = scan_floats({vectors, 4, none, 0}, query, 3);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_TRUE(dead[0].best.empty());
  EXPECT_TRUE(dead[0].complete);
  EXPECT_TRUE(scan_floats({{}, 4, {}, 0}, query, 3)[0].complete);
  const auto nothing =
      scan_codes({vectors, 4, {}, 10}, make_codes(vectors, 4, ScanKind::kInt8), query, 0);
  EXPECT_TRUE(nothing[0].best.empty());
  EXPECT_FALSE(nothing[0].complete);
}

}  // namespace
}  // namespace collegium::index
