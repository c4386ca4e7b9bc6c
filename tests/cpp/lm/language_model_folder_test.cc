// A whole model in Hugging Face's layout: see tests/oracles/make_lm_folder.py.
#include <gtest/gtest.h>

#include <filesystem>

#include "collegium/core/lm/language_model.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

const JsonDocument& goldens() {
  static const JsonDocument document = *JsonDocument::open(test_data("lm_folder_goldens.json"));
  return document;
}

GenerateOptions forty_tokens() {
  GenerateOptions options;
  options.max_new_tokens = 40;
  return options;
}

void expect_equal(const Result<Generation>& generation, const JsonValue& golden) {
  ASSERT_TRUE(generation.ok()) << generation.status().to_string();
  EXPECT_EQ(generation->prompt_tokens, *golden.get_unsigned("prompt_tokens"));
  EXPECT_EQ(generation->ids, json_numbers<std::int32_t>(*golden.get("new")));
  EXPECT_EQ(generation->text, *golden.get_string("text"));
}

// The tokenizer puts a token before a prompt; none before a chat, as its template asks for none.
TEST(LanguageModelFolder, AnswersAsTransformers) {
  const auto model = LanguageModel::load(test_data("lm_folder"));
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ((*model)->context_length(), 256u);
  const auto prompts = *goldens().root().get("prompts")->as_array(100);
  EXPECT_EQ(prompts.size(), 3u);
  for (const JsonValue& golden : prompts)
    expect_equal((*model)->generate(*golden.get_string("prompt"), forty_tokens()), golden);
  const auto chats = *goldens().root().get("chats")->as_array(100);
  EXPECT_EQ(chats.size(), 2u);
  for (const JsonValue& golden : chats) {
    std::vector<ChatMessage> messages;
    const auto entries = *golden.get("messages")->as_array(100);
    for (const JsonValue& message : entries)
      messages.push_back({*message.get_string("role"), *message.get_string("content")});
    EXPECT_EQ(*(*model)->apply_chat_template(messages), *golden.get_string("prompt"));
    expect_equal((*model)->chat(messages, forty_tokens()), golden);
  }
}

class DamagedFolder : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& entry : std::filesystem::directory_iterator(test_data("lm_folder")))
      std::filesystem::copy_file(entry.path(), folder_ / entry.path().filename().string());
  }
  Status load() { return LanguageModel::load(folder_.path()).status(); }
  void replace(const std::string& name, const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    write_bytes(folder_ / name, Bytes(bytes.begin(), bytes.end()));
  }
  ScratchFolder folder_;
};

TEST_F(DamagedFolder, ADigestCoversEveryFileThatDecides) {
  const std::string before = (*LanguageModel::load(folder_.path()))->digest();
  EXPECT_EQ((*LanguageModel::load(test_data("lm_folder")))->digest(), before);
  replace("README.md", "no part of it");
  EXPECT_EQ((*LanguageModel::load(folder_.path()))->digest(), before);
  replace("generation_config.json", "{ }");
  EXPECT_NE((*LanguageModel::load(folder_.path()))->digest(), before);
}

TEST_F(DamagedFolder, MissingFilesAreNotFound) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const Bytes bytes = read_bytes(folder_ / name);
    std::filesystem::remove(folder_ / name);
    EXPECT_EQ(load().code(), StatusCode::kNotFound) << name;
    write_bytes(folder_ / name, bytes);
  }
  EXPECT_TRUE(load().ok());
}

TEST_F(DamagedFolder, TruncatedFilesAreTypedErrors) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors",
                           "tokenizer.json", "tokenizer_config.json"}) {
    const Bytes bytes = read_bytes(folder_ / name);
    for (std::size_t length = 0; length + 3 < bytes.size(); length += 1 + bytes.size() / 60) {
      write_bytes(folder_ / name,
                  Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
      EXPECT_EQ(load().code(), StatusCode::kCorruption) << name << " " << length;
    }
    write_bytes(folder_ / name, bytes);
  }
  EXPECT_TRUE(load().ok());
}

}  // namespace
}  // namespace collegium::core
