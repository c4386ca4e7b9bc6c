#include "lm/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "collegium/core/lm/language_model.h"
#include "lm/decoder_models.h"
#include "lm/kv_kernels.h"
#include "lm/same_answer.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

constexpr KvCacheType kTypes[] = {KvCacheType::kFp32, KvCacheType::kBf16, KvCacheType::kInt8};
constexpr std::size_t kPage = KvCache::kPagePositions;

DecoderConfig config_of(std::size_t layers, std::size_t heads, std::size_t head_dim,
                        std::size_t value_dim) {
  DecoderConfig config;
  config.layers.resize(layers);
  config.heads = config.kv_heads = heads;
  config.head_dim = head_dim;
  config.value_dim = value_dim;
  return config;
}
// Whether `kept` is what bf16 has nearest to `x`, the even one of two: by its two neighbours.
bool is_nearest_bf16(float x, float kept) {
  std::uint32_t bits;
  std::memcpy(&bits, &kept, sizeof bits);
  if ((bits & 0xffffu) != 0) return false;
  const double distance = std::abs(static_cast<double>(kept) - x);
  for (const std::uint32_t neighbour : {bits + 0x10000u, bits - 0x10000u}) {
    float other;
    std::memcpy(&other, &neighbour, sizeof other);
    const double others = std::abs(static_cast<double>(other) - x);
    if (others < distance || (others == distance && (bits & 0x10000u) != 0)) return false;
  }
  return true;
}

TEST(KvCache, WhatIsStoredComesOutAsItsTypeHasIt) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const KvCacheType type : kTypes)
    for (const std::size_t value_dim : {16u, 24u}) {
      const DecoderConfig config = config_of(2, 3, 20, value_dim);
      const std::size_t positions = 75;
      std::vector<float> keys(positions * 3 * 20), values(positions * 3 * value_dim);
      for (float& x : keys) x = normal(random) * std::exp2(static_cast<float>(random() % 30) - 20);
      for (float& x : values) x = normal(random);
      std::fill_n(keys.begin(), 20, 0.0f);  // nothing to scale by
      KvCache cache(config, type);
      cache.reserve(positions);
      for (std::size_t layer = 0; layer < 2; ++layer)
        for (std::size_t at = 0; at < positions; at += 25)
          cache.store(layer, at, 25, keys.data() + at * 60, values.data() + at * 3 * value_dim);
      std::vector<float> opened(cache.opened_size() + 1);
      const auto expect_kept = [&](const float* row, std::size_t size, std::size_t i, float kept) {
        if (type == KvCacheType::kFp32) {
          EXPECT_EQ(kept, row[i]);
        } else if (type == KvCacheType::kBf16) {
          EXPECT_TRUE(is_nearest_bf16(row[i], kept)) << row[i] << " " << kept;
        } else {
          double largest = 0;
          for (std::size_t k = 0; k < size; ++k)
            largest = std::max<double>(largest, std::abs(row[k]));
          EXPECT_LE(std::abs(kept - row[i]), largest / 127 / 2 * (1 + 1e-5));
          if (std::abs(row[i]) == largest) {
            EXPECT_NEAR(kept, row[i], 1e-6 * largest);
          }
        }
      };
      for (const Isa isa : available_isas())
        for (std::size_t layer = 0; layer < 2; ++layer)
          for (std::size_t head = 0; head < 3; ++head)
            for (std::size_t p = 0; p < positions; ++p) {
              const std::size_t place = p % kPage;
              const float* key = keys.data() + (p * 3 + head) * 20;
              const float* panels =
                  cache.keys(p / kPage, layer, head, kv_kernels_for(isa), opened.data());
              for (std::size_t i = 0; i < 20; ++i)
                expect_kept(key, 20, i, panels[place / 16 * 20 * 16 + i * 16 + place % 16]);
              const float* value = values.data() + (p * 3 + head) * value_dim;
              panels = cache.values(p / kPage, layer, head, kv_kernels_for(isa), opened.data());
              for (std::size_t i = 0; i < value_dim; ++i)
                expect_kept(value, value_dim, i, panels[i / 16 * kPage * 16 + place * 16 + i % 16]);
              for (std::size_t i = value_dim; i % 16 != 0; ++i)
                EXPECT_EQ(panels[i / 16 * kPage * 16 + place * 16 + i % 16], 0.0f);
            }
    }
}

TEST(KvCache, LevelsWidenToTheSameBits) {
  std::mt19937 random(2);
  std::vector<std::uint16_t> halves(64);
  std::vector<std::int8_t> bytes(16 * 37);
  std::vector<float> scales(37);
  for (auto& x : halves) x = static_cast<std::uint16_t>(random());
  for (auto& x : bytes) x = static_cast<std::int8_t>(random());
  for (auto& x : scales) x = std::ldexp(static_cast<float>(random()), -40);
  for (const Isa isa : available_isas()) {
    const KvKernels& kernels = kv_kernels_for(isa);
    std::vector<float> out(64), rows(bytes.size()), columns(bytes.size());
    kernels.widen_bf16(halves.data(), halves.size(), out.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::uint32_t wide = static_cast<std::uint32_t>(halves[i]) << 16;
      EXPECT_EQ(std::memcmp(&wide, &out[i], sizeof wide), 0) << isa_name(isa);
    }
    kernels.widen_rows(bytes.data(), 37, scales.data(), rows.data());
    kernels.widen_columns(bytes.data(), 37, scales.data(), columns.data());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_EQ(rows[i], static_cast<float>(static_cast<double>(bytes[i]) * scales[i / 16]));
      EXPECT_EQ(columns[i], static_cast<float>(static_cast<double>(bytes[i]) * scales[i % 16]));
    }
  }
}

TEST(KvCache, FewerBitsTakeLessMemory) {
  const DecoderConfig config = config_of(3, 2, 64, 64);
  const auto bytes = [&](KvCacheType type) { return KvCache::bytes(config, type, 33); };
  EXPECT_EQ(bytes(KvCacheType::kFp32), 64u * 3 * 2 * 2 * 64 * 4);
  EXPECT_EQ(bytes(KvCacheType::kBf16) * 2, bytes(KvCacheType::kFp32));
  EXPECT_EQ(bytes(KvCacheType::kInt8), 64u * 3 * 2 * 2 * (64 + 4));
}

// Near the logits of fp32, but in mixtures of experts, where a rounding may choose other experts. A
// token's bits its own: in pieces, at every level.
TEST(KvCache, RoundedKeysAndValuesStayNearAndKeepEachTokensBits) {
  DecoderGoldens goldens;
  std::size_t dense = 0;
  for (const std::string& name : goldens.names()) {
    const Decoder decoder = load_decoder(name);
    const auto ids = json_numbers<std::int32_t>(*goldens.of(name).get("ids"));
    const auto exact = decoder_logits(decoder, ids, ids.size());
    double power = 0;
    for (const float x : exact) power += static_cast<double>(x) * x;
    for (const auto& [type, most] :
         {std::pair{KvCacheType::kBf16, 0.02}, std::pair{KvCacheType::kInt8, 0.05}}) {
      const auto whole = decoder_logits(decoder, ids, ids.size(), nullptr, nullptr, type);
      double error = 0;
      for (std::size_t i = 0; i < exact.size(); ++i)
        error += std::pow(static_cast<double>(whole[i]) - exact[i], 2);
      EXPECT_GT(error, 0.0) << name;
      if (decoder.routing_layers().empty()) {
        ++dense;
        EXPECT_LT(std::sqrt(error / power), most) << name << " " << kv_cache_type_name(type);
      }
      EXPECT_TRUE(same_numbers(decoder_logits(decoder, ids, 3, nullptr, nullptr, type), whole));
      for (const Isa isa : available_isas())
        EXPECT_TRUE(same_numbers(
            decoder_logits(load_decoder(name, isa), ids, ids.size(), nullptr, nullptr, type),
            whole))
            << name << " " << isa_name(isa);
    }
  }
  EXPECT_GE(dense, 10u);
}

TEST(KvCache, TypesAreAskedForByName) {
  for (const KvCacheType type : kTypes) {
    EXPECT_EQ(*parse_kv_cache_type(kv_cache_type_name(type)), type);
    const auto model = *LanguageModel::load(test_data("tiny_llama.gguf"), {.kv_cache = type});
    EXPECT_EQ(model->kv_cache(), type);
    GenerateOptions options;
    options.max_new_tokens = 40;
    options.log_probabilities = true;
    const std::string prompt(40, 'a');
    const auto alone = model->generate(prompt, options);
    ASSERT_TRUE(alone.ok());
    GenerateRequest request;
    request.prompt = prompt;
    request.options = options;
    request.options.prompt_lookup = 8;
    const std::vector<GenerateRequest> requests(3, request);  // which share their beginning
    const auto results = model->generate_batch(requests);
    ASSERT_TRUE(results.ok());
    for (const auto& result : *results) expect_same_answer(*result, *alone);
  }
  const auto refused = parse_kv_cache_type("fp16");
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("\"fp16\""), std::string::npos);
}

TEST(KvCache, WhatIsNotFiniteStaysSo) {
  const DecoderConfig config = config_of(1, 1, 16, 16);
  std::vector<float> row(16, 1.0f);
  row[3] = std::numeric_limits<float>::quiet_NaN();
  row[5] = std::numeric_limits<float>::infinity();
  for (const KvCacheType type : kTypes) {
    KvCache cache(config, type);
    cache.reserve(1);
    cache.store(0, 0, 1, row.data(), row.data());
    std::vector<float> opened(cache.opened_size() + 1);
    const float* keys = cache.keys(0, 0, 0, kv_kernels_for(active_isa()), opened.data());
    EXPECT_TRUE(std::isnan(keys[3 * 16]));
    EXPECT_FALSE(std::isfinite(keys[5 * 16]));
  }
}

}  // namespace
}  // namespace collegium::core
