#include "collegium/core/experts/lora_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/safetensors.h"
#include "collegium/core/thread_pool.h"
#include "experts/model_folder.h"
#include "relative_error.h"
#include "threads_restored.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;
using Vectors = std::vector<float>;

std::string lora_folder(const std::string& name) { return encoder_data("loras/" + name); }

std::shared_ptr<const Encoder> load_encoder(const std::string& name, Isa isa = active_isa()) {
  auto encoder = Encoder::load(family_data(name), {.isa = isa});
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

std::shared_ptr<const LoraAdapter> load_lora(const std::string& folder, const Encoder& encoder) {
  auto lora = LoraAdapter::load(folder, encoder);
  EXPECT_TRUE(lora.ok()) << lora.status().to_string();
  return lora.ok() ? *lora : nullptr;
}

Vectors encode(const Encoder& encoder, const std::vector<std::string>& list,
               const Encoder::Loras& loras) {
  const std::vector<std::string_view> views(list.begin(), list.end());
  auto result = encoder.encode(views, TextKind::kDocument, loras);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(result->vectors) : Vectors();
}

// --- oracle: peft on transformers in float64, see tests/oracles/make_lora_goldens.py ------------

class LoraGolden : public testing::TestWithParam<const char*> {
 public:
  static std::string model() {
    const std::string name = GetParam();
    return name.substr(0, name.find('/'));
  }
};

TEST_P(LoraGolden, VectorsArePeftsWithin1e5AtEveryLevel) {
  const auto file = SafeTensors::open(lora_folder(std::string(GetParam()) + ".golden.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto list = family_texts();
  for (Isa isa : available_isas()) {
    const auto encoder = load_encoder(model(), isa);
    const auto lora = load_lora(lora_folder(GetParam()), *encoder);
    ASSERT_NE(lora, nullptr);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto expected =
          file->read_float(std::to_string(i) + ".vector", std::vector<std::size_t>{encoder->dim()});
      ASSERT_TRUE(expected.ok()) << expected.status().to_string();
      EXPECT_LT(relative_error(encode(*encoder, {list[i]}, {lora}), *expected, encoder->dim()),
                1e-5)
          << "text " << i << " at " << isa_name(isa);
      EXPECT_GT(relative_error(encode(*encoder, {list[i]}, {nullptr}), *expected, encoder->dim()),
                1e-3)
          << "the LoRA changes nothing";
    }
  }
}

TEST_P(LoraGolden, UnderEveryExpertTheBitsAreThoseAlone) {
  const auto encoder = load_encoder(model());
  const auto lora = load_lora(lora_folder(GetParam()), *encoder);
  const auto list = family_texts();
  const std::vector<std::string_view> views(list.begin(), list.end());
  const Encoder::Loras experts = {lora, nullptr, lora};
  const auto under = encoder->encode_under(views, TextKind::kDocument, experts);
  ASSERT_TRUE(under.ok()) << under.status().to_string();
  const std::size_t dim = encoder->dim();
  ASSERT_EQ(under->vectors.size(), list.size() * 3 * dim);
  for (std::size_t i = 0; i < list.size(); ++i) {
    for (std::size_t e = 0; e < experts.size(); ++e) {
      const float* row = under->vectors.data() + (i * 3 + e) * dim;
      EXPECT_EQ(Vectors(row, row + dim), encode(*encoder, {list[i]}, {experts[e]}))
          << "text " << i << " expert " << e;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LoraGolden,
                         testing::Values("bert-silu/all", "bert-silu/late", "distilbert/attention",
                                         "roberta/stabilised", "mpnet/feed-forward",
                                         "modernbert/fused", "nomic/gated"),
                         [](const auto& name) {
                           std::string clean = name.param;
                           for (char& c : clean) c = std::isalnum(c) != 0 ? c : '_';
                           return clean;
                         });

TEST(LoraAdapter, TheMakersNamesOfNomicBertAndTransformersMeanTheSame) {
  const auto native = load_encoder("nomic-native");
  const auto published = load_encoder("nomic-published");
  const auto list = family_texts();
  const Encoder::Loras a(list.size(), load_lora(lora_folder("nomic/gated"), *native));
  const Encoder::Loras b(list.size(), load_lora(lora_folder("nomic/gated"), *published));
  EXPECT_EQ(encode(*native, list, a), encode(*published, list, b));
}

TEST(LoraAdapter, SaysWhatItAdaptsAndFromWhichLayerOn) {
  const auto encoder = load_encoder("bert-silu");
  const auto late = load_lora(lora_folder("bert-silu/late"), *encoder);
  EXPECT_EQ(late->first_layer(), 1u);
  EXPECT_EQ(late->rank(), 3u);
  EXPECT_THAT(late->modules(), testing::ElementsAre("encoder.layer.1.attention.self.query"));
  const auto all = load_lora(lora_folder("bert-silu/all"), *encoder);
  EXPECT_EQ(all->first_layer(), 0u);
  EXPECT_NE(all->digest(), late->digest());
  EXPECT_EQ(all->digest(), load_lora(lora_folder("bert-silu/all"), *encoder)->digest());
  EXPECT_EQ(all->encoder_digest(), encoder->digest());
}

// --- the same bits, whatever the company --------------------------------------------------------

TEST(LoraBits, ARowUnderItsExpertDoesNotDependOnTheBatchAndItsExperts) {
  const ThreadsRestored restored;
  const auto encoder = load_encoder("bert-silu");
  const Encoder::Loras experts = {nullptr, load_lora(lora_folder("bert-silu/all"), *encoder),
                                  load_lora(lora_folder("bert-silu/late"), *encoder)};
  const auto list = random_texts(60, 31);
  const std::size_t dim = encoder->dim();
  set_num_threads(1);
  std::vector<Vectors> alone;  // (texts, experts)
  for (const auto& text : list) {
    for (const auto& expert : experts) alone.push_back(encode(*encoder, {text}, {expert}));
  }
  std::mt19937 generator(32);
  for (std::size_t round = 0; round < 60; ++round) {
    set_num_threads(std::vector<std::size_t>{1, 2, 4}[round % 3]);
    const std::size_t count = 1 + generator() % (round % 5 == 0 ? 200 : 9);
    std::vector<std::string> batch;
    Encoder::Loras own;
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t text = generator() % list.size();
      const std::size_t expert = generator() % experts.size();
      batch.push_back(list[text]);
      own.push_back(experts[expert]);
      which.push_back(text * experts.size() + expert);
    }
    const auto together = encode(*encoder, batch, own);
    ASSERT_EQ(together.size(), count * dim);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(Vectors(together.begin() + static_cast<std::ptrdiff_t>(i * dim),
                        together.begin() + static_cast<std::ptrdiff_t>((i + 1) * dim)),
                alone[which[i]])
          << "row " << i << " of " << count;
    }
  }
}

TEST(LoraBits, EveryLevelGivesTheSame) {
  const auto list = family_texts();
  const auto scalar = load_encoder("modernbert", Isa::kScalar);
  const Encoder::Loras loras(list.size(), load_lora(lora_folder("modernbert/fused"), *scalar));
  const auto expected = encode(*scalar, list, loras);
  for (Isa isa : available_isas()) {
    // The same LoRA serves: it belongs to the weights, not to a level.
    EXPECT_EQ(encode(*load_encoder("modernbert", isa), list, loras), expected) << isa_name(isa);
  }
}

// --- bad input ----------------------------------------------------------------------------------

struct Edit {
  const char* from;
  const char* to;
  StatusCode code;
  const char* message;  // a part of it
};

TEST(LoraHostile, WhatIsNotRunHereIsRefusedByName) {
  const std::vector<Edit> edits = {
      {"\"LORA\"", "\"IA3\"", StatusCode::kNotSupported, "peft_type is 'IA3'"},
      {"\"use_dora\": false", "\"use_dora\": true", StatusCode::kNotSupported, "use_dora"},
      {"\"bias\": \"none\"", "\"bias\": \"all\"", StatusCode::kNotSupported, "bias is 'all'"},
      {"\"lora_bias\": false", "\"lora_bias\": true", StatusCode::kNotSupported, "lora_bias"},
      {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", StatusCode::kNotSupported,
       "fan_in_fan_out"},
      {"\"rank_pattern\": {}", "\"rank_pattern\": {\"query\": 2}", StatusCode::kNotSupported,
       "rank_pattern"},
      {"\"alpha_pattern\": {}", "\"alpha_pattern\": {\"query\": 2}", StatusCode::kNotSupported,
       "alpha_pattern"},
      {"\"modules_to_save\": null", "\"modules_to_save\": [\"pooler\"]", StatusCode::kNotSupported,
       "modules_to_save"},
      {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", StatusCode::kNotSupported,
       "init_lora_weights is 'pissa'"},
      {"\"use_qalora\": false", "\"use_qalora\": true", StatusCode::kNotSupported, "use_qalora"},
      {"{", "{\"of_tomorrow\": 3,", StatusCode::kNotSupported, "of_tomorrow"},
      {"\"r\": 3", "\"r\": 4", StatusCode::kCorruption, "r = 4"},
      {"\"r\": 3", "\"r\": 0", StatusCode::kCorruption, "r is 0"},
      {"\"r\": 3", "\"r\": 1025", StatusCode::kCorruption, "r is 1025"},
      {"\"r\": 3,", "", StatusCode::kCorruption, "no 'r'"},
      {"\"lora_alpha\": 7", "\"lora_alpha\": \"7\"", StatusCode::kCorruption, "lora_alpha"},
      {"\"peft_type\": \"LORA\",", "", StatusCode::kCorruption, "peft_type"},
      {"{", "[", StatusCode::kCorruption, "adapter_config.json"},
  };
  const auto encoder = load_encoder("bert-silu");
  for (const Edit& edit : edits) {
    const TemporaryFolder folder;
    copy_folder(lora_folder("bert-silu/late"), folder.path());
    std::string config = read_file(folder.file("adapter_config.json"));
    const std::size_t at = config.find(edit.from);
    ASSERT_NE(at, std::string::npos) << edit.from;
    write_file(folder.file("adapter_config.json"),
               config.replace(at, std::string(edit.from).size(), edit.to));
    const Status status = LoraAdapter::load(folder.path(), *encoder).status();
    EXPECT_EQ(status.code(), edit.code) << edit.to << " gave " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(edit.message)) << edit.to;
    EXPECT_THAT(status.message(), HasSubstr(folder.path())) << "where is not said";
  }
}

Status load_tensors(const TestTensors& tensors) {
  const TemporaryFolder folder;
  copy_folder(lora_folder("bert-silu/late"), folder.path());
  write_safetensors(folder.file("adapter_model.safetensors"), tensors);
  return LoraAdapter::load(folder.path(), *load_encoder("bert-silu")).status();
}

TEST(LoraHostile, TensorsThatDoNotFitAreNamed) {
  const std::string query = "base_model.model.encoder.layer.1.attention.self.query";
  const TestTensor a = {{3, 32}, Vectors(96, 0.1f)};
  const TestTensor b = {{32, 3}, Vectors(96, 0.1f)};
  EXPECT_TRUE(load_tensors({{query + ".lora_A.weight", a}, {query + ".lora_B.weight", b}}).ok());

  const auto expect = [](const Status& status, StatusCode code, const std::string& message) {
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(message));
  };
  expect(load_tensors({{query + ".lora_A.weight", a}}), StatusCode::kCorruption, "no lora_B");
  expect(load_tensors(
             {{query + ".lora_A.weight", {{3, 31}, Vectors(93)}}, {query + ".lora_B.weight", b}}),
         StatusCode::kCorruption, "from 31 to 32");
  expect(load_tensors(
             {{query + ".lora_A.weight", a}, {query + ".lora_B.weight", {{31, 3}, Vectors(93)}}}),
         StatusCode::kCorruption, "from 32 to 31");
  expect(load_tensors(
             {{query + ".lora_A.weight", {{2, 32}, Vectors(64)}}, {query + ".lora_B.weight", b}}),
         StatusCode::kCorruption, "(2, 32)");
  const std::string other = "base_model.model.encoder.layer.2.attention.self.query";
  expect(load_tensors({{other + ".lora_A.weight", a}, {other + ".lora_B.weight", b}}),
         StatusCode::kCorruption, "encoder.layer.2.attention.self.query");
  expect(load_tensors({{query + ".lora_A.weight", {{3, 32}, Vectors(96, NAN)}},
                       {query + ".lora_B.weight", b}}),
         StatusCode::kCorruption, "not finite");
  expect(load_tensors({{query + ".lora_A.weight", a},
                       {query + ".lora_B.weight", b},
                       {query + ".lora_magnitude_vector", {{32}, Vectors(32)}}}),
         StatusCode::kNotSupported, "lora_magnitude_vector");
  expect(load_tensors({}), StatusCode::kCorruption, "adapts no module");
}

TEST(LoraHostile, AMissingFileIsNotFoundByName) {
  const auto encoder = load_encoder("bert-silu");
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    const TemporaryFolder folder;
    copy_folder(lora_folder("bert-silu/late"), folder.path());
    std::filesystem::remove(folder.file(name));
    const Status status = LoraAdapter::load(folder.path(), *encoder).status();
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr(name));
  }
}

TEST(LoraHostile, AnAdapterOfAnotherEncoderIsRefusedAtLoadAndAtUse) {
  const auto bert = load_encoder("bert-silu");
  const auto mpnet = load_encoder("mpnet");
  EXPECT_EQ(LoraAdapter::load(lora_folder("mpnet/feed-forward"), *bert).status().code(),
            StatusCode::kCorruption);
  const auto lora = load_lora(lora_folder("mpnet/feed-forward"), *mpnet);
  const std::vector<std::string_view> views = {"river"};
  const auto result = bert->encode(views, TextKind::kQuery, Encoder::Loras{lora});
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(result.status().message(), HasSubstr(mpnet->digest()));
}

TEST(LoraHostile, OneExpertForEachTextAndAtLeastOneToEncodeUnder) {
  const auto encoder = load_encoder("bert-silu");
  const std::vector<std::string_view> views = {"river", "law"};
  EXPECT_EQ(encoder->encode(views, TextKind::kQuery, Encoder::Loras{nullptr}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(encoder->encode_under(views, TextKind::kQuery, {}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(encoder->encode({}, TextKind::kQuery, Encoder::Loras()).ok());
  EXPECT_TRUE(encoder->encode_under({}, TextKind::kQuery, {nullptr})->vectors.empty());
}

TEST(LoraHostile, FlippedBytesNeverCrash) {
  const auto encoder = load_encoder("bert-silu");
  std::mt19937 generator(33);
  std::size_t refused = 0;
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    const TemporaryFolder folder;
    copy_folder(lora_folder("bert-silu/late"), folder.path());
    const std::string whole = read_file(folder.file(name));
    for (int round = 0; round < 200; ++round) {
      std::string damaged = whole;
      if (round % 4 == 0) damaged.resize(generator() % whole.size());
      for (unsigned flips = 1 + generator() % 3; flips != 0 && !damaged.empty(); --flips) {
        damaged[generator() % damaged.size()] ^= static_cast<char>(1u << generator() % 8);
      }
      write_file(folder.file(name), damaged);
      const auto lora = LoraAdapter::load(folder.path(), *encoder);
      if (!lora.ok()) {
        ++refused;
        EXPECT_FALSE(lora.status().message().empty());
        continue;
      }
      const std::vector<std::string_view> views = {"the river"};
      const auto result = encoder->encode(views, TextKind::kQuery, Encoder::Loras{*lora});
      EXPECT_TRUE(result.ok() || result.status().code() == StatusCode::kCorruption);
    }
  }
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace collegium::core
