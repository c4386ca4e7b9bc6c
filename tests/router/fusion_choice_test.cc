#include "collegium/router/fusion_choice.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace collegium::router {
namespace {

// The wanted document is last of ten in one ranking and first in the other.
FusionCase one_case(bool dense_is_right) {
  const auto list = [](bool right) {
    Ranking ranking;
    if (right) ranking.emplace_back("wanted", 20.0);
    for (int i = 0; i < 9; ++i) ranking.emplace_back("other" + std::to_string(i), 10.0 - i);
    if (!right) ranking.emplace_back("wanted", 0.5);
    return ranking;
  };
  return {list(dense_is_right), list(!dense_is_right), {{"wanted", 1.0}}};
}

std::vector<FusionCase> cases(std::size_t n, bool dense_is_right) {
  return std::vector<FusionCase>(n, one_case(dense_is_right));
}

TEST(FusionChoice, EachCollectionGetsItsOwnWeightAndZeroIsAllowed) {
  const auto chosen = choose_fusion({{"code", cases(60, true)}, {"law", cases(60, false)}},
                                    index::FusionRule::kZScore)
                          .value();
  EXPECT_EQ(chosen.at("code").options.lexical_weight, 0.0);
  EXPECT_DOUBLE_EQ(chosen.at("code").dev_ndcg, 1.0);
  EXPECT_GT(chosen.at("law").options.lexical_weight, 0.3);
  EXPECT_DOUBLE_EQ(chosen.at("law").dev_ndcg, 1.0);
  // Tenth of ten: 1 / log2(11), by hand.
  EXPECT_NEAR(chosen.at("law").dev_ndcg_dense, 0.2890648263178879, 1e-12);
  EXPECT_FALSE(chosen.at("law").pooled);
}

TEST(FusionChoice, FewQueriesTakeThePooledWeight) {
  const auto chosen = choose_fusion({{"big", cases(kMinFusionQueries, false)},
                                     {"small", cases(kMinFusionQueries - 1, true)},
                                     {"unlabelled", {}}},
                                    index::FusionRule::kReciprocalRank)
                          .value();
  EXPECT_FALSE(chosen.at("big").pooled);
  EXPECT_TRUE(chosen.at("small").pooled);
  EXPECT_TRUE(chosen.at("unlabelled").pooled);
  const double pooled = chosen.at("big").options.lexical_weight;
  EXPECT_GT(pooled, 0.0);
  EXPECT_EQ(chosen.at("small").options.lexical_weight, pooled);
  EXPECT_EQ(chosen.at("unlabelled").options.lexical_weight, pooled);
  EXPECT_EQ(chosen.at("unlabelled").dev_ndcg, 0.0);
  EXPECT_EQ(chosen.at("small").options.rule, index::FusionRule::kReciprocalRank);
}

TEST(FusionChoice, WithoutEnoughAnywhereTheDefaultStands) {
  const auto chosen = choose_fusion({{"small", cases(3, true)}}, index::FusionRule::kZScore);
  EXPECT_EQ(chosen->at("small").options.lexical_weight, index::FusionOptions().lexical_weight);
}

TEST(FusionChoice, ScoresThatAreNotFiniteAreRefused) {
  auto bad = cases(1, true);
  bad[0].lexical[0].second = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(choose_fusion({{"law", bad}}, index::FusionRule::kZScore).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::router
