#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

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

// Logits (ids, vocab), the ids given in pieces of `step`.
inline std::vector<float> decoder_logits(const Decoder& decoder, std::span<const std::int32_t> ids,
                                         std::size_t step, const RoutingPlan* plan = nullptr,
                                         TokenTrace* trace = nullptr) {
  const DecoderConfig& config = decoder.config();
  KvCache cache(config);
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
