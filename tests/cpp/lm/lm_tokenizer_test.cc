#include "lm/lm_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "lm/chat_template.h"
#include "lm/tiny_models.h"
#include "text/byte_level_bpe.h"
#include "text/utf8_repair.h"

namespace collegium::core {
namespace {

using Ids = std::vector<std::int32_t>;

const std::vector<std::string>& folders() {
  static const std::vector<std::string> names = {"llama2", "gemma", "qwen2", "llama3"};
  return names;
}

const JsonDocument& goldens() {
  static const JsonDocument document = *JsonDocument::open(test_data("lm_tokenizers/goldens.json"));
  return document;
}

Ids ids_of(const LmTokenizer& tokenizer, std::string_view text, bool special) {
  const auto encoding = tokenizer.encode(text, {.add_special_tokens = special});
  EXPECT_TRUE(encoding.ok()) << encoding.status().to_string();
  return encoding.ok() ? encoding->ids : Ids();
}

LmTokenizer load(const std::string& name) {
  const auto vocab = *goldens().root().get(name)->get_unsigned("vocab");
  auto tokenizer = read_lm_tokenizer(test_data("lm_tokenizers/" + name), vocab);
  EXPECT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.status().to_string();
  return *std::move(tokenizer);
}

TEST(LmTokenizer, OfAFolderGivesTheIdsAndTextsOfTransformers) {
  for (const std::string& name : folders()) {
    const JsonValue golden = *goldens().root().get(name);
    const LmTokenizer tokenizer = load(name);
    const auto cases = *golden.get("cases")->as_array(1000);
    EXPECT_GT(cases.size(), 80u);
    for (const JsonValue& entry : cases) {
      const std::string text = *entry.get_string("text");
      const std::string where = name + " '" + text.substr(0, 100) + "'";
      const Ids plain = json_numbers<std::int32_t>(*entry.get("plain"));
      EXPECT_EQ(ids_of(tokenizer, text, true), json_numbers<std::int32_t>(*entry.get("ids")))
          << where;
      EXPECT_EQ(ids_of(tokenizer, text, false), plain) << where;
      const auto decoded = tokenizer.tokenizer().decode(plain, false);
      ASSERT_TRUE(decoded.ok()) << where << decoded.status().to_string();
      EXPECT_EQ(*decoded, *entry.get_string("decoded")) << where;
    }
  }
}

// Llama 2's decoder drops the space that was put before the text; a token has it still.
TEST(LmTokenizer, BytesOfTokensJoinToTheText) {
  for (const std::string& name : folders()) {
    const LmTokenizer tokenizer = load(name);
    for (const std::string text :
         {"the router and the gate", "naïve 日本 ✓ 👩‍👩‍👧‍👦", "a\n\nb  c"}) {
      std::string bytes;
      for (const std::int32_t id : ids_of(tokenizer, text, false))
        bytes += tokenizer.token_bytes(id);
      EXPECT_EQ(repair_utf8(bytes), (name == "llama2" ? " " : "") + text) << name;
    }
  }
}

TEST(LmTokenizer, KnowsWhatEndsAnAnswerAndTheTemplate) {
  for (const std::string& name : folders()) {
    const JsonValue golden = *goldens().root().get(name);
    const LmTokenizer tokenizer = load(name);
    const Ids ends(tokenizer.end_ids().begin(), tokenizer.end_ids().end());
    EXPECT_EQ(ends, json_numbers<std::int32_t>(*golden.get("ends"))) << name;
    for (const std::int32_t id : ends) EXPECT_TRUE(tokenizer.is_end(id));
    EXPECT_FALSE(tokenizer.is_end(300));
    EXPECT_EQ(tokenizer.bos_token(), *golden.get_string("bos"));
    EXPECT_EQ(tokenizer.eos_token(), *golden.get_string("eos"));
    for (const std::int32_t id : json_numbers<std::int32_t>(*golden.get("special")))
      EXPECT_TRUE(tokenizer.is_control(id)) << name << " " << id;
    EXPECT_FALSE(tokenizer.is_control(300));
    EXPECT_EQ(recognise_chat_template(tokenizer.chat_template()), ChatTemplate::kChatMl) << name;
    const std::string control(tokenizer.token_bytes(ends[0]));
    EXPECT_EQ(tokenizer.without_control_tokens("a" + control),
              "a" + control.substr(0, 1) + " " + control.substr(1));
  }
}

TEST(LmTokenizer, AVocabularyIsFilledUpToTheModels) {
  const auto vocab = *goldens().root().get("qwen2")->get_unsigned("vocab");
  const std::string folder = test_data("lm_tokenizers/qwen2");
  const auto padded = read_lm_tokenizer(folder, vocab + 9);
  ASSERT_TRUE(padded.ok()) << padded.status().to_string();
  EXPECT_EQ(padded->vocab_size(), vocab + 9);
  EXPECT_EQ(padded->token_bytes(static_cast<std::int32_t>(vocab + 8)), "");
  EXPECT_EQ(read_lm_tokenizer(folder, vocab - 1).status().code(), StatusCode::kCorruption);
}

// The same vocabulary as a GGUF file holds it.
BpeSource gguf_source(const std::string& name, const std::string& pattern) {
  const auto document = *JsonDocument::open(test_data("lm_tokenizers/" + name + "/tokenizer.json"));
  const JsonValue root = document.root();
  const JsonValue model = *root.get("model");
  BpeSource source;
  source.pre = pattern;
  source.tokens.resize(*goldens().root().get(name)->get_unsigned("vocab"));
  source.types.assign(source.tokens.size(), BpeTokenType::kNormal);
  const Status read = model.get("vocab")->for_each_field(
      [&](std::string_view token, const JsonValue& id) -> Status {
        source.tokens.at(*id.as_unsigned()) = token;
        return {};
      });
  EXPECT_TRUE(read.ok()) << read.to_string();
  const auto merges = *model.get("merges")->as_array(10000);
  for (const JsonValue& merge : merges) {
    const auto pair = *merge.as_array(2);
    source.merges.push_back(*pair.at(0).as_string() + " " + *pair.at(1).as_string());
  }
  const auto added = *root.get("added_tokens")->as_array(100);
  for (const JsonValue& token : added) {
    const auto id = *token.get_unsigned("id");
    source.tokens.at(id) = *token.get_string("content");
    source.types.at(id) = BpeTokenType::kControl;
  }
  return source;
}

TEST(LmTokenizer, ByteLevelBpeOfGgufCutsAsQwen2AndLlama3Do) {
  for (const auto& [name, pattern] : {std::pair("qwen2", "qwen2"), {"llama3", "llama-bpe"}}) {
    const auto bpe = ByteLevelBpe::create(gguf_source(name, pattern), "test");
    ASSERT_TRUE(bpe.ok()) << bpe.status().to_string();
    const auto cases = *goldens().root().get(name)->get("cases")->as_array(1000);
    EXPECT_GT(cases.size(), 80u);
    for (const JsonValue& entry : cases) {
      const std::string text = *entry.get_string("text");
      const auto encoding = *(*bpe)->encode(text, {});
      EXPECT_EQ(encoding.ids, json_numbers<std::int32_t>(*entry.get("plain"))) << name << text;
      EXPECT_EQ(*(*bpe)->decode(encoding.ids, false), *entry.get_string("decoded"));
    }
  }
}

class LmTokenizerFolder : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& entry : std::filesystem::directory_iterator(test_data("lm_tokenizers/llama2")))
      std::filesystem::copy_file(entry.path(), folder_ / entry.path().filename().string());
  }
  void write(const std::string& name, std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    write_bytes(folder_ / name, Bytes(bytes.begin(), bytes.end()));
  }
  Status load() { return read_lm_tokenizer(folder_.path(), 600).status(); }
  ScratchFolder folder_;
};

TEST_F(LmTokenizerFolder, FilesThatDisagreeAreNotSupported) {
  EXPECT_TRUE(load().ok());
  write("tokenizer_config.json",
        R"({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
            "add_bos_token": false})");
  EXPECT_EQ(load().code(), StatusCode::kNotSupported);
  EXPECT_NE(load().message().find("add_bos_token"), std::string::npos);
  write("tokenizer_config.json",
        R"({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>",
            "add_eos_token": true})");
  EXPECT_EQ(load().code(), StatusCode::kNotSupported);
}

TEST_F(LmTokenizerFolder, AClassThatLeavesTheNormaliserOutIsNotSupported) {
  write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>"})");
  EXPECT_EQ(load().code(), StatusCode::kNotSupported);
  EXPECT_NE(load().message().find("'LlamaTokenizer'"), std::string::npos);
}

TEST_F(LmTokenizerFolder, DamageIsATypedError) {
  write("generation_config.json", R"({"eos_token_id": 600})");
  EXPECT_EQ(load().code(), StatusCode::kCorruption);
  write("generation_config.json", R"({"eos_token_id": ["x"]})");
  EXPECT_EQ(load().code(), StatusCode::kCorruption);
  write("generation_config.json", R"({"eos_token_id": -1})");
  EXPECT_EQ(load().code(), StatusCode::kCorruption);
  write("generation_config.json", "{}");
  write("config.json", R"({"eos_token_id": [2, 7]})");
  EXPECT_TRUE(load().ok());
  write("chat_template.jinja", "\xff");
  EXPECT_EQ(load().code(), StatusCode::kCorruption);
  std::filesystem::remove(folder_ / "chat_template.jinja");
  std::filesystem::remove(folder_ / "tokenizer.json");
  EXPECT_EQ(load().code(), StatusCode::kNotFound);
}

TEST(LmTokenizer, OfAGgufFileReadsWhatItSays) {
  const auto file = GgufFile::open(test_data("tiny_llama.gguf"));
  const auto tokenizer = read_lm_tokenizer(*file);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  EXPECT_EQ(tokenizer->vocab_size(), 304u);
  EXPECT_TRUE(tokenizer->is_end(2));
  EXPECT_TRUE(tokenizer->is_control(0));
  EXPECT_EQ(tokenizer->bos_token(), "<|im_start|>");
  EXPECT_EQ(recognise_chat_template(tokenizer->chat_template()), ChatTemplate::kSmolLm2);

  const auto scored = read_lm_tokenizer(*GgufFile::open(test_data("scored_bpe.gguf")));
  ASSERT_TRUE(scored.ok()) << scored.status().to_string();
  EXPECT_EQ(scored->token_bytes(scored->tokenizer().token_id("<0x41>")), "A");
  EXPECT_EQ(scored->eos_token(), "</s>");
  EXPECT_TRUE(scored->is_end(2));
  EXPECT_EQ(scored->chat_template(), "");
}

}  // namespace
}  // namespace collegium::core
