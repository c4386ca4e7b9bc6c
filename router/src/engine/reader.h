#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"
#include "collegium/router/library.h"

namespace collegium::router {

struct Reading {
  std::string text;    // each sentence followed by the [n] it cites
  std::string reader;  // "extractive", "generative", "none"
  std::string note;    // why generative fell back
  // The encoder's work, and the language model's with its time.
  double read_flops = 0.0, answer_flops = 0.0, answer_ms = 0.0;
};

// The best sentences of the first passages by the encoder, verbatim (runs of white space become one
// space), in the order of the passages. `question` (dim,). Deterministic; looks at no more than 3
// passages and 40 sentences, so its cost is bounded: each passage has an equal share of them, and
// what one leaves of its share goes to the first that has more.
Result<Reading> read_extractive(const core::Encoder& encoder, std::span<const float> question,
                                std::span<const CitedPassage> passages);

// The language model's answer from the first passages, if check_support() bears out each of its
// sentences; else, or if the question does not fit the model's context, the extractive reading, and
// `note` says what failed. `on_token` is called with
// empty pieces while the model writes (so that a caller may stop it) and with the text once it is
// checked: what is not borne out is never shown.
Result<Reading> read_generative(const core::Encoder& encoder, const core::LanguageModel& model,
                                std::string_view question_text, std::span<const float> question,
                                std::span<const CitedPassage> passages,
                                const core::GenerateOptions& options,
                                const core::LanguageModel::TokenCallback& on_token);

// A message of the user for `model`: in what others wrote no control token is one.
core::ChatMessage user_message(const core::LanguageModel& model, std::string_view content);

// What the language model is asked to read: at most `passage_bytes` of each of the first passages.
// Exposed for tests.
std::vector<core::ChatMessage> reading_prompt(const core::LanguageModel& model,
                                              std::string_view question,
                                              std::span<const CitedPassage> passages,
                                              std::size_t passage_bytes);

// One sentence of generated text, checked and cited. Exposed for tests.
struct CheckedSentence {
  std::string text;          // without citations
  std::size_t citation = 0;  // CitedPassage::number
  std::string problem;       // empty: supported
};
std::vector<CheckedSentence> check_generated(std::string_view text,
                                             std::span<const CitedPassage> passages);

}  // namespace collegium::router
