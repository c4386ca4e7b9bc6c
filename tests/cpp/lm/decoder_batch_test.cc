// Promise 1 of the decoder: a row's bits depend on its own sequence alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>

#include "collegium/core/lm/token_routers.h"
#include "lm/decoder_models.h"
#include "threads_restored.h"

namespace collegium::core {
namespace {

struct Sequence {
  std::vector<std::int32_t> ids;
  const RoutingPlan* plan = nullptr;
  std::vector<float> expected;  // (ids, width), alone, at once, by one thread
  std::unique_ptr<KvCache> cache;
  std::size_t done = 0;
  std::vector<float> seen;
};

class Case {
 public:
  Case(const Decoder& decoder, const std::vector<RoutingPlan>& plans, std::mt19937& random)
      : decoder_(decoder), random_(random) {
    const std::size_t count = 1 + random() % 5;
    for (std::size_t i = 0; i < count; ++i) {
      Sequence sequence;
      const std::size_t length = 1 + random() % (i == 0 ? 60 : 20);
      const bool flood = random() % 4 == 0;  // one token again and again: always the same experts
      const auto token = static_cast<std::int32_t>(random() % decoder.config().vocab);
      for (std::size_t t = 0; t < length; ++t)
        sequence.ids.push_back(
            flood ? token : static_cast<std::int32_t>(random() % decoder.config().vocab));
      if (!plans.empty() && random() % 2 == 0) sequence.plan = &plans[random() % plans.size()];
      sequences_.push_back(std::move(sequence));
    }
  }

  void run_alone() {
    set_num_threads(1);
    for (Sequence& sequence : sequences_) {
      KvCache cache(decoder_.config(), KvCacheType::kFp32);
      sequence.expected.resize(sequence.ids.size() * decoder_.config().width);
      const Step step{.cache = &cache, .ids = sequence.ids, .routing = sequence.plan};
      ASSERT_TRUE(decoder_.forward({&step, 1}, sequence.expected.data()).ok());
    }
  }

  void run_together() {
    set_num_threads(1 + random_() % 4);
    const std::size_t width = decoder_.config().width;
    for (Sequence& sequence : sequences_)
      sequence.cache = std::make_unique<KvCache>(decoder_.config(), KvCacheType::kFp32);
    while (true) {
      std::vector<Step> steps;
      std::vector<Sequence*> stepping;
      std::size_t rows = 0;
      for (Sequence& sequence : sequences_) {
        const std::size_t left = sequence.ids.size() - sequence.done;
        if (left == 0 || random_() % 5 == 0) continue;
        const std::size_t count = random_() % 2 == 0 ? 1 : 1 + random_() % left;
        steps.push_back({.cache = sequence.cache.get(),
                         .ids = std::span(sequence.ids).subspan(sequence.done, count),
                         .routing = sequence.plan});
        stepping.push_back(&sequence);
        rows += count;
      }
      if (steps.empty()) {
        const bool all = std::all_of(sequences_.begin(), sequences_.end(),
                                     [](const Sequence& s) { return s.done == s.ids.size(); });
        if (all) return;
        continue;
      }
      std::vector<float> hidden(rows * width);
      ASSERT_TRUE(decoder_.forward(steps, hidden.data()).ok());
      const float* row = hidden.data();
      for (std::size_t i = 0; i < steps.size(); ++i) {
        const std::size_t numbers = steps[i].ids.size() * width;
        stepping[i]->seen.insert(stepping[i]->seen.end(), row, row + numbers);
        stepping[i]->done += steps[i].ids.size();
        row += numbers;
      }
    }
  }

  bool equal() const {
    return std::all_of(sequences_.begin(), sequences_.end(), [](const Sequence& sequence) {
      return same_numbers(sequence.seen, sequence.expected);
    });
  }

 private:
  const Decoder& decoder_;
  std::mt19937& random_;
  std::vector<Sequence> sequences_;
};

// Routings of requests: floods (everything to two experts), other routers, masks, biases.
std::vector<RoutingPlan> plans_for(const Decoder& decoder) {
  std::vector<RoutingPlan> plans;
  if (decoder.routing_layers().empty()) return plans;
  const auto add = [&](const RoutingOptions& options) {
    auto plan = decoder.plan(options);
    EXPECT_TRUE(plan.ok()) << plan.status().to_string();
    if (plan.ok()) plans.push_back(std::move(plan).value());
  };
  RoutingOptions options;
  options.masks.push_back({.layer = {}, .experts = {0, 1, 2}, .keep = true});
  add(options);
  options = {};
  options.router = make_dense_router();
  add(options);
  options.router = *make_random_router({.top_k = 2, .seed = 9});
  add(options);
  options.router = *make_top_p_router({.top_p = 0.6f});
  add(options);
  options.router = *make_autonomy_router({.top_k = 2});
  add(options);
  options = {};
  options.biases.push_back(
      {.layer = {}, .values = std::vector<float>(decoder.config().moe.experts, 0.0f)});
  options.biases[0].values[1] = 5.0f;
  add(options);
  return plans;
}

// 500 cases; COLLEGIUM_BATCH_CASES asks for another number.
TEST(DecoderBatch, ASequencesBitsDoNotDependOnItsBatchItsPiecesOrTheThreads) {
  const ThreadsRestored restored;
  const char* asked = std::getenv("COLLEGIUM_BATCH_CASES");
  const std::size_t cases = asked != nullptr ? std::strtoul(asked, nullptr, 10) : 500;
  DecoderGoldens goldens;
  std::mt19937 random(20261129);
  const std::size_t models = goldens.names().size();
  for (std::size_t m = 0; m < models; ++m) {
    const std::string& name = goldens.names()[m];
    const Decoder exact = load_decoder(name);
    Decoder fast = load_decoder(name);
    fast.pack();
    const auto exact_plans = plans_for(exact), fast_plans = plans_for(fast);
    for (std::size_t i = m; i < cases; i += models) {
      const bool pack = i / models % 2 == 1;
      const Decoder& decoder = pack ? fast : exact;
      const auto& plans = pack ? fast_plans : exact_plans;
      Case one(decoder, plans, random);
      one.run_alone();
      one.run_together();
      ASSERT_TRUE(one.equal()) << name << ", case " << i;
    }
  }
}

// More rows than go through the layers at once, and every one of them to the same two experts.
TEST(DecoderBatch, AFloodOfOneExpertChangesNoOtherRow) {
  const ThreadsRestored restored;
  set_num_threads(3);
  const Decoder decoder = load_decoder("mixtral");
  const std::size_t width = decoder.config().width;
  RoutingOptions options;
  options.masks.push_back({.layer = {}, .experts = {1, 3}, .keep = true});
  const auto flood = decoder.plan(options);
  ASSERT_TRUE(flood.ok());
  const std::vector<std::int32_t> victim = {5, 9, 13, 6, 7, 31, 8, 40, 41, 42};
  const std::vector<std::int32_t> same(90, 17);
  KvCache alone(decoder.config(), KvCacheType::kFp32);
  std::vector<float> expected(victim.size() * width);
  ASSERT_TRUE(decoder.forward(victim, alone, expected.data()).ok());

  std::vector<KvCache> caches;
  for (std::size_t i = 0; i < 8; ++i) caches.emplace_back(decoder.config(), KvCacheType::kFp32);
  std::vector<Step> steps;
  for (std::size_t i = 0; i < 7; ++i)
    steps.push_back({.cache = &caches[i], .ids = same, .routing = &*flood});
  steps.insert(steps.begin() + 3, Step{.cache = &caches[7], .ids = victim});
  std::vector<float> hidden((7 * same.size() + victim.size()) * width);
  ASSERT_TRUE(decoder.forward(steps, hidden.data()).ok());
  EXPECT_TRUE(same_numbers(
      std::span(hidden).subspan(3 * same.size() * width, victim.size() * width), expected));
}

// A router that looks at a whole prompt gets it in one piece, or nothing runs.
TEST(DecoderBatch, ExpertChoiceTakesAWholePromptAloneOnly) {
  const Decoder decoder = load_decoder("mixtral");
  RoutingOptions options;
  options.router = *make_expert_choice_router({.experts_per_token = 2.0f});
  const auto plan = decoder.plan(options);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const std::vector<std::int32_t> ids = {5, 9, 13, 6, 7, 31, 8, 40, 41, 42};
  std::vector<float> hidden(2 * ids.size() * decoder.config().width);
  KvCache cache(decoder.config(), KvCacheType::kFp32), other(decoder.config(), KvCacheType::kFp32);
  const Step whole{.cache = &cache, .ids = ids, .routing = &*plan};
  Step part = whole;
  part.more_to_come = true;
  EXPECT_EQ(decoder.forward({&part, 1}, hidden.data()).code(), StatusCode::kNotSupported);
  const Step two[] = {whole, {.cache = &other, .ids = ids}};
  EXPECT_EQ(decoder.forward(two, hidden.data()).code(), StatusCode::kNotSupported);
  ASSERT_TRUE(decoder.forward({&whole, 1}, hidden.data()).ok());
  EXPECT_EQ(decoder.forward({&whole, 1}, hidden.data()).code(), StatusCode::kNotSupported);
}

}  // namespace
}  // namespace collegium::core
