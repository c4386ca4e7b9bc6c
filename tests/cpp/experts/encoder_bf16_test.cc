#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/experts/lora_adapter.h"
#include "collegium/core/safetensors.h"
#include "collegium/core/thread_pool.h"
#include "experts/encoder_calls.h"
#include "experts/model_folder.h"
#include "experts/trunk.h"
#include "io/json_file.h"
#include "kernels/levels.h"
#include "relative_error.h"
#include "threads_restored.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;
using Vectors = std::vector<float>;

std::shared_ptr<const Encoder> load_bf16(const std::string& folder, Isa isa = active_isa()) {
  return load(folder, {.compute = Compute::kBf16, .isa = isa});
}

std::vector<std::string> golden_texts() {
  const auto document = JsonDocument::open(encoder_data("texts.json"));
  std::vector<std::string> texts;
  const auto list = document->root().as_array(100);
  for (const JsonValue& text : *list) texts.push_back(*text.as_string());
  return texts;
}

// The reference's vector of a text: of "plain", the first text's is "plain.0". AMX attends in bf16.
Vectors golden(const std::string& text, Isa isa) {
  const std::string name = text + (isa == Isa::kAmx ? ".query.attended" : ".query");
  const auto file = SafeTensors::open(encoder_data("bf16.golden.safetensors"));
  EXPECT_TRUE(file.ok()) << file.status().to_string();
  const auto view = file->find(name);
  EXPECT_TRUE(view.ok()) << name;
  return *file->read_float(name, view->shape);
}

const char* const kFolders[] = {"plain", "odd", "families/mpnet", "families/modernbert-biased",
                                "families/nomic"};

// An activation that lies between two bf16 may be rounded to the other one than in the reference,
// which sums exactly; that moves a vector by parts in ten thousand. Without one, fp32 is 1e-5 near.
// The reference itself is some 5e-3 from fp32.
void expect_near_reference(const std::vector<double>& errors, const std::string& what) {
  EXPECT_LT(*std::max_element(errors.begin(), errors.end()), 2e-3) << what;
  const auto near = std::count_if(errors.begin(), errors.end(), [](double e) { return e < 1e-5; });
  EXPECT_GE(2 * static_cast<std::size_t>(near), errors.size()) << what;
}

// --- oracle: transformers, see tests/oracles/make_encoder_bf16_goldens.py ------------------------

TEST(EncoderBf16, VectorsAreTransformersWithRoundedFactorsAtEveryLevel) {
  const auto texts = golden_texts();
  ASSERT_GE(texts.size(), 10u);
  for (const std::string name : {"plain", "prefixed", "odd"}) {
    for (Isa isa : available_isas()) {
      const auto encoder = load_bf16(encoder_data(name), isa);
      ASSERT_NE(encoder, nullptr);
      std::vector<double> errors;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        errors.push_back(relative_error(encode(*encoder, {texts[i]}, TextKind::kQuery),
                                        golden(name + "." + std::to_string(i), isa),
                                        encoder->dim()));
      }
      expect_near_reference(errors, name + " at " + std::string(isa_name(isa)));
    }
  }
}

TEST(EncoderBf16, IsNearFp32AndNotTheSame) {
  const auto texts = random_texts(40, 61);
  for (const char* name : kFolders) {
    const auto fp32 = load(encoder_data(name), {});
    const auto bf16 = load_bf16(encoder_data(name));
    const auto int8 = load(encoder_data(name), {.compute = Compute::kInt8});
    EXPECT_EQ(bf16->compute(), Compute::kBf16);
    EXPECT_NE(fp32->digest(), bf16->digest());
    EXPECT_NE(int8->digest(), bf16->digest());
    const Vectors a = encode(*fp32, texts), b = encode(*bf16, texts);
    EXPECT_NE(a, b);
    EXPECT_LT(relative_error(b, a, fp32->dim()), 0.05) << name;
  }
}

TEST(EncoderBf16, EveryLevelBelowAmxGivesTheSameBits) {
  const auto texts = random_texts(30, 62);
  for (const char* name : kFolders) {
    const Vectors expected = encode(*load_bf16(encoder_data(name), Isa::kScalar), texts);
    for (Isa isa : available_isas()) {
      if (isa == Isa::kAmx) continue;  // its sums have an order of their own
      EXPECT_EQ(encode(*load_bf16(encoder_data(name), isa), texts), expected) << isa_name(isa);
    }
  }
}

TEST(EncoderBf16, AloneInAnyBatchInAnyOrderAndOnAnyThreadsTheSameBits) {
  const TemporaryFolder folder;
  write_random_bert(folder.path(), random_bert(63));
  const auto encoder = load_bf16(folder.path());
  ASSERT_NE(encoder, nullptr);
  expect_same_bits_in_any_company(*encoder, 64, 65);
}

TEST(EncoderBf16, LayersMayStayInFp32) {
  const auto texts = random_texts(20, 66);
  const std::string folder = encoder_data("plain");  // two layers
  const auto fp32 = load(folder, {});
  const auto none = load(folder, {.compute = Compute::kBf16, .fp32_layers = {0, 1}});
  EXPECT_EQ(encode(*none, texts), encode(*fp32, texts));
  EXPECT_EQ(none->compute(), Compute::kFp32);
  EXPECT_EQ(none->digest(), fp32->digest());
  const auto one = load(folder, {.compute = Compute::kBf16, .fp32_layers = {0}});
  EXPECT_EQ(one->compute(), Compute::kBf16);
  EXPECT_NE(encode(*one, texts), encode(*fp32, texts));
  EXPECT_NE(encode(*one, texts), encode(*load_bf16(folder), texts));
}

TEST(EncoderBf16, ConvertedItIsMappedWithTheSameBitsAndRunInNothingElse) {
  const TemporaryFolder folder;
  const auto texts = random_texts(20, 67);
  for (std::size_t i = 0; i < std::size(kFolders); ++i) {
    const std::string name = kFolders[i];
    const auto read = load_bf16(encoder_data(name));
    const std::string to = folder.file(std::to_string(i));
    ASSERT_TRUE(read->convert(to).ok());
    for (const Compute compute : {Compute::kAuto, Compute::kBf16}) {
      const auto mapped = load(to, {.compute = compute});
      EXPECT_EQ(mapped->digest(), read->digest());
      EXPECT_EQ(mapped->compute(), Compute::kBf16);
      EXPECT_EQ(encode(*mapped, texts), encode(*read, texts)) << name;
    }
    for (const Compute compute : {Compute::kFp32, Compute::kInt8}) {
      const Status status = Encoder::load(to, {.compute = compute}).status();
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(status.message(), HasSubstr("was converted in bf16"));
    }
  }
}

// The layers' products of this one are 98 % of its weights beside the embeddings.
TEST(EncoderBf16, ConvertedItsProductsTakeHalfTheBytes) {
  const TemporaryFolder folder;
  write_random_bert(folder.file("source"), random_bert(68));
  ASSERT_TRUE(load(folder.file("source"), {})->convert(folder.file("fp32")).ok());
  ASSERT_TRUE(load_bf16(folder.file("source"))->convert(folder.file("bf16")).ok());
  const auto size = [&](const char* name) {
    return std::filesystem::file_size(folder.file(name) + "/model.packed");
  };
  constexpr std::size_t kHidden = 128, kWidth = 512, kLayers = 2;
  const std::size_t products = kLayers * (4 * kHidden * kHidden + 2 * kHidden * kWidth);
  // Names and alignment differ by little.
  EXPECT_NEAR(static_cast<double>(size("fp32") - size("bf16")), 2.0 * products, 2000.0);
}

TEST(EncoderBf16, ALoraOnItIsAddedInFp32) {
  const auto bf16 = load_bf16(encoder_data("families/mpnet"));
  const auto fp32 = load(encoder_data("families/mpnet"), {});
  const std::string folder = encoder_data("loras/mpnet/feed-forward");
  const auto bf16_lora = LoraAdapter::load(folder, *bf16);
  const auto fp32_lora = LoraAdapter::load(folder, *fp32);
  ASSERT_TRUE(bf16_lora.ok() && fp32_lora.ok()) << bf16_lora.status().to_string();
  const std::vector<std::string_view> texts = {"the river runs in winter"};
  const auto a = bf16->encode(texts, TextKind::kQuery, Encoder::Loras{*bf16_lora});
  const auto b = fp32->encode(texts, TextKind::kQuery, Encoder::Loras{*fp32_lora});
  ASSERT_TRUE(a.ok() && b.ok());
  const double error = relative_error(a->vectors, b->vectors, fp32->dim());
  const auto plain = fp32->encode(texts, TextKind::kQuery);
  EXPECT_LT(error, 0.05);
  EXPECT_LT(error, 0.2 * relative_error(plain->vectors, b->vectors, fp32->dim()));
}

TEST(EncoderBf16, AWeightItCannotHoldIsRefusedByName) {
  const TemporaryFolder folder;
  TestTensors tensors = random_bert(69);
  tensors["encoder.layer.1.output.dense.weight"].values[7] = -3.4e38f;
  write_random_bert(folder.path(), tensors);
  EXPECT_TRUE(Encoder::load(folder.path()).ok());
  const Status status = Encoder::load(folder.path(), {.compute = Compute::kBf16}).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("'encoder.layer.1.output.dense'"));
  EXPECT_THAT(status.message(), HasSubstr("bf16"));
}

// --- a trunk over the emulated units: what no machine at hand may have ---------------------------

class EmulatedTrunk : public testing::TestWithParam<const Kernels*> {
 protected:
  static std::unique_ptr<Trunk> load_trunk(const std::string& name, WeightType type,
                                           const Kernels& kernels) {
    const std::string folder = encoder_data(name);
    const auto config = JsonDocument::open(folder + "/config.json");
    const auto file = SafeTensors::open(folder + "/model.safetensors");
    EXPECT_TRUE(config.ok() && file.ok());
    auto trunk =
        Trunk::load(*file, "model", *read_trunk_config(config->root()), {type, {}}, kernels);
    EXPECT_TRUE(trunk.ok()) << trunk.status().to_string();
    return trunk.ok() ? std::move(*trunk) : nullptr;
  }
  // The states of all tokens.
  static Vectors run(const Trunk& trunk, const std::vector<std::vector<std::int32_t>>& texts) {
    PackedSequences sequences;
    for (const auto& ids : texts) {
      sequences.ids.insert(sequences.ids.end(), ids.begin(), ids.end());
      sequences.starts.push_back(sequences.ids.size());
    }
    TrunkScratch scratch;
    trunk.forward(sequences, false, scratch);
    const std::size_t hidden = kHidden;
    return {scratch.hidden.data(), scratch.hidden.data() + sequences.ids.size() * hidden};
  }
  static std::vector<std::vector<std::int32_t>> golden_ids() {
    const auto encoder = load(encoder_data("plain"), {});
    std::vector<std::vector<std::int32_t>> out;
    for (const auto& text : golden_texts()) {
      out.push_back(encoder->tokenizer().encode(text, {.max_tokens = 32})->ids);
    }
    return out;
  }
  static constexpr std::size_t kHidden = 32;  // of "plain"
};

TEST_P(EmulatedTrunk, InFp32AndInt8HasTheBitsOfTheScalarTwin) {
  for (const WeightType type : {WeightType::kFp32, WeightType::kInt8}) {
    const auto twin = load_trunk("plain", type, kernels_for(Isa::kScalar));
    const auto trunk = load_trunk("plain", type, *GetParam());
    EXPECT_EQ(run(*trunk, golden_ids()), run(*twin, golden_ids()));
  }
}

TEST_P(EmulatedTrunk, InBf16ATextIsNearTheReferenceAndTheSameBitsAloneAndInCompany) {
  const auto trunk = load_trunk("plain", WeightType::kBf16, *GetParam());
  const auto texts = golden_ids();
  const Vectors together = run(*trunk, texts);
  std::vector<double> errors;
  std::size_t at = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Vectors states = run(*trunk, {texts[i]});
    ASSERT_EQ(std::memcmp(states.data(), together.data() + at, states.size() * sizeof(float)), 0)
        << "text " << i;
    at += states.size();
    Vectors mean(kHidden);
    double square = 0.0;
    for (std::size_t j = 0; j < kHidden; ++j) {
      double sum = 0.0;
      for (std::size_t t = 0; t < texts[i].size(); ++t) {
        sum += static_cast<double>(states[t * kHidden + j]);
      }
      square += sum * sum;
      mean[j] = static_cast<float>(sum);
    }
    for (float& x : mean) x = static_cast<float>(x / std::sqrt(square));
    errors.push_back(
        relative_error(mean, golden("plain." + std::to_string(i), GetParam()->isa), kHidden));
  }
  EXPECT_EQ(at, together.size());
  expect_near_reference(errors, std::string(isa_name(GetParam()->isa)));
}

INSTANTIATE_TEST_SUITE_P(Emulated, EmulatedTrunk, testing::ValuesIn(emulated_levels()), level_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EmulatedTrunk);

}  // namespace
}  // namespace collegium::core
