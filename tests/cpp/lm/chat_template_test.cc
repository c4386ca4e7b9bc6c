#include "lm/chat_template.h"

#include <gtest/gtest.h>

#include "collegium/core/gguf.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

TEST(ChatTemplate, KnowsATemplateByItsExactTextOnly) {
  const auto file = GgufFile::open(test_data("tiny_llama.gguf"));
  const std::string source(*file->get_string("tokenizer.chat_template"));
  EXPECT_EQ(recognise_chat_template(source), ChatTemplate::kSmolLm2);
  EXPECT_EQ(recognise_chat_template(source + " "), ChatTemplate::kUnknown);
  EXPECT_EQ(recognise_chat_template(""), ChatTemplate::kNone);
}

// The prompts in language_model_goldens.json are what transformers' Jinja makes of the template.
TEST(ChatTemplate, GivesThePromptsOfTransformers) {
  const auto document = JsonDocument::open(test_data("language_model_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const auto prompts = *document->root().get("prompts")->as_array(1000);
  std::size_t compared = 0;
  for (const JsonValue& entry : prompts) {
    if (!entry.has("messages")) continue;
    std::vector<ChatMessage> messages;
    const auto entries = *entry.get("messages")->as_array(100);
    for (const JsonValue& message : entries)
      messages.push_back({*message.get_string("role"), *message.get_string("content")});
    EXPECT_EQ(*apply_chat_template(ChatTemplate::kSmolLm2, messages), *entry.get_string("prompt"));
    ++compared;
  }
  EXPECT_EQ(compared, 18u);
}

TEST(ChatTemplate, RefusesNoMessagesAndUnknownRoles) {
  EXPECT_EQ(apply_chat_template(ChatTemplate::kSmolLm2, {}).status().code(),
            StatusCode::kInvalidArgument);
  const ChatMessage message{"tool", "x"};
  EXPECT_EQ(apply_chat_template(ChatTemplate::kSmolLm2, {&message, 1}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::core
