// Token routers in a decoder: what they choose is what runs, and what a trace holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collegium/core/lm/token_routers.h"
#include "collegium/core/lm/token_trace.h"
#include "lm/tiny_moe.h"
#include "lm/token_router_testing.h"

namespace collegium::core {
namespace {

using Hidden = std::vector<float>;

RoutingOptions with_router(TokenRouterPtr router) {
  RoutingOptions options;
  options.router = std::move(router);
  return options;
}

// Of six experts.
std::vector<TokenRouterPtr> routers_for_any_piece() {
  using Group = GroupLimitedRouterOptions;
  return {made(make_top_k_router({2})),
          made(make_top_k_router({3, true})),
          made(make_sigmoid_router({2, {0, 0, 1, 0, 0, -1}})),
          made(make_group_limited_router(
              {2, 3, 2, Group::Score::kSigmoid, Group::GroupScore::kSumOfTopTwo})),
          made(make_sparse_mixer_router({})),
          made(make_top_p_router({0.6f})),
          made(make_null_expert_router({3, 4})),
          made(make_width_router({{1, 2, 3, 4, 5, 6}, 2, 0.0f, 0.5f})),
          made(make_autonomy_router({2})),
          make_dense_router(),
          made(make_random_router({2, 9}))};
}

struct Request {
  std::vector<std::int32_t> ids;
  const RoutingPlan* plan = nullptr;
  TokenTrace* trace = nullptr;
};

Status forward(const Decoder& decoder, const std::vector<Request>& requests,
               std::vector<Hidden>& out) {
  std::vector<KvCache> caches;
  std::vector<Step> steps;
  std::size_t total = 0;
  for (std::size_t i = 0; i < requests.size(); ++i)
    caches.emplace_back(decoder.config(), KvCacheType::kFp32);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Step step;
    step.cache = &caches[i];
    step.ids = requests[i].ids;
    step.routing = requests[i].plan;
    step.trace = requests[i].trace;
    steps.push_back(step);
    total += requests[i].ids.size();
  }
  Hidden all(total * TinyMoe::kWidth);
  COLLEGIUM_RETURN_IF_ERROR(decoder.forward(steps, all.data()));
  out.clear();
  auto at = all.begin();
  for (const Request& request : requests) {
    const auto end = at + static_cast<std::ptrdiff_t>(request.ids.size() * TinyMoe::kWidth);
    out.emplace_back(at, end);
    at = end;
  }
  return {};
}

Hidden forward_one(const Decoder& decoder, const Request& request) {
  std::vector<Hidden> out;
  const Status status = forward(decoder, {request}, out);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return status.ok() ? out[0] : Hidden{};
}

// 500 random cases, or COLLEGIUM_ROUTING_CASES of them: alone, in a batch with other requests and
// routers, and in pieces down to one token, the same bits. In half of them one expert's logit is
// raised so far that it is flooded.
TEST(TokenRouterInDecoder, SameBitsAloneInABatchAndInPieces) {
  TinyMoe tiny({.seed = 3});
  const Decoder decoder = tiny.make();
  std::vector<RoutingPlan> plans;
  for (const auto& router : routers_for_any_piece())
    for (const bool flooded : {false, true}) {
      RoutingOptions options = with_router(router);
      if (flooded) options.biases = {{{}, {0, 0, 0, 100, 0, 0}}};
      plans.push_back(made(decoder.plan(options)));
    }
  Random random(17);
  const char* wanted = std::getenv("COLLEGIUM_ROUTING_CASES");
  const int cases = wanted == nullptr ? 500 : std::atoi(wanted);
  for (int round = 0; round < cases; ++round) {
    std::vector<Request> batch;
    const std::size_t count = 1 + random.below(4);
    for (std::size_t i = 0; i < count; ++i)
      batch.push_back({random_ids(1 + random.below(20), random.next()),
                       &plans[random.below(plans.size())], nullptr});
    std::vector<Hidden> together;
    ASSERT_TRUE(forward(decoder, batch, together).ok());
    const std::size_t looked_at = random.below(count);
    const Request& one = batch[looked_at];
    ASSERT_EQ(forward_one(decoder, one), together[looked_at]) << round;

    KvCache cache(decoder.config(), KvCacheType::kFp32);
    Hidden pieces(one.ids.size() * TinyMoe::kWidth);
    for (std::size_t done = 0; done < one.ids.size();) {
      const std::size_t size = 1 + random.below(one.ids.size() - done);
      Step step;
      step.cache = &cache;
      step.ids = std::span(one.ids).subspan(done, size);
      step.routing = one.plan;
      step.more_to_come = done + size < one.ids.size();
      ASSERT_TRUE(decoder.forward({&step, 1}, pieces.data() + done * TinyMoe::kWidth).ok());
      done += size;
    }
    ASSERT_EQ(pieces, together[looked_at]) << round;
  }
}

// Copies of one feed-forward part, whatever is chosen of them, are that part, if the weights of a
// token sum to 1.
TEST(TokenRouterInDecoder, AnUpcycledMixtureIsItsDenseModel) {
  TinyMoe upcycled({.seed = 5, .same_experts = true});
  const Decoder mixture = upcycled.make();
  TinyMoe single({.seed = 5, .same_experts = true, .dense = true});  // draws the same numbers
  const Decoder reference = single.make();
  const auto ids = random_ids(30, 6);
  const Hidden expected = forward_one(reference, {ids});
  for (const auto& router :
       {made(make_top_k_router({2, true})), made(make_top_k_router({4, false, true})),
        make_dense_router(), made(make_random_router({3})), made(make_autonomy_router({2})),
        made(make_top_p_router({0.7f, 0, true}))}) {
    const RoutingPlan plan = made(mixture.plan(with_router(router)));
    const Hidden seen = forward_one(mixture, {ids, &plan});
    ASSERT_EQ(seen.size(), expected.size());
    for (std::size_t i = 0; i < seen.size(); ++i)
      ASSERT_NEAR(seen[i], expected[i], 1e-4) << router->name();
  }
}

// Passes on to another router and keeps what it answered, by layer and position.
class Witness final : public TokenRouter {
 public:
  explicit Witness(TokenRouterPtr inner) : inner_(std::move(inner)) {}
  std::string name() const override { return inner_->name(); }
  bool needs_logits() const override { return inner_->needs_logits(); }
  bool needs_activations() const override { return inner_->needs_activations(); }
  Status route(const RouterInput& input, State* state, Routing& routing) const override {
    COLLEGIUM_RETURN_IF_ERROR(inner_->route(input, state, routing));
    const std::lock_guard lock(mutex_);
    for (const auto& token : by_token(routing)) answers[input.layer].push_back(token);
    for (std::size_t t = 0; input.logits != nullptr && t < input.tokens; ++t)
      logits[input.layer].insert(logits[input.layer].end(), input.logits_of(t),
                                 input.logits_of(t) + input.gate_rows);
    return {};
  }
  mutable std::vector<std::vector<ExpertWeight>> answers[2];
  mutable std::vector<float> logits[2];

 private:
  TokenRouterPtr inner_;
  mutable std::mutex mutex_;
};

TEST(TokenRouterInDecoder, ATraceIsWhatTheRouterReturnedAndChangesNoBit) {
  TinyMoe tiny({.seed = 7});
  const Decoder decoder = tiny.make();
  for (const auto& router : routers_for_any_piece()) {
    SCOPED_TRACE(router->name());
    const auto witness = std::make_shared<Witness>(router);
    RoutingOptions options = with_router(witness);
    options.masks = {{std::size_t{1}, {4}}};
    const RoutingPlan plan = made(decoder.plan(options));
    const auto ids = random_ids(300, 8);  // more than go through the layers at once
    const Hidden plain = forward_one(decoder, {ids, &plan});
    for (auto& one : witness->answers) one.clear();
    for (auto& one : witness->logits) one.clear();
    TokenTrace trace;
    ASSERT_EQ(forward_one(decoder, {ids, &plan, &trace}), plain);
    EXPECT_EQ(trace.token_ids(), ids);
    ASSERT_EQ(trace.layers().size(), 2u);
    for (std::size_t l = 0; l < 2; ++l) {
      const TokenTrace::Layer& layer = trace.layers()[l];
      EXPECT_EQ(layer.logits, witness->logits[l]);
      ASSERT_EQ(layer.rows(), ids.size());
      ASSERT_EQ(witness->answers[l].size(), ids.size());
      for (std::size_t t = 0; t < ids.size(); ++t) {
        std::vector<ExpertWeight> row;
        for (std::size_t p = layer.offsets[t]; p < layer.offsets[t + 1]; ++p)
          row.push_back({layer.ids[p], layer.weights[p]});
        ASSERT_EQ(row, witness->answers[l][t]);
      }
      ASSERT_EQ(layer.output_norms.size(), layer.ids.size());
      for (const float norm : layer.output_norms) EXPECT_GT(norm, 0.0f);
    }
  }
}

TEST(TokenRouterInDecoder, EqualExpertsHaveEqualOutputNorms) {
  TinyMoe tiny({.seed = 9, .same_experts = true});
  const Decoder decoder = tiny.make();
  const RoutingPlan plan = made(decoder.plan(with_router(make_dense_router())));
  TokenTrace trace;
  forward_one(decoder, {random_ids(20, 10), &plan, &trace});
  for (const TokenTrace::Layer& layer : trace.layers())
    for (std::size_t t = 0; t < layer.rows(); ++t)
      for (std::size_t p = layer.offsets[t]; p < layer.offsets[t + 1]; ++p)
        EXPECT_EQ(layer.output_norms[p], layer.output_norms[layer.offsets[t]]);
}

// Both the norms and the rank, against the experts' own numbers.
TEST(TokenRouterInDecoder, ActivationNormsAreThoseOfTheGateProjections) {
  TinyMoe tiny({.seed = 11, .widths = {8, 24, 16, 24, 32, 24}});
  const Decoder decoder = tiny.make();
  class Check final : public TokenRouter {
   public:
    explicit Check(const TinyMoe& model) : model_(model) {}
    std::string name() const override { return "check"; }
    bool needs_activations() const override { return true; }
    Status route(const RouterInput& input, State*, Routing& routing) const override {
      for (std::size_t t = 0; t < input.tokens; ++t) {
        std::int32_t best = 0;
        double best_norm = -1.0;
        for (std::size_t e = 0; e < input.experts; ++e) {
          const std::vector<float>& gate = (*model_.numbers)[model_.gates[input.layer][e]];
          double sum = 0.0;
          for (std::size_t row = 0; row < gate.size() / input.width; ++row) {
            double dot = 0.0;
            for (std::size_t i = 0; i < input.width; ++i)
              dot += double{gate[row * input.width + i]} * input.hidden[t * input.width + i];
            sum += dot * dot;
          }
          const double norm = std::sqrt(sum);
          EXPECT_NEAR(input.activation_norms[t * input.experts + e], norm, 1e-5 * norm);
          if (norm > best_norm) {
            best_norm = norm;
            best = static_cast<std::int32_t>(e);
          }
        }
        routing.add(best, 1.0f);
        routing.end_token();
      }
      return {};
    }

   private:
    const TinyMoe& model_;
  };
  const RoutingPlan brute = made(decoder.plan(with_router(std::make_shared<Check>(tiny))));
  const RoutingPlan autonomy = made(decoder.plan(with_router(made(make_autonomy_router({1})))));
  const auto ids = random_ids(25, 12);
  EXPECT_EQ(forward_one(decoder, {ids, &brute}), forward_one(decoder, {ids, &autonomy}));
}

TEST(TokenRouterInDecoder, MasksBiasesAndTopKTakeEffect) {
  TinyMoe tiny({.seed = 13});
  const Decoder decoder = tiny.make();
  const auto ids = random_ids(40, 14);
  const auto traced = [&](const RoutingOptions& options, Hidden* hidden = nullptr) {
    const RoutingPlan plan = made(decoder.plan(options));
    TokenTrace trace;
    Hidden out = forward_one(decoder, {ids, &plan, &trace});
    if (hidden != nullptr) *hidden = std::move(out);
    return trace;
  };
  const auto uses = [](const TokenTrace& trace, std::size_t layer, std::int32_t expert) {
    const auto& chosen = trace.layer(layer)->ids;
    return std::count(chosen.begin(), chosen.end(), expert);
  };
  Hidden plain;
  const TokenTrace own = traced({}, &plain);
  ASSERT_GT(uses(own, 0, 2), 0);
  ASSERT_GT(uses(own, 1, 2), 0);

  RoutingOptions masked;
  masked.masks = {{std::size_t{1}, {2}}};
  Hidden hidden;
  const TokenTrace without = traced(masked, &hidden);
  EXPECT_EQ(uses(without, 0, 2), uses(own, 0, 2));
  EXPECT_EQ(uses(without, 1, 2), 0);
  EXPECT_NE(hidden, plain);
  // Switching off what is not used changes nothing: tokens of the plain run that did not use it.
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const TokenTrace::Layer& layer = *own.layer(1);
    const bool used =
        std::count(layer.ids.begin() + static_cast<std::ptrdiff_t>(layer.offsets[t]),
                   layer.ids.begin() + static_cast<std::ptrdiff_t>(layer.offsets[t + 1]), 2) != 0;
    const auto row = [&](const Hidden& all) {
      return Hidden(all.begin() + static_cast<std::ptrdiff_t>(t * TinyMoe::kWidth),
                    all.begin() + static_cast<std::ptrdiff_t>((t + 1) * TinyMoe::kWidth));
    };
    if (used)
      EXPECT_NE(row(hidden), row(plain)) << t;
    else
      // Weights are softmax over the experts that are on, renormalised over the chosen ones.
      for (std::size_t i = 0; i < TinyMoe::kWidth; ++i)
        EXPECT_NEAR(row(hidden)[i], row(plain)[i], 1e-5) << t;
  }

  RoutingOptions biased;
  biased.biases = {{{}, {0, 0, 0, 0, 50, 0}}};
  const TokenTrace forced = traced(biased);
  for (const std::size_t layer : {0u, 1u})
    EXPECT_EQ(uses(forced, layer, 4), static_cast<std::ptrdiff_t>(ids.size()));

  RoutingOptions more;
  more.top_k = 5;
  EXPECT_EQ(traced(more).layer(0)->ids.size(), 5 * ids.size());
}

TEST(TokenRouterInDecoder, ExpertChoiceRunsAWholePromptAndNothingElse) {
  TinyMoe tiny({.seed = 15});
  const Decoder decoder = tiny.make();
  const RoutingPlan plan = made(decoder.plan(with_router(made(make_expert_choice_router({2.0f})))));
  TokenTrace trace;
  const auto ids = random_ids(300, 16);
  forward_one(decoder, {ids, &plan, &trace});
  std::vector<std::uint64_t> loads(6, 0);
  for (const std::int32_t id : trace.layer(1)->ids) ++loads[static_cast<std::size_t>(id)];
  EXPECT_EQ(loads, std::vector<std::uint64_t>(6, 100));  // of all 300 at once

  std::vector<Hidden> out;
  expect_refused(forward(decoder, {{ids, &plan}, {ids, &plan}}, out), "2 sequences in one batch",
                 StatusCode::kNotSupported);
  KvCache cache(decoder.config(), KvCacheType::kFp32);
  Hidden hidden(300 * TinyMoe::kWidth);
  Step step;
  step.cache = &cache;
  step.ids = std::span(ids).first(10);
  step.routing = &plan;
  step.more_to_come = true;
  expect_refused(decoder.forward({&step, 1}, hidden.data()), "only the first part",
                 StatusCode::kNotSupported);
  step.more_to_come = false;
  ASSERT_TRUE(decoder.forward({&step, 1}, hidden.data()).ok());
  expect_refused(decoder.forward({&step, 1}, hidden.data()), "cannot continue at position 10",
                 StatusCode::kNotSupported);
}

TEST(TokenRouterInDecoder, ARouterThatFailsEndsItsRequestAndTheDecoderGoesOn) {
  TinyMoe tiny({.seed = 19});
  const Decoder decoder = tiny.make();
  const auto nonsense = make_function_router("nonsense", [](const RouterInput& input, Routing& r) {
    for (std::size_t t = 0; t < input.tokens; ++t) {
      r.add(input.layer == 1 && input.position + t >= 6 ? 99 : 0, 1.0f);
      r.end_token();
    }
    return Status();
  });
  const RoutingPlan plan = made(decoder.plan(with_router(nonsense)));
  const auto ids = random_ids(12, 20);
  const Hidden before = forward_one(decoder, {ids});

  KvCache cache(decoder.config(), KvCacheType::kFp32);
  Hidden hidden(ids.size() * TinyMoe::kWidth);
  ASSERT_TRUE(decoder.forward(std::span(ids).first(4), cache, hidden.data()).ok());
  Step step;
  step.cache = &cache;
  step.ids = std::span(ids).subspan(4);
  step.routing = &plan;
  expect_refused(decoder.forward({&step, 1}, hidden.data() + 4 * TinyMoe::kWidth),
                 "token router nonsense, layer 1: position 6: expert id 99");
  EXPECT_EQ(cache.length(), 4u);
  ASSERT_TRUE(
      decoder.forward(std::span(ids).subspan(4), cache, hidden.data() + 4 * TinyMoe::kWidth).ok());
  EXPECT_EQ(hidden, before);
}

}  // namespace
}  // namespace collegium::core
