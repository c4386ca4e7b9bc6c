#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "collegium/core/lm/language_model.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

std::shared_ptr<const LanguageModel> load(const std::string& name) {
  auto model = LanguageModel::load(test_data(name + ".gguf"));
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  return *model;
}

std::shared_ptr<const LanguageModel> tiny() {
  static const auto model = load("tiny_llama");
  return model;
}

ScoreOptions windows_of(std::size_t window, std::size_t stride) {
  ScoreOptions options;
  options.window = window;
  options.stride = stride;
  options.token_log_probabilities = true;
  return options;
}

Score score_one(const LanguageModel& model, std::string_view text, const ScoreOptions& options) {
  auto scores = model.score({&text, 1}, options);
  EXPECT_TRUE(scores.ok()) << scores.status().to_string();
  return (*scores)[0];
}

// tests/oracles/make_score_goldens.py
TEST(Score, EqualsTransformersInAnyWindows) {
  const auto document = JsonDocument::open(test_data("score_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  for (const std::string& name : tiny_models()) {
    const auto model = load(name);
    const auto cases = *document->root().get(name)->as_array(1000);
    for (const JsonValue& golden : cases) {
      const std::string text = *golden.get_string("text");
      const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
      const auto expected = json_numbers<double>(*golden.get("log_probabilities"));
      const auto options = windows_of(std::size_t(*golden.get_unsigned("window")),
                                      std::size_t(*golden.get_unsigned("stride")));
      const Score score = score_one(*model, text, options);
      ASSERT_EQ(score.ids, ids) << name << ": " << text;
      ASSERT_EQ(score.tokens, expected.size());
      ASSERT_EQ(score.log_probabilities.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(score.log_probabilities[i], expected[i], 1e-4) << name << " " << i;
      const double sum = *golden.get_number("log_probability");
      EXPECT_NEAR(score.log_probability, sum, 1e-4 * std::max(1.0, std::abs(sum)));
      if (score.tokens == 0) continue;
      EXPECT_NEAR(score.perplexity(), std::exp(-sum / double(score.tokens)),
                  1e-4 * score.perplexity());
    }
  }
}

// Texts of many lengths together, in any order: the bits of each alone.
TEST(Score, DependsOnNoOtherText) {
  std::mt19937 random(5);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) {
    std::string text(random() % 150, ' ');
    for (char& c : text) c = "the and ringo"[random() % 13];
    texts.push_back(text);
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto together = *tiny()->score(views, windows_of(50, 20));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Score alone = score_one(*tiny(), texts[i], windows_of(50, 20));
    ASSERT_EQ(together[i].log_probability, alone.log_probability) << i;
    ASSERT_EQ(together[i].log_probabilities, alone.log_probabilities);
    ASSERT_EQ(together[i].windows, alone.windows);
    ASSERT_EQ(alone.tokens, alone.ids.empty() ? 0 : alone.ids.size() - 1);
  }
  const Score sum = sum_scores(together);
  double log_probability = 0.0;
  std::size_t tokens = 0;
  for (const Score& score : together) {
    log_probability += score.log_probability;
    tokens += score.tokens;
  }
  EXPECT_EQ(sum.log_probability, log_probability);
  EXPECT_EQ(sum.tokens, tokens);
  EXPECT_EQ(sum.perplexity(), std::exp(-log_probability / double(tokens)));
}

TEST(Score, OfNothingIsNoPerplexity) {
  EXPECT_TRUE(tiny()->score({})->empty());
  const Score empty = score_one(*tiny(), "", {});
  EXPECT_EQ(empty.tokens, 0u);
  EXPECT_EQ(empty.log_probability, 0.0);
  EXPECT_TRUE(std::isnan(empty.perplexity()));
  EXPECT_EQ(score_one(*tiny(), "a", {}).tokens, 0u);
  // The other model puts a token of its own before every text.
  EXPECT_EQ(score_one(*load("tiny_llama_mixed"), "a", {}).tokens, 1u);
}

TEST(Score, RefusesWhatItCannotReadBeforeItStarts) {
  const std::string_view good = "the th", bad = "\xFF";
  const auto message = [&](std::string_view text, std::size_t window, std::size_t stride) {
    const std::vector<std::string_view> texts = {good, text};
    const auto scores = tiny()->score(texts, windows_of(window, stride));
    EXPECT_EQ(scores.status().code(), StatusCode::kInvalidArgument);
    return scores.status().message();
  };
  EXPECT_NE(message(bad, 0, 0).find("texts[1]"), std::string::npos);
  EXPECT_NE(message(good, 1, 0).find("window: 1"), std::string::npos);
  EXPECT_NE(message(good, 97, 0).find("window: 97"), std::string::npos);
  EXPECT_NE(message(good, 10, 10).find("stride: 10"), std::string::npos);
  EXPECT_EQ(score_one(*tiny(), "ab", windows_of(2, 0)).windows, 1u);
}

TEST(Score, ProgressSeesTokensAndMayCancel) {
  const std::string text(2000, 'x');
  const std::string_view view = text;
  std::vector<std::uint64_t> seen;
  std::uint64_t total = 0;
  const auto note = [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "score");
    seen.push_back(progress.done);
    total = progress.total;
    return true;
  };
  ASSERT_TRUE(tiny()->score({&view, 1}, windows_of(96, 48), note).ok());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen.size(), 3u);
  EXPECT_LT(seen.back(), total);
  const auto stop = [](const Progress& progress) { return progress.done == 0; };
  EXPECT_EQ(tiny()->score({&view, 1}, {}, stop).status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace collegium::core
