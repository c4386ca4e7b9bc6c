#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe_merges.h"
#include "text/byte_level_bpe.h"
#include "text/token_table.h"

namespace collegium::core {

class GgufFile;

// What SentencePiece's BPE is made of, as a GGUF file stores it.
struct ScoredBpeSource {
  std::vector<std::string> tokens;  // a space is spelled U+2581 in normal ones
  std::vector<float> scores;        // of two neighbours the pair with the highest is merged first
  std::vector<BpeTokenType> types;  // all 256 bytes among them, as "<0x41>"
  // A space goes before a text and before what follows a control or user-defined token.
  bool add_space_prefix = true;
  std::int32_t bos_id = -1;  // put before and after a text when special tokens are asked for
  std::int32_t eos_id = -1;  // -1: none
};

// SentencePiece's BPE (arXiv 1808.06226) with byte fallback, as Llama, Mistral and Gemma have it.
// Control tokens, then user-defined ones, are found in the text as it stands (leftmost, longest).
// What is between them is cut into characters, of which the two neighbours whose token has the
// highest score are merged, of equals the leftmost; a character that is no token becomes its bytes.
// Tokens of the types unused, unknown and byte are never made by a merge.
class ScoredBpe final : public Tokenizer {
 public:
  // corruption: a token twice or not UTF-8, counts that differ, a score that is no number, ids out
  // of range. not_supported: a byte without a token, two mergeable tokens of one score. `where`
  // starts the messages.
  static Result<std::shared_ptr<const ScoredBpe>> create(ScoredBpeSource source,
                                                         const std::string& where);
  // Reads `tokenizer.ggml.*` of a file whose tokenizer.ggml.model is "llama".
  static Result<std::shared_ptr<const ScoredBpe>> from_gguf(const GgufFile& file);

  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override;
  // Without the space that was put before the text.
  Result<std::string> decode(std::span<const std::int32_t> ids,
                             bool skip_special_tokens) const override;
  std::size_t vocab_size() const noexcept override { return source_.tokens.size(); }
  std::int32_t token_id(std::string_view token) const override;
  std::string_view token(std::int32_t id) const override;
  std::string digest() const override { return digest_; }

  // The bytes a token stands for; they may be part of a character. `id` must be in range.
  std::string_view token_bytes(std::int32_t id) const {
    return bytes_[static_cast<std::size_t>(id)];
  }
  bool is_control(std::int32_t id) const {
    return source_.types[static_cast<std::size_t>(id)] == BpeTokenType::kControl;
  }

 private:
  ScoredBpe() = default;
  Status build(const std::string& where);
  Status build_merges(const std::string& where);
  // Of what merges may join: normal and user-defined tokens, and characters that are only part of
  // tokens, which have ids from vocab_size() on. -1: none. Pre: not empty.
  std::int32_t symbol_id(std::string_view symbol, std::uint64_t hash) const;
  void encode_plain(std::string_view text, std::size_t begin, std::size_t end,
                    BpeMerges::Scratch& scratch, Encoding& out) const;

  ScoredBpeSource source_;
  std::vector<std::string> bytes_;  // by id
  TokenTable ids_;
  TokenTable characters_;  // that are no such tokens
  BpeMerges merges_;
  std::vector<std::int32_t> byte_ids_;
  AddedTokenFinder control_;
  AddedTokenFinder user_defined_;
  std::string digest_;
};

}  // namespace collegium::core
