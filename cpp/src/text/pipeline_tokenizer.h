#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"
#include "text/token_table.h"

namespace collegium::core {

// A tokenizer made of the parts of a tokenizer.json, run one after another as in the `tokenizers`
// package: added tokens, normaliser, added tokens that are looked for in normalised text,
// pre-tokeniser, model, post-processor.
class PipelineTokenizer final : public Tokenizer {
 public:
  struct Parts {
    std::unique_ptr<const TokenTable> tokens;  // of the model, then those that are only added
    std::unique_ptr<const TokenModel> model;
    std::vector<AddedToken> added;
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    PostProcessor post_processor;
    TokenDecoder decoder;
    // Of everything that changes ids; covers normaliser, pre-tokeniser and post-processor.
    std::string digest;
  };
  // not_supported: an added token of which normalisation leaves nothing. `where` starts messages.
  static Result<std::shared_ptr<const Tokenizer>> create(Parts parts, const std::string& where);

  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override;
  Result<Encoding> encode_pair(std::string_view first, std::string_view second,
                               const EncodeOptions& options) const override;
  Result<std::string> decode(std::span<const std::int32_t> ids,
                             bool skip_special_tokens) const override;
  std::size_t vocab_size() const noexcept override { return parts_.tokens->size(); }
  std::int32_t token_id(std::string_view token) const override {
    return parts_.tokens->find(token);
  }
  std::string_view token(std::int32_t id) const override { return parts_.tokens->token(id); }
  std::string digest() const override { return parts_.digest; }

 private:
  explicit PipelineTokenizer(Parts parts) : parts_(std::move(parts)) {}
  // The tokens of a text, without those put around it.
  Result<Encoding> tokens_of(std::string_view text) const;
  ByteSpan trim(std::string_view text, std::string_view token, ByteSpan span, bool first) const;

  Parts parts_;
  AddedTokenFinder raw_;         // those looked for in the text as it is
  AddedTokenFinder normalized_;  // and in the normalised one
  std::vector<bool> special_;    // by id
  // What decode() takes for an added token that is looked for in normalised text: as it is there.
  std::map<std::int32_t, std::string> normalized_spelling_;
};

}  // namespace collegium::core
