#include "lm/decoder_lora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "lm/decoder_models.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

// A base that may be a GGUF file, which must outlive its decoder.
struct Base {
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Decoder> decoder;
};

Base load_base(const std::string& name) {
  Base base;
  if (name.ends_with(".gguf")) {
    base.file = std::make_unique<GgufFile>(*GgufFile::open(test_data(name)));
    auto decoder = read_decoder_gguf(*base.file, active_isa());
    EXPECT_TRUE(decoder.ok()) << decoder.status().to_string();
    base.decoder = std::make_unique<Decoder>(std::move(decoder).value());
  } else {
    base.decoder = std::make_unique<Decoder>(load_decoder(name));
  }
  return base;
}

std::shared_ptr<const DecoderLora> load_lora(const std::string& name, const Decoder& base) {
  auto lora = read_decoder_lora(test_data("decoders/loras/" + name), base);
  EXPECT_TRUE(lora.ok()) << name << ": " << lora.status().to_string();
  return std::move(lora).value();
}

std::vector<float> hidden_of(const Decoder& decoder, std::span<const std::int32_t> ids,
                             const DecoderLora* lora, std::size_t step) {
  KvCache cache(decoder.config(), KvCacheType::kFp32);
  std::vector<float> hidden(ids.size() * decoder.config().width);
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const Step piece{
        .cache = &cache, .ids = ids.subspan(at, std::min(step, ids.size() - at)), .lora = lora};
    EXPECT_TRUE(decoder.forward({&piece, 1}, hidden.data() + at * decoder.config().width).ok());
  }
  return hidden;
}

TEST(DecoderLora, LogitsAreWithin1e4OfPeft) {
  const auto document = JsonDocument::open(test_data("decoders/loras/goldens.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  std::size_t loras = 0;
  const Status status = document->root().get("loras")->for_each_field(
      [&](std::string_view key, const JsonValue& golden) -> Status {
        ++loras;
        const std::string name(key);
        const Base base = load_base(*golden.get_string("model"));
        const Decoder& decoder = *base.decoder;
        const auto lora = load_lora(name, decoder);
        EXPECT_EQ(lora->modules.size(), *golden.get_unsigned("modules")) << name;
        const auto ids = json_numbers<std::int32_t>(*golden.get("ids"));
        const auto positions = json_numbers<std::size_t>(*golden.get("positions"));
        const auto expected = *golden.get("logits")->as_array(1000);
        const std::size_t vocab = decoder.config().vocab, width = decoder.config().width;
        const auto hidden = hidden_of(decoder, ids, lora.get(), ids.size());
        std::vector<float> logits(vocab);
        for (std::size_t i = 0; i < positions.size(); ++i) {
          decoder.logits(hidden.data() + positions[i] * width, 1, logits.data());
          const auto row = json_numbers<double>(expected[i]);
          EXPECT_EQ(row.size(), vocab);
          for (std::size_t token = 0; token < row.size(); ++token)
            EXPECT_NEAR(logits[token], row[token], 1e-4) << name << " token " << token;
        }
        EXPECT_TRUE(same_numbers(hidden_of(decoder, ids, lora.get(), 5), hidden)) << name;
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_GE(loras, 5u);
}

TEST(DecoderLora, EverySequenceOfABatchHasItsOwn) {
  const Decoder decoder = load_decoder("llama");
  const auto all = load_lora("llama-all", decoder), late = load_lora("llama-late", decoder);
  const std::vector<std::int32_t> ids = {5, 9, 13, 6, 7, 31, 8, 40, 41, 42};
  const std::vector<const DecoderLora*> loras = {all.get(), nullptr, late.get(), all.get()};
  std::vector<KvCache> caches;
  std::vector<Step> steps;
  for (std::size_t i = 0; i < loras.size(); ++i)
    caches.emplace_back(decoder.config(), KvCacheType::kFp32);
  for (std::size_t i = 0; i < loras.size(); ++i)
    steps.push_back(
        {.cache = &caches[i], .ids = std::span(ids).first(4 + 2 * i), .lora = loras[i]});
  const std::size_t width = decoder.config().width;
  std::vector<float> together((4 + 6 + 8 + 10) * width);
  ASSERT_TRUE(decoder.forward(steps, together.data()).ok());
  std::size_t row = 0;
  for (std::size_t i = 0; i < loras.size(); ++i) {
    const auto alone = hidden_of(decoder, steps[i].ids, loras[i], 3);
    EXPECT_TRUE(same_numbers(std::span(together).subspan(row * width, alone.size()), alone)) << i;
    row += steps[i].ids.size();
  }
}

TEST(DecoderLora, WhatDoesNotFitIsRefusedByName) {
  const auto status_of = [](const char* lora, const char* base) {
    return read_decoder_lora(test_data(std::string("decoders/loras/") + lora), load_decoder(base))
        .status();
  };
  const Status shape = status_of("llama-all", "llama_yarn");  // one key-value head instead of two
  EXPECT_EQ(shape.code(), StatusCode::kCorruption) << shape.to_string();
  EXPECT_NE(shape.message().find("k_proj"), std::string::npos);
  const Status experts = status_of("llama-all", "mixtral");
  EXPECT_EQ(experts.code(), StatusCode::kNotSupported) << experts.to_string();
  EXPECT_NE(experts.message().find("mlp."), std::string::npos);
  EXPECT_EQ(status_of("none", "llama").code(), StatusCode::kNotFound);

  ScratchFolder folder;
  for (const auto& entry :
       std::filesystem::directory_iterator(test_data("decoders/loras/llama-late")))
    std::filesystem::copy_file(entry.path(), folder / entry.path().filename().string());
  Bytes tensors = read_bytes(folder / "adapter_model.safetensors");
  const std::string_view old_name = "q_proj", new_name = "lm_gat";
  const auto wanted = bytes_of(old_name);
  for (auto at = tensors.begin();; ++at) {
    at = std::search(at, tensors.end(), wanted.begin(), wanted.end());
    if (at == tensors.end()) break;
    std::copy(bytes_of(new_name).begin(), bytes_of(new_name).end(), at);
  }
  write_bytes(folder / "adapter_model.safetensors", tensors);
  const Status unknown = read_decoder_lora(folder.path(), load_decoder("llama")).status();
  EXPECT_EQ(unknown.code(), StatusCode::kNotSupported) << unknown.to_string();
  EXPECT_NE(unknown.message().find("lm_gat"), std::string::npos);
}

}  // namespace
}  // namespace collegium::core
