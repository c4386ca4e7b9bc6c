#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/safetensors.h"
#include "experts/model_folder.h"
#include "relative_error.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;

// Oracle: transformers in float64 and sentence-transformers' modules, see
// tests/oracles/make_encoder_family_goldens.py.

std::shared_ptr<const Encoder> load(const std::string& folder, const EncoderOptions& options = {}) {
  auto encoder = Encoder::load(folder, options);
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

std::vector<float> encode(const Encoder& encoder, const std::vector<std::string>& list) {
  const std::vector<std::string_view> views(list.begin(), list.end());
  auto result = encoder.encode(views, TextKind::kDocument);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(result->vectors) : std::vector<float>();
}

std::vector<float> golden(const SafeTensors& file, const std::string& name) {
  const auto view = file.find(name);
  EXPECT_TRUE(view.ok()) << view.status().to_string();
  return view.ok() ? *file.read_float(name, view->shape) : std::vector<float>();
}

class EncoderFamily : public testing::TestWithParam<const char*> {};

TEST_P(EncoderFamily, TokenVectorsAndVectorsAreTheReferencesWithin1e5AtEveryLevel) {
  const std::string name = GetParam();
  const auto file = SafeTensors::open(family_data(name + ".golden.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto list = family_texts();
  ASSERT_EQ(list.size(), 12u);
  for (Isa isa : available_isas()) {
    const auto encoder = load(family_data(name), {.isa = isa});
    ASSERT_NE(encoder, nullptr);
    std::size_t with_tokens = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string key = std::to_string(i);
      EXPECT_LT(relative_error(encode(*encoder, {list[i]}), golden(*file, key + ".vector"),
                               encoder->dim()),
                1e-5)
          << "text " << key << " at " << isa_name(isa);
      if (!file->find(key + ".tokens").ok()) continue;
      const auto tokens = encoder->token_vectors(list[i], TextKind::kDocument);
      ASSERT_TRUE(tokens.ok()) << tokens.status().to_string();
      EXPECT_LT(relative_error(*tokens, golden(*file, key + ".tokens"), encoder->token_dim()), 1e-5)
          << "tokens of text " << key << " at " << isa_name(isa);
      ++with_tokens;
    }
    EXPECT_EQ(with_tokens, 5u);
  }
}

TEST_P(EncoderFamily, TheSameBitsAloneInABatchAndAtEveryLevel) {
  const auto list = family_texts();
  const auto scalar = load(family_data(GetParam()), {.isa = Isa::kScalar});
  ASSERT_NE(scalar, nullptr);
  std::vector<float> alone;
  for (const std::string& text : list) {
    const auto vector = encode(*scalar, {text});
    alone.insert(alone.end(), vector.begin(), vector.end());
  }
  for (Isa isa : available_isas()) {
    EXPECT_EQ(encode(*load(family_data(GetParam()), {.isa = isa}), list), alone) << isa_name(isa);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, EncoderFamily,
                         testing::Values("bert-relu", "bert-gelu-new", "bert-silu", "distilbert",
                                         "distilbert-prefixed", "roberta", "xlm-roberta", "mpnet",
                                         "mpnet-prefixed", "modernbert", "modernbert-older",
                                         "modernbert-biased", "nomic", "nomic-published",
                                         "nomic-native"),
                         [](const auto& name) {
                           std::string clean = name.param;
                           std::replace(clean.begin(), clean.end(), '-', '_');
                           return clean;
                         });

// --- truncation (Matryoshka) --------------------------------------------------------------------

TEST(EncoderTruncation, KeepsTheFirstDimensionsAndNormalisesThemAgain) {
  const auto whole = load(family_data("mpnet"));
  const auto shortened = load(family_data("mpnet"), {.truncate_dim = 12});
  ASSERT_NE(shortened, nullptr);
  EXPECT_EQ(shortened->dim(), 12u);
  EXPECT_EQ(shortened->token_dim(), 32u);
  EXPECT_NE(shortened->digest(), whole->digest());
  auto expected = encode(*whole, {"the river runs"});
  expected.resize(12);
  double length = 0.0;
  for (float x : expected) length += static_cast<double>(x) * x;
  for (float& x : expected) x = static_cast<float>(x / std::sqrt(length));
  EXPECT_LT(relative_error(encode(*shortened, {"the river runs"}), expected, 12), 1e-6);
}

TEST(EncoderTruncation, WithoutANormalisationAtTheEndTheNumbersStayAsTheyAre) {
  const auto whole = encode(*load(family_data("xlm-roberta")), {"the river runs"});
  const auto shortened =
      encode(*load(family_data("xlm-roberta"), {.truncate_dim = 5}), {"the river runs"});
  EXPECT_EQ(shortened, std::vector<float>(whole.begin(), whole.begin() + 5));
}

TEST(EncoderTruncation, TheFoldersOwnFieldCountsUnlessAskedOtherwise) {
  const TemporaryFolder folder;
  copy_folder(family_data("mpnet"), folder.path());
  write_file(folder.file("config_sentence_transformers.json"), R"({"truncate_dim": 8})");
  EXPECT_EQ(load(folder.path())->dim(), 8u);
  EXPECT_EQ(load(folder.path(), {.truncate_dim = 20})->dim(), 20u);
  EXPECT_EQ(load(folder.path())->digest(),
            load(family_data("mpnet"), {.truncate_dim = 8})->digest());
}

TEST(EncoderTruncation, MoreDimensionsThanThereAreIsInvalid) {
  const Status status = Encoder::load(family_data("mpnet"), {.truncate_dim = 33}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("truncate_dim is 33"));
  EXPECT_THAT(status.message(), HasSubstr("32"));
}

// --- what is not run ----------------------------------------------------------------------------

struct Edit {
  const char* model;
  const char* file;
  const char* from;
  const char* to;
  StatusCode code;
  const char* message;  // a part of it
};

const std::vector<Edit> kEdits = {
    {"bert-relu", "config.json", "\"relu\"", "\"mish\"", StatusCode::kNotSupported,
     "hidden_act is 'mish'"},
    {"distilbert", "config.json", "\"dim\": 32", "\"dim\": 31", StatusCode::kCorruption,
     "n_heads 4 does not divide dim 31"},
    {"distilbert", "config.json", "{", "{\"type_vocab_size\": 2,", StatusCode::kNotSupported,
     "type_vocab_size"},
    {"roberta", "config.json", "\"pad_token_id\": 1", "\"pad_token_id\": 400",
     StatusCode::kCorruption, "pad_token_id 400"},
    {"mpnet", "config.json", "\"relative_attention_num_buckets\": 32",
     "\"relative_attention_num_buckets\": 64", StatusCode::kNotSupported,
     "relative_attention_num_buckets"},
    {"modernbert", "config.json", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"",
     StatusCode::kNotSupported, "rope_type is 'yarn'"},
    {"modernbert", "config.json", "\"sliding_attention\",\n    \"sliding_attention\"",
     "\"sliding_attention\",\n    \"chunked_attention\"", StatusCode::kNotSupported,
     "chunked_attention"},
    {"modernbert", "config.json", "\"num_hidden_layers\": 5", "\"num_hidden_layers\": 4",
     StatusCode::kCorruption, "layer_types"},
    {"modernbert", "config.json", "\"norm_bias\": false", "\"norm_bias\": true",
     StatusCode::kCorruption, "norm.bias"},
    {"modernbert", "config.json", "\"max_position_embeddings\": 172",
     "\"max_position_embeddings\": 1000000", StatusCode::kNotSupported, "rotary positions"},
    {"modernbert-older", "config.json", "\"global_attn_every_n_layers\": 3",
     "\"global_attn_every_n_layers\": 0", StatusCode::kCorruption, "global_attn_every_n_layers"},
    {"nomic", "config.json", "\"head_dim\": 8", "\"head_dim\": 16", StatusCode::kNotSupported,
     "head_dim is 16"},
    {"nomic-published", "config.json", "\"prenorm\": false", "\"prenorm\": true",
     StatusCode::kNotSupported, "prenorm"},
    {"nomic-published", "config.json", "\"rotary_scaling_factor\": null",
     "\"rotary_scaling_factor\": 2", StatusCode::kNotSupported, "rotary_scaling_factor"},
    {"nomic-published", "config.json", "\"rotary_emb_fraction\": 1.0",
     "\"rotary_emb_fraction\": 0.5", StatusCode::kNotSupported, "rotary_emb_fraction"},
    {"nomic-published", "config.json", "\"swiglu\"", "\"reglu\"", StatusCode::kNotSupported,
     "reglu"},
    {"xlm-roberta", "2_Dense/config.json", "\"in_features\": 32", "\"in_features\": 33",
     StatusCode::kCorruption, "in_features is 33"},
    {"xlm-roberta", "2_Dense/config.json", "activation.Tanh", "activation.Mish",
     StatusCode::kNotSupported, "Mish"},
    {"xlm-roberta", "2_Dense/config.json", "torch.nn.modules", "my.code", StatusCode::kNotSupported,
     "my.code.activation.Tanh"},
    {"xlm-roberta", "2_Dense/config.json", "{", "{\"use_residual\": true,",
     StatusCode::kNotSupported, "use_residual"},
    {"xlm-roberta", "modules.json", "models.Dense", "models.LayerNorm", StatusCode::kNotSupported,
     "LayerNorm"},
};

TEST(EncoderFamilyHostile, WhatIsNotRunHereIsRefusedByName) {
  for (const Edit& edit : kEdits) {
    const TemporaryFolder folder;
    copy_folder(family_data(edit.model), folder.path());
    std::string text = read_file(folder.file(edit.file));
    const std::size_t at = text.find(edit.from);
    ASSERT_NE(at, std::string::npos) << edit.model << ": " << edit.from;
    write_file(folder.file(edit.file), text.replace(at, std::string(edit.from).size(), edit.to));
    const Status status = Encoder::load(folder.path()).status();
    EXPECT_EQ(status.code(), edit.code)
        << edit.model << ": " << edit.to << " gave " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(edit.message)) << edit.model << ": " << edit.to;
    EXPECT_THAT(status.message(), HasSubstr(folder.path())) << "where is not said";
  }
}

TEST(EncoderFamilyHostile, ADenseWithoutWeightsOrWithOthersIsNamed) {
  const TemporaryFolder folder;
  copy_folder(family_data("xlm-roberta"), folder.path());
  const std::string path = folder.file("2_Dense/model.safetensors");
  write_safetensors(path, {{"linear.weight", {{40, 32}, std::vector<float>(40 * 32)}}});
  EXPECT_EQ(Encoder::load(folder.path()).status().code(), StatusCode::kCorruption);
  EXPECT_THAT(Encoder::load(folder.path()).status().message(), HasSubstr("linear.bias"));
  write_safetensors(path, {{"linear.weight", {{40, 32}, std::vector<float>(40 * 32, NAN)}},
                           {"linear.bias", {{40}, std::vector<float>(40)}}});
  EXPECT_EQ(Encoder::load(folder.path()).status().code(), StatusCode::kCorruption);
  EXPECT_THAT(Encoder::load(folder.path()).status().message(), HasSubstr("not finite"));
  write_safetensors(path, {{"linear.weight", {{40, 32}, std::vector<float>(40 * 32)}},
                           {"linear.bias", {{40}, std::vector<float>(40)}},
                           {"residual.weight", {{1}, {1.0f}}}});
  EXPECT_EQ(Encoder::load(folder.path()).status().code(), StatusCode::kNotSupported);
  EXPECT_THAT(Encoder::load(folder.path()).status().message(), HasSubstr("residual.weight"));
}

// --- folders as they are published -------------------------------------------------------------

TEST(EncoderFolders, FieldsOfPublishedConfigsThatChangeNothingAreAccepted) {
  for (const auto& [model, fields] :
       {std::pair{"distilbert", "{\"tie_weights_\": true,"},
        std::pair{"bert-relu", "{\"emb_size\": 32, \"training\": \"\", \"cell\": {},"},
        std::pair{"modernbert-older", "{\"layer_types\": null, \"rope_parameters\": null,"}}) {
    const TemporaryFolder folder;
    copy_folder(family_data(model), folder.path());
    const std::string config = read_file(folder.file("config.json"));
    write_file(folder.file("config.json"), fields + config.substr(1));
    EXPECT_EQ(load(folder.path())->digest(), load(family_data(model))->digest()) << model;
  }
}

TEST(EncoderFolders, DoLowerCaseIsAskedOfTheTokenizer) {
  const TemporaryFolder folder;
  copy_folder(family_data("bert-relu"), folder.path());
  write_file(folder.file("sentence_bert_config.json"),
             R"({"max_seq_length": 170, "do_lower_case": true})");
  EXPECT_EQ(load(folder.path())->digest(), load(family_data("bert-relu"))->digest());
  write_file(folder.file("tokenizer_config.json"), R"({"do_lower_case": false})");
  const Status status = Encoder::load(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("keeps capitals"));
}

TEST(EncoderFolders, TheLengthLimitIsFoundUnderItsOlderNames) {
  const TemporaryFolder folder;
  copy_folder(family_data("roberta"), folder.path());
  std::filesystem::remove(folder.file("sentence_bert_config.json"));
  write_file(folder.file("sentence_roberta_config.json"), R"({"max_seq_length": 16})");
  EXPECT_EQ(load(folder.path())->max_tokens(), 16u);
  EXPECT_THAT(load(folder.path())->files(), testing::Contains("sentence_roberta_config.json"));
}

// A tokenizer.json of these words, without special tokens.
void write_bare_tokenizer(const std::string& path, const std::string& post_processor) {
  write_file(path, R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": )" +
                       post_processor + R"(, "decoder": null,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[PAD]": 0, "[UNK]": 1, "the": 2, "law": 3, "a": 4}}})");
}

TEST(EncoderFolders, ATextWithoutATokenIsAnErrorThatNamesIt) {
  const TemporaryFolder folder;
  copy_folder(family_data("bert-relu"), folder.path());
  write_bare_tokenizer(folder.file("tokenizer.json"), "null");
  const auto encoder = load(folder.path());
  ASSERT_NE(encoder, nullptr);
  EXPECT_EQ(encode(*encoder, {"the law"}).size(), encoder->dim());
  for (const std::vector<std::string_view>& texts :
       {std::vector<std::string_view>{"the law", ""}, {"the law", " \n"}}) {
    const auto result = encoder->encode(texts, TextKind::kQuery);
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(result.status().message(), HasSubstr("text 1"));
    EXPECT_THAT(result.status().message(), HasSubstr("no token"));
  }
  EXPECT_EQ(encoder->token_vectors("", TextKind::kQuery).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(EncoderFolders, ATokenizerThatPutsASingleTextInASecondSegmentIsRefused) {
  const TemporaryFolder folder;
  copy_folder(family_data("bert-relu"), folder.path());
  write_bare_tokenizer(folder.file("tokenizer.json"), R"({"type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 1}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {}})");
  const Status status = Encoder::load(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("segment 1"));
}

TEST(EncoderFolders, NormsNamedAsTensorFlowNamedThemAreRead) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(71), older;
  write_random_bert(folder.path(), tensors);
  const auto expected = encode(*load(folder.path()), {"the river"});
  for (auto& [name, tensor] : tensors) {
    std::string renamed = name;
    const std::size_t norm = renamed.find("LayerNorm.");
    if (norm != std::string::npos) {
      renamed =
          renamed.substr(0, norm + 10) + (renamed.substr(norm + 10) == "weight" ? "gamma" : "beta");
    }
    older[renamed] = tensor;
  }
  write_random_bert(folder.path(), older);
  EXPECT_EQ(encode(*load(folder.path()), {"the river"}), expected);
}

// The sizes of a config are believed only where the file has the bytes.
TEST(EncoderFolders, SizesBeyondTheFileAreNoticedBeforeAnythingIsAllocated) {
  const TemporaryFolder folder;
  copy_folder(family_data("bert-relu"), folder.path());
  const std::string config = R"({"model_type": "bert", "vocab_size": 53, "hidden_size": 65536,
    "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 262144,
    "max_position_embeddings": 2, "type_vocab_size": 1})";
  write_file(folder.file("config.json"), config);
  std::filesystem::remove(folder.file("modules.json"));
  const std::vector<float> row(65536);
  write_safetensors(folder.file("model.safetensors"),
                    {{"embeddings.word_embeddings.weight",
                      {{53, 65536}, std::vector<float>(std::size_t{53} * 65536)}},
                     {"embeddings.position_embeddings.weight",
                      {{2, 65536}, std::vector<float>(std::size_t{2} * 65536)}},
                     {"embeddings.token_type_embeddings.weight", {{1, 65536}, row}},
                     {"embeddings.LayerNorm.weight", {{65536}, row}},
                     {"embeddings.LayerNorm.bias", {{65536}, row}}});
  write_file(folder.file("sentence_bert_config.json"), R"({"max_seq_length": 2})");
  const Status status = Encoder::load(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("attention.self.query"));
}

}  // namespace
}  // namespace collegium::core
