// What the papers say of their routers, each shown once on synthetic logits or a small model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "collegium/core/lm/token_routers.h"
#include "lm/token_router_testing.h"

namespace collegium::core {
namespace {

using Group = GroupLimitedRouterOptions;

double mean_experts(const Routing& routing) {
  return static_cast<double>(routing.ids.size()) / static_cast<double>(routing.tokens());
}

// Softmax over the chosen experts is the softmax over all, renormalised.
TEST(TokenRouterProperty, TopKSoftmaxAfterEqualsSoftmaxBeforeRenormalised) {
  const GateLogits logits = random_logits(200, 16, 1, 3.0);
  const auto after = by_token(routed(*made(make_top_k_router({4, true})), logits.input()));
  const auto before = by_token(routed(*made(make_top_k_router({4, false, true})), logits.input()));
  const auto plain = by_token(routed(*made(make_top_k_router({4})), logits.input()));
  for (std::size_t t = 0; t < after.size(); ++t) {
    double sum = 0.0;
    for (std::size_t p = 0; p < 4; ++p) {
      EXPECT_EQ(after[t][p].id, before[t][p].id);
      EXPECT_NEAR(after[t][p].weight, before[t][p].weight, 1e-7);
      sum += plain[t][p].weight;
    }
    EXPECT_LT(sum, 1.0);  // the experts left out had the rest
  }
}

// 2408.15664: the bias evens out the load; the weights stay those of the scores alone.
TEST(TokenRouterProperty, LossFreeBiasBalancesTheLoadAndLeavesTheWeights) {
  constexpr std::size_t kExperts = 16;
  constexpr std::size_t kTokens = 512;
  const auto batch = [&](std::uint64_t seed) {
    GateLogits logits = random_logits(kTokens, kExperts, seed);
    for (std::size_t i = 0; i < logits.values.size(); ++i)
      logits.values[i] += 0.2f * static_cast<float>(i % kExperts);  // some are favoured
    return logits;
  };
  const auto violation = [&](const std::vector<std::uint64_t>& loads) {
    const double mean = 2.0 * kTokens / kExperts;
    return static_cast<double>(*std::max_element(loads.begin(), loads.end())) / mean - 1.0;
  };
  std::vector<float> bias(kExperts, 0.0f);
  double first = 0.0;
  for (std::uint64_t step = 0; step < 300; ++step) {
    const auto router = made(make_sigmoid_router({2, bias, false}));
    const auto loads = loads_of(routed(*router, batch(step).input()), kExperts);
    if (step == 0) first = violation(loads);
    balance_selection_bias(loads, 0.005f, bias);
  }
  const GateLogits unseen = batch(1000);
  const Routing balanced = routed(*made(make_sigmoid_router({2, bias, false})), unseen.input());
  EXPECT_GT(first, 2.0);
  EXPECT_LT(violation(loads_of(balanced, kExperts)), first / 5.0);
  const auto tokens = by_token(balanced);
  for (std::size_t t = 0; t < kTokens; ++t)
    for (const ExpertWeight& expert : tokens[t]) {
      const float logit = unseen.values[t * kExperts + static_cast<std::size_t>(expert.id)];
      EXPECT_NEAR(expert.weight, 1.0 / (1.0 + std::exp(-double{logit})), 1e-7);
    }
}

// 2405.04434: a token's experts lie in at most top_groups groups (there: devices).
TEST(TokenRouterProperty, GroupLimitBoundsTheGroupsATokenTouches) {
  const GateLogits logits = random_logits(300, 64, 2);
  const auto most_groups = [&](const TokenRouter& router) {
    std::size_t most = 0;
    for (const auto& token : by_token(routed(router, logits.input()))) {
      std::set<std::int32_t> groups;
      for (const ExpertWeight& expert : token) groups.insert(expert.id / 8);
      most = std::max(most, groups.size());
    }
    return most;
  };
  EXPECT_GT(most_groups(*made(make_top_k_router({6}))), 3u);
  EXPECT_EQ(most_groups(*made(make_group_limited_router({6, 8, 3}))), 3u);
  EXPECT_EQ(most_groups(*made(make_group_limited_router(
                {6, 8, 3, Group::Score::kSigmoid, Group::GroupScore::kSumOfTopTwo}))),
            3u);
  // Without a limit it is top-k.
  EXPECT_EQ(by_token(routed(*made(make_group_limited_router({6, 8, 8})), logits.input())),
            by_token(routed(*made(make_top_k_router({6})), logits.input())));
}

// 2409.12136: the second choice is made as if the first were not there, so that a threshold that
// leaves nothing out gives the softmax of each step; a threshold of none gives both weight 1.
TEST(TokenRouterProperty, SparseMixerChoosesTwiceFromWhatIsLeft) {
  const GateLogits logits = random_logits(100, 8, 3);
  const auto wide = by_token(routed(*made(make_sparse_mixer_router({1e6f})), logits.input()));
  const auto narrow = by_token(routed(*made(make_sparse_mixer_router({0.0f})), logits.input()));
  for (std::size_t t = 0; t < wide.size(); ++t) {
    double all = 0.0;
    for (std::size_t e = 0; e < 8; ++e) all += std::exp(double{logits.values[t * 8 + e]});
    const auto exp_of = [&](std::int32_t id) {
      return std::exp(double{logits.values[t * 8 + static_cast<std::size_t>(id)]});
    };
    const double first = exp_of(wide[t][0].id);
    EXPECT_NEAR(wide[t][0].weight, first / all, 1e-6);
    EXPECT_NEAR(wide[t][1].weight, exp_of(wide[t][1].id) / (all - first), 1e-6);
    EXPECT_EQ(narrow[t][0], (ExpertWeight{wide[t][0].id, 1.0f}));
    EXPECT_EQ(narrow[t][1], (ExpertWeight{wide[t][1].id, 1.0f}));
  }
}

// 2403.07652: the less sure the router, the more experts.
TEST(TokenRouterProperty, TopPSpendsMoreExpertsOnFlatDistributions) {
  const auto router = made(make_top_p_router({0.4f}));
  double before = 17.0;
  for (const double scale : {0.1, 1.0, 2.0, 4.0}) {
    const double mean = mean_experts(routed(*router, random_logits(500, 16, 4, scale).input()));
    EXPECT_LT(mean, before) << scale;
    before = mean;
  }
  EXPECT_LT(before, 1.3);  // nearly always sure
}

// 2406.13233: with null experts, tokens take fewer true ones, and not all the same number.
TEST(TokenRouterProperty, NullExpertsLowerTheMeanNumberOfTrueExperts) {
  const GateLogits logits = random_logits(500, 8, 5);
  double before = 5.0;
  for (const std::size_t nulls : {0u, 1u, 2u, 4u}) {
    const auto router = made(make_null_expert_router({4, nulls, 0.3f}));
    const Routing routing = routed(*router, logits.input());
    EXPECT_LT(mean_experts(routing), before) << nulls;
    before = mean_experts(routing);
    std::set<std::size_t> counts;
    for (const auto& token : by_token(routing)) {
      counts.insert(token.size());
      double sum = 0.0;
      for (const ExpertWeight& expert : token) sum += expert.weight;
      if (token.empty()) continue;
      EXPECT_NEAR(sum, 1.0, 1e-6);
    }
    if (nulls == 0)
      EXPECT_EQ(counts, (std::set<std::size_t>{4}));
    else
      EXPECT_GE(counts.size(), 2u) << nulls;
  }
}

// 2408.10681: a price on width moves tokens to narrow experts, and fewer parameters are active.
TEST(TokenRouterProperty, APriceOnWidthActivatesFewerParameters) {
  const std::vector<std::size_t> widths = {64, 128, 192, 256, 320, 384, 448, 512};
  const GateLogits logits = random_logits(400, 8, 6);
  const auto mean_width = [&](float top_p, float penalty) {
    const auto router = made(make_width_router({widths, 2, top_p, penalty}));
    const Routing routing = routed(*router, logits.input());
    double sum = 0.0;
    for (const std::int32_t id : routing.ids)
      sum += static_cast<double>(widths[static_cast<std::size_t>(id)]);
    return sum / static_cast<double>(routing.ids.size());
  };
  for (const float top_p : {0.0f, 0.5f}) {
    EXPECT_NEAR(mean_width(top_p, 0.0f), 288.0, 20.0);  // blind to width
    EXPECT_LT(mean_width(top_p, 0.5f), 0.95 * mean_width(top_p, 0.0f));
    EXPECT_LT(mean_width(top_p, 2.0f), 0.85 * mean_width(top_p, 0.5f));
  }
}

// 2501.13074: an expert knows by its own activation that a token is its own. Eight experts whose
// gate projections read one subspace each; no router was ever trained.
TEST(TokenRouterProperty, AutonomousExpertsFindTheirOwnTokens) {
  constexpr std::size_t kExperts = 8, kDim = 4, kHidden = 6, kWidth = kExperts * kDim;
  Random random(7);
  std::vector<float> gates(kExperts * kHidden * kDim);  // of expert e: reads subspace e
  for (float& x : gates) x = static_cast<float>(random.normal());
  const std::size_t tokens = 200;
  std::vector<float> hidden(tokens * kWidth);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t i = 0; i < kWidth; ++i)
      hidden[t * kWidth + i] =
          static_cast<float>(random.normal()) * (i / kDim == t % kExperts ? 3.0f : 0.3f);
  std::vector<float> norms(tokens * kExperts);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t e = 0; e < kExperts; ++e) {
      double sum = 0.0;
      for (std::size_t h = 0; h < kHidden; ++h) {
        double activation = 0.0;
        for (std::size_t i = 0; i < kDim; ++i)
          activation +=
              double{gates[(e * kHidden + h) * kDim + i]} * hidden[t * kWidth + e * kDim + i];
        sum += activation * activation;
      }
      norms[t * kExperts + e] = static_cast<float>(std::sqrt(sum));
    }
  RouterInput input;
  input.tokens = tokens;
  input.width = kWidth;
  input.experts = kExperts;
  input.hidden = hidden.data();
  input.activation_norms = norms.data();
  const auto router = made(make_autonomy_router({1}));
  EXPECT_TRUE(router->needs_activations());
  EXPECT_FALSE(router->needs_logits());
  const auto chosen = by_token(routed(*router, input));
  std::size_t own = 0;
  for (std::size_t t = 0; t < tokens; ++t)
    own += chosen[t][0].id == static_cast<std::int32_t>(t % kExperts) ? 1 : 0;
  EXPECT_GE(own, tokens * 95 / 100);
}

// 2202.09368: every expert has the same load, and tokens get different numbers of experts.
TEST(TokenRouterProperty, ExpertChoiceBalancesPerfectlyWhateverTheLogits) {
  for (const double favour : {0.0, 20.0}) {
    GateLogits logits = random_logits(64, 8, 8);
    for (std::size_t t = 0; t < 64; ++t) logits.values[t * 8 + 3] += static_cast<float>(favour);
    const Routing routing = routed(*made(make_expert_choice_router({2.0f})), logits.input());
    EXPECT_EQ(loads_of(routing, 8), std::vector<std::uint64_t>(8, 16));
    std::set<std::size_t> counts;
    for (const auto& token : by_token(routing)) counts.insert(token.size());
    EXPECT_GE(counts.size(), 3u);
    // Token choice sends nearly all there.
    const auto loads = loads_of(routed(*made(make_top_k_router({2})), logits.input()), 8);
    if (favour > 0.0) {
      EXPECT_EQ(loads[3], 64u);
    }
  }
}

TEST(TokenRouterProperty, DenseGivesEveryExpertItsShare) {
  const GateLogits logits = random_logits(50, 8, 9);
  const Routing routing = routed(*make_dense_router(), logits.input());
  for (const auto& token : by_token(routing)) {
    ASSERT_EQ(token.size(), 8u);
    double sum = 0.0;
    for (const ExpertWeight& expert : token) sum += expert.weight;
    EXPECT_NEAR(sum, 1.0, 1e-6);
  }
  RouterInput gateless = logits.input();
  gateless.logits = nullptr;
  for (const float weight : routed(*make_dense_router(), gateless).weights)
    EXPECT_EQ(weight, 0.125f);
}

TEST(TokenRouterProperty, RandomIsEvenAndSeeded) {
  const GateLogits logits = random_logits(4000, 10, 10);
  const auto router = made(make_random_router({3, 42}));
  const Routing routing = routed(*router, logits.input());
  double chi_squared = 0.0;
  for (const std::uint64_t load : loads_of(routing, 10)) {
    const double off = static_cast<double>(load) - 1200.0;
    chi_squared += off * off / 1200.0;
  }
  EXPECT_LT(chi_squared, 27.9);  // 9 degrees of freedom, one in a thousand (drawn without return)
  EXPECT_EQ(by_token(routing),
            by_token(routed(*made(make_random_router({3, 42})), logits.input())));
  EXPECT_NE(routing.ids, routed(*made(make_random_router({3, 43})), logits.input()).ids);
  EXPECT_NE(routing.ids, routed(*router, logits.input(0, 1)).ids);
}

// Promise 1 for every router but expert choice: 500 random splits of a sequence into pieces, in
// half of which one expert is flooded, give the bits of the whole.
TEST(TokenRouterProperty, ATokensExpertsDoNotDependOnOtherRows) {
  const std::vector<TokenRouterPtr> routers = {
      made(make_top_k_router({2})),
      made(make_top_k_router({3, true})),
      made(make_sigmoid_router({2, {0, 0, 1, 0, 0, 0, 0, -1}})),
      made(make_group_limited_router(
          {3, 4, 2, Group::Score::kSigmoid, Group::GroupScore::kSumOfTopTwo})),
      made(make_sparse_mixer_router({})),
      made(make_top_p_router({0.7f})),
      made(make_null_expert_router({3, 4})),
      made(make_width_router({{1, 2, 3, 4, 5, 6, 7, 8}, 2, 0.0f, 1.0f})),
      made(make_autonomy_router({2})),
      make_dense_router(),
      made(make_random_router({2, 9}))};
  Random random(11);
  for (int round = 0; round < 500; ++round) {
    const TokenRouter& router = *routers[static_cast<std::size_t>(round) % routers.size()];
    const std::size_t tokens = 1 + random.below(40);
    GateLogits logits = random_logits(tokens, 8, random.next(), 2.0);
    if (round % 2 == 1)
      for (std::size_t t = 0; t < tokens; ++t)
        if (random.below(4) != 0) logits.values[t * 8 + 6] += 50.0f;
    RouterInput input = logits.input(random.below(1000), 2);
    input.activation_norms = input.logits;
    const auto whole = by_token(routed(router, input));
    for (std::size_t begin = 0; begin < tokens;) {
      RouterInput piece = input;
      piece.tokens = 1 + random.below(tokens - begin);
      piece.position += begin;
      piece.hidden = piece.logits = piece.activation_norms = logits.values.data() + begin * 8;
      const auto part = by_token(routed(router, piece));
      for (std::size_t t = 0; t < part.size(); ++t)
        ASSERT_EQ(part[t], whole[begin + t]) << router.name() << " round " << round;
      begin += piece.tokens;
    }
  }
}

}  // namespace
}  // namespace collegium::core
