#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>

#include "collegium/core/experts/encoder.h"
#include "experts/model_folder.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;

Status load_status(const std::string& folder) { return Encoder::load(folder).status(); }

TEST(EncoderHostile, AnUnknownFolderIsNotFoundByName) {
  const Status status = load_status("/nowhere/at/all");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/nowhere/at/all"));
  EXPECT_EQ(load_status(encoder_data("texts.json")).code(), StatusCode::kNotFound);  // a file
}

TEST(EncoderHostile, HalfAModelIsNotFoundWithTheNameOfTheMissingFile) {
  for (const char* name :
       {"config.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json"}) {
    const TemporaryFolder folder;
    copy_folder(encoder_data("plain"), folder.path());
    ASSERT_TRUE(std::filesystem::remove(folder.file(name)));
    const Status status = load_status(folder.path());
    EXPECT_EQ(status.code(), StatusCode::kNotFound) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(name));
  }
  // The others have defaults.
  for (const char* name : {"tokenizer_config.json", "sentence_bert_config.json"}) {
    const TemporaryFolder folder;
    copy_folder(encoder_data("plain"), folder.path());
    ASSERT_TRUE(std::filesystem::remove(folder.file(name)));
    EXPECT_TRUE(load_status(folder.path()).ok()) << load_status(folder.path()).to_string();
  }
}

struct Edit {
  const char* file;
  const char* from;
  const char* to;
  StatusCode code;
  const char* message;  // a part of it
};

const std::vector<Edit> kEdits = {
    // config.json
    {"config.json", "\"bert\"", "\"deberta\"", StatusCode::kNotSupported, "deberta"},
    {"config.json", "\"gelu\"", "\"relu6\"", StatusCode::kNotSupported, "relu6"},
    {"config.json", "\"gelu\"", "\"tanh\"", StatusCode::kNotSupported, "hidden_act"},
    {"config.json", "\"is_decoder\": false", "\"is_decoder\": true", StatusCode::kNotSupported,
     "is_decoder"},
    {"config.json", "\"add_cross_attention\": false", "\"add_cross_attention\": true",
     StatusCode::kNotSupported, "add_cross_attention"},
    {"config.json", "{", "{\"position_embedding_type\": \"relative_key\",",
     StatusCode::kNotSupported, "relative_key"},
    {"config.json", "{", "{\"rope_theta\": 10000,", StatusCode::kNotSupported, "rope_theta"},
    {"config.json", "{", "{\"pruned_heads\": {\"0\": [1]},", StatusCode::kNotSupported,
     "pruned_heads"},
    {"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5",
     StatusCode::kCorruption, "num_attention_heads 5 does not divide"},
    {"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0",
     StatusCode::kCorruption, "num_attention_heads"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", StatusCode::kCorruption,
     "encoder.layer.2"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
     StatusCode::kNotSupported, "encoder.layer.1"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000000000",
     StatusCode::kCorruption, "num_hidden_layers"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 64", StatusCode::kCorruption, "64"},
    {"config.json", "\"hidden_size\": 32,", "", StatusCode::kCorruption, "hidden_size"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": \"32\"", StatusCode::kCorruption,
     "hidden_size"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": -32", StatusCode::kCorruption,
     "hidden_size"},
    {"config.json", "\"vocab_size\": 56", "\"vocab_size\": 57", StatusCode::kCorruption,
     "word_embeddings"},
    {"config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", StatusCode::kCorruption,
     "layer_norm_eps"},
    {"config.json", "\"model_type\": \"bert\",", "", StatusCode::kCorruption, "model_type"},
    {"config.json", "{", "[", StatusCode::kCorruption, "config.json"},
    // pooling
    {"1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
     "\"pooling_mode_mean_tokens\": false", StatusCode::kNotSupported, "no pooling mode"},
    {"1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true",
     "\"pooling_mode_median_tokens\": true", StatusCode::kNotSupported, "median"},
    {"1_Pooling/config.json", "{", "{\"include_prompt\": 0,", StatusCode::kCorruption,
     "include_prompt"},
    {"1_Pooling/config.json", "dimension\": 32", "dimension\": 33", StatusCode::kCorruption, "33"},
    // modules
    {"modules.json", "models.Normalize", "models.Dropout", StatusCode::kNotSupported, "Dropout"},
    {"modules.json", "models.Transformer", "models.CLIPModel", StatusCode::kNotSupported,
     "CLIPModel"},
    {"modules.json", "sentence_transformers.models.Pooling", "custom_code.Pooling",
     StatusCode::kNotSupported, "custom_code.Pooling"},
    {"modules.json", "\"1_Pooling\"", "\"../1_Pooling\"", StatusCode::kCorruption, "../1_Pooling"},
    {"modules.json", "\"1_Pooling\"", "\"/etc\"", StatusCode::kCorruption, "/etc"},
    {"modules.json", "\"1_Pooling\"", "\"1_\\u0000Pooling\"", StatusCode::kCorruption,
     "not a folder of the model"},
    {"modules.json", "\"1_Pooling\"", "7", StatusCode::kCorruption, "path"},
    // length and prompts
    {"sentence_bert_config.json", "\"do_lower_case\": false", "\"do_lower_case\": \"no\"",
     StatusCode::kCorruption, "do_lower_case"},
    {"sentence_bert_config.json", "32", "1", StatusCode::kCorruption, "1 tokens"},
    {"sentence_bert_config.json", "{", "{\"unheard_of\": 1,", StatusCode::kNotSupported,
     "unheard_of"},
    {"sentence_bert_config.json", "{", "{\"transformer_task\": \"fill-mask\",",
     StatusCode::kNotSupported, "transformer_task is 'fill-mask'"},
    {"sentence_bert_config.json", "{", "{\"module_output_name\": \"sentence_embedding\",",
     StatusCode::kNotSupported, "module_output_name is 'sentence_embedding'"},
    {"sentence_bert_config.json", "{", "{\"processing_kwargs\": {\"text\": {\"padding\": true}},",
     StatusCode::kNotSupported, "processing_kwargs: text"},
    {"sentence_bert_config.json", "{", "{\"modality_config\": {\"image\": {}},",
     StatusCode::kNotSupported, "modality_config: image"},
    {"sentence_bert_config.json", "{",
     "{\"modality_config\": {\"text\": {\"method\": \"get_text_features\"}},",
     StatusCode::kNotSupported, "get_text_features"},
    {"sentence_bert_config.json", "{",
     "{\"modality_config\": {\"text\": {\"method_output_name\": \"pooler_output\"}},",
     StatusCode::kNotSupported, "pooler_output"},
    {"sentence_bert_config.json", "{", "{\"modality_config\": {\"text\": {\"layer\": \"3\"}},",
     StatusCode::kNotSupported, "layer"},
    {"sentence_bert_config.json", "{", "{\"modality_config\": 7,", StatusCode::kCorruption,
     "modality_config"},
};

TEST(EncoderHostile, WhatIsNotRunHereIsRefusedByName) {
  for (const Edit& edit : kEdits) {
    const TemporaryFolder folder;
    copy_folder(encoder_data("plain"), folder.path());
    replace_in_file(folder.file(edit.file), edit.from, edit.to);
    const Status status = load_status(folder.path());
    EXPECT_EQ(status.code(), edit.code)
        << edit.file << ": " << edit.to << " gave " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(edit.message)) << edit.file << ": " << edit.to;
    EXPECT_THAT(status.message(), HasSubstr(folder.path())) << "where is not said";
  }
}

TEST(EncoderHostile, APromptNameThatIsNotAmongThePromptsIsRefused) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("odd"), folder.path());
  replace_in_file(folder.file("config_sentence_transformers.json"), "null", "\"passages\"");
  EXPECT_EQ(load_status(folder.path()).code(), StatusCode::kCorruption);
  EXPECT_THAT(load_status(folder.path()).message(), HasSubstr("passages"));
}

// Loads a model with changed tensors.
Status load_changed(const std::function<void(TestTensors&)>& change) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(9);
  change(tensors);
  write_random_bert(folder.path(), tensors);
  return load_status(folder.path());
}

TEST(EncoderHostile, AMissingMisshapenOrUnknownTensorIsNamed) {
  EXPECT_TRUE(load_changed([](TestTensors&) {}).ok());
  const std::string name = "encoder.layer.1.attention.self.key.bias";
  const TestTensors complete = random_bert(9);
  for (const auto& [missing, tensor] : complete) {
    const Status status = load_changed([&, &key = missing](TestTensors& t) { t.erase(key); });
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(missing));
  }
  Status status = load_changed([&](TestTensors& t) { t[name].shape = {64, 2}; });
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr(name));
  status = load_changed([](TestTensors& t) { t["classifier.weight"] = {{1}, {0.5f}}; });
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("classifier.weight"));
  // These play no part in the trunk's output, and are known not to.
  status = load_changed([](TestTensors& t) {
    t["embeddings.position_ids"] = {{2}, {0.0f, 1.0f}};
    t["pooler.dense.weight"] = {{1}, {1.0f}};
    t["cls.predictions.bias"] = {{1}, {1.0f}};
  });
  EXPECT_TRUE(status.ok()) << status.to_string();
}

TEST(EncoderHostile, AWeightThatIsNotFiniteIsCorruption) {
  for (float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Status status = load_changed(
        [&](TestTensors& t) { t["encoder.layer.0.output.dense.weight"].values[77] = value; });
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_THAT(status.message(), HasSubstr("encoder.layer.0.output.dense.weight"));
  }
}

TEST(EncoderHostile, WeightsThatOverflowGiveAnErrorAndNoVector) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(9);
  for (float& x : tensors["encoder.layer.1.output.dense.weight"].values) x *= 3e38f;
  for (float& x : tensors["encoder.layer.1.output.dense.weight"].values) {
    x = std::isfinite(x) ? x : 3e38f;
  }
  write_random_bert(folder.path(), tensors);
  const auto encoder = Encoder::load(folder.path());
  ASSERT_TRUE(encoder.ok()) << encoder.status().to_string();
  const std::vector<std::string_view> texts = {"river"};
  const auto result = (*encoder)->encode(texts, TextKind::kQuery);
  EXPECT_EQ(result.status().code(), StatusCode::kCorruption);
  EXPECT_THAT(result.status().message(), HasSubstr("not finite"));
}

// Each number of the mean is finite, its length is not.
TEST(EncoderHostile, AVectorTooLongToNormaliseIsAnErrorAndNoZero) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(9);
  for (float& x : tensors["encoder.layer.1.output.LayerNorm.weight"].values) x *= 1e25f;
  write_random_bert(folder.path(), tensors);
  const auto encoder = Encoder::load(folder.path());
  ASSERT_TRUE(encoder.ok()) << encoder.status().to_string();
  const auto states = *(*encoder)->token_vectors("river", TextKind::kQuery);
  for (const float x : states) ASSERT_TRUE(std::isfinite(x));
  const std::vector<std::string_view> texts = {"river"};
  const auto result = (*encoder)->encode(texts, TextKind::kQuery);
  EXPECT_EQ(result.status().code(), StatusCode::kCorruption);
  EXPECT_THAT(result.status().message(), HasSubstr("not finite"));
}

TEST(EncoderHostile, MoreTokensThanWordVectorsIsCorruption) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("plain"), folder.path());
  write_file(folder.file("vocab.txt"), read_file(folder.file("vocab.txt")) + "v1\nv2\nv3\nv4\n");
  const Status status = load_status(folder.path());
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr("vocab.txt"));
}

TEST(EncoderHostile, TruncatedWeightsAreCorruptionAtEveryLength) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("plain"), folder.path());
  const std::string whole = read_file(folder.file("model.safetensors"));
  for (std::size_t length = 0; length < whole.size(); length += length < 300 ? 7 : 2711) {
    write_file(folder.file("model.safetensors"), whole.substr(0, length));
    EXPECT_EQ(load_status(folder.path()).code(), StatusCode::kCorruption) << length;
  }
}

// Every file of the model, bytes flipped at random: a typed error or a model that encodes.
TEST(EncoderHostile, FlippedBytesNeverCrash) {
  std::mt19937 generator(23);
  const std::vector<std::string_view> texts = {"the river", ""};
  std::size_t refused = 0;
  for (const char* model : {"plain", "odd"}) {
    const auto encoder = Encoder::load(encoder_data(model));
    ASSERT_TRUE(encoder.ok());
    const TemporaryFolder folder;
    copy_folder(encoder_data(model), folder.path());
    for (const std::string& name : (*encoder)->files()) {
      const std::string whole = read_file(folder.file(name));
      for (int round = 0; round < 60; ++round) {
        std::string damaged = whole;
        // Of the weights, mostly the header.
        const std::size_t range =
            round % 4 != 0 ? std::min<std::size_t>(whole.size(), 3000) : whole.size();
        for (unsigned flips = 1 + generator() % 3; flips != 0; --flips) {
          damaged[generator() % range] ^= static_cast<char>(1u << generator() % 8);
        }
        write_file(folder.file(name), damaged);
        const auto flipped = Encoder::load(folder.path());
        if (!flipped.ok()) {
          ++refused;
          EXPECT_FALSE(flipped.status().message().empty());
          continue;
        }
        const auto result = (*flipped)->encode(texts, TextKind::kQuery);
        if (!result.ok()) continue;
        EXPECT_EQ(result->vectors.size(), 2 * (*flipped)->dim());
      }
      write_file(folder.file(name), whole);
    }
  }
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace collegium::core
