#include "collegium/router/gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "collegium/core/random.h"

namespace collegium::router {
namespace {

// One telling feature before, a better one after; `apart` says how far the classes are.
GateExamples make_examples(std::size_t positives, std::size_t negatives, double apart,
                           std::uint64_t seed) {
  core::Random random(seed);
  GateExamples examples;
  for (std::size_t i = 0; i < positives + negatives; ++i) {
    const bool helps = i < positives;
    const double sign = helps ? 1.0 : -1.0;
    examples.before.push_back(
        {{"noise", random.normal()}, {"tell", sign * apart + random.normal()}});
    examples.after.push_back(examples.before.back());
    examples.after.back().push_back({"top_score", 2.0 * sign * apart + random.normal()});
    examples.helps.push_back(helps);
  }
  return examples;
}

GateOutcome decide(const Gate& gate, const GateExamples& examples, std::size_t i) {
  const auto early = gate.decide_before(examples.before[i]);
  return early.has_value() ? *early : gate.decide_after(examples.after[i]);
}

// Shares of positives retrieved for, of negatives not.
std::pair<double, double> rates(const Gate& gate, const GateExamples& examples) {
  double kept = 0.0, saved = 0.0, positives = 0.0, negatives = 0.0;
  for (std::size_t i = 0; i < examples.helps.size(); ++i) {
    const bool retrieve = decide(gate, examples, i).decision == GateDecision::kRetrieve;
    (examples.helps[i] ? positives : negatives) += 1.0;
    if (examples.helps[i] && retrieve) kept += 1.0;
    if (!examples.helps[i] && !retrieve) saved += 1.0;
  }
  return {kept / positives, saved / negatives};
}

TEST(Gate, NotFittedItAlwaysRetrievesAndSaysWhy) {
  const Gate gate;
  EXPECT_FALSE(gate.fitted());
  const auto outcome = gate.decide_before({});
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->decision, GateDecision::kRetrieve);
  EXPECT_EQ(outcome->stage, GateStage::kAlways);
  EXPECT_EQ(outcome->reason, gate.note());
  EXPECT_NE(gate.note().find("always retrieves"), std::string::npos);
}

TEST(Gate, OneClassOnlyIsNotFittedAndSaysWhich) {
  const auto no_negatives = fit_gate(make_examples(20, 0, 1.0, 1), {}, {}).value();
  EXPECT_FALSE(no_negatives.fitted());
  EXPECT_NE(no_negatives.note().find("no questions marked as needing no corpus"),
            std::string::npos);
  const auto no_positives = fit_gate(make_examples(0, 20, 1.0, 1), {}, {}).value();
  EXPECT_FALSE(no_positives.fitted());
  EXPECT_NE(no_positives.note(), no_negatives.note());
  EXPECT_FALSE(fit_gate({}, {}, {}).value().fitted());
}

TEST(Gate, TellsTheClassesApartAndKeepsTheTargetRecallOnDev) {
  for (double target : {0.9, 0.98}) {
    GateOptions options;
    options.target_recall = target;
    const auto dev = make_examples(400, 100, 1.0, 2);
    const Gate gate = fit_gate(make_examples(800, 100, 1.0, 1), dev, options).value();
    ASSERT_TRUE(gate.fitted());
    const auto [dev_recall, dev_specificity] = rates(gate, dev);
    EXPECT_GE(dev_recall, target);
    const auto [recall, specificity] = rates(gate, make_examples(2000, 500, 1.0, 3));
    EXPECT_GE(recall, target - 0.03);
    EXPECT_GE(specificity, 0.75);
  }
}

TEST(Gate, BetweenSeparateClassesTheThresholdKeepsClearOfBoth) {
  const auto train = make_examples(300, 60, 4.0, 1), dev = make_examples(100, 30, 4.0, 2);
  const Gate gate = fit_gate(train, dev, {}).value();
  EXPECT_GT(gate.after_->threshold, 0.05);
  EXPECT_LT(gate.after_->threshold, 0.95);
  EXPECT_EQ(rates(gate, make_examples(500, 500, 4.0, 3)), (std::pair{1.0, 1.0}));
}

TEST(Gate, SavesTheSearchOnlyWhereItIsSure) {
  const auto dev = make_examples(300, 300, 1.5, 2);
  GateOptions options;
  options.early_confidence = 0.95;
  const Gate gate = fit_gate(make_examples(300, 300, 1.5, 1), dev, options).value();
  std::size_t early = 0, late = 0;
  for (const auto& features : dev.before) {
    const auto outcome = gate.decide_before(features);
    if (!outcome.has_value()) {
      ++late;
      continue;
    }
    ++early;
    EXPECT_EQ(outcome->stage, GateStage::kBeforeSearch);
    if (outcome->decision == GateDecision::kInternal)
      EXPECT_LT(outcome->probability, 1.0 - options.early_confidence);
    else
      EXPECT_GT(outcome->probability, options.early_confidence);
  }
  EXPECT_GT(early, 50u);
  EXPECT_GT(late, 50u);
  options.early_confidence = 1.0;
  const Gate never = fit_gate(make_examples(300, 300, 1.5, 1), dev, options).value();
  for (const auto& features : dev.before) EXPECT_FALSE(never.decide_before(features).has_value());
}

TEST(Gate, EveryOutcomeExplainsItself) {
  const auto train = make_examples(100, 100, 1.0, 1);
  const Gate gate = fit_gate(train, {}, {}).value();
  EXPECT_NE(gate.note().find("100"), std::string::npos);
  const GateOutcome outcome = gate.decide_after(train.after[0]);
  EXPECT_EQ(outcome.stage, GateStage::kAfterSearch);
  EXPECT_EQ(outcome.features.size(), 3u);
  EXPECT_EQ(outcome.threshold, gate.after_->threshold);
  EXPECT_NE(outcome.reason.find("most by"), std::string::npos);
  EXPECT_EQ(outcome.decision == GateDecision::kRetrieve, outcome.probability >= outcome.threshold);
}

TEST(Gate, FeaturesAreFoundByNameAndAMissingOrNanOneCountsAsAverage) {
  const auto train = make_examples(100, 100, 1.0, 1);
  const Gate gate = fit_gate(train, {}, {}).value();
  auto features = train.after[0];
  const double straight = gate.decide_after(features).probability;
  std::swap(features[0], features[2]);
  features.push_back({"unknown", 1e9});
  EXPECT_NEAR(gate.decide_after(features).probability, straight, 1e-12);
  auto without = train.after[0], nan = train.after[0], mean = train.after[0];
  without.erase(without.begin() + 1);
  nan[1].value = std::numeric_limits<double>::quiet_NaN();
  mean[1].value = gate.after_->mean[1];
  const double average = gate.decide_after(mean).probability;
  EXPECT_NEAR(gate.decide_after(without).probability, average, 1e-12);
  EXPECT_NEAR(gate.decide_after(nan).probability, average, 1e-12);
}

TEST(GateFeatures, SayWhatTheyMeasure) {
  const std::vector<float> centroids = {2, 0, 0, 0, 3, 0}, questions = {0, 1, 0},
                           negatives = {0, 0, 1};
  const GateReference reference = make_gate_reference(3, centroids, questions, negatives).value();
  const std::vector<float> query = {0.6f, 0.8f, 0.0f};
  const auto before = gate_features_before(reference, nullptr, query);
  const auto value = [](const std::vector<GateFeature>& features, std::string_view name) {
    for (const auto& feature : features)
      if (feature.name == name) return feature.value;
    ADD_FAILURE() << "no feature " << name;
    return 0.0;
  };
  EXPECT_NEAR(value(before, "nearest_centroid"), 0.8, 1e-6);
  EXPECT_NEAR(value(before, "near_questions"), 0.8, 1e-6);
  EXPECT_NEAR(value(before, "near_negatives"), 0.0, 1e-6);
  EXPECT_EQ(value(before, "router_entropy"), 1.0);
  EXPECT_EQ(value(before, "familiarity"), 0.0);
  EXPECT_GT(value(before, "direction"),
            value(gate_features_before(reference, nullptr, negatives), "direction"));
  const std::vector<float> scores = {0.9f, 0.8f, 0.5f, 0.5f, 0.4f, 0.1f};
  const auto after = gate_features_after(before, scores);
  EXPECT_EQ(after.size(), before.size() + 5);
  EXPECT_NEAR(value(after, "top_score"), 0.9, 1e-6);
  EXPECT_NEAR(value(after, "drop_2"), 0.1, 1e-6);
  EXPECT_NEAR(value(after, "drop_5"), 0.5, 1e-6);
  EXPECT_NEAR(value(after, "drop_10"), 0.8, 1e-6);
  EXPECT_NEAR(value(after, "mean_top_10"), 3.2 / 6.0, 1e-6);
  for (const auto& feature : gate_features_after(before, std::span<const float>()))
    EXPECT_TRUE(std::isfinite(feature.value)) << feature.name;
}

TEST(GateFeatures, BadReferencesAreATypedError) {
  const std::vector<float> good = {1, 0}, odd = {1, 0, 0},
                           nan = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(make_gate_reference(2, good, odd, good).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(make_gate_reference(2, good, good, nan).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(make_gate_reference(0, {}, {}, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(make_gate_reference(2, {}, {}, {}).ok());
}

Gate complete_gate() {
  Gate gate = fit_gate(make_examples(50, 50, 1.0, 1), {}, {}).value();
  const std::vector<float> rows = {1, 0, 0, 1};
  gate.reference_ = make_gate_reference(2, rows, rows, rows).value();
  return gate;
}

TEST(Gate, ASerialisedOneDecidesTheSame) {
  for (const Gate& gate : {complete_gate(), Gate()}) {
    const auto bytes = gate.serialize();
    const auto loaded = Gate::deserialize(bytes);
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    EXPECT_EQ(loaded->serialize(), bytes);
    EXPECT_EQ(loaded->note(), gate.note());
    const auto examples = make_examples(20, 20, 1.0, 9);
    for (std::size_t i = 0; i < examples.helps.size(); ++i) {
      EXPECT_EQ(decide(*loaded, examples, i).probability, decide(gate, examples, i).probability);
      EXPECT_EQ(decide(*loaded, examples, i).stage, decide(gate, examples, i).stage);
    }
  }
}

TEST(Gate, ADamagedPayloadIsATypedError) {
  const std::vector<std::byte> whole = complete_gate().serialize();
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(Gate::deserialize(std::span(whole).first(size)).status().code(),
              StatusCode::kCorruption)
        << size;
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte{});
  EXPECT_EQ(Gate::deserialize(longer).status().code(), StatusCode::kCorruption);
  // Whatever four bytes are turned into, nothing crashes and nothing huge is allocated.
  for (std::size_t at = 0; at + 4 <= whole.size(); ++at)
    for (std::uint32_t value : {0xffffffffu, 0x7f800000u, 0x00000000u}) {
      std::vector<std::byte> damaged = whole;
      std::memcpy(&damaged[at], &value, sizeof value);
      const auto loaded = Gate::deserialize(damaged);
      if (!loaded.ok()) {
        EXPECT_EQ(loaded.status().code(), StatusCode::kCorruption) << at;
      }
    }
}

TEST(Gate, BadExamplesAndOptionsAreATypedError) {
  auto examples = make_examples(5, 5, 1.0, 1);
  examples.before[2][0].value = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(fit_gate(examples, {}, {}).status().code(), StatusCode::kInvalidArgument);
  examples = make_examples(5, 5, 1.0, 1);
  examples.after[3].pop_back();
  EXPECT_EQ(fit_gate(examples, {}, {}).status().code(), StatusCode::kInvalidArgument);
  examples = make_examples(5, 5, 1.0, 1);
  examples.helps.pop_back();
  EXPECT_EQ(fit_gate(examples, {}, {}).status().code(), StatusCode::kInvalidArgument);
  examples = make_examples(5, 5, 1.0, 1);
  EXPECT_EQ(fit_gate(examples, {}, {.target_recall = 0.0}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(fit_gate(examples, {}, {.early_confidence = 1.5}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::router
