// Scans of batches: the kernels that select survivors against whole numbers and double precision,
// and whole scans against brute force.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "scan.h"
#include "scan_kernels.h"
#include "vector_testing.h"

namespace collegium::index {
namespace {

// Where number d of query q stands in panels of T.
template <typename T>
std::size_t place_in_panel(std::size_t q, std::size_t d, std::size_t dim) {
  constexpr std::size_t kGroup = 4 / sizeof(T);
  const std::size_t group = q / kPanelWidth * (dim / kGroup) + d / kGroup;
  return (group * kPanelWidth + q % kPanelWidth) * kGroup + d % kGroup;
}

using Pairs = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

Pairs sorted(const std::vector<Survivor>& survivors, std::size_t count) {
  Pairs pairs;
  for (std::size_t i = 0; i < count; ++i) pairs.emplace_back(survivors[i].row, survivors[i].query);
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

// Codes that keep the promise of make_codes(), some of them at its limit.
std::vector<std::int8_t> code_rows(std::size_t n, std::size_t dim, std::mt19937& random) {
  std::vector<std::int8_t> rows(n * dim);
  for (std::size_t i = 0; i < n; ++i) {
    const int style = static_cast<int>(random() % 4);
    for (std::size_t d = 0; d < dim; ++d) {
      int code = static_cast<int>(random() % 129) - 64;
      const bool second = d % 8 >= 4;  // of the two pairs whose products are added up
      if (style == 1) code = second ? 2 : 127;
      if (style == 2) code = second ? -2 : -127;
      if (style == 3) code = d % 2 == 0 ? (second ? -127 : 127) : 2;
      rows[i * dim + d] = static_cast<std::int8_t>(code);
    }
  }
  return rows;
}

TEST(ScanBatch, SurvivorsOfIntegerProductsAreExactAtTheLimitsOfBytes) {
  std::mt19937 random(31);
  for (const core::Isa isa : core::available_isas()) {
    const ScanKernels& kernels = scan_kernels_for(isa);
    for (int round = 0; round < 40; ++round) {
      const std::size_t dim = 64 * (1 + random() % 7);
      const std::size_t n = 1 + random() % 100;
      const std::size_t num_queries = 1 + random() % 70;
      const std::size_t num_panels = (num_queries + kPanelWidth - 1) / kPanelWidth;
      const std::size_t padded = num_panels * kPanelWidth;
      const int most = kernels.query_offset - 1;
      const auto rows = code_rows(n, dim, random);
      std::vector<std::int8_t> codes(num_queries * dim);
      for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::int8_t>(
            i < dim       ? most
            : i < 2 * dim ? -most
                          : static_cast<int>(random() % (2 * most + 1)) - most);
      std::vector<std::uint8_t> panels(padded * dim, 0);
      for (std::size_t q = 0; q < num_queries; ++q)
        for (std::size_t d = 0; d < dim; ++d)
          panels[place_in_panel<std::uint8_t>(q, d, dim)] =
              static_cast<std::uint8_t>(codes[q * dim + d] + kernels.query_offset);
      std::vector<std::int32_t> row_sum(n, 0);
      for (std::size_t i = 0; i < rows.size(); ++i) row_sum[i / dim] += rows[i];
      // Whole numbers below 2^24 throughout, so that comparisons are exact.
      std::vector<float> row_scale(n), error(n), reach(padded, 0.0f),
          limit(padded, std::numeric_limits<float>::infinity());
      for (std::size_t i = 0; i < n; ++i) {
        row_scale[i] = static_cast<float>(1 + random() % 2);
        error[i] = static_cast<float>(random() % 3);
      }
      Pairs expected;
      for (std::size_t q = 0; q < num_queries; ++q) {
        reach[q] = static_cast<float>(random() % 1000);
        std::vector<std::int64_t> highest(n);
        for (std::size_t i = 0; i < n; ++i) {
          std::int64_t sum = 0;
          for (std::size_t d = 0; d < dim; ++d)
            sum += std::int64_t{rows[i * dim + d]} * codes[q * dim + d];
          highest[i] = static_cast<std::int64_t>(row_scale[i]) * sum +
                       static_cast<std::int64_t>(error[i] * reach[q]);
        }
        const std::int64_t bar = highest[random() % n];  // reached exactly by one at the least
        limit[q] = static_cast<float>(bar);
        for (std::size_t i = 0; i < n; ++i)
          if (highest[i] >= bar)
            expected.emplace_back(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(q));
      }
      std::sort(expected.begin(), expected.end());
      std::vector<Survivor> out(n * padded);
      const std::size_t count =
          kernels.select_int8(rows.data(), row_scale.data(), row_sum.data(), error.data(), n, dim,
                              {panels.data(), num_panels, reach.data(), limit.data()}, out.data(),
                              {rows.data(), rows.size()});
      ASSERT_EQ(sorted(out, count), expected)
          << core::isa_name(isa) << " n " << n << " dim " << dim << " queries " << num_queries;
    }
  }
}

float from_half(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

// All that reach the limit by more than rounding can do survive, and none that miss it by more.
void expect_selected(const std::vector<float>& rows, const std::vector<float>& queries,
                     std::size_t dim, const std::vector<float>& error,
                     const std::vector<float>& reach, const std::vector<float>& limit,
                     const Pairs& found, core::Isa isa) {
  const std::size_t n = rows.size() / dim;
  for (std::uint32_t i = 0; i < n; ++i) {
    for (std::uint32_t q = 0; q < queries.size() / dim; ++q) {
      const float* row = rows.data() + i * dim;
      const float* query = queries.data() + q * dim;
      const double highest = product(row, query, dim) + static_cast<double>(error[i]) * reach[q];
      const double rounding = 1.1 * static_cast<double>(dim + 16) * 0x1p-24 *
                              (length(row, dim) * length(query, dim) + error[i] * reach[q]);
      const bool survived = std::binary_search(found.begin(), found.end(), std::pair(i, q));
      if (std::abs(highest - limit[q]) <= rounding) continue;
      ASSERT_EQ(survived, highest > limit[q])
          << core::isa_name(isa) << " row " << i << " query " << q;
    }
  }
  for (const auto& [row, query] : found) {
    ASSERT_LT(row, n);
    ASSERT_LT(query, queries.size() / dim);
  }
  ASSERT_EQ(std::adjacent_find(found.begin(), found.end()), found.end());
}

TEST(ScanBatch, SurvivorsOfFloatsAndHalvesAreThoseOfDoublePrecision) {
  std::mt19937 random(32);
  for (const core::Isa isa : core::available_isas()) {
    const ScanKernels& kernels = scan_kernels_for(isa);
    for (int round = 0; round < 40; ++round) {
      const bool halves = round % 2 == 1;
      if (halves && kernels.select_bf16 == nullptr) continue;
      const std::size_t dim = halves ? 32 * (1 + random() % 9) : 1 + random() % 400;
      const std::size_t n = 1 + random() % 100;
      const std::size_t num_queries = 1 + random() % 70;
      const std::size_t num_panels = (num_queries + kPanelWidth - 1) / kPanelWidth;
      const std::size_t padded = num_panels * kPanelWidth;
      auto rows = normal_numbers(n * dim, random());
      auto queries = normal_numbers(num_queries * dim, random());
      const auto cut = [](float& x) {
        x = from_half(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16));
      };
      if (halves) {
        std::for_each(rows.begin(), rows.end(), cut);
        std::for_each(queries.begin(), queries.end(), cut);
      }
      std::vector<float> error(n), reach(padded, 0.0f),
          limit(padded, std::numeric_limits<float>::infinity());
      for (float& x : error) x = static_cast<float>(random() % 100) / 100;
      for (std::size_t q = 0; q < num_queries; ++q) {
        reach[q] = static_cast<float>(random() % 100) / 100;
        limit[q] = static_cast<float>(
            product(rows.data() + random() % n * dim, queries.data() + q * dim, dim));
      }
      std::vector<Survivor> out(n * padded);
      std::size_t count = 0;
      const FetchAhead ahead{rows.data(), rows.size() * sizeof(float)};
      if (halves) {
        std::vector<std::uint16_t> half_rows(n * dim), panels(padded * dim, 0);
        for (std::size_t i = 0; i < half_rows.size(); ++i)
          half_rows[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(rows[i]) >> 16);
        for (std::size_t q = 0; q < num_queries; ++q)
          for (std::size_t d = 0; d < dim; ++d)
            panels[place_in_panel<std::uint16_t>(q, d, dim)] = static_cast<std::uint16_t>(
                std::bit_cast<std::uint32_t>(queries[q * dim + d]) >> 16);
        count = kernels.select_bf16(half_rows.data(), error.data(), n, dim,
                                    {panels.data(), num_panels, reach.data(), limit.data()},
                                    out.data(), ahead);
      } else {
        std::vector<float> panels(padded * dim, 0.0f);
        for (std::size_t q = 0; q < num_queries; ++q)
          for (std::size_t d = 0; d < dim; ++d)
            panels[place_in_panel<float>(q, d, dim)] = queries[q * dim + d];
        count = kernels.select_floats(rows.data(), error.data(), n, dim,
                                      {panels.data(), num_panels, reach.data(), limit.data()},
                                      out.data(), ahead);
      }
      expect_selected(rows, queries, dim, error, reach, limit, sorted(out, count), isa);
    }
  }
}

TEST(ScanBatch, ProductsOfFloatsAndCodesAreThoseOfDoublePrecision) {
  std::mt19937 random(33);
  for (const core::Isa isa : core::available_isas()) {
    for (const std::size_t dim : {64u, 192u, 384u, 1024u}) {
      const auto codes = code_rows(1, dim, random);
      const auto query = normal_numbers(dim, random());
      const std::vector<float> wide(codes.begin(), codes.end());
      EXPECT_NEAR(scan_kernels_for(isa).product_int8(codes.data(), query.data(), dim),
                  product(wide.data(), query.data(), dim),
                  static_cast<double>(dim) * 0x1p-24 * length(wide.data(), dim) *
                      length(query.data(), dim));
    }
  }
}

TEST(ScanBatch, CodesOfAnyRowLeaveTheSumsOfPairsRoomInSixteenBits) {
  std::mt19937 random(34);
  for (int round = 0; round < 300; ++round) {
    const std::size_t dim = 1 + random() % 100;
    auto row = normal_numbers(dim, random());
    for (float& x : row) {
      if (round % 4 == 1) x = 0.3f;                     // all alike
      if (round % 4 == 2) x = x > 0.0f ? 1.0f : -1.0f;  // alike in size
      if (round % 4 == 3) x = std::pow(x, 9.0f);        // a few large ones
    }
    const ScanCodes codes = make_codes(row, dim, ScanKind::kInt8);
    ASSERT_EQ(codes.stride % 64, 0u);
    double off = 0.0;
    for (std::size_t d = 0; d < codes.stride; ++d) {
      const int code = codes.bytes[d];
      ASSERT_LE(std::abs(code), 127);
      const double rest = (d < dim ? row[d] : 0.0) - static_cast<double>(codes.scale[0]) * code;
      off += rest * rest;
      if (d % 8 != 0) continue;
      for (const std::size_t pair : {d, d + 2})
        ASSERT_LE(std::abs(codes.bytes[pair]) + std::abs(codes.bytes[pair + 1]) +
                      std::abs(codes.bytes[pair + 4]) + std::abs(codes.bytes[pair + 5]),
                  258);
    }
    ASSERT_LE(std::sqrt(off), codes.error[0]);
  }
}

void expect_same(const BlockResult& a, const BlockResult& b, const std::string& what) {
  ASSERT_EQ(a.best.size(), b.best.size()) << what;
  EXPECT_EQ(a.complete, b.complete) << what;
  EXPECT_EQ(std::bit_cast<std::uint32_t>(a.bound), std::bit_cast<std::uint32_t>(b.bound)) << what;
  for (std::size_t i = 0; i < a.best.size(); ++i) {
    ASSERT_EQ(a.best[i].position, b.best[i].position) << what << " rank " << i;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(a.best[i].score),
              std::bit_cast<std::uint32_t>(b.best[i].score))
        << what << " rank " << i;
  }
}

class Threads {
 public:
  Threads() : before_(core::default_pool().num_threads()) {}
  ~Threads() { core::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  std::size_t before_;
};

// The bits of a query alone against all rows, which scan_test.cc holds to double precision.
TEST(ScanBatch, AnyShapeGivesEachQueryTheBitsItGetsAlone) {
  const Threads restore;
  std::mt19937 random(35);
  constexpr std::size_t kBatches[] = {1, 7, 8, 15, 16, 17, 31, 33, 64, 100, 255, 256, 257, 300};
  for (int round = 0; round < 42; ++round) {
    const std::size_t dim = round % 3 == 0 ? 64 * (1 + random() % 6) : 1 + random() % 200;
    const std::size_t n = round % 4 == 0 ? 1 + random() % 40 : 1 + random() % 1500;
    const std::size_t num_queries = kBatches[round % std::size(kBatches)];
    const std::size_t want = 1 + random() % 20;
    auto vectors = normal_numbers(n * dim, random());
    auto queries = normal_numbers(num_queries * dim, random());
    for (std::size_t i = 0; i < n; ++i) {
      float* row = vectors.data() + i * dim;
      if (round % 5 == 1 && i > 0 && i % 3 != 0) std::copy_n(row - dim, dim, row);  // ties
      const float scale = round % 5 == 2 ? std::exp2(static_cast<float>(random() % 40) - 20) : 1.0f;
      for (std::size_t d = 0; d < dim; ++d) row[d] *= scale;
      if (i % 61 == 7) std::fill_n(row, dim, 0.0f);
    }
    if (round % 6 == 5) std::fill_n(queries.data(), dim, 0.0f);
    ScanRows rows{vectors, dim, {}, n};
    std::vector<std::uint8_t> bits((n + 7) / 8, 0);
    if (round % 2 == 1) {
      rows.num_live = 0;
      for (std::size_t i = 0; i < n; ++i) {
        if (random() % 10 == 0) continue;
        bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1u << (i % 8));
        ++rows.num_live;
      }
      rows.live = bits;
    }
    core::set_num_threads(1);
    std::vector<BlockResult> alone;
    for (std::size_t q = 0; q < num_queries; ++q)
      alone.push_back(scan_floats(rows, std::span(queries).subspan(q * dim, dim), want)[0]);
    for (const ScanKind kind : {ScanKind::kFloat32, ScanKind::kInt8, ScanKind::kBfloat16}) {
      const ScanCodes codes = make_codes(vectors, dim, kind);
      for (const std::size_t threads : {1u, 2u, 3u}) {
        core::set_num_threads(threads);
        const auto found = scan_codes(rows, codes, queries, want);
        ASSERT_EQ(found.size(), num_queries);
        for (std::size_t q = 0; q < num_queries; ++q)
          expect_same(found[q], alone[q],
                      "round " + std::to_string(round) + " kind " +
                          std::to_string(static_cast<int>(kind)) + " query " + std::to_string(q));
      }
    }
  }
}

TEST(ScanBatch, LargeBatchesFindTheBestRowsOfDoublePrecision) {
  constexpr std::size_t kDim = 100, kRows = 4000, kQueries = 70, kWant = 10;
  auto vectors = normal_numbers(kRows * kDim, 36);
  const auto centres = normal_numbers(40 * kDim, 37);
  for (std::size_t i = 0; i < vectors.size(); ++i)
    vectors[i] = centres[i / kDim % 40 * kDim + i % kDim] + 0.6f * vectors[i];
  const auto queries = normal_numbers(kQueries * kDim, 38);
  const ScanRows rows{vectors, kDim, {}, kRows};
  for (const ScanKind kind : {ScanKind::kFloat32, ScanKind::kInt8, ScanKind::kBfloat16}) {
    const auto found = scan_codes(rows, make_codes(vectors, kDim, kind), queries, kWant);
    for (std::size_t q = 0; q < kQueries; ++q) {
      const float* query = queries.data() + q * kDim;
      std::vector<double> truth;
      for (std::size_t i = 0; i < kRows; ++i)
        truth.push_back(product(vectors.data() + i * kDim, query, kDim));
      std::sort(truth.begin(), truth.end(), std::greater<>());
      ASSERT_EQ(found[q].best.size(), kWant);
      for (std::size_t i = 0; i < kWant; ++i)
        EXPECT_NEAR(found[q].best[i].score, truth[i],
                    kDim * 0x1p-24 * length(query, kDim) * 2.0 * std::sqrt(2.0 * kDim));
    }
  }
}

TEST(ScanBatch, RowsThatAllScoreAlikeAreAnsweredByPosition) {
  constexpr std::size_t kDim = 64, kRows = 3000, kQueries = 20;
  const auto one = normal_numbers(kDim, 39);
  std::vector<float> vectors;
  for (std::size_t i = 0; i < kRows; ++i) vectors.insert(vectors.end(), one.begin(), one.end());
  const auto queries = normal_numbers(kQueries * kDim, 40);
  const ScanRows rows{vectors, kDim, {}, kRows};
  for (const ScanKind kind : {ScanKind::kFloat32, ScanKind::kInt8, ScanKind::kBfloat16}) {
    for (const BlockResult& result :
         scan_codes(rows, make_codes(vectors, kDim, kind), queries, 9)) {
      ASSERT_EQ(result.best.size(), 9u);
      for (std::uint32_t i = 0; i < 9; ++i) EXPECT_EQ(result.best[i].position, i);
    }
  }
}

}  // namespace
}  // namespace collegium::index
