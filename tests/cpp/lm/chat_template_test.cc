#include "lm/chat_template.h"

#include <gtest/gtest.h>

#include "collegium/core/file_envelope.h"
#include "collegium/core/gguf.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

std::vector<ChatMessage> read_messages(const JsonValue& value) {
  std::vector<ChatMessage> messages;
  const auto entries = *value.as_array(100);
  for (const JsonValue& message : entries)
    messages.push_back({*message.get_string("role"), *message.get_string("content")});
  return messages;
}

TEST(ChatTemplate, KnowsATemplateByItsExactTextOnly) {
  const auto file = GgufFile::open(test_data("tiny_llama.gguf"));
  const std::string source(*file->get_string("tokenizer.chat_template"));
  EXPECT_EQ(recognise_chat_template(source), ChatTemplate::kSmolLm2);
  EXPECT_EQ(recognise_chat_template(source + " "), ChatTemplate::kUnknown);
  EXPECT_EQ(recognise_chat_template(""), ChatTemplate::kNone);
}

// What transformers' Jinja makes of each template over the same conversations, or that the
// template refuses one (null).
TEST(ChatTemplate, EveryKnownTemplateGivesThePromptsOfTransformers) {
  const auto document = JsonDocument::open(test_data("chat_templates.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const JsonValue root = document->root();
  const auto date = json_numbers<std::int32_t>(*root.get("today"));
  const ChatContext context{
      *root.get_string("bos"),
      *root.get_string("eos"),
      {std::chrono::year(date.at(0)), std::chrono::month(static_cast<unsigned>(date.at(1))),
       std::chrono::day(static_cast<unsigned>(date.at(2)))}};
  const auto conversations = *root.get("conversations")->as_array(100);
  const auto templates = *root.get("templates")->as_array(100);
  EXPECT_EQ(conversations.size(), 17u);
  EXPECT_EQ(templates.size(), 54u);
  std::size_t refused = 0;
  for (const JsonValue& entry : templates) {
    const std::string name = *entry.get_string("name");
    const ChatTemplate known = chat_template_of(*entry.get_string("digest"));
    ASSERT_NE(known, ChatTemplate::kUnknown) << name;
    if (entry.has("source")) {
      const std::string source = *entry.get_string("source");
      EXPECT_EQ(digest_hex(std::as_bytes(std::span(source))), *entry.get_string("digest"));
      EXPECT_EQ(recognise_chat_template(source), known);
      EXPECT_EQ(recognise_chat_template(source.substr(1)), ChatTemplate::kUnknown) << name;
    }
    const auto prompts = *entry.get("prompts")->as_array(100);
    ASSERT_EQ(prompts.size(), conversations.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto prompt = apply_chat_template(known, read_messages(conversations[i]), context);
      if (prompts[i].is_null()) {
        EXPECT_EQ(prompt.status().code(), StatusCode::kInvalidArgument) << name << " " << i;
        ++refused;
      } else {
        ASSERT_TRUE(prompt.ok()) << name << " " << i << ": " << prompt.status().to_string();
        EXPECT_EQ(*prompt, *prompts[i].as_string()) << name << " " << i;
      }
    }
  }
  EXPECT_GT(refused, 40u);
}

TEST(ChatTemplate, ThoughtsAreLeftOutWhereTheTemplateKnowsThem) {
  const ChatMessage hello{"user", "Hello"};
  const auto prompt = [&](ChatTemplate known, bool enable_thinking) {
    return *apply_chat_template(known, {&hello, 1}, {"", "", {}, enable_thinking});
  };
  EXPECT_EQ(prompt(ChatTemplate::kQwen3, false),
            prompt(ChatTemplate::kQwen3, true) + "<think>\n\n</think>\n\n");
  EXPECT_EQ(prompt(ChatTemplate::kQwen25, false), prompt(ChatTemplate::kQwen25, true));
}

// The prompts in language_model_goldens.json are of the model's own file.
TEST(ChatTemplate, GivesThePromptsOfTransformers) {
  const auto document = JsonDocument::open(test_data("language_model_goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const auto prompts = *document->root().get("prompts")->as_array(1000);
  std::size_t compared = 0;
  for (const JsonValue& entry : prompts) {
    if (!entry.has("messages")) continue;
    const auto messages = read_messages(*entry.get("messages"));
    EXPECT_EQ(*apply_chat_template(ChatTemplate::kSmolLm2, messages, {}),
              *entry.get_string("prompt"));
    ++compared;
  }
  EXPECT_EQ(compared, 18u);
}

TEST(ChatTemplate, RefusesNoMessagesUnknownRolesAndBytesThatAreNoText) {
  const auto code = [](std::vector<ChatMessage> messages) {
    return apply_chat_template(ChatTemplate::kLlama3, messages, {}).status().code();
  };
  EXPECT_EQ(code({}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"tool", "x"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"user", "\xff"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"user", "x"}}), StatusCode::kOk);
}

}  // namespace
}  // namespace collegium::core
