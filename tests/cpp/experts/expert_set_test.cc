#include "collegium/core/experts/expert_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "experts/model_folder.h"

namespace collegium::core {
namespace {

using testing::HasSubstr;
using Vectors = std::vector<float>;

std::shared_ptr<const Encoder> load_encoder(const std::string& name) {
  auto encoder = Encoder::load(encoder_data("families/" + name));
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

std::shared_ptr<const LoraAdapter> load_lora(const std::string& name, const Encoder& encoder) {
  auto lora = LoraAdapter::load(encoder_data("loras/" + name), encoder);
  EXPECT_TRUE(lora.ok()) << lora.status().to_string();
  return lora.ok() ? *lora : nullptr;
}

// A map that is no identity.
HeadAdapter turning_head(std::size_t dim) {
  std::vector<float> weight(dim * dim, 0.0f);
  for (std::size_t i = 0; i < dim; ++i) weight[i * dim + (i + 1) % dim] = 1.5f;
  return *HeadAdapter::create(dim, weight, std::vector<float>(dim, 0.1f));
}

const std::vector<std::string_view> kTexts = {"the river runs", "law", "what is the market?", ""};

// mpnet with one expert of each kind.
struct Fixture {
  std::shared_ptr<const Encoder> mpnet = load_encoder("mpnet");
  std::shared_ptr<const Encoder> roberta = load_encoder("roberta");
  std::shared_ptr<const LoraAdapter> lora = load_lora("mpnet/feed-forward", *mpnet);
  HeadAdapter head = turning_head(32);
  ExpertSet set{mpnet};
  Fixture() {
    EXPECT_TRUE(set.set_lora("law", lora).ok());
    EXPECT_TRUE(set.set_head("finance", head).ok());
    EXPECT_TRUE(set.set_encoder("medicine", roberta).ok());
  }
  // What the expert's parts give by themselves.
  Vectors expected(std::string_view text, const std::string& expert) const {
    const std::vector<std::string_view> one = {text};
    if (expert == "medicine") return roberta->encode(one, TextKind::kQuery)->vectors;
    if (expert == "law") return mpnet->encode(one, TextKind::kQuery, Encoder::Loras{lora})->vectors;
    Vectors plain = mpnet->encode(one, TextKind::kQuery)->vectors;
    if (expert.empty()) return plain;
    Vectors turned(plain.size());
    head.apply(plain.data(), turned.data());
    return turned;
  }
};

TEST(ExpertSet, EachTextGetsItsExpertsVectorBitForBit) {
  const Fixture f;
  EXPECT_THAT(f.set.names(), testing::ElementsAre("finance", "law", "medicine"));
  const std::vector<std::string> names = {"medicine", "law", "", "finance"};
  for (std::size_t turn = 0; turn < names.size(); ++turn) {
    std::vector<std::string> experts;
    for (std::size_t i = 0; i < kTexts.size(); ++i) experts.push_back(names[(i + turn) % 4]);
    const auto result = f.set.encode(kTexts, experts, TextKind::kQuery);
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    ASSERT_EQ(result->num_tokens.size(), kTexts.size());
    for (std::size_t i = 0; i < kTexts.size(); ++i) {
      const float* row = result->vectors.data() + i * 32;
      EXPECT_EQ(Vectors(row, row + 32), f.expected(kTexts[i], experts[i])) << i << experts[i];
    }
  }
}

TEST(ExpertSet, EveryTextUnderEveryExpertNamed) {
  const Fixture f;
  const std::vector<std::string> experts = {"finance", "medicine", "", "law", "finance"};
  const auto result = f.set.encode_under(kTexts, experts, TextKind::kQuery);
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  ASSERT_EQ(result->vectors.size(), kTexts.size() * experts.size() * 32);
  EXPECT_EQ(result->num_tokens.size(), kTexts.size());
  for (std::size_t i = 0; i < kTexts.size(); ++i) {
    for (std::size_t e = 0; e < experts.size(); ++e) {
      const float* row = result->vectors.data() + (i * experts.size() + e) * 32;
      EXPECT_EQ(Vectors(row, row + 32), f.expected(kTexts[i], experts[e])) << i << experts[e];
    }
  }
}

TEST(ExpertSet, WhatDoesNotFitIsRefusedByName) {
  Fixture f;
  const auto expect = [](const Status& status, StatusCode code, const std::string& message) {
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(message));
  };
  expect(f.set.set_head("", f.head), StatusCode::kInvalidArgument, "''");
  expect(f.set.set_head("x", turning_head(16)), StatusCode::kInvalidArgument, "dim 16");
  expect(f.set.set_encoder("x", load_encoder("bert-silu")), StatusCode::kInvalidArgument, "dim 20");
  const auto bert = load_encoder("bert-silu");
  expect(f.set.set_lora("x", load_lora("bert-silu/all", *bert)), StatusCode::kInvalidArgument,
         bert->digest());
  expect(f.set.remove("x"), StatusCode::kNotFound, "'x'");
  EXPECT_THAT(f.set.names(), testing::SizeIs(3));

  const std::vector<std::string> unknown = {"law", "tax", "", ""};
  expect(f.set.encode(kTexts, unknown, TextKind::kQuery).status(), StatusCode::kNotFound,
         "no expert 'tax'; there are 'finance', 'law', 'medicine'");
  expect(f.set.encode_under(kTexts, unknown, TextKind::kQuery).status(), StatusCode::kNotFound,
         "'tax'");
  const std::vector<std::string> few = {"law"};
  expect(f.set.encode(kTexts, few, TextKind::kQuery).status(), StatusCode::kInvalidArgument,
         "1 for 4 texts");
  expect(f.set.encode_under(kTexts, {}, TextKind::kQuery).status(), StatusCode::kInvalidArgument,
         "empty");
}

TEST(ExpertSet, AnErrorNamesTheCallersText) {
  const Fixture f;
  const std::vector<std::string_view> texts = {"law", "river", "\xff"};
  const std::vector<std::string> experts = {"law", "", "medicine"};
  const Status status = f.set.encode(texts, experts, TextKind::kQuery).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("text 2"));
}

TEST(ExpertSet, RemovedAndReplacedExpertsAreGoneForTheNextCall) {
  Fixture f;
  const std::vector<std::string_view> text = {"law"};
  const std::vector<std::string> law = {"law"};
  ASSERT_TRUE(f.set.set_head("law", f.head).ok());
  EXPECT_EQ(f.set.encode(text, law, TextKind::kQuery)->vectors, f.expected("law", "finance"));
  ASSERT_TRUE(f.set.remove("law").ok());
  EXPECT_EQ(f.set.encode(text, law, TextKind::kQuery).status().code(), StatusCode::kNotFound);
}

// A call finishes on the experts it began with: every vector is one version's or the other's.
TEST(ExpertSet, ReplacingWhileOthersEncodeGivesOneVersionOrTheOther) {
  Fixture f;
  const Vectors as_lora = f.expected("law", "law");
  const Vectors as_head = f.expected("law", "finance");
  const std::vector<std::string_view> texts(20, "law");
  const std::vector<std::string> experts(20, "law");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const Status status =
          i % 2 == 0 ? f.set.set_head("law", f.head) : f.set.set_lora("law", f.lora);
      if (!status.ok()) ADD_FAILURE() << status.to_string();
    }
  });
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      for (int round = 0; round < 30; ++round) {
        const auto result = f.set.encode(texts, experts, TextKind::kQuery);
        if (!result.ok()) {
          ADD_FAILURE() << result.status().to_string();
          continue;
        }
        const Vectors first(result->vectors.begin(), result->vectors.begin() + 32);
        EXPECT_TRUE(first == as_lora || first == as_head);
        for (std::size_t i = 1; i < texts.size(); ++i) {
          EXPECT_EQ(Vectors(result->vectors.begin() + static_cast<std::ptrdiff_t>(i * 32),
                            result->vectors.begin() + static_cast<std::ptrdiff_t>(i * 32 + 32)),
                    first);
        }
      }
    });
  }
  for (auto& reader : readers) reader.join();
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace collegium::core
