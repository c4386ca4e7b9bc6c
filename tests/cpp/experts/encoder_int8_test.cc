#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/experts/lora_adapter.h"
#include "collegium/core/thread_pool.h"
#include "experts/encoder_calls.h"
#include "experts/model_folder.h"
#include "threads_restored.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;
using Vectors = std::vector<float>;

std::shared_ptr<const Encoder> load_int8(const std::string& folder, Isa isa = active_isa()) {
  return load(folder, {.compute = Compute::kInt8, .isa = isa});
}

double cosine(const float* a, const float* b, std::size_t dim) {
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (std::size_t i = 0; i < dim; ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

const char* const kFolders[] = {"plain", "odd", "families/mpnet", "families/modernbert-biased",
                                "families/nomic"};

TEST(EncoderInt8, IsNearFp32AndNotTheSame) {
  const auto texts = random_texts(40, 51);
  for (const char* name : kFolders) {
    const auto fp32 = load(encoder_data(name), {});
    const auto int8 = load_int8(encoder_data(name));
    EXPECT_EQ(fp32->compute(), Compute::kFp32);
    EXPECT_EQ(int8->compute(), Compute::kInt8);
    EXPECT_NE(fp32->digest(), int8->digest());
    const Vectors a = encode(*fp32, texts), b = encode(*int8, texts);
    EXPECT_NE(a, b);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      // Random weights of this size are harder on it than any trained model's.
      EXPECT_GT(cosine(a.data() + i * fp32->dim(), b.data() + i * fp32->dim(), fp32->dim()), 0.9)
          << name << " text " << i;
    }
  }
}

TEST(EncoderInt8, SlowOfMiniLmHasACosineWithFp32OfAtLeast099) {
  const char* folder = std::getenv("COLLEGIUM_MINILM");
  if (folder == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no model folder";
  const auto fp32 = load(folder, {});
  const auto int8 = load_int8(folder);
  const auto texts = random_texts(200, 52);
  const Vectors a = encode(*fp32, texts), b = encode(*int8, texts);
  double worst = 1.0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    worst = std::min(worst, cosine(a.data() + i * 384, b.data() + i * 384, 384));
  }
  EXPECT_GT(worst, 0.99);
}

TEST(EncoderInt8, EveryLevelGivesTheSameBits) {
  const auto texts = random_texts(30, 53);
  for (const char* name : kFolders) {
    const Vectors expected = encode(*load_int8(encoder_data(name), Isa::kScalar), texts);
    for (Isa isa : available_isas()) {
      EXPECT_EQ(encode(*load_int8(encoder_data(name), isa), texts), expected) << isa_name(isa);
    }
  }
}

TEST(EncoderInt8, AloneInAnyBatchInAnyOrderAndOnAnyThreadsTheSameBits) {
  const TemporaryFolder folder;
  write_random_bert(folder.path(), random_bert(54));
  const auto encoder = load_int8(folder.path());
  ASSERT_NE(encoder, nullptr);
  expect_same_bits_in_any_company(*encoder, 55, 56);
}

TEST(EncoderInt8, LayersMayStayInFp32) {
  const auto texts = random_texts(20, 57);
  const std::string folder = encoder_data("plain");  // two layers
  const auto fp32 = load(folder, {});
  const auto none = load(folder, {.compute = Compute::kInt8, .fp32_layers = {0, 1}});
  EXPECT_EQ(encode(*none, texts), encode(*fp32, texts));
  EXPECT_EQ(none->compute(), Compute::kFp32);
  EXPECT_EQ(none->digest(), fp32->digest());
  const auto one = load(folder, {.compute = Compute::kInt8, .fp32_layers = {1}});
  EXPECT_NE(encode(*one, texts), encode(*fp32, texts));
  EXPECT_NE(encode(*one, texts), encode(*load_int8(folder), texts));
  const Status status =
      Encoder::load(folder, {.compute = Compute::kInt8, .fp32_layers = {2}}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("fp32_layers: 2 is not in [0, 2)"));
}

TEST(EncoderInt8, ConvertedItIsMappedWithTheSameBitsAndRunInNothingElse) {
  const TemporaryFolder folder;
  const auto texts = random_texts(20, 58);
  for (std::size_t i = 0; i < std::size(kFolders); ++i) {
    const std::string name = kFolders[i];
    const auto read = load_int8(encoder_data(name));
    const std::string to = folder.file(std::to_string(i));
    ASSERT_TRUE(read->convert(to).ok());
    for (const Compute compute : {Compute::kAuto, Compute::kInt8}) {
      const auto mapped = load(to, {.compute = compute});
      EXPECT_EQ(mapped->digest(), read->digest());
      EXPECT_EQ(encode(*mapped, texts), encode(*read, texts)) << name;
    }
    const Status status = Encoder::load(to, {.compute = Compute::kFp32}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("was converted in int8"));
    EXPECT_LT(std::filesystem::file_size(to + "/model.packed"),
              std::filesystem::file_size(encoder_data(name) + "/model.safetensors"));
  }
}

TEST(EncoderInt8, ALoraOnItIsAddedInFp32) {
  const auto encoder = load_int8(encoder_data("families/mpnet"));
  const auto lora = LoraAdapter::load(encoder_data("loras/mpnet/feed-forward"), *encoder);
  ASSERT_TRUE(lora.ok()) << lora.status().to_string();
  const auto fp32 = load(encoder_data("families/mpnet"), {});
  const auto fp32_lora = LoraAdapter::load(encoder_data("loras/mpnet/feed-forward"), *fp32);
  const std::vector<std::string_view> texts = {"the river runs in winter"};
  const auto a = encoder->encode(texts, TextKind::kQuery, Encoder::Loras{*lora});
  const auto b = fp32->encode(texts, TextKind::kQuery, Encoder::Loras{*fp32_lora});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_GT(cosine(a->vectors.data(), b->vectors.data(), 32), 0.9);
}

TEST(EncoderInt8, WeightsThatOverflowGiveAnErrorAndNoVector) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(59);
  for (float& x : tensors["encoder.layer.0.output.dense.weight"].values) {
    x = std::copysign(3e38f, x);
  }
  write_random_bert(folder.path(), tensors);
  const auto encoder = load_int8(folder.path());
  ASSERT_NE(encoder, nullptr);
  const std::vector<std::string_view> texts = {"river"};
  EXPECT_EQ(encoder->encode(texts, TextKind::kQuery).status().code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace collegium::core
