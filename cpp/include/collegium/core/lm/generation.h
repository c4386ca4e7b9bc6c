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
#include "collegium/core/lm/token_router.h"
#include "collegium/core/lm/token_trace.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"

namespace collegium::core {

class LanguageModel;  // language_model.h
class LmLora;

// How tokens are chosen and when that ends. Formulas and order are those of transformers' logits
// processors: first the penalties, which a greedy choice feels too, then, when sampling,
// temperature, top_k, top_p, min_p, typical_p, each over what the one before it left.
struct COLLEGIUM_API GenerateOptions {
  std::size_t max_new_tokens = 128;  // At least 1.
  // Put around the prompt what the model's tokenizer does, such as <s>. chat() never does: a
  // template has its own.
  bool add_special_tokens = true;
  // chat() alone: false begins the answer behind empty thoughts, as the templates that know
  // thoughts have it (Qwen3's). Others are as they are.
  bool enable_thinking = true;
  float temperature = 0.0f;  // 0: greedy, the most likely token each time
  // Sample among the k most likely, and whatever is as likely as the last of them. 0: all
  std::size_t top_k = 0;
  // Sample among the fewest tokens whose probabilities reach top_p. In (0, 1].
  float top_p = 1.0f;
  // Sample among tokens at least min_p times as probable as the most probable one
  // (arXiv 2407.01082). In [0, 1]. 0: all
  float min_p = 0.0f;
  // Sample among the tokens whose information is nearest to the distribution's entropy, the fewest
  // that reach this probability (arXiv 2202.00666). In (0, 1]. 1: all
  float typical_p = 1.0f;
  // Logits of tokens of the prompt and of the answer so far are divided by this where positive,
  // multiplied where negative (arXiv 1909.05858). Above 0. 1: none
  float repetition_penalty = 1.0f;
  // Taken from the logit of every token of the answer so far: once, and once for each time it came.
  // Finite; negative ones make repetition likelier.
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::uint64_t seed = 1;  // The same seed, options and prompt give the same tokens.

  // The text ends before the first of these, wherever it stands across tokens; of two that are
  // complete with the same character, before the longer. Not empty, UTF-8.
  std::vector<std::string> stop;
  // Tokens that end the answer beside those of the model. Within the vocabulary.
  std::vector<std::int32_t> stop_ids;

  // Record the log-probability of each token, and of the most likely ones in its place, so many
  // (at most kMaxAlternatives): of the model itself, before penalties, temperature and filters.
  bool log_probabilities = false;
  std::size_t alternatives = 0;

  // Where the last tokens stood before in prompt or answer, guess that what followed them follows
  // again, at most so many tokens, and read them with the next one in one pass (prompt lookup
  // decoding, a form of speculative decoding, arXiv 2302.01318). Guesses are kept only where the
  // model itself, greedy or sampled, chooses the same, so the result is the same to the last bit;
  // answers that quote their prompt are sooner done. At most kMaxLookup. 0: none. Without effect
  // with a trace or a routing of the request's own.
  std::size_t prompt_lookup = 0;

  // A quicker model with the same vocabulary, which guesses at most draft_tokens tokens where
  // prompt_lookup has no guess (speculative decoding, arXiv 2211.17192). Guesses are read and kept
  // as those of prompt_lookup, so the result is the same to the last bit; one that is refused costs
  // its row. draft_tokens: in [1, kMaxLookup]. Null: none. Without effect with a trace or a routing
  // of the request's own.
  std::shared_ptr<const LanguageModel> draft;
  std::size_t draft_tokens = 4;

  // Of this model, from LanguageModel::load_lora(). Null: the base alone.
  std::shared_ptr<const LmLora> lora;
  // Of a mixture of experts: what changes in its routing, and whether that is recorded.
  RoutingOptions routing;
  bool trace = false;

  // Refuse (resource_exhausted, before anything runs) what could take more memory than this; see
  // LanguageModel::generation_bytes(). 0: no limit
  std::size_t max_memory_bytes = 0;

  static constexpr std::size_t kMaxAlternatives = 1000;
  static constexpr std::size_t kMaxStops = 64;
  static constexpr std::size_t kMaxLookup = 64;
  // What can be said without the model: invalid_argument names the field, its value and the range.
  Status validate() const;
};

// Why an answer ended. The first two are the model's or caller's wish, the others cut it short.
enum class FinishReason : std::uint8_t {
  kEnd = 0,        // the model's own end of sequence or turn
  kStop = 1,       // one of `stop` or `stop_ids`
  kLength = 2,     // max_new_tokens
  kContext = 3,    // the context is full
  kCancelled = 4,  // on_token said so
};
// "end", "stop", "length", "context", "cancelled"
COLLEGIUM_API std::string_view finish_reason_name(FinishReason reason) noexcept;

struct TokenProbability {
  std::int32_t id = 0;
  float log_probability = 0.0f;  // natural logarithm
  friend bool operator==(const TokenProbability&, const TokenProbability&) = default;
};

struct COLLEGIUM_API Generation {
  std::string text;  // ends before the stop string, if one came
  // New tokens: without the one of the model's end or of stop_ids, with those of a stop string.
  std::vector<std::int32_t> ids;
  std::size_t prompt_tokens = 0;
  // Of them, those that another request with the same beginning had read.
  std::size_t shared_tokens = 0;
  // Tokens that were guessed (GenerateOptions::prompt_lookup and draft), and those of them that
  // were right.
  std::size_t guessed_tokens = 0;
  std::size_t accepted_tokens = 0;
  FinishReason finish_reason = FinishReason::kLength;
  std::string stop;  // which of the stop strings came; "" if none did
  // One an id where asked for, else empty; the alternatives most likely first.
  std::vector<float> log_probabilities;
  std::vector<std::vector<TokenProbability>> alternatives;
  // Where asked for: the routing of every token that was read, prompt and answer, the last token of
  // which is not read.
  std::shared_ptr<const TokenTrace> trace;
  std::string routing;  // RoutingOptions::describe() of the request; "" if it changed nothing
  double flops = 0.0;

  // The answer is whole: neither length, context nor a cancellation cut it.
  bool stopped() const noexcept {
    return finish_reason == FinishReason::kEnd || finish_reason == FinishReason::kStop;
  }
};

// Called with each piece of text as it is certain: complete UTF-8 that no stop string can still
// take away. Returning false stops that generation.
using TokenCallback = std::function<bool(std::string_view piece)>;

// One of several generations that run together.
struct GenerateRequest {
  std::string prompt;
  GenerateOptions options;
  TokenCallback on_token;
  // Asked before every step of this request, as generate() does. false: this one is cancelled.
  ProgressCallback progress;
};

struct BatchOptions {
  // Refuse the batch (resource_exhausted, before anything runs) if all its requests together could
  // take more than this. 0: no limit
  std::size_t max_memory_bytes = 0;
};

struct COLLEGIUM_API ScoreOptions {
  // Tokens a window holds. In [2, context]. 0: the context
  std::size_t window = 0;
  // New tokens of each window after the first, which follow window - stride tokens that were
  // scored before. In [1, window - 1]. 0: half the window. Smaller ones give each token more to go
  // by and take longer.
  std::size_t stride = 0;
  bool token_log_probabilities = false;  // Keep those of every token, not their sum alone.
  RoutingOptions routing;                // Of a mixture of experts: what changes in its routing.
  std::shared_ptr<const LmLora> lora;    // as in GenerateOptions
};

// log P(text): the sum over its tokens of log P(token | those before it within its window). Each is
// counted once. The first token has nothing before it and is not counted; where the model puts one
// of its own before every text, that is the first.
struct COLLEGIUM_API Score {
  double log_probability = 0.0;  // natural logarithm, of all counted tokens together
  std::size_t tokens = 0;        // counted
  std::size_t windows = 0;       // 1: the text fits one, so that each token has all before it
  // Where asked for: every token of the text as the model reads it, and the log-probabilities of
  // the last `tokens` of them.
  std::vector<std::int32_t> ids;
  std::vector<float> log_probabilities;

  // Of a text without a counted token, not a number.
  double mean_log_probability() const noexcept;
  double perplexity() const noexcept;  // exp(-mean)
};

// As of one body of text: sums of all, without their tokens. A perplexity by domain is that of the
// sum of the domain's scores.
COLLEGIUM_API Score sum_scores(std::span<const Score> scores);

}  // namespace collegium::core
