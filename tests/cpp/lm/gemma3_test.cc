// Gemma 3 270M from its package against transformers on the same dequantised weights: see
// tests/oracles/make_language_model_goldens.py. A base model: completion prompts, no chat.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "collegium/core/lm/language_model.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

class Gemma3 : public testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("COLLEGIUM_GEMMA3");
    if (path == nullptr) GTEST_SKIP() << "COLLEGIUM_GEMMA3 names no Gemma 3 270M GGUF file";
    auto loaded = LanguageModel::load(path);
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    model_ = *loaded;
  }
  std::shared_ptr<const LanguageModel> model_;
};

TEST_F(Gemma3, SlowGreedyTokensEqualTransformersOnTenPromptsOf64Tokens) {
  const auto document = JsonDocument::open(test_data("gemma3_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const JsonValue root = document->root();
  const auto stride = std::size_t(*root.get_unsigned("logit_stride"));
  const auto prompts = *root.get("prompts")->as_array(1000);
  ASSERT_EQ(prompts.size(), 10u);
  std::size_t tokens = 0;
  for (const JsonValue& golden : prompts) {
    const std::string prompt = *golden.get_string("prompt");
    const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
    ASSERT_EQ(model_->tokenizer().encode(prompt, {})->ids, ids) << prompt;

    const auto expected = json_numbers<double>(*golden.get("logits"));
    const auto logits = *model_->logits(ids);
    const std::size_t vocab = logits.size() / ids.size();
    ASSERT_EQ(expected.size(), (vocab + stride - 1) / stride);
    const float* row = logits.data() + (ids.size() - 1) * vocab;
    const double scale = *golden.get_number("logit_scale");
    for (std::size_t j = 0; j < expected.size(); ++j)
      ASSERT_NEAR(row[j * stride], expected[j], 1e-4 * scale) << prompt;

    GenerateOptions options;
    options.max_new_tokens = 64;
    const auto generation = model_->generate(prompt, options);
    ASSERT_TRUE(generation.ok()) << generation.status().to_string();
    EXPECT_EQ(generation->ids, json_numbers<std::int32_t>(*golden.get("new")))
        << prompt << ": the reference's smallest gap between two logits is "
        << *golden.get_number("smallest_gap");
    EXPECT_EQ(generation->text, *golden.get_string("text"));
    tokens += generation->ids.size();
  }
  EXPECT_GT(tokens, 500u);
}

TEST_F(Gemma3, SlowHasNoChatTemplate) {
  const ChatMessage message{"user", "hi"};
  EXPECT_EQ(model_->chat({&message, 1}).status().code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace collegium::core
