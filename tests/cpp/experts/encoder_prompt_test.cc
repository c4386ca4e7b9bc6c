#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/safetensors.h"
#include "experts/model_folder.h"
#include "relative_error.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;

// Prompts that the trunk sees and the pooling does not ("include_prompt": false). Oracle:
// sentence-transformers' encode_query and encode_document, see write_prompt_left_out() of
// tests/oracles/make_encoder_family_goldens.py.

// A copy of the family "bert-silu", which pools in every way, whose prompts are not pooled.
class PromptLeftOut : public testing::Test {
 protected:
  PromptLeftOut() {
    copy_folder(family_data("bert-silu"), folder_.path());
    copy_folder(family_data("prompt-left-out"), folder_.path());
  }
  std::shared_ptr<const Encoder> load(const EncoderOptions& options = {}) const {
    auto encoder = Encoder::load(folder_.path(), options);
    EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
    return encoder.ok() ? *encoder : nullptr;
  }
  TemporaryFolder folder_;
};

std::vector<float> encode(const Encoder& encoder, const std::vector<std::string>& list,
                          TextKind kind) {
  const std::vector<std::string_view> views(list.begin(), list.end());
  auto result = encoder.encode(views, kind);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(result->vectors) : std::vector<float>();
}

std::vector<float> golden(const std::string& kind) {
  const auto file = SafeTensors::open(family_data("prompt-left-out.golden.safetensors"));
  EXPECT_TRUE(file.ok()) << file.status().to_string();
  std::vector<float> all;
  for (std::size_t i = 0; i < family_texts().size(); ++i) {
    const std::string name = std::to_string(i) + "." + kind;
    const auto view = file->find(name);
    EXPECT_TRUE(view.ok()) << view.status().to_string();
    const auto vector = *file->read_float(name, view->shape);
    all.insert(all.end(), vector.begin(), vector.end());
  }
  return all;
}

TEST_F(PromptLeftOut, VectorsAreTheReferencesWithin1e5AtEveryLevel) {
  for (Isa isa : available_isas()) {
    const auto encoder = load({.isa = isa});
    ASSERT_NE(encoder, nullptr);
    for (const auto& [kind, name] :
         {std::pair(TextKind::kQuery, "query"), std::pair(TextKind::kDocument, "document")}) {
      EXPECT_LT(relative_error(encode(*encoder, family_texts(), kind), golden(name), 20), 1e-5)
          << name << " at " << isa_name(isa);
    }
  }
}

TEST_F(PromptLeftOut, OfAPromptThatFillsAllTokensTheLastSpecialTokenIsPooled) {
  write_file(folder_.file("sentence_bert_config.json"), R"({"max_seq_length": 6})");
  EXPECT_LT(relative_error(encode(*load(), family_texts(), TextKind::kQuery), golden("short"), 20),
            1e-5);
}

TEST_F(PromptLeftOut, AloneAndInABatchTheSameBits) {
  const auto encoder = load();
  std::vector<float> alone;
  for (const std::string& text : family_texts()) {
    const auto vector = encode(*encoder, {text}, TextKind::kQuery);
    alone.insert(alone.end(), vector.begin(), vector.end());
  }
  EXPECT_EQ(encode(*encoder, family_texts(), TextKind::kQuery), alone);
}

TEST_F(PromptLeftOut, WithoutAPromptNothingIsLeftOut) {
  write_file(folder_.file("config_sentence_transformers.json"), R"({"prompts": {"query": "a "}})");
  const auto plain = Encoder::load(family_data("bert-silu"));
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(encode(*load(), family_texts(), TextKind::kDocument),
            encode(**plain, family_texts(), TextKind::kDocument));
  EXPECT_NE(encode(*load(), family_texts(), TextKind::kQuery),
            encode(**plain, family_texts(), TextKind::kQuery));
}

TEST_F(PromptLeftOut, ItIsPartOfTheDigestAndAConvertedFolderKeepsIt) {
  const auto left_out = load();
  ASSERT_TRUE(left_out->convert(folder_.file("packed")).ok());
  const auto mapped = Encoder::load(folder_.file("packed"));
  ASSERT_TRUE(mapped.ok()) << mapped.status().to_string();
  EXPECT_EQ((*mapped)->digest(), left_out->digest());
  EXPECT_EQ(encode(**mapped, family_texts(), TextKind::kQuery),
            encode(*left_out, family_texts(), TextKind::kQuery));
  replace_in_file(folder_.file("1_Pooling/config.json"), "false", "true");
  EXPECT_NE(load()->digest(), left_out->digest());
}

TEST_F(PromptLeftOut, ATextThatTheTokenizerMergesIntoThePromptIsInvalidByItsNumber) {
  write_file(
      folder_.file("config_sentence_transformers.json"),
      R"({"prompts": {"query": "unaffable"}})");  // three tokens; with "x" behind, one unknown
  const std::vector<std::string_view> texts = {" river", "x"};
  const Status status = load()->encode(texts, TextKind::kQuery).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("text 1: has no token behind the prompt 'unaffable'"));
}

TEST_F(PromptLeftOut, ATokenizerThatClosesNoTextIsRefused) {
  std::filesystem::remove(folder_.file("vocab.txt"));
  write_file(folder_.file("tokenizer.json"), R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": null, "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
    "decoder": null,
    "model": {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {"a": 0, "b": 1}}})");
  const Status status = Encoder::load(folder_.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("include_prompt is false"));
}

}  // namespace
}  // namespace collegium::core
