#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/bpe_merges.h"
#include "text/bpe_pretokenizer.h"
#include "text/control_text.h"
#include "text/token_table.h"

namespace collegium::core {

class GgufFile;

// `tokenizer.ggml.token_type`.
enum class BpeTokenType : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // matched whole in text; left out by skip_special_tokens
  kUserDefined = 4,  // matched whole in text
  kUnused = 5,
  kByte = 6,
};

// What a byte-level BPE is made of, however it was stored.
struct BpeSource {
  std::string pre;                  // as bpe_pre() names it
  std::vector<std::string> tokens;  // spelled in the byte alphabet of GPT-2
  std::vector<BpeTokenType> types;  // one a token; empty: all normal
  std::vector<std::string> merges;  // "left right", best first
  // Put before and after a text when special tokens are asked for; -1: none.
  std::int32_t bos_id = -1;
  std::int32_t eos_id = -1;
};

// Byte-level BPE (arXiv 1508.07909 over the bytes of GPT-2). Control and user-defined tokens are
// matched in the raw text first (leftmost, longest), as the `tokenizers` package does with added
// tokens. A byte that has no token of its own, which the vocabularies of small models lack for
// some control characters, gives no id, as there. As there, too, Qwen2's text is brought into the
// form NFC, and a piece that is a token of Llama 3 is that token whatever its merges say (BpePre).
class ByteLevelBpe final : public Tokenizer {
 public:
  // corruption: a token twice, a merge of unknown tokens, a token that is not UTF-8, ids out of
  // range. not_supported: a `pre` that is not run here. `where` starts the messages.
  static Result<std::shared_ptr<const ByteLevelBpe>> create(BpeSource source,
                                                            const std::string& where);
  // Reads `tokenizer.ggml.*`. `pre` replaces what the file names, for comparison with readers
  // that ignore it.
  static Result<std::shared_ptr<const ByteLevelBpe>> from_gguf(const GgufFile& file,
                                                               std::optional<std::string> pre = {});

  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override;
  // Bytes that are not UTF-8 become U+FFFD, as in the `tokenizers` package.
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
  bool is_control(std::int32_t id) const;
  // See LanguageModel::without_control_tokens().
  std::string without_control_tokens(std::string_view text) const {
    return control_text_.without(text);
  }

 private:
  struct AddedToken {
    std::string_view text;
    std::int32_t id;
  };

  ByteLevelBpe() = default;
  Status build(const std::string& where);
  void encode_added(std::string_view text, std::size_t begin, std::size_t end,
                    std::span<const std::vector<AddedToken>> levels, Encoding& out) const;
  void encode_plain(std::string_view text, std::size_t begin, std::size_t end, Encoding& out) const;
  void encode_piece(std::string_view text, ByteSpan piece, BpeMerges::Scratch& scratch,
                    Encoding& out) const;

  BpeSource source_;
  BpePre pre_;
  std::vector<std::string> bytes_;  // by id
  TokenTable ids_;
  BpeMerges merges_;
  std::array<std::int32_t, 256> byte_ids_{};  // -1: no token
  // Sorted by text: control tokens, which are looked for first, then user-defined ones.
  std::array<std::vector<AddedToken>, 2> added_;
  ControlText control_text_;
  std::string digest_;
};

}  // namespace collegium::core
