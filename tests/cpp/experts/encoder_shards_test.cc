#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "collegium/core/experts/encoder.h"
#include "experts/model_folder.h"

namespace collegium::core {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSecond = "model-00002-of-00004.safetensors";

std::vector<float> encode(const Encoder& encoder) {
  const auto texts = family_texts();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto result = encoder.encode(views, TextKind::kDocument);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(result->vectors) : std::vector<float>();
}

// The family "mpnet" as transformers writes it in four files; see
// tests/oracles/make_encoder_family_goldens.py.
TEST(EncoderShards, AreTheSameModelAsOneFile) {
  for (const Compute compute : {Compute::kFp32, Compute::kInt8}) {
    const auto sharded = Encoder::load(family_data("mpnet-sharded"), {.compute = compute});
    ASSERT_TRUE(sharded.ok()) << sharded.status().to_string();
    const auto single = Encoder::load(family_data("mpnet"), {.compute = compute});
    ASSERT_TRUE(single.ok());
    EXPECT_EQ(encode(**sharded), encode(**single));
    EXPECT_EQ((*sharded)->digest(), (*single)->digest());
    EXPECT_THAT((*sharded)->files(), AllOf(Contains(kIndex), Contains(kSecond)));
    EXPECT_THAT((*single)->files(), Not(Contains(kIndex)));
  }
}

TEST(EncoderShards, ConvertedTheyAreOneFileWithTheSameBits) {
  const TemporaryFolder folder;
  const auto sharded = Encoder::load(family_data("mpnet-sharded"));
  ASSERT_TRUE(sharded.ok());
  ASSERT_TRUE((*sharded)->convert(folder.file("packed")).ok());
  for (const auto& entry : std::filesystem::directory_iterator(folder.file("packed")))
    EXPECT_THAT(entry.path().string(), Not(HasSubstr("safetensors")));
  const auto mapped = Encoder::load(folder.file("packed"));
  ASSERT_TRUE(mapped.ok()) << mapped.status().to_string();
  EXPECT_EQ((*mapped)->digest(), (*sharded)->digest());
  EXPECT_EQ(encode(**mapped), encode(**sharded));
}

TEST(EncoderShards, TheirFilesAreAllThatACopyNeedsAlsoInAFolderOfTheTrunk) {
  const TemporaryFolder folder;
  const std::string model = folder.file("model"), copy = folder.file("copy");
  std::filesystem::create_directories(model);
  copy_folder(family_data("mpnet-sharded"), model + "/0_Transformer");
  for (const char* name : {"modules.json", "1_Pooling"})
    std::filesystem::rename(model + "/0_Transformer/" + name, model + "/" + name);
  replace_in_file(model + "/modules.json", "\"path\": \"\"", "\"path\": \"0_Transformer\"");
  const auto encoder = Encoder::load(model);
  ASSERT_TRUE(encoder.ok()) << encoder.status().to_string();
  EXPECT_THAT((*encoder)->files(), Contains("0_Transformer/" + std::string(kSecond)));
  for (const std::string& file : (*encoder)->files()) {
    std::filesystem::create_directories(std::filesystem::path(copy + "/" + file).parent_path());
    std::filesystem::copy_file(model + "/" + file, copy + "/" + file);
  }
  const auto copied = Encoder::load(copy);
  ASSERT_TRUE(copied.ok()) << copied.status().to_string();
  EXPECT_EQ((*copied)->digest(), (*encoder)->digest());
  ASSERT_TRUE((*encoder)->convert(folder.file("packed")).ok());
  EXPECT_TRUE(Encoder::load(folder.file("packed")).ok());
}

TEST(EncoderShards, OneFileBesideAnIndexIsTheModel) {
  const TemporaryFolder folder;
  copy_folder(family_data("mpnet"), folder.path());
  write_file(folder.file(kIndex), "not even JSON");
  EXPECT_TRUE(Encoder::load(folder.path()).ok());
}

TEST(EncoderShards, AMissingShardIsNotFoundAndAChangedIndexIsCorruptionByName) {
  const TemporaryFolder folder;
  copy_folder(family_data("mpnet-sharded"), folder.path());
  const std::string whole = read_file(folder.file(kIndex));
  const auto with = [&](const std::string& from, const std::string& to) {
    write_file(folder.file(kIndex), whole);
    replace_in_file(folder.file(kIndex), from, to);
    return Encoder::load(folder.path()).status();
  };
  const std::string line = R"("embeddings.LayerNorm.bias": "model-00001-of-00004.safetensors")";
  const Status elsewhere =
      with(line, R"("embeddings.LayerNorm.bias": "model-00002-of-00004.safetensors")");
  EXPECT_EQ(elsewhere.code(), StatusCode::kCorruption);
  EXPECT_THAT(elsewhere.message(),
              AllOf(HasSubstr(kIndex), HasSubstr("'embeddings.LayerNorm.bias'"), HasSubstr("00001"),
                    HasSubstr("00002")));
  EXPECT_EQ(with(line + ",", "").code(), StatusCode::kCorruption);
  write_file(folder.file(kIndex), whole);
  std::filesystem::remove(folder.file(kSecond));
  const Status missing = Encoder::load(folder.path()).status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr(kSecond));
}

TEST(EncoderShards, ADamagedShardIsNoticedAsASingleFileIs) {
  const TemporaryFolder folder;
  copy_folder(family_data("mpnet-sharded"), folder.path());
  const std::string whole = read_file(folder.file(kSecond));
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
    write_file(folder.file(kSecond), whole.substr(0, size));
    const Status status = Encoder::load(folder.path()).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << size << ": " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(kSecond)) << size;
  }
}

TEST(EncoderShards, WeightsInAnotherFormatAreRefusedByTheirName) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"}) {
    const TemporaryFolder folder;
    copy_folder(family_data("mpnet"), folder.path());
    std::filesystem::rename(folder.file("model.safetensors"), folder.file(name));
    const Status status = Encoder::load(folder.path()).status();
    EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(folder.file(name)), HasSubstr("model.safetensors")));
  }
  const TemporaryFolder folder;
  copy_folder(family_data("bert-silu"), folder.path());
  std::filesystem::rename(folder.file("2_Dense/model.safetensors"),
                          folder.file("2_Dense/pytorch_model.bin"));
  const Status status = Encoder::load(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("2_Dense/pytorch_model.bin"));
}

TEST(EncoderShards, ScaledRotationsAreRefusedByName) {
  const TemporaryFolder folder;
  copy_folder(family_data("modernbert-older"), folder.path());
  replace_in_file(folder.file("config.json"), "{",
                  R"({"rope_scaling": {"type": "yarn", "factor": 4.0},)");
  const Status status = Encoder::load(folder.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr("rope_scaling"));
}

}  // namespace
}  // namespace collegium::core
