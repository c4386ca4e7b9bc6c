#include "experts/packed_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <random>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/experts/lora_adapter.h"
#include "experts/model_folder.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Encoder> load(const std::string& folder, Isa isa = active_isa()) {
  auto encoder = Encoder::load(folder, {.isa = isa});
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

std::vector<float> encode(const Encoder& encoder, TextKind kind = TextKind::kQuery) {
  const std::vector<std::string_view> texts = {"the river runs in winter", "", "law? 1 2345"};
  return encoder.encode(texts, kind)->vectors;
}

class Converted : public testing::TestWithParam<const char*> {};

TEST_P(Converted, TheSameBitsDigestAndLimitsMappedAsRead) {
  const TemporaryFolder folder;
  const auto read = load(encoder_data(GetParam()));
  ASSERT_NE(read, nullptr);
  const std::string to = folder.file("packed");
  ASSERT_TRUE(read->convert(to).ok()) << read->convert(to).to_string();
  EXPECT_FALSE(std::filesystem::exists(to + "/model.safetensors"));
  const auto mapped = load(to);
  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(mapped->digest(), read->digest());
  EXPECT_EQ(mapped->dim(), read->dim());
  EXPECT_EQ(mapped->max_tokens(), read->max_tokens());
  EXPECT_THAT(mapped->files(), testing::Contains("model.packed"));
  for (const TextKind kind : {TextKind::kQuery, TextKind::kDocument}) {
    EXPECT_EQ(encode(*mapped, kind), encode(*read, kind));
  }
  for (Isa isa : available_isas()) EXPECT_EQ(encode(*load(to, isa)), encode(*read));
  // And once more from what was converted.
  ASSERT_TRUE(mapped->convert(folder.file("again")).ok());
  EXPECT_EQ(read_file(folder.file("again/model.packed")), read_file(to + "/model.packed"));
}

INSTANTIATE_TEST_SUITE_P(Families, Converted,
                         testing::Values("plain", "odd", "families/bert-silu",
                                         "families/distilbert", "families/roberta",
                                         "families/xlm-roberta", "families/mpnet",
                                         "families/modernbert", "families/modernbert-biased",
                                         "families/nomic", "families/nomic-native"),
                         [](const auto& name) {
                           std::string clean = name.param;
                           for (char& c : clean) c = std::isalnum(c) != 0 ? c : '_';
                           return clean;
                         });

TEST(PackedWeights, ALoraFitsTheConvertedEncoderToo) {
  const TemporaryFolder folder;
  const auto read = load(encoder_data("families/nomic"));
  ASSERT_TRUE(read->convert(folder.file("packed")).ok());
  const auto mapped = load(folder.file("packed"));
  const auto lora = LoraAdapter::load(encoder_data("loras/nomic/gated"), *mapped);
  ASSERT_TRUE(lora.ok()) << lora.status().to_string();
  const std::vector<std::string_view> texts = {"the river"};
  EXPECT_EQ(mapped->encode(texts, TextKind::kQuery, Encoder::Loras{*lora})->vectors,
            read->encode(texts, TextKind::kQuery, Encoder::Loras{*lora})->vectors);
}

TEST(PackedWeights, NothingIsOverwrittenAndAFailureLeavesNothing) {
  const TemporaryFolder folder;
  const auto encoder = load(encoder_data("plain"));
  write_file(folder.file("there/file"), "kept");
  const Status status = encoder->convert(folder.file("there"));
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr(folder.file("there")));
  EXPECT_EQ(read_file(folder.file("there/file")), "kept");

  // The source loses a file between loading and converting.
  copy_folder(encoder_data("plain"), folder.file("source"));
  const auto loaded = load(folder.file("source"));
  std::filesystem::remove(folder.file("source/vocab.txt"));
  EXPECT_FALSE(loaded->convert(folder.file("to")).ok());
  EXPECT_FALSE(std::filesystem::exists(folder.file("to")));
}

TEST(PackedWeights, TheLimitOfTokenizerConfigIsKept) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("plain"), folder.file("source"));
  std::filesystem::remove(folder.file("source/sentence_bert_config.json"));
  write_file(folder.file("source/tokenizer_config.json"), R"({"model_max_length": 16})");
  const auto read = load(folder.file("source"));
  EXPECT_EQ(read->max_tokens(), 16u);
  EXPECT_THAT(read->files(), testing::Contains("tokenizer_config.json"));
  ASSERT_TRUE(read->convert(folder.file("packed")).ok());
  EXPECT_EQ(load(folder.file("packed"))->max_tokens(), 16u);
  EXPECT_EQ(load(folder.file("packed"))->digest(), read->digest());
}

TEST(PackedWeights, WhatAConvertedFolderCannotSayIsRefused) {
  const TemporaryFolder folder;
  const auto shortened = Encoder::load(encoder_data("plain"), {.truncate_dim = 8});
  ASSERT_TRUE(shortened.ok());
  const Status status = (*shortened)->convert(folder.file("packed"));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("truncate_dim 8"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("packed")));

  const auto int8 = Encoder::load(encoder_data("plain"), {.compute = Compute::kInt8});
  ASSERT_TRUE((*int8)->convert(folder.file("packed")).ok());
  const Status layers =
      Encoder::load(folder.file("packed"), {.compute = Compute::kInt8, .fp32_layers = {0}})
          .status();
  EXPECT_EQ(layers.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(layers.message(), HasSubstr("fp32_layers"));
}

TEST(PackedWeights, AnotherConfigThanItsOwnIsCorruptionThatNamesTheArray) {
  const TemporaryFolder folder;
  ASSERT_TRUE(load(encoder_data("plain"))->convert(folder.file("packed")).ok());
  const std::string config = folder.file("packed/config.json");
  const std::string whole = read_file(config);
  for (const auto& [from, to, name] :
       {std::array{"\"num_attention_heads\": 4", "\"num_attention_heads\": 2", "4 heads"},
        std::array{"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "layers.2"},
        std::array{"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "layers.1"},
        std::array{"\"max_position_embeddings\": 40", "\"max_position_embeddings\": 41",
                   "positions"},
        std::array{"\"intermediate_size\": 64", "\"intermediate_size\": 48", "layers.0.up"}}) {
    write_file(config, whole);
    replace_in_file(config, from, to);
    const Status status = Encoder::load(folder.file("packed")).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << to << ": " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(name)) << to;
  }
}

TEST(PackedWeights, EveryFlippedBitAndEveryCutIsNoticed) {
  const TemporaryFolder folder;
  ASSERT_TRUE(load(encoder_data("plain"))->convert(folder.file("packed")).ok());
  const std::string path = folder.file("packed/model.packed");
  const std::string whole = read_file(path);
  std::mt19937 generator(41);
  for (int round = 0; round < 400; ++round) {
    std::string damaged = whole;
    const std::size_t range =
        round % 2 == 0 ? std::min<std::size_t>(whole.size(), 1500) : whole.size();
    if (round % 5 == 0) {
      damaged.resize(generator() % whole.size());
    } else {
      damaged[generator() % range] ^= static_cast<char>(1u << generator() % 8);
    }
    write_file(path, damaged);
    const Status status = Encoder::load(folder.file("packed")).status();
    EXPECT_TRUE(status.code() == StatusCode::kCorruption ||
                status.code() == StatusCode::kNotSupported)
        << round << ": " << status.to_string();
  }
}

// Version 2 adds bf16 and changes nothing else.
TEST(PackedWeights, AFileOfVersion1IsRead) {
  const TemporaryFolder folder;
  const auto read = load(encoder_data("plain"));
  ASSERT_TRUE(read->convert(folder.file("packed")).ok());
  const std::string path = folder.file("packed/model.packed");
  const auto envelope = read_file_envelope(path, {"encoder", 2});
  ASSERT_TRUE(envelope.ok());
  EXPECT_EQ(envelope->version, 2u);
  ASSERT_TRUE(write_file_envelope(path, {"encoder", 1}, envelope->payload).ok());
  const auto mapped = load(folder.file("packed"));
  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(encode(*mapped), encode(*read));
}

// With checksums that are right: whoever wrote it wrote nonsense.
TEST(PackedWeights, AListOfArraysThatLiesIsCorruption) {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.packed");
  const std::vector<float> numbers(40, 1.0f);
  PackedWeightsWriter writer("digest", false, 4);
  writer.add("words", std::span<const float>(numbers));
  ASSERT_TRUE(writer.write(path).ok());
  const auto opened = PackedWeights::open(path);
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  EXPECT_EQ(opened->digest(), "digest");
  const auto envelope = read_file_envelope(path, {"encoder", 2});
  ASSERT_TRUE(envelope.ok());
  // Every byte of the list changed, the envelope made anew.
  std::size_t refused = 0;
  const std::size_t list = envelope->payload.size() - numbers.size() * sizeof(float);
  for (std::size_t i = 0; i < list; ++i) {
    auto payload = envelope->payload;
    payload[i] ^= std::byte{0x80};
    ASSERT_TRUE(write_file_envelope(path, {"encoder", 2}, payload).ok());
    auto lying = PackedWeights::open(path);
    if (!lying.ok()) {
      EXPECT_EQ(lying.status().code(), StatusCode::kCorruption);
      ++refused;
      continue;
    }
    const auto taken = lying->take<float>("words", numbers.size());
    if (!taken.ok()) ++refused;
  }
  EXPECT_GT(refused, 20u);
}

}  // namespace
}  // namespace collegium::core
