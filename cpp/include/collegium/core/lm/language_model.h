#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/isa.h"
#include "collegium/core/lm/generation.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct DecoderLora;
class GenerationRun;
struct LanguageModelImpl;

// A LoRA (arXiv 2106.09685) on one language model, which requests choose one by one, in one batch
// too. Immutable; any number of threads may use it, for as long as they like.
class COLLEGIUM_API LmLora {
 public:
  ~LmLora();
  std::size_t rank() const noexcept;
  // What it adapts, ascending: "layers.0.self_attn.q_proj", ...
  const std::vector<std::string>& modules() const noexcept;
  const std::string& base_digest() const noexcept { return base_digest_; }  // the model's

 private:
  friend class LanguageModel;
  friend struct LanguageModelImpl;
  LmLora(std::shared_ptr<const DecoderLora> lora, std::string base_digest);
  std::shared_ptr<const DecoderLora> lora_;
  std::string base_digest_;
};

// How a language model's products are computed.
//   kExact  fp32 on the weights as they are widened from the file: the reference's numbers.
//   kFast   the weights, in memory of their own, as their kernels want them: quantised ones with
//           the file's very numbers, multiplied by activations rounded to 8 bits for each 32 of
//           them; F32, F16 and BF16 ones as LmWeights says. Sums are in fp32. A mixture's gates
//           and LoRAs stay exact.
// Either way a token has the same bits alone, in any batch, prompt in one piece or several, and for
// any number of threads; of quantised weights at every instruction set too.
enum class LmCompute : std::uint8_t { kExact = 0, kFast = 1 };
COLLEGIUM_API std::string_view lm_compute_name(LmCompute compute) noexcept;  // "exact", "fast"
// invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<LmCompute> parse_lm_compute(std::string_view name);

// What kFast makes of F32, F16 and BF16 weights; quantised ones stay as they are.
//   kStored  bf16, as are the activations they multiply
//   kInt8    bytes, a scale for each 32 (GGUF's Q8_0): half the memory of bf16
//   kInt4    half bytes, a scale and a minimum for each 32 (Q4_1, least squares), 5 bits a weight;
//            the output layer in bytes
// Weights of rows that are no multiple of 32, or above 65,000 in magnitude, stay in bf16.
enum class LmWeights : std::uint8_t { kStored = 0, kInt8 = 1, kInt4 = 2 };
COLLEGIUM_API std::string_view lm_weights_name(LmWeights weights) noexcept;  // "stored", ...
// invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<LmWeights> parse_lm_weights(std::string_view name);

// In what a sequence's keys and values are kept; products with them are in fp32.
//   kFp32  as they are
//   kBf16  half the memory: each rounded to 8 bits of precision
//   kInt8  little more than a quarter: those of a position and head as bytes with one scale
enum class KvCacheType : std::uint8_t { kFp32 = 0, kBf16 = 1, kInt8 = 2 };
COLLEGIUM_API std::string_view kv_cache_type_name(KvCacheType type) noexcept;  // "fp32", ...
// invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<KvCacheType> parse_kv_cache_type(std::string_view name);

struct LanguageModelOptions {
  LmCompute compute = LmCompute::kExact;
  LmWeights weights = LmWeights::kStored;  // with kFast alone
  KvCacheType kv_cache = KvCacheType::kFp32;
  Isa isa = active_isa();  // Of a level above the machine's, the machine's.
  // With kFast a file of save_packed(), whose weights are mapped instead of laid out at load. The
  // model's own file is needed all the same. It has the `weights` it was saved with, which are not
  // to be given again. "": none
  std::string packed = {};
};

// A decoder, dense or a mixture of experts, read from a GGUF file or a Hugging Face folder
// (config.json, safetensors, tokenizer.json), whose weights stay mapped.
// Immutable; each call owns its KV cache, so any number of threads may generate at once.
class COLLEGIUM_API LanguageModel {
 public:
  // `path` is a GGUF file, or a folder of Hugging Face's. not_found, corruption, not_supported
  // (architecture, rotary scaling, tensor or its type, tokenizer that is not run here, by name);
  // invalid_argument for `packed` of another model, for it or `weights` with kExact, for both.
  // Keeps the files mapped; beside them the memory is that of the vocabulary, about 20 MB for
  // 50,000 tokens, and with kFast packed_bytes(). A call takes 8 * layers * kv_width bytes of KV
  // cache a token (46 KB for SmolLM2-135M), half of that in bf16, little more than a quarter in
  // int8.
  static Result<std::shared_ptr<const LanguageModel>> load(
      const std::string& path, const LanguageModelOptions& options = {});
  ~LanguageModel();

  const Tokenizer& tokenizer() const noexcept;
  std::size_t context_length() const noexcept;
  const std::string& digest() const noexcept;  // of the files, whatever the compute
  LmCompute compute() const noexcept;
  KvCacheType kv_cache() const noexcept;
  std::size_t packed_bytes() const noexcept;  // of kFast's own weights; 0 with kExact
  // Writes those (docs/formats.md) for LanguageModelOptions::packed, at every instruction set.
  // failed_precondition with kExact; not_found for a missing folder, resource_exhausted, io_error.
  Status save_packed(const std::string& path) const;

  // The model's own template applied to `messages`, ending where the assistant speaks. A template
  // is recognised by its exact text, never guessed: failed_precondition if the model has none,
  // not_supported (with its digest) if it is not a known one; generate() works all the same.
  // invalid_argument for no messages, another role than system, user and assistant, or a
  // conversation that the template refuses (some have no system message, or want turns to
  // alternate). It may begin with a special token, so chat() lets the tokenizer put in none.
  // Control tokens inside a message's content are control tokens, as in the reference: what others
  // wrote goes through without_control_tokens() first.
  // `enable_thinking`: as GenerateOptions has it.
  Result<std::string> apply_chat_template(std::span<const ChatMessage> messages,
                                          bool enable_thinking = true) const;
  // `text` with a space after the first character of whatever in it would become a control token
  // of this model ("< |im_end|>"), so that it is read as text. Left out instead is a token of one
  // character, and every one where a control token has a space itself.
  std::string without_control_tokens(std::string_view text) const;
  using TokenCallback = core::TokenCallback;
  // invalid_argument if the prompt has no token, is not UTF-8 or does not fit the context with one
  // token to spare, before anything runs. corruption if the weights give no finite logits. What a
  // callback throws becomes internal. cancelled if `progress` says so: it is asked before every
  // 64 tokens of the prompt, with kFast 256 ("prompt"), and before every new token ("generate").
  Result<Generation> generate(std::string_view prompt, const GenerateOptions& options = {},
                              const TokenCallback& on_token = {},
                              const ProgressCallback& progress = {}) const;
  Result<Generation> chat(std::span<const ChatMessage> messages,
                          const GenerateOptions& options = {}, const TokenCallback& on_token = {},
                          const ProgressCallback& progress = {}) const;
  // Several at once, which share every reading of the weights: result i is that of generate() with
  // request i, to the last bit, whatever stands beside it; one that fails fails alone. Callbacks
  // come from the calling thread, one at a time. `progress` ("requests", those that are done) may
  // cancel all that still run. resource_exhausted as BatchOptions says.
  Result<std::vector<Result<Generation>>> generate_batch(
      std::span<const GenerateRequest> requests, const BatchOptions& options = {},
      const ProgressCallback& progress = {}) const;
  // The most memory a generation of so many tokens, prompt and answer together, takes beside the
  // model itself: its keys and values, and the logits of one token. max_memory_bytes is held
  // against this.
  std::size_t generation_bytes(std::size_t tokens) const noexcept;
  // log P of each text, as ScoreOptions says. invalid_argument for a text that is not UTF-8 or
  // options out of range, before anything runs; "" and texts of one token have no counted token.
  // `progress`: "score", in tokens.
  Result<std::vector<Score>> score(std::span<const std::string_view> texts,
                                   const ScoreOptions& options = {},
                                   const ProgressCallback& progress = {}) const;
  // A LoRA of a folder as PEFT saves it (adapter_config.json, adapter_model.safetensors), for this
  // model: options that name it with another are invalid_argument. not_found; corruption where a
  // module's shape does not fit or a layer is not there; not_supported for a module that is not
  // adapted here (embeddings, output, experts, norms) or a field, by name.
  Result<std::shared_ptr<const LmLora>> load_lora(const std::string& folder) const;
  // Logits (tokens, vocab) of every position of `ids`, for tests and scoring. `progress` as above.
  Result<std::vector<float>> logits(std::span<const std::int32_t> ids,
                                    const ProgressCallback& progress = {}) const;

 private:
  friend class GenerationRun;
  friend class GenerationScheduler;
  explicit LanguageModel(std::unique_ptr<LanguageModelImpl> impl);
  std::unique_ptr<LanguageModelImpl> impl_;
};

}  // namespace collegium::core
