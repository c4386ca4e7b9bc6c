#include "collegium/core/lm/token_router.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/lm/token_routers.h"
#include "lm/tiny_models.h"
#include "lm/token_router_testing.h"

namespace collegium::core {
namespace {

using Plan = RoutingPlan;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t size_or(const JsonValue& options, const char* key, std::size_t fallback) {
  return *options.unsigned_or(key, fallback);
}
float float_or(const JsonValue& options, const char* key, double fallback) {
  return static_cast<float>(*options.number_or(key, fallback));
}
template <typename T>
std::vector<T> numbers_or_none(const JsonValue& options, const char* key) {
  return options.has(key) ? json_numbers<T>(*options.get(key)) : std::vector<T>{};
}

std::vector<JsonValue> rows_of(const JsonValue& array) { return made(array.as_array(10000)); }

Result<TokenRouterPtr> router_of(const std::string& name, const JsonValue& o) {
  using Group = GroupLimitedRouterOptions;
  const std::size_t top_k = size_or(o, "top_k", 2);
  const bool renormalize = *o.bool_or("renormalize", false);
  const float scale = float_or(o, "scale", 1.0);
  if (name == "top_k")
    return make_top_k_router({top_k, *o.bool_or("softmax_after", false), renormalize, scale});
  const auto bias = numbers_or_none<float>(o, "selection_bias");
  if (name == "sigmoid") return make_sigmoid_router({top_k, bias, renormalize, scale});
  if (name == "group_limited")
    return make_group_limited_router(
        {top_k, size_or(o, "groups", 1), size_or(o, "top_groups", 1),
         *o.get_string("score") == "softmax" ? Group::Score::kSoftmax : Group::Score::kSigmoid,
         *o.get_string("group_score") == "maximum" ? Group::GroupScore::kMaximum
                                                   : Group::GroupScore::kSumOfTopTwo,
         bias, renormalize, scale});
  if (name == "sparse_mixer") return make_sparse_mixer_router({float_or(o, "jitter_eps", 0)});
  if (name == "top_p")
    return make_top_p_router({float_or(o, "top_p", 0), size_or(o, "max_experts", 0), renormalize});
  if (name == "null_experts")
    return make_null_expert_router(
        {top_k, size_or(o, "null_experts", 0), float_or(o, "null_logit", 0), renormalize});
  if (name == "width")
    return make_width_router({numbers_or_none<std::size_t>(o, "widths"), top_k,
                              float_or(o, "top_p", 0), float_or(o, "width_penalty", 0),
                              renormalize});
  if (name == "autonomy") return make_autonomy_router({top_k, *o.get_bool("softmax_after")});
  if (name == "expert_choice")
    return make_expert_choice_router({float_or(o, "experts_per_token", 0)});
  if (name == "dense") return make_dense_router();
  return Status::not_found(name);
}

// Experts and their order as the oracle has them, weights within 1e-6 of them (they are at most
// 16).
TEST(TokenRouter, GoldensOfNumpyAndTransformers) {
  const auto document = JsonDocument::open(test_data("token_router_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  std::map<std::string, int> compared;
  for (const JsonValue& golden : rows_of(*document->root().get("cases"))) {
    const std::string router = *golden.get_string("router");
    const std::string reference = *golden.get_string("reference");
    const std::string set = *golden.get_string("logits");
    SCOPED_TRACE(reference + " " + router + " " + set);
    const JsonValue options = *golden.get("options");
    const auto made_router = router_of(router, options);
    ASSERT_TRUE(made_router.ok()) << made_router.status().to_string();

    std::vector<float> values;
    std::size_t rows = 0;
    for (const JsonValue& row : rows_of(*document->root().get("logits")->get(set))) {
      const auto numbers = json_numbers<float>(row);
      values.insert(values.end(), numbers.begin(), numbers.end());
      rows = numbers.size();
    }
    if (router == "autonomy")
      for (float& x : values) x = std::abs(x);
    const GateLogits logits(std::move(values), size_or(options, "experts", rows), rows);
    RouterInput input = logits.input();
    if (router == "autonomy") {
      input.activation_norms = input.logits;
      input.logits = nullptr;
    }
    ASSERT_TRUE((*made_router)->check(0, logits.experts, 0).ok());
    auto tokens = by_token(routed(**made_router, input));
    const auto expected = rows_of(*golden.get("experts"));
    ASSERT_EQ(tokens.size(), expected.size());
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (reference != "numpy")
        std::sort(tokens[t].begin(), tokens[t].end(),
                  [](const ExpertWeight& a, const ExpertWeight& b) { return a.id < b.id; });
      const auto pairs = rows_of(expected[t]);
      ASSERT_EQ(tokens[t].size(), pairs.size()) << t;
      for (std::size_t p = 0; p < pairs.size(); ++p) {
        const auto pair = json_numbers<double>(pairs[p]);
        EXPECT_EQ(tokens[t][p].id, static_cast<std::int32_t>(pair[0])) << t;
        EXPECT_NEAR(tokens[t][p].weight, pair[1], 1e-6 * std::max(1.0, pair[1])) << t;
      }
    }
    ++compared[reference];
  }
  EXPECT_EQ(compared.size(), 11u);  // numpy and ten routers of transformers
  EXPECT_GE(compared["numpy"], 250);
}

TEST(TokenRouter, OptionsOutOfRangeAreRefusedByName) {
  expect_refused(make_top_k_router({0}).status(), "top_k: 0");
  expect_refused(make_top_k_router({2, false, false, kNan}).status(), "scale: ");
  expect_refused(make_sigmoid_router({2, {0.0f, kInfinity}}).status(), "selection_bias: inf");
  expect_refused(make_group_limited_router({2, 0, 1}).status(), "groups: 0");
  expect_refused(make_group_limited_router({2, 4, 5}).status(), "top_groups: 5");
  expect_refused(make_sparse_mixer_router({-1.0f}).status(), "jitter_eps: -1");
  expect_refused(make_top_p_router({0.0f}).status(), "top_p: 0");
  expect_refused(make_top_p_router({kNan}).status(), "top_p: ");
  expect_refused(make_null_expert_router({2, 1, kNan}).status(), "null_logit: ");
  expect_refused(make_null_expert_router({2, 1u << 17}).status(), "null_experts: 131072");
  expect_refused(make_width_router({{}}).status(), "widths: none");
  expect_refused(make_width_router({{3, 0}}).status(), "widths[1]: 0");
  expect_refused(make_width_router({{3, 4}, 2, 1.5f}).status(), "top_p: 1.5");
  expect_refused(make_width_router({{3, 4}, 2, 0.0f, -1.0f}).status(), "width_penalty: -1");
  expect_refused(make_autonomy_router({0}).status(), "top_k: 0");
  expect_refused(make_expert_choice_router({0.0f}).status(), "experts_per_token: 0");
  expect_refused(make_random_router({0}).status(), "top_k: 0");

  const auto check = [](Result<TokenRouterPtr> router, std::size_t experts, std::size_t top_k = 0) {
    return (*made(std::move(router))).check(3, experts, top_k);
  };
  expect_refused(check(make_top_k_router({5}), 4), "top_k: 5");
  expect_refused(check(make_sigmoid_router({2, {0.0f}}), 4), "selection_bias: 1 values");
  expect_refused(check(make_group_limited_router({2, 3, 1}), 8), "groups: 3");
  expect_refused(check(make_group_limited_router({3, 4, 1}), 8), "hold 2 experts");
  expect_refused(check(make_group_limited_router({2, 4, 1}), 8, 3), "hold 2 experts");
  expect_refused(check(make_sparse_mixer_router({}), 1), "top_k: 2");
  expect_refused(check(make_width_router({{3, 4}}), 3), "widths: 2 values");
  expect_refused(check(make_null_expert_router({6, 1}), 4), "top_k: 6");
}

// A router that answers what the test wants.
TokenRouterPtr fixed_router(Routing answer) {
  return make_function_router("fixed", [answer](const RouterInput&, Routing& routing) {
    routing = answer;
    return Status();
  });
}

Routing one_token(std::vector<std::int32_t> ids, std::vector<float> weights) {
  Routing routing;
  routing.offsets = {0, static_cast<std::uint32_t>(ids.size())};
  routing.ids = std::move(ids);
  routing.weights = std::move(weights);
  return routing;
}

Result<Routing> route_in_plan(const Plan& plan, const GateLogits& logits, std::size_t position = 0,
                              std::size_t layer = 0) {
  RouterStates states;
  Routing routing;
  COLLEGIUM_RETURN_IF_ERROR(plan.route(logits.input(position, layer), states, routing));
  return routing;
}

Plan plan_of(TokenRouterPtr router, std::size_t experts, RoutingOptions options = {}) {
  const Plan::Layer layers[] = {{0, experts, std::move(router)}};
  return made(Plan::make(options, layers));
}

TEST(RoutingPlan, NonsenseOfARouterIsATypedErrorThatSaysWhere) {
  const GateLogits logits({0.0f, 1.0f, 2.0f}, 3);
  const auto refusal = [&](Routing answer) {
    return route_in_plan(plan_of(fixed_router(std::move(answer)), 3), logits, 7).status();
  };
  EXPECT_TRUE(refusal(one_token({2, 0}, {1.0f, -1.0f})).ok());
  EXPECT_TRUE(refusal(one_token({}, {})).ok());
  expect_refused(refusal(one_token({3}, {1.0f})),
                 "token router fixed, layer 0: position 7: expert id 3, allowed are 0 to 2");
  expect_refused(refusal(one_token({-1}, {1.0f})), "expert id -1");
  expect_refused(refusal(one_token({1, 1}, {1.0f, 1.0f})), "expert id 1 twice");
  expect_refused(refusal(one_token({1}, {kNan})), "position 7: weight nan of expert id 1");
  expect_refused(refusal(one_token({1}, {kInfinity})), "weight inf");
  expect_refused(refusal(one_token({1}, {})), "1 expert ids and 0 weights");
  expect_refused(refusal({}), "experts for 0 tokens, expected 1");
  expect_refused(refusal({{0, 1, 2}, {0, 1}, {1.0f, 1.0f}}), "experts for 2 tokens, expected 1");
  expect_refused(refusal({{1, 1}, {0}, {1.0f}}), "offsets begin with 1");
  expect_refused(refusal({{0, 2}, {0}, {1.0f}}), "offsets end with 2");
  const GateLogits two({0.0f, 1.0f, 2.0f, 3.0f}, 2);
  expect_refused(route_in_plan(plan_of(fixed_router({{0, 3, 1}, {0}, {1.0f}}), 2), two, 4).status(),
                 "offsets go down from 3 to 1 at position 5");
}

TEST(RoutingPlan, FailuresAndExceptionsOfARouterAreStatuses) {
  const GateLogits logits({0.0f, 1.0f}, 2);
  const auto failing = make_function_router(
      "failing", [](const RouterInput&, Routing&) { return Status::not_found("my table"); });
  expect_refused(route_in_plan(plan_of(failing, 2), logits).status(), "my table",
                 StatusCode::kNotFound);
  const auto throwing = make_function_router(
      "throwing", [](const RouterInput&, Routing&) -> Status { throw std::runtime_error("oops"); });
  expect_refused(route_in_plan(plan_of(throwing, 2), logits).status(),
                 "token router throwing, layer 0: oops", StatusCode::kInternal);
  expect_refused(route_in_plan(plan_of(make_function_router("empty", {}), 2), logits).status(),
                 "no function", StatusCode::kFailedPrecondition);
}

TEST(RoutingPlan, LogitsThatAreNoNumbersAreCorruption) {
  const Plan plan = plan_of(made(make_top_k_router({1})), 2);
  for (const float bad : {kNan, kInfinity, -kInfinity})
    expect_refused(route_in_plan(plan, GateLogits({0.0f, 1.0f, 2.0f, bad}, 2), 5).status(),
                   "layer 0, position 6: router logit", StatusCode::kCorruption);
  RoutingOptions options;
  options.biases.push_back({{}, {3e38f, 0.0f}});
  expect_refused(
      route_in_plan(plan_of(made(make_top_k_router({1})), 2, options), GateLogits({3e38f, 0.0f}, 2))
          .status(),
      "biased router logit", StatusCode::kCorruption);
}

std::vector<TokenRouterPtr> routers_of_eight_experts() {
  using Group = GroupLimitedRouterOptions;
  return {made(make_top_k_router({2})),
          made(make_top_k_router({3, true})),
          made(make_sigmoid_router({2, {0, 0, 1, 0, 0, 0, 0, -1}})),
          made(make_group_limited_router({3, 4, 2})),
          made(make_group_limited_router({3,
                                          4,
                                          2,
                                          Group::Score::kSigmoid,
                                          Group::GroupScore::kSumOfTopTwo,
                                          {0, 0, 1, 0, 0, 0, 0, -1}})),
          made(make_sparse_mixer_router({})),
          made(make_top_p_router({0.7f})),
          made(make_null_expert_router({3, 4})),
          made(make_width_router({{1, 2, 3, 4, 5, 6, 7, 8}, 2, 0.0f, 1.0f})),
          made(make_autonomy_router({2})),
          made(make_expert_choice_router({2.0f})),
          make_dense_router(),
          made(make_random_router({2, 9}))};
}

TEST(RoutingPlan, EveryRouterKeepsToTheMaskAndTakesWhatIsLeft) {
  const GateLogits logits = random_logits(20, 8, 3, 2.0);
  for (const auto& router : routers_of_eight_experts()) {
    SCOPED_TRACE(router->name());
    RoutingOptions options;
    options.masks.push_back({std::size_t{0}, {2, 5}, true});
    const Plan plan = plan_of(router, 8, options);
    RouterInput input = logits.input();
    input.activation_norms = logits.values.data();  // any numbers
    RouterStates states;
    Routing routing;
    const Status status = plan.route(input, states, routing);  // refuses experts that are off
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_FALSE(routing.ids.empty());
    for (const std::int32_t id : routing.ids) EXPECT_TRUE(id == 2 || id == 5);
  }
  // The weights are those of a layer that has these two experts alone.
  RoutingOptions options;
  options.masks.push_back({{}, {0, 1, 3, 4, 6, 7}});
  const auto router = made(make_top_k_router({2}));
  const auto masked = by_token(made(route_in_plan(plan_of(router, 8, options), logits)));
  std::vector<float> pair;
  for (std::size_t t = 0; t < logits.tokens; ++t)
    for (const std::size_t e : {2, 5}) pair.push_back(logits.values[t * 8 + e]);
  const auto alone = by_token(routed(*router, GateLogits(pair, 2).input()));
  for (std::size_t t = 0; t < masked.size(); ++t)
    for (std::size_t p = 0; p < 2; ++p) {
      EXPECT_EQ(masked[t][p].id, alone[t][p].id == 0 ? 2 : 5);
      EXPECT_EQ(masked[t][p].weight, alone[t][p].weight);
    }
}

TEST(RoutingPlan, BiasesAddUpBeforeTheRouter) {
  const GateLogits logits = random_logits(20, 4, 5);
  RoutingOptions options;
  options.biases.push_back({{}, {0.5f, 0.0f, -2.0f, 0.0f}});
  options.biases.push_back({std::size_t{0}, {0.25f, 1.0f, 0.0f, 0.0f}});
  const auto router = made(make_top_k_router({2}));
  const Routing biased = made(route_in_plan(plan_of(router, 4, options), logits));
  GateLogits sum = logits;
  const float added[] = {0.75f, 1.0f, -2.0f, 0.0f};
  for (std::size_t i = 0; i < sum.values.size(); ++i) sum.values[i] += added[i % 4];
  EXPECT_EQ(by_token(biased), by_token(routed(*router, sum.input())));
  EXPECT_NE(by_token(biased), by_token(routed(*router, logits.input())));
}

TEST(RoutingPlan, TopKOfTheRequestReplacesTheRouters) {
  const GateLogits logits = random_logits(20, 8, 6);
  RoutingOptions options;
  options.top_k = 4;
  EXPECT_EQ(
      by_token(made(route_in_plan(plan_of(made(make_top_k_router({2})), 8, options), logits))),
      by_token(routed(*made(make_top_k_router({4})), logits.input())));
  EXPECT_EQ(by_token(made(route_in_plan(
                plan_of(made(make_expert_choice_router({1.5f})), 8, options), logits))),
            by_token(routed(*made(make_expert_choice_router({4.0f})), logits.input())));
}

TEST(RoutingPlan, OptionsThatDoNotFitTheModelAreRefused) {
  const auto top_k = made(make_top_k_router({2}));
  const std::vector<Plan::Layer> layers = {{1, 4, top_k}, {3, 8, top_k}};
  const auto refusal = [&](const RoutingOptions& options) {
    return Plan::make(options, layers).status();
  };
  EXPECT_TRUE(refusal({}).ok());
  RoutingOptions options;
  options.masks = {{std::size_t{2}, {0}}};
  expect_refused(refusal(options), "masks[0]: layer 2 has no experts; layers that have: 1, 3");
  options.masks = {{std::size_t{3}, {7}}, {{}, {7}}};
  expect_refused(refusal(options), "masks[1]: expert id 7 in layer 1, allowed are 0 to 3");
  options.masks = {{std::size_t{1}, {0, 1}}, {std::size_t{1}, {2, 3}}};
  expect_refused(refusal(options), "every one of the 4 experts of layer 1");
  options.masks = {{std::size_t{1}, {}, true}};
  expect_refused(refusal(options), "every one of the 4 experts of layer 1");
  options = {};
  options.biases = {{{}, {1, 2, 3, 4}}};
  expect_refused(refusal(options), "biases[0]: 4 values, but layer 3 has 8 experts");
  options.biases = {{std::size_t{1}, {1, 2, 3, kNan}}};
  expect_refused(refusal(options), "biases[0]: value nan of expert id 3");
  options = {};
  options.top_k = 5;
  expect_refused(refusal(options), "top_k: 5, but the layer has 4 experts");
  options.top_k = 2;
  options.router = make_dense_router();
  expect_refused(refusal(options), "takes none");
  options = {};
  options.router_layers = {1};
  expect_refused(refusal(options), "there is no router");
  options.router = make_dense_router();
  options.router_layers = {1, 4};
  expect_refused(refusal(options), "router_layers: layer 4");
  options.router = made(make_sigmoid_router({2, {0, 0, 0, 0}}));
  options.router_layers = {3};
  expect_refused(refusal(options), "layer 3: selection_bias: 4 values");
  options.router_layers = {1};
  EXPECT_TRUE(refusal(options).ok());
  expect_refused(Plan::make(options, {}).status(), "no layer with experts");
  const std::vector<Plan::Layer> gateless = {{0, 4, make_dense_router(), false}};
  options = {};
  options.router = top_k;
  expect_refused(Plan::make(options, gateless).status(), "needs logits");
  options = {};
  options.biases = {{{}, {1, 2, 3, 4}}};
  expect_refused(Plan::make(options, gateless).status(), "no gate");
}

TEST(RoutingPlan, OptionsAreDescribedInALine) {
  RoutingOptions options;
  EXPECT_TRUE(options.empty());
  EXPECT_EQ(options.describe(), "");
  options.router = made(make_top_k_router({1}));
  options.router_layers = {0, 2};
  options.top_k = 3;
  options.masks = {{std::size_t{3}, {1, 5}}, {{}, {0}, true}};
  options.biases = {{{}, {1.0f}}};
  EXPECT_FALSE(options.empty());
  EXPECT_EQ(
      options.describe(),
      "router top_k(1, softmax before) in layers 0, 2; top_k 3; off in layer 3: 1, 5; only in "
      "all layers: 0; bias in all layers");
}

TEST(RoutingPlan, ARouterReplacesTheModelsInItsLayersAlone) {
  const GateLogits logits = random_logits(5, 4, 8);
  const auto own = made(make_top_k_router({2}));
  RoutingOptions options;
  options.router = make_dense_router();
  options.router_layers = {3};
  const std::vector<Plan::Layer> layers = {{1, 4, own}, {3, 4, own}};
  const Plan plan = made(Plan::make(options, layers));
  EXPECT_EQ(made(route_in_plan(plan, logits, 0, 1)).ids.size(), 10u);
  EXPECT_EQ(made(route_in_plan(plan, logits, 0, 3)).ids.size(), 20u);
  expect_refused(route_in_plan(plan, logits, 0, 2).status(), "layer 2 has no experts");
}

TEST(RoutingPlan, ExpertChoiceRefusesPiecesAndBatchesByName) {
  const Plan plan = plan_of(made(make_expert_choice_router({})), 4);
  EXPECT_TRUE(plan.needs_whole_prompt());
  EXPECT_TRUE(plan.check_piece(0, false, 1).ok());
  expect_refused(plan.check_piece(6, false, 1), "cannot continue at position 6",
                 StatusCode::kNotSupported);
  expect_refused(plan.check_piece(0, true, 1), "only the first part", StatusCode::kNotSupported);
  expect_refused(plan.check_piece(0, false, 2), "2 sequences in one batch",
                 StatusCode::kNotSupported);
  const Plan other = plan_of(made(make_top_k_router({})), 4);
  EXPECT_FALSE(other.needs_whole_prompt());
  EXPECT_TRUE(other.check_piece(6, true, 9).ok());
}

// Stays with the expert of the token before unless another is better by `margin`.
class StickyRouter final : public TokenRouter {
 public:
  struct Last final : State {
    std::int32_t id = -1;
    std::unique_ptr<State> clone() const override { return std::make_unique<Last>(*this); }
  };
  std::string name() const override { return "sticky"; }
  bool needs_logits() const override { return true; }
  std::unique_ptr<State> make_state(std::size_t) const override { return std::make_unique<Last>(); }
  Status route(const RouterInput& input, State* state, Routing& routing) const override {
    auto& last = static_cast<Last&>(*state);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const float* row = input.logits_of(t);
      const auto best = static_cast<std::int32_t>(std::max_element(row, row + input.experts) - row);
      if (last.id < 0 || row[best] > row[last.id] + 1.0f) last.id = best;
      routing.add(last.id, 1.0f);
      routing.end_token();
    }
    return {};
  }
};

TEST(RouterStates, BelongToASequenceAndFollowItInPieces) {
  const auto router = std::make_shared<StickyRouter>();
  const Plan plan = plan_of(router, 4);
  const GateLogits logits = random_logits(50, 4, 12);
  RouterStates whole_states;
  EXPECT_TRUE(whole_states.empty());
  Routing whole;
  ASSERT_TRUE(plan.route(logits.input(), whole_states, whole).ok());
  EXPECT_FALSE(whole_states.empty());

  RouterStates states;
  RouterStates half;
  std::vector<std::int32_t> ids;
  for (std::size_t t = 0; t < 50; ++t) {
    if (t == 25) half = made(states.fork());
    const GateLogits one({logits.values.begin() + static_cast<std::ptrdiff_t>(t * 4),
                          logits.values.begin() + static_cast<std::ptrdiff_t>(t * 4 + 4)},
                         4);
    Routing routing;
    ASSERT_TRUE(plan.route(one.input(t), states, routing).ok());
    ids.push_back(routing.ids.at(0));
  }
  EXPECT_EQ(ids, whole.ids);
  EXPECT_NE(ids, routed(*made(make_top_k_router({1})), logits.input()).ids);
  // The copy goes on from the middle as the sequence did.
  const GateLogits rest({logits.values.begin() + 100, logits.values.end()}, 4);
  Routing second;
  ASSERT_TRUE(plan.route(rest.input(25), half, second).ok());
  EXPECT_EQ(second.ids, std::vector<std::int32_t>(ids.begin() + 25, ids.end()));

  states.clear();
  EXPECT_TRUE(states.empty());
}

}  // namespace
}  // namespace collegium::core
