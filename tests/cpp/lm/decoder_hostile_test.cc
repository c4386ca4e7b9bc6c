// Damaged and foreign folders: read_decoder_hf gives a typed error or a decoder that works.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "lm/decoder_models.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

class HostileDecoder : public testing::Test {
 protected:
  // The model's files in the scratch folder, its config.json as text in `config_`.
  void use(const std::string& name) {
    model_ = name;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      std::filesystem::remove(entry.path());
    for (const auto& entry : std::filesystem::directory_iterator(test_data("decoders/" + name)))
      std::filesystem::copy_file(entry.path(), folder_ / entry.path().filename().string(),
                                 std::filesystem::copy_options::overwrite_existing);
    const Bytes bytes = read_bytes(folder_ / "config.json");
    config_.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  // config.json with `old_text` replaced, or with a field more where it is empty.
  Status load_with(const std::string& old_text, const std::string& new_text) {
    std::string config = config_;
    const std::size_t at = old_text.empty() ? config.find('{') + 1 : config.find(old_text);
    EXPECT_NE(at, std::string::npos) << old_text << " in " << model_;
    config.replace(at, old_text.size(), new_text);
    const auto bytes = std::as_bytes(std::span(config));
    write_bytes(folder_ / "config.json", Bytes(bytes.begin(), bytes.end()));
    return read_decoder_hf(folder_.path(), active_isa()).status();
  }
  void refused(const std::string& old_text, const std::string& new_text, std::string_view names) {
    const Status status = load_with(old_text, new_text);
    EXPECT_EQ(status.code(), StatusCode::kNotSupported) << model_ << ": " << status.to_string();
    EXPECT_NE(status.message().find(names), std::string::npos) << status.to_string();
  }
  void damaged(const std::string& old_text, const std::string& new_text) {
    const Status status = load_with(old_text, new_text);
    EXPECT_EQ(status.code(), StatusCode::kCorruption)
        << model_ << ", " << new_text << ": " << status.to_string();
  }
  // A field as it stands in config.json: "head_dim": 8
  std::string field(const std::string& name) const {
    const std::size_t at = config_.find("\"" + name + "\": ");
    EXPECT_NE(at, std::string::npos) << name;
    return config_.substr(at, config_.find_first_of(",\n", at) - at);
  }
  // Loads and, where that works, runs.
  StatusCode load_and_run() {
    const auto decoder = read_decoder_hf(folder_.path(), active_isa());
    if (!decoder.ok()) return decoder.status().code();
    const std::vector<std::int32_t> ids(std::min<std::size_t>(3, decoder->config().context), 0);
    KvCache cache(decoder->config(), KvCacheType::kFp32);
    std::vector<float> hidden(ids.size() * decoder->config().width);
    const Status status = decoder->forward(ids, cache, hidden.data());
    if (!status.ok()) return status.code();
    std::vector<float> logits(ids.size() * decoder->config().vocab);
    decoder->logits(hidden.data(), ids.size(), logits.data());
    return StatusCode::kOk;
  }

  ScratchFolder folder_;
  std::string model_;
  std::string config_;
};

TEST_F(HostileDecoder, FieldsThatChangeTheArithmeticAreRefusedByName) {
  use("llama");
  refused("\"llama\"", "\"mamba2\"", "mamba2");
  refused("\"silu\"", "\"mish\"", "mish");
  refused("", "\"window_of_dreams\": 3,", "window_of_dreams");
  refused("", "\"quantization_config\": {\"bits\": 4},", "quantization_config");
  refused("\"default\"", "\"spiral\", \"factor\": 2.0", "spiral");
  refused("", "\"rope_interleaved\": true,", "rope_interleaved");
  refused("\"rope_type\"", "\"beta_of_rope\": 1, \"rope_type\"", "beta_of_rope");
  EXPECT_TRUE(load_with("", "\"_name_or_path\": \"x\", \"torch_dtype\": \"float16\",").ok());
  use("gemma3");
  refused("\"use_bidirectional_attention\": false", "\"use_bidirectional_attention\": true",
          "use_bidirectional_attention");
  refused("\"sliding_attention\",", "\"chunked_attention\",", "chunked_attention");
  use("deepseek_v3");
  refused("", "\"scoring_func\": \"softmax\",", "scoring_func");
  refused("", "\"topk_method\": \"greedy\",", "topk_method");
  refused("", "\"moe_layer_freq\": 2,", "moe_layer_freq");
  EXPECT_TRUE(load_with("",
                        "\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", "
                        "\"moe_layer_freq\": 1, \"ep_size\": 1,")
                  .ok());
  use("deepseek_v2");
  refused("\"norm_topk_prob\": false", "\"norm_topk_prob\": true", "norm_topk_prob");
  refused("\"greedy\"", "\"noaux_tc\"", "topk_method");
  use("phimoe");
  refused("\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 3", "num_experts_per_tok");
}

// base x (factor x length / context - (factor - 1)) ^ (dim / (dim - 2)) is the base itself where
// the length counts as the context's, as it does in transformers up to there.
TEST_F(HostileDecoder, DynamicScalingIsNoneWithinTheContext) {
  use("llama");
  const auto plain = read_decoder_hf(folder_.path(), active_isa());
  ASSERT_TRUE(load_with("\"default\"", "\"dynamic\", \"factor\": 4.0").ok());
  const auto dynamic = read_decoder_hf(folder_.path(), active_isa());
  EXPECT_EQ(dynamic->config().context, plain->config().context);
  ASSERT_EQ(dynamic->config().ropes.size(), 1u);
  EXPECT_EQ(dynamic->config().ropes[0].frequencies, plain->config().ropes[0].frequencies);
  damaged("\"default\"", "\"dynamic\", \"factor\": 0.0");
  damaged("\"default\"", "\"dynamic\"");
}

TEST_F(HostileDecoder, ImpossibleAndMissingFieldsAreCorruption) {
  use("qwen3_moe");
  for (const char* name : {"vocab_size", "hidden_size", "num_hidden_layers", "head_dim",
                           "num_attention_heads", "num_key_value_heads", "intermediate_size",
                           "moe_intermediate_size", "max_position_embeddings"}) {
    const std::string key = std::string("\"") + name + "\": ";
    for (const char* value :
         {"0", "-1", "2147483647", "1e9", "18446744073709551615", "\"8\"", "3.5", "[]"})
      damaged(field(name), key + value);
    if (std::string_view(name) != "max_position_embeddings") damaged(field(name), key + "7");
    EXPECT_FALSE(load_with(field(name), "\"not_" + field(name).substr(1)).ok()) << name;
  }
  damaged("\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 9");
  damaged("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0.0");
  damaged("\"rope_theta\": 10000.0", "\"rope_theta\": -1.0");
  use("deepseek_v3");
  damaged("\"n_group\": 4", "\"n_group\": 3");
  damaged("\"topk_group\": 2", "\"topk_group\": 5");
  damaged("\"kv_lora_rank\": 12", "\"kv_lora_rank\": 13");
  damaged("\"v_head_dim\": 10", "\"v_head_dim\": 12");
  use("gemma2");
  damaged("\"sliding_window\": 8", "\"sliding_window\": 0");
  damaged("\"full_attention\"", "\"full_attention\", \"full_attention\"");
}

TEST_F(HostileDecoder, ATensorThatIsMissingOrOneTooManyIsToldByName) {
  use("llama");
  // A config that asks for more, or fewer, than there is.
  damaged("\"attention_bias\": false", "\"attention_bias\": true");
  damaged("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  refused("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "model.layers.1.");
  use("qwen2");
  const Status tied = load_with("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  EXPECT_EQ(tied.code(), StatusCode::kCorruption);
  EXPECT_NE(tied.message().find("lm_head.weight"), std::string::npos) << tied.to_string();
  use("llama3");
  refused("\"mlp_bias\": true", "\"mlp_bias\": false", "bias");
}

TEST_F(HostileDecoder, AMissingFolderOrFileIsNotFound) {
  EXPECT_EQ(read_decoder_hf(folder_ / "none", active_isa()).status().code(), StatusCode::kNotFound);
  use("llama");
  std::filesystem::remove(folder_ / "model.safetensors");
  EXPECT_EQ(load_and_run(), StatusCode::kNotFound);
}

TEST_F(HostileDecoder, EveryTruncationIsATypedError) {
  use("mixtral");
  const Bytes original = read_bytes(folder_ / "model.safetensors");
  for (std::size_t length = 0; length < original.size();
       length += length < 6000 ? 97 : original.size() / 40) {
    write_bytes(folder_ / "model.safetensors",
                Bytes(original.begin(), original.begin() + static_cast<std::ptrdiff_t>(length)));
    ASSERT_EQ(load_and_run(), StatusCode::kCorruption) << length;
  }
}

// 2,000 mutations; COLLEGIUM_MUTATIONS asks for another number.
TEST_F(HostileDecoder, FlippedBytesGiveATypedErrorOrADecoderThatRuns) {
  const char* asked = std::getenv("COLLEGIUM_MUTATIONS");
  const std::size_t rounds = (asked != nullptr ? std::strtoul(asked, nullptr, 10) : 2000) / 4;
  std::mt19937 random(20261130);
  std::size_t loaded = 0;
  for (const char* name : {"mixtral", "deepseek_v3_plain", "gemma2", "qwen3_moe_fused"}) {
    use(name);
    const Bytes weights = read_bytes(folder_ / "model.safetensors");
    const Bytes config = read_bytes(folder_ / "config.json");
    for (std::size_t round = 0; round < rounds; ++round) {
      Bytes damaged_weights = weights, damaged_config = config;
      Bytes& target = round % 2 == 0 ? damaged_weights : damaged_config;
      const std::size_t reach = std::min<std::size_t>(target.size(), 8000);
      for (std::size_t i = 0; i < 1 + random() % 4; ++i)
        target[random() % reach] = round % 4 < 2
                                       ? static_cast<std::byte>(random() % 256)
                                       : static_cast<std::byte>("0123456789-e,:"[random() % 14]);
      write_bytes(folder_ / "model.safetensors", damaged_weights);
      write_bytes(folder_ / "config.json", damaged_config);
      const StatusCode code = load_and_run();
      loaded += code == StatusCode::kOk ? 1 : 0;
      ASSERT_TRUE(code == StatusCode::kOk || code == StatusCode::kCorruption ||
                  code == StatusCode::kNotSupported || code == StatusCode::kInvalidArgument)
          << name << " round " << round << ": " << status_code_name(code);
    }
  }
  EXPECT_GT(loaded, 20u);
}

}  // namespace
}  // namespace collegium::core
