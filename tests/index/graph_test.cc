#include "graph.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "corpus_testing.h"

namespace collegium::index {
namespace {

std::vector<std::byte> bytes_of(const Graph& graph) {
  core::ByteWriter out;
  graph.write(out);
  return out.bytes();
}

TEST(Graph, EveryLevelOfInstructionsScoresCodesAsIntegerArithmeticDoes) {
  std::mt19937 random(1);
  for (const std::size_t stride : {64u, 128u, 384u, 1088u}) {
    constexpr std::size_t kRows = 21;  // no multiple of what a kernel takes at once
    std::vector<std::int8_t> codes(kRows * stride);
    for (auto& code : codes)
      code = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
    std::fill_n(codes.begin(), stride, std::int8_t{127});  // the largest sums there are
    std::fill_n(codes.begin() + static_cast<std::ptrdiff_t>(stride), stride, std::int8_t{-127});
    std::vector<float> scale(kRows);
    std::vector<std::int32_t> sum(kRows);
    std::vector<std::uint32_t> positions(kRows);
    for (std::size_t i = 0; i < kRows; ++i) {
      scale[i] = 0.001f * static_cast<float>(i + 1);
      sum[i] = std::accumulate(codes.begin() + static_cast<std::ptrdiff_t>(i * stride),
                               codes.begin() + static_cast<std::ptrdiff_t>((i + 1) * stride), 0);
      positions[i] = static_cast<std::uint32_t>(kRows - 1 - i);
    }
    const CodeRows rows{codes.data(), scale.data(), sum.data(), stride};
    for (const core::Isa isa : core::available_isas()) {
      for (std::size_t query = 0; query < 4; ++query) {
        for (std::size_t n = 0; n <= kRows; ++n) {
          std::vector<float> out(kRows, -1.0f);
          score_codes_for(isa)(rows, positions.data(), n, codes.data() + query * stride, 0.25f,
                               out.data());
          for (std::size_t i = 0; i < kRows; ++i) {
            std::int64_t product = 0;
            for (std::size_t d = 0; d < stride; ++d)
              product += codes[positions[i] * stride + d] * codes[query * stride + d];
            const float expected =
                i < n ? scale[positions[i]] * (0.25f * static_cast<float>(product)) : -1.0f;
            ASSERT_EQ(out[i], expected) << core::isa_name(isa) << " row " << i << " of " << n;
          }
        }
      }
    }
  }
}

TEST(Graph, IsTheSameBytesForAnyNumberOfThreads) {
  constexpr std::size_t kDim = 24;
  const auto rows = clustered_rows(6000, kDim, 60, 2);
  const std::size_t before = core::default_pool().num_threads();
  std::vector<std::byte> expected;
  std::vector<std::byte> extended;
  for (const std::size_t threads : {1u, 2u, 4u}) {
    core::set_num_threads(threads);
    const ScanCodes codes = make_codes(rows, kDim, ScanKind::kInt8);
    const ScanCodes first = make_codes(std::span(rows).first(4000 * kDim), kDim, ScanKind::kInt8);
    const Graph base = Graph::build(first, {});
    const auto whole = bytes_of(Graph::build(codes, {}));
    const auto grown = bytes_of(Graph::build(codes, {}, &base));
    if (expected.empty()) {
      expected = whole;
      extended = grown;
    }
    EXPECT_EQ(whole, expected) << threads << " threads";
    EXPECT_EQ(grown, extended) << threads << " threads";
  }
  core::set_num_threads(before);
}

TEST(Graph, LinksAreToOtherRowsEachOnceAndTheWalkReachesThem) {
  constexpr std::size_t kDim = 16;
  constexpr std::size_t kRows = 3000;
  const auto rows = clustered_rows(kRows, kDim, 30, 3);
  const ScanCodes codes = make_codes(rows, kDim, ScanKind::kInt8);
  const Graph graph = Graph::build(codes, {8, 32});
  // Every row finds itself: nothing is out of reach.
  std::size_t found_itself = 0;
  for (std::size_t row = 0; row < kRows; ++row) {
    const CodedQuery query(std::span<const float>(rows).subspan(row * kDim, kDim));
    const auto found = graph.walk(codes, query, 64);
    std::set<std::uint32_t> positions;
    for (const ScoredPosition& one : found) EXPECT_TRUE(positions.insert(one.position).second);
    EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), scores_better));
    found_itself += positions.count(static_cast<std::uint32_t>(row));
  }
  EXPECT_GE(found_itself, kRows * 999 / 1000);
}

TEST(Graph, EqualRowsZerosAndASingleRowAreFound) {
  constexpr std::size_t kDim = 8;
  for (const std::size_t n : {1u, 2u, 700u}) {
    for (const float value : {0.0f, 0.5f}) {
      const std::vector<float> rows(n * kDim, value);
      const ScanCodes codes = make_codes(rows, kDim, ScanKind::kInt8);
      const Graph graph = Graph::build(codes, {});
      const std::vector<float> query(kDim, 0.5f);
      const auto found = graph.walk(codes, CodedQuery(query), 10);
      EXPECT_EQ(found.size(), std::min<std::size_t>(n, 10));
    }
  }
}

TEST(Graph, OptionsOutOfRangeAreErrors) {
  EXPECT_CODE((GraphOptions{3, 64}.validate()), kInvalidArgument);
  EXPECT_CODE((GraphOptions{257, 64}.validate()), kInvalidArgument);
  EXPECT_CODE((GraphOptions{32, 0}.validate()), kInvalidArgument);
  EXPECT_CODE((GraphOptions{32, 4097}.validate()), kInvalidArgument);
  EXPECT_OK((GraphOptions{4, 1}.validate()));
}

}  // namespace
}  // namespace collegium::index
