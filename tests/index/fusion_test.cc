#include "collegium/index/fusion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace collegium::index {
namespace {

using Ranking = std::vector<RankedDocument>;

std::vector<std::string> order(const Ranking& dense, const Ranking& lexical,
                               const FusionOptions& options) {
  std::vector<std::string> ids;
  const auto fused = fuse(dense, lexical, options);
  for (const FusedDocument& document : fused.value())
    ids.emplace_back(document.dense != kNotRanked ? dense[document.dense].id
                                                  : lexical[document.lexical].id);
  return ids;
}

// By hand: mean 2 and deviation sqrt(2/3) of 3, 2, 1; mean 7.5 and deviation 2.5 of 10, 5.
TEST(Fusion, ZScoresAreStandardisedByListAndWeighted) {
  const Ranking dense = {{"a", 3.0}, {"b", 2.0}, {"c", 1.0}};
  const Ranking lexical = {{"c", 10.0}, {"d", 5.0}};
  const auto fused = fuse(dense, lexical, {FusionRule::kZScore, 0.25}).value();
  ASSERT_EQ(fused.size(), 4u);
  const double z = 1.224744871391589;  // 1 / sqrt(2/3)
  EXPECT_EQ(fused[0].dense, 0u);
  EXPECT_NEAR(fused[0].score, 0.75 * z - 0.25, 1e-12);  // a, absent from the lexical list
  EXPECT_EQ(fused[1].dense, 1u);
  EXPECT_NEAR(fused[1].score, -0.25, 1e-12);
  EXPECT_EQ(fused[2].lexical, 0u);
  EXPECT_EQ(fused[2].dense, 2u);
  EXPECT_NEAR(fused[2].score, -0.75 * z + 0.25, 1e-12);
  EXPECT_EQ(fused[3].dense, kNotRanked);
  EXPECT_NEAR(fused[3].score, -0.75 * z - 0.25, 1e-12);
}

TEST(Fusion, ReciprocalRanksAreThePapersWithSixty) {
  const Ranking dense = {{"a", 0.9}, {"b", 0.8}};
  const Ranking lexical = {{"b", 7.0}, {"c", 6.0}};
  const auto fused = fuse(dense, lexical, {FusionRule::kReciprocalRank, 0.5}).value();
  ASSERT_EQ(fused.size(), 3u);
  EXPECT_EQ(fused[0].dense, 1u);
  EXPECT_DOUBLE_EQ(fused[0].score, 0.5 / 62.0 + 0.5 / 61.0);
  EXPECT_DOUBLE_EQ(fused[1].score, 0.5 / 61.0);
  EXPECT_DOUBLE_EQ(fused[2].score, 0.5 / 62.0);
}

TEST(Fusion, WeightZeroIsTheDenseRankingAndOneTheLexical) {
  const Ranking dense = {{"b", 0.9}, {"a", 0.5}};
  const Ranking lexical = {{"0", 7.0}, {"a", 6.0}};
  for (const FusionRule rule : {FusionRule::kZScore, FusionRule::kReciprocalRank}) {
    EXPECT_EQ(order(dense, lexical, {rule, 0.0}), (std::vector<std::string>{"b", "a", "0"}));
    EXPECT_EQ(order(dense, lexical, {rule, 1.0}), (std::vector<std::string>{"0", "a", "b"}));
  }
}

TEST(Fusion, TiesAreByIdAndEqualScoresSayNothing) {
  const Ranking dense = {{"c", 1.0}, {"b", 1.0}, {"a", 1.0}};
  EXPECT_EQ(order(dense, {}, {FusionRule::kZScore, 0.5}),
            (std::vector<std::string>{"a", "b", "c"}));
}

TEST(Fusion, EmptyListsAreFine) {
  EXPECT_TRUE(fuse({}, {}, {})->empty());
  const Ranking one = {{"a", 2.0}};
  EXPECT_EQ(fuse({}, one, {})->size(), 1u);
  EXPECT_EQ(fuse(one, {}, {})->size(), 1u);
}

TEST(Fusion, WeightsOutOfRangeAndUnknownRulesAreRefused) {
  for (const double weight : {-0.1, 1.1, 0.0 / 0.0})
    EXPECT_EQ(fuse({}, {}, {FusionRule::kZScore, weight}).status().code(),
              StatusCode::kInvalidArgument);
  EXPECT_EQ(parse_fusion_rule("sum").status().code(), StatusCode::kInvalidArgument);
  for (const FusionRule rule : {FusionRule::kZScore, FusionRule::kReciprocalRank})
    EXPECT_EQ(parse_fusion_rule(fusion_rule_name(rule)).value(), rule);
}

}  // namespace
}  // namespace collegium::index
