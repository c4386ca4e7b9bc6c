#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/isa.h"
#include "lm/decoder.h"
#include "lm/tiny_models.h"

namespace collegium::core {

// The random decoders of tests/oracles/make_decoder_goldens.py and what transformers made of them.
class DecoderGoldens {
 public:
  DecoderGoldens() : document_(open()) {}

  const std::vector<std::string>& names() {
    if (!names_.empty()) return names_;
    const Status status =
        models().for_each_field([&](std::string_view key, const JsonValue&) -> Status {
          names_.emplace_back(key);
          return {};
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
    return names_;
  }
  JsonValue of(const std::string& name) const { return *models().get(name); }

 private:
  static JsonDocument open() {
    auto document = JsonDocument::open(test_data("decoders/goldens.json"));
    EXPECT_TRUE(document.ok()) << document.status().to_string();
    return std::move(document).value();
  }
  JsonValue models() const { return *document_.root().get("models"); }

  JsonDocument document_;
  std::vector<std::string> names_;
};

inline Decoder load_decoder(const std::string& name, Isa isa = active_isa()) {
  auto decoder = read_decoder_hf(test_data("decoders/" + name), isa);
  EXPECT_TRUE(decoder.ok()) << name << ": " << decoder.status().to_string();
  return std::move(decoder).value();
}

// A decoder of a GGUF file, whose bytes it borrows.
struct GgufDecoder {
  GgufFile file;
  Decoder model;
};

inline GgufDecoder load_gguf_decoder(const std::string& name, Isa isa) {
  auto file = *GgufFile::open(test_data(name + ".gguf"));
  auto model = read_decoder_gguf(file, isa);
  EXPECT_TRUE(model.ok()) << name << ": " << model.status().to_string();
  return {std::move(file), *std::move(model)};
}

// The likeliest token each time, `count` of them; ids are given in pieces of at most `step`.
// Without the cache everything is read again for each.
inline std::vector<std::int32_t> greedy_tokens(const Decoder& decoder,
                                               std::vector<std::int32_t> prompt, std::size_t count,
                                               std::size_t step = 256, bool cached = true) {
  const DecoderConfig& config = decoder.config();
  KvCache cache(config, KvCacheType::kFp32);
  std::vector<std::int32_t> tokens, next = prompt;
  std::vector<float> hidden(step * config.width), logits(config.vocab);
  while (tokens.size() < count) {
    if (!cached) cache.truncate(0);
    const std::span<const std::int32_t> ids = cached ? next : prompt;
    std::size_t rows = 0;
    for (std::size_t at = 0; at < ids.size(); at += rows) {
      rows = std::min(step, ids.size() - at);
      EXPECT_TRUE(decoder.forward(ids.subspan(at, rows), cache, hidden.data()).ok());
    }
    decoder.logits(hidden.data() + (rows - 1) * config.width, 1, logits.data());
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    tokens.push_back(static_cast<std::int32_t>(best));
    next.assign(1, tokens.back());
    prompt.push_back(tokens.back());
  }
  return tokens;
}

// Logits (ids, vocab), the ids given in pieces of `step`.
inline std::vector<float> decoder_logits(const Decoder& decoder, std::span<const std::int32_t> ids,
                                         std::size_t step, const RoutingPlan* plan = nullptr,
                                         TokenTrace* trace = nullptr,
                                         KvCacheType kept = KvCacheType::kFp32) {
  const DecoderConfig& config = decoder.config();
  KvCache cache(config, kept);
  std::vector<float> logits(ids.size() * config.vocab);
  std::vector<float> hidden(ids.size() * config.width);
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const std::size_t count = std::min(step, ids.size() - at);
    float* rows = hidden.data() + at * config.width;
    const Step piece{
        .cache = &cache, .ids = ids.subspan(at, count), .routing = plan, .trace = trace};
    const Status status = decoder.forward({&piece, 1}, rows);
    EXPECT_TRUE(status.ok()) << status.to_string();
    decoder.logits(rows, count, logits.data() + at * config.vocab);
  }
  EXPECT_EQ(cache.length(), ids.size());
  return logits;
}

inline bool same_numbers(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace collegium::core
