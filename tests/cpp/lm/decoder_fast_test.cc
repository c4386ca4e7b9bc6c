// compute="fast": near the exact numbers, and each row the same bits in any company.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "collegium/core/lm/language_model.h"
#include "lm/decoder_models.h"
#include "lm/kv_cache.h"
#include "threads_restored.h"

namespace collegium::core {
namespace {

// Every kind of block: plain and super-blocks, mixtures, latent attention, bf16 from F32 files.
const char* const kGgufNames[] = {"tiny_llama",           "tiny_llama_mixed",
                                  "gguf_models/gemma3",   "gguf_models/mixtral",
                                  "gguf_models/qwen2moe", "gguf_models/deepseek2"};

std::vector<std::int32_t> some_ids(std::size_t count, std::size_t vocab) {
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int32_t>((i * 37 + 11) % vocab);
  return ids;
}

// Of the logits: the error's norm over that of what differs among them.
double relative_error(const std::vector<float>& seen, const std::vector<float>& exact) {
  double error = 0.0, mean = 0.0, power = 0.0;
  for (const float x : exact) mean += x / static_cast<double>(exact.size());
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(static_cast<double>(seen[i]) - exact[i], 2);
    power += std::pow(exact[i] - mean, 2);
  }
  return std::sqrt(error / power);
}

TEST(DecoderFast, IsNearTheExactLogits) {
  for (const char* name : kGgufNames) {
    GgufDecoder exact = load_gguf_decoder(name, active_isa());
    GgufDecoder fast = load_gguf_decoder(name, active_isa());
    EXPECT_EQ(fast.model.weights().packed_bytes, 0u);
    fast.model.pack();
    EXPECT_GT(fast.model.weights().packed_bytes, 0u) << name;
    const auto ids = some_ids(24, exact.model.config().vocab);
    const auto wanted = decoder_logits(exact.model, ids, ids.size());
    const auto seen = decoder_logits(fast.model, ids, ids.size());
    ASSERT_EQ(seen.size(), wanted.size());
    const double error = relative_error(seen, wanted);
    EXPECT_LT(error, 0.05) << name;
    EXPECT_GT(error, 0.0) << name << ": nothing was packed";
  }
}

TEST(DecoderFast, APromptInPiecesIsTheSameBits) {
  const ThreadsRestored restored;
  for (const char* name : kGgufNames) {
    GgufDecoder fast = load_gguf_decoder(name, active_isa());
    fast.model.pack();
    const auto ids = some_ids(50, fast.model.config().vocab);
    set_num_threads(1);
    const auto whole = decoder_logits(fast.model, ids, ids.size());
    for (const std::size_t threads : {1u, 3u}) {
      set_num_threads(threads);
      for (const std::size_t step : {1u, 2u, 5u, 9u, 17u, 33u})
        EXPECT_TRUE(same_numbers(decoder_logits(fast.model, ids, step), whole))
            << name << " pieces of " << step;
    }
  }
}

// Quantised weights; of bf16 ones AMX has its own bits.
TEST(DecoderFast, QuantizedWeightsGiveTheSameBitsAtEveryLevel) {
  const auto logits_at = [](Isa isa) {
    GgufDecoder fast = load_gguf_decoder("tiny_llama", isa);
    fast.model.pack();
    return decoder_logits(fast.model, some_ids(40, fast.model.config().vocab), 40);
  };
  const auto scalar = logits_at(Isa::kScalar);
  for (const Isa isa : available_isas())
    EXPECT_TRUE(same_numbers(logits_at(isa), scalar)) << isa_name(isa);
}

TEST(DecoderFast, ForksOfACacheShareItsBeginningAndNothingElse) {
  for (const bool pack : {false, true}) {
    Decoder decoder = load_decoder("mixtral");
    if (pack) decoder.pack();
    const std::size_t width = decoder.config().width;
    const auto ids = some_ids(75, decoder.config().vocab);
    const auto read = [&](KvCache& cache, std::span<const std::int32_t> some) {
      std::vector<float> hidden(some.size() * width);
      EXPECT_TRUE(decoder.forward(some, cache, hidden.data()).ok());
      return hidden;
    };
    KvCache whole(decoder.config(), KvCacheType::kFp32);
    const auto expected = read(whole, ids);
    for (const std::size_t at : {1u, 31u, 32u, 33u, 64u, 70u}) {
      KvCache first(decoder.config(), KvCacheType::kFp32);
      read(first, std::span(ids).first(70));
      KvCache second = first.fork(at), third = first.fork(at);
      EXPECT_EQ(second.length(), at);
      const std::vector<std::int32_t> others(20, 3);
      read(third, others);  // behind the fork, into pages of its own
      const auto rest = read(second, std::span(ids).subspan(at));
      EXPECT_TRUE(same_numbers(rest, std::span(expected).subspan(at * width))) << at;
      const auto own = read(first, std::span(ids).subspan(70));
      EXPECT_TRUE(same_numbers(own, std::span(expected).subspan(70 * width))) << at;
    }
  }
}

TEST(DecoderFast, IsAskedForByName) {
  EXPECT_EQ(*parse_lm_compute("fast"), LmCompute::kFast);
  EXPECT_EQ(*parse_lm_compute("exact"), LmCompute::kExact);
  const auto refused = parse_lm_compute("int8");
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("\"int8\""), std::string::npos);
  const auto fast =
      *LanguageModel::load(test_data("tiny_llama.gguf"), {.compute = LmCompute::kFast});
  EXPECT_EQ(fast->compute(), LmCompute::kFast);
  EXPECT_GT(fast->packed_bytes(), 0u);
  const auto exact = *LanguageModel::load(test_data("tiny_llama.gguf"));
  EXPECT_EQ(exact->compute(), LmCompute::kExact);
  EXPECT_EQ(exact->digest(), fast->digest());
}

}  // namespace
}  // namespace collegium::core
