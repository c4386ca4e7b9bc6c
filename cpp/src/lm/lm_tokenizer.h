#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"
#include "text/control_text.h"

namespace collegium::core {

// A language model's tokenizer and what else its files say of text: which tokens end an answer,
// and the chat template. Immutable; any number of threads may use it.
class LmTokenizer {
 public:
  struct Parts {
    std::shared_ptr<const Tokenizer> tokenizer;
    // By id: the bytes a token stands for in a text, which may be part of a character.
    std::vector<std::string> bytes;
    // By id: it is matched whole in a text, and left out of what a model answers.
    std::vector<bool> control;
    std::vector<std::int32_t> end_ids;  // of a sequence or a turn, ascending
    std::string chat_template;          // its source; empty: none
    std::string bos_token;              // as templates may spell it; empty: none
    std::string eos_token;
  };
  explicit LmTokenizer(Parts parts);

  // encode() puts the special tokens around a text that the model's own tokenizer would.
  const Tokenizer& tokenizer() const noexcept { return *parts_.tokenizer; }
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const {
    return parts_.tokenizer->encode(text, options);
  }
  std::size_t vocab_size() const noexcept { return parts_.bytes.size(); }
  // Pre: 0 <= id < vocab_size(). The bytes of a token within a text: a word's has its space.
  std::string_view token_bytes(std::int32_t id) const noexcept {
    return parts_.bytes[static_cast<std::size_t>(id)];
  }
  bool is_control(std::int32_t id) const noexcept {
    return parts_.control[static_cast<std::size_t>(id)];
  }
  bool is_end(std::int32_t id) const noexcept;
  std::span<const std::int32_t> end_ids() const noexcept { return parts_.end_ids; }
  // See LanguageModel::without_control_tokens().
  std::string without_control_tokens(std::string_view text) const {
    return control_text_.without(text);
  }

  const std::string& chat_template() const noexcept { return parts_.chat_template; }
  const std::string& bos_token() const noexcept { return parts_.bos_token; }
  const std::string& eos_token() const noexcept { return parts_.eos_token; }

 private:
  Parts parts_;
  ControlText control_text_;
};

// From `tokenizer.ggml.*`: byte-level BPE ("gpt2") or SentencePiece's BPE ("llama"). corruption;
// not_supported, by name, for another model or cutting.
Result<LmTokenizer> read_lm_tokenizer(const GgufFile& file);

// From a Hugging Face folder: tokenizer.json, and of config.json, generation_config.json,
// tokenizer_config.json and chat_template.jinja what ends an answer and the template. A vocabulary
// that is smaller than `vocab`, the model's, is filled up with tokens of no text, as models pad
// theirs. not_found, corruption, not_supported.
Result<LmTokenizer> read_lm_tokenizer(const std::string& folder, std::size_t vocab);

}  // namespace collegium::core
