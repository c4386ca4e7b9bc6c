// Damaged and foreign files: LanguageModel::load gives a typed error or a model that works.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "collegium/core/gguf.h"
#include "collegium/core/lm/language_model.h"
#include "lm/tiny_models.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

const Bytes& original() {
  static const Bytes bytes = read_bytes(test_data("tiny_llama.gguf"));
  return bytes;
}

// The first place of `text` in the file.
std::size_t find_text(const Bytes& file, std::string_view text) {
  const auto wanted = std::as_bytes(std::span(text));
  const auto place = std::search(file.begin(), file.end(), wanted.begin(), wanted.end());
  EXPECT_NE(place, file.end()) << text;
  return static_cast<std::size_t>(place - file.begin());
}

// Metadata and tensor table; "output_norm.weight" is the table's last entry.
std::size_t header_bytes() { return find_text(original(), "output_norm.weight") + 18 + 24; }

template <typename T>
Bytes with_value(std::string_view key, T value) {
  Bytes file = original();
  const std::size_t place = find_text(file, key) + key.size() + 4;  // behind the value's type
  std::memcpy(file.data() + place, &value, sizeof value);
  return file;
}

Bytes with_text(std::string_view old_text, std::string_view new_text) {
  EXPECT_EQ(old_text.size(), new_text.size());
  Bytes file = original();
  std::memcpy(file.data() + find_text(file, old_text), new_text.data(), new_text.size());
  return file;
}

void append(Bytes& to, const void* data, std::size_t size) {
  const std::size_t end = to.size();
  to.resize(end + size);
  std::memcpy(to.data() + end, data, size);
}

// The file with one more metadata entry; a second one keeps the tensors' alignment.
Bytes with_entry(std::string_view key, std::uint32_t type, const Bytes& value) {
  Bytes entries;
  const auto append_key = [&](std::string_view name, std::uint32_t value_type) {
    const std::uint64_t size = name.size();
    append(entries, &size, sizeof size);
    append(entries, name.data(), name.size());
    append(entries, &value_type, sizeof value_type);
  };
  append_key(key, type);
  entries.insert(entries.end(), value.begin(), value.end());
  append_key("padding", 8);
  const std::uint64_t length = 32 - (entries.size() + 8) % 32;
  append(entries, &length, sizeof length);
  entries.insert(entries.end(), length, std::byte{'x'});

  Bytes file = original();
  std::uint64_t count = 0;  // magic, version, tensors, entries
  std::memcpy(&count, file.data() + 16, sizeof count);
  count += 2;
  std::memcpy(file.data() + 16, &count, sizeof count);
  file.insert(file.begin() + 24, entries.begin(), entries.end());
  return file;
}

template <typename T>
Bytes as_value(T value) {
  Bytes bytes;
  append(bytes, &value, sizeof value);
  return bytes;
}

Bytes as_value(std::string_view text) {
  const std::uint64_t size = text.size();
  Bytes bytes;
  append(bytes, &size, sizeof size);
  append(bytes, text.data(), text.size());
  return bytes;
}

class HostileModel : public testing::Test {
 protected:
  Status load(const Bytes& file) {
    write_bytes(folder_ / "model.gguf", file);
    return LanguageModel::load(folder_ / "model.gguf").status();
  }
  // Loads and, where that works, runs: whatever comes is a result or a typed error.
  StatusCode load_and_run(const Bytes& file) {
    write_bytes(folder_ / "model.gguf", file);
    const auto model = LanguageModel::load(folder_ / "model.gguf");
    if (!model.ok()) return model.status().code();
    GenerateOptions options;
    options.max_new_tokens = 3;
    options.temperature = 1.0f;
    return (*model)->generate("the <|im_end|> x", options).status().code();
  }

  // How many of `rounds` damaged files load and run; the others give a typed error. Most damage is
  // in the first `header` bytes, the metadata and the tensor table, which decide what is read.
  std::size_t flip(const Bytes& good, std::size_t header, int rounds, unsigned seed) {
    std::mt19937 random(seed);
    std::size_t loaded = 0;
    for (int round = 0; round < rounds; ++round) {
      Bytes file = good;
      const std::size_t range = round % 4 == 0 ? file.size() : header;
      for (int flips = 1 + round % 3; flips > 0; --flips)
        file[random() % range] = static_cast<std::byte>(random());
      const StatusCode code = load_and_run(file);
      EXPECT_TRUE(code == StatusCode::kOk || code == StatusCode::kCorruption ||
                  code == StatusCode::kNotSupported || code == StatusCode::kInvalidArgument)
          << round << ": " << status_code_name(code);
      loaded += code == StatusCode::kOk;
    }
    return loaded;
  }

  ScratchFolder folder_;
};

TEST_F(HostileModel, TheHelpersLeaveAFileThatLoads) {
  EXPECT_EQ(load_and_run(original()), StatusCode::kOk);
  EXPECT_EQ(load_and_run(with_entry("some.key", 4, as_value(std::uint32_t{1}))), StatusCode::kOk);
}

TEST_F(HostileModel, AMissingFileIsNotFound) {
  EXPECT_EQ(LanguageModel::load(folder_ / "none.gguf").status().code(), StatusCode::kNotFound);
}

TEST_F(HostileModel, EveryTruncationIsCorruption) {
  const std::size_t size = original().size();
  for (std::size_t length = 0; length < size; length += length < header_bytes() ? 61 : 1021) {
    const Bytes file(original().begin(), original().begin() + static_cast<std::ptrdiff_t>(length));
    ASSERT_EQ(load(file).code(), StatusCode::kCorruption) << length;
  }
}

TEST_F(HostileModel, ImpossibleDimensionsAreCorruption) {
  const auto code = [&](std::string_view key, auto value) {
    return load(with_value(key, value)).code();
  };
  for (const char* key :
       {"llama.block_count", "llama.context_length", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.head_count_kv"})
    for (const std::uint32_t value : {0u, 0xFFFFFFFFu, 0x80000000u})
      EXPECT_EQ(code(key, value), StatusCode::kCorruption) << key << " " << value;
  EXPECT_EQ(code("llama.block_count", 3u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.block_count", 4096u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.feed_forward_length", 64u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.attention.head_count", 3u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.attention.head_count", 64u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.attention.head_count_kv", 3u), StatusCode::kCorruption);
  EXPECT_EQ(code("llama.vocab_size", 305u), StatusCode::kCorruption);
  EXPECT_EQ(code("tokenizer.ggml.eos_token_id", 304u), StatusCode::kCorruption);
  const std::string epsilon = "llama.attention.layer_norm_rms_epsilon";
  for (const float value : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(code(epsilon, value), StatusCode::kCorruption) << value;
    EXPECT_EQ(code("llama.rope.freq_base", value), StatusCode::kCorruption) << value;
  }
}

TEST_F(HostileModel, WhatIsNotRunHereIsRefusedByName) {
  const auto refused = [&](const Bytes& file, std::string_view name) {
    const Status status = load(file);
    EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
    EXPECT_NE(status.message().find(name), std::string::npos) << status.to_string();
  };
  Bytes gemma = original();
  // The value of general.architecture, not the prefix of a key.
  const std::size_t place = find_text(gemma, "general.architecture") + 20 + 4 + 8;
  std::memcpy(gemma.data() + place, "gemma", 5);
  refused(gemma, "'gemma'");
  refused(with_text("smollm", "tekken"), "'tekken'");
  refused(with_text("gpt2", "bert"), "'bert'");
  refused(with_value("llama.block_count", 1u), "'blk.1.attn_k.weight'");
  refused(with_value("llama.rope.dimension_count", 8u), "llama.rope.dimension_count");
  refused(with_entry("llama.rope.scaling.type", 8, as_value(std::string_view("longrope"))),
          "'longrope'");
  refused(with_entry("llama.rope.scaling.factor", 6, as_value(4.0f)), "llama.rope.scaling.factor");
  refused(with_entry("llama.leading_dense_block_count", 4, as_value(std::uint32_t{1})),
          "llama.leading_dense_block_count");
  refused(with_entry("llama.attention.sliding_window", 4, as_value(std::uint32_t{4096})),
          "llama.attention.sliding_window");
  refused(with_entry("llama.final_logit_softcapping", 6, as_value(30.0f)),
          "llama.final_logit_softcapping");
  EXPECT_TRUE(
      load(with_entry("llama.rope.scaling.type", 8, as_value(std::string_view("none")))).ok());
}

TEST_F(HostileModel, MissingAndMisnamedPartsAreCorruption) {
  for (const auto& [old_text, new_text] : {std::pair("blk.1.ffn_up.weight", "blk.9.ffn_up.weight"),
                                           {"output_norm.weight", "output_norm.weighs"},
                                           {"token_embd.weight", "token_embd.weighs"},
                                           {"tokenizer.ggml.tokens", "tokenizer.ggml.tokenz"},
                                           {"tokenizer.ggml.merges", "tokenizer.ggml.mergez"},
                                           {"tokenizer.ggml.model", "tokenizer.ggml.modem"},
                                           {"general.architecture", "general.architectura"},
                                           {"llama.context_length", "llama.context_lengti"},
                                           {"Ġ the", "Ġ tho"},
                                           {"<unused7>", "<unused8>"}})
    EXPECT_EQ(load(with_text(old_text, new_text)).code(), StatusCode::kCorruption) << old_text;
}

TEST_F(HostileModel, ExpertsThatAreNotThereAreCorruption) {
  EXPECT_EQ(load(with_entry("llama.expert_count", 4, as_value(std::uint32_t{8}))).code(),
            StatusCode::kCorruption);
  EXPECT_EQ(load(with_entry("llama.expert_count", 6, as_value(8.0f))).code(),
            StatusCode::kCorruption);
  EXPECT_TRUE(load(with_entry("llama.expert_count", 4, as_value(std::uint32_t{0}))).ok());
}

TEST_F(HostileModel, AnUnknownChatTemplateStillGenerates) {
  write_bytes(folder_ / "model.gguf", with_text("named SmolLM", "named Nobody"));
  const auto model = LanguageModel::load(folder_ / "model.gguf");
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  const ChatMessage message{"user", "hi"};
  const Status status = (*model)->chat({&message, 1}).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_NE(status.message().find("XXH3-128"), std::string::npos);
  EXPECT_TRUE((*model)->generate("hi").ok());
}

TEST_F(HostileModel, FlippedBytesGiveATypedErrorOrAModelThatRuns) {
  const std::size_t loaded = flip(original(), header_bytes(), 1000, 20240911);
  EXPECT_GT(loaded, 80u);
  EXPECT_LT(loaded, 920u);
}

struct Mixture {
  explicit Mixture(const std::string& name) : bytes(read_bytes(test_data(name))) {
    const auto file = GgufFile::open(test_data(name));
    header = bytes.size();
    for (const auto& [tensor_name, tensor] : file->tensors())
      header =
          std::min(header, static_cast<std::size_t>(tensor.bytes.data() - file->bytes().data()));
  }
  Bytes with_number(std::string_view key, std::uint32_t value) const {
    Bytes file = bytes;
    std::memcpy(file.data() + find_text(file, key) + key.size() + 4, &value, sizeof value);
    return file;
  }
  Bytes bytes;
  std::size_t header;  // where the tensors begin; everything before decides how they are read
};

const Mixture& qwen() {
  static const Mixture mixture("gguf_models/qwen2moe.gguf");
  return mixture;
}
const Mixture& deepseek() {
  static const Mixture mixture("gguf_models/deepseek2.gguf");
  return mixture;
}

TEST_F(HostileModel, EveryTruncationOfAMixtureIsCorruption) {
  for (const Mixture* mixture : {&qwen(), &deepseek()}) {
    const Bytes& all = mixture->bytes;
    for (std::size_t length = 0; length < all.size();
         length += length < mixture->header ? 53 : 2039) {
      const Bytes file(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length));
      ASSERT_EQ(load(file).code(), StatusCode::kCorruption) << length;
    }
  }
}

TEST_F(HostileModel, FlippedBytesOfAMixtureGiveATypedErrorOrAModelThatRuns) {
  for (const Mixture* mixture : {&qwen(), &deepseek()}) {
    EXPECT_EQ(load_and_run(mixture->bytes), StatusCode::kOk);
    const std::size_t loaded = flip(mixture->bytes, mixture->header, 600, 20240912);
    EXPECT_GT(loaded, 40u);
    EXPECT_LT(loaded, 560u);
  }
}

TEST_F(HostileModel, FalseNumbersOfAMixtureAreTypedErrors) {
  for (const char* key :
       {"qwen2moe.expert_count", "qwen2moe.expert_used_count",
        "qwen2moe.expert_feed_forward_length", "qwen2moe.expert_shared_feed_forward_length"})
    for (const std::uint32_t value : {0u, 7u, 0x80000000u, 0xFFFFFFFFu})
      EXPECT_EQ(load_and_run(qwen().with_number(key, value)), StatusCode::kCorruption)
          << key << " " << value;
  EXPECT_EQ(load_and_run(qwen().with_number("qwen2moe.expert_used_count", 6)), StatusCode::kOk);
}

TEST_F(HostileModel, FalseNumbersOfLatentAttentionAreTypedErrors) {
  for (const char* key :
       {"deepseek2.attention.kv_lora_rank", "deepseek2.attention.q_lora_rank",
        "deepseek2.attention.key_length_mla", "deepseek2.attention.value_length_mla",
        "deepseek2.attention.head_count_kv", "deepseek2.rope.dimension_count",
        "deepseek2.leading_dense_block_count", "deepseek2.expert_group_count",
        "deepseek2.expert_group_used_count", "deepseek2.expert_shared_count"})
    for (const std::uint32_t value : {7u, 0x80000000u, 0xFFFFFFFFu}) {
      const StatusCode code = load_and_run(deepseek().with_number(key, value));
      // A key of the narrow vector that fits no longer is told by its own length.
      EXPECT_TRUE(code == StatusCode::kCorruption || code == StatusCode::kNotSupported)
          << key << " " << value << " " << status_code_name(code);
    }
  EXPECT_EQ(load(deepseek().with_number("deepseek2.expert_gating_func", 3)).code(),
            StatusCode::kNotSupported);
}

}  // namespace
}  // namespace collegium::core
