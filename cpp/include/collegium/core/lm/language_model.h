#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/isa.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct COLLEGIUM_API GenerateOptions {
  std::size_t max_new_tokens = 128;  // At least 1.
  float temperature = 0.0f;          // 0: greedy, the most likely token each time
  std::size_t top_k = 0;             // Sample among the k most likely. 0: all
  // Sample among the fewest tokens whose probabilities reach top_p. In (0, 1].
  float top_p = 1.0f;
  std::uint64_t seed = 1;  // The same seed, options and prompt give the same tokens.
  Status validate() const;
};

struct Generation {
  std::string text;
  std::vector<std::int32_t> ids;  // new tokens, the end token excluded
  std::size_t prompt_tokens = 0;
  // true: the model ended; false: max_new_tokens, the context's end, or cancelled
  bool stopped = false;
  double flops = 0.0;
};

// A decoder of the Llama architecture (arXiv 2302.13971) read from a GGUF file: rotary positions,
// grouped-query attention, SwiGLU, RMSNorm; weights stay quantised in the mapped file and are
// widened to fp32 as they are used, so results are those of fp32 on the dequantised weights.
// Immutable; each call owns its KV cache, so any number of threads may generate at once.
class COLLEGIUM_API LanguageModel {
 public:
  // not_found, corruption, not_supported (architecture, rotary scaling, tensor or its type,
  // tokenizer that is not run here, by name). Keeps the file mapped; beside it the memory is that
  // of the vocabulary, about 20 MB for 50,000 tokens. A call takes 8 * layers * kv_width bytes of
  // KV cache a token (46 KB for SmolLM2-135M). Of a level above the machine's, the machine's.
  static Result<std::shared_ptr<const LanguageModel>> load(const std::string& gguf_path,
                                                           Isa isa = active_isa());
  ~LanguageModel();

  const Tokenizer& tokenizer() const noexcept;
  std::size_t context_length() const noexcept;
  const std::string& digest() const noexcept;

  // The file's own template applied to `messages`, ending where the assistant speaks. A template
  // is recognised by its exact text, never guessed: failed_precondition if the file has none,
  // not_supported (with its digest) if it is not a known one; generate() works all the same.
  // invalid_argument for no messages or another role than system, user and assistant.
  // Control tokens inside a message's content are control tokens, as in the reference: what others
  // wrote goes through without_control_tokens() first.
  Result<std::string> apply_chat_template(std::span<const ChatMessage> messages) const;
  // `text` with a space after the first character of whatever in it would become a control token
  // of this model ("< |im_end|>"), so that it is read as text. Left out instead is a token of one
  // character, and every one where a control token has a space itself.
  std::string without_control_tokens(std::string_view text) const;
  // Called with each piece of text as it is complete UTF-8; returning false stops.
  using TokenCallback = std::function<bool(std::string_view piece)>;
  // invalid_argument if the prompt has no token, is not UTF-8 or does not fit the context with one
  // token to spare, before anything runs. corruption if the weights give no finite logits. What a
  // callback throws becomes internal. cancelled if `progress` says so: it is asked before every
  // 64 tokens of the prompt ("prompt") and before every new token ("generate").
  Result<Generation> generate(std::string_view prompt, const GenerateOptions& options = {},
                              const TokenCallback& on_token = {},
                              const ProgressCallback& progress = {}) const;
  Result<Generation> chat(std::span<const ChatMessage> messages,
                          const GenerateOptions& options = {}, const TokenCallback& on_token = {},
                          const ProgressCallback& progress = {}) const;
  // Logits (tokens, vocab) of every position of `ids`, for tests and scoring. `progress` as above.
  Result<std::vector<float>> logits(std::span<const std::int32_t> ids,
                                    const ProgressCallback& progress = {}) const;

 private:
  struct Impl;
  explicit LanguageModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
