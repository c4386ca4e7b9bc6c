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
  double read_flops = 0.0, answer_flops = 0.0;
};

// The best sentences of the first passages by the encoder, verbatim (runs of white space become one
// space), in the order of the passages. `question` (dim,). Deterministic; looks at no more than 3
// passages and 24 sentences, so its cost is bounded.
Result<Reading> read_extractive(const core::Encoder& encoder, std::span<const float> question,
                                std::span<const CitedPassage> passages);

// The language model's answer from the first passages, if check_support() bears out each of its
// sentences; else the extractive reading, and `note` says what failed. `on_token` is called with
// empty pieces while the model writes (so that a caller may stop it) and with the text once it is
// checked: what is not borne out is never shown.
Result<Reading> read_generative(const core::Encoder& encoder, const core::LanguageModel& model,
                                std::string_view question_text, std::span<const float> question,
                                std::span<const CitedPassage> passages,
                                const core::GenerateOptions& options,
                                const core::LanguageModel::TokenCallback& on_token);

// One sentence of generated text, checked and cited. Exposed for tests.
struct CheckedSentence {
  std::string text;          // without citations
  std::size_t citation = 0;  // CitedPassage::number
  std::string problem;       // empty: supported
};
std::vector<CheckedSentence> check_generated(std::string_view text,
                                             std::span<const CitedPassage> passages);

}  // namespace collegium::router
