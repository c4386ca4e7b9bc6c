#include <string>

#include "collegium/core/file_envelope.h"
#include "text/json_fields.h"
#include "text/token_model.h"
#include "text/token_trie.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

// WordPiece (arXiv 1810.04805) of pieces that are cut already: the longest token that fits, again
// and again; a piece where none does is unknown as a whole.
class WordPieceModel final : public TokenModel {
 public:
  Status read(const JsonValue& value, const TokenTable& tokens);
  void add_to(Digest& digest) const override;
  std::string_view name() const noexcept override { return "WordPiece"; }

 private:
  void tokenize_piece(std::string_view text, std::size_t begin, std::size_t end, Scratch& scratch,
                      std::vector<ModelToken>& out) const override;

  TokenTrie initial_;
  TokenTrie continuation_;  // without the prefix
  std::string prefix_;
  std::int32_t unk_ = -1;
  std::uint64_t max_characters_ = 100;
};

Status WordPieceModel::read(const JsonValue& value, const TokenTable& tokens) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "unk_token", "continuing_subword_prefix",
                                                "max_input_chars_per_word", "vocab"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string unk, value.string_or("unk_token", "[UNK]"));
  unk_ = tokens.find(unk);
  if (unk_ < 0)
    return Status::corruption(value.where() + ": unk_token " + in_quotes(unk) +
                              " is not in the vocabulary");
  COLLEGIUM_ASSIGN_OR_RETURN(prefix_, value.string_or("continuing_subword_prefix", "##"));
  COLLEGIUM_ASSIGN_OR_RETURN(max_characters_, value.unsigned_or("max_input_chars_per_word", 100));
  if (max_characters_ > kMaxTokenBytes)
    return Status::not_supported(value.where() + ": max_input_chars_per_word is " +
                                 std::to_string(max_characters_) + "; here at most " +
                                 std::to_string(kMaxTokenBytes) + " is run");
  std::vector<std::pair<std::string_view, std::int32_t>> initial;
  std::vector<std::pair<std::string_view, std::int32_t>> continuation;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const std::string_view token = tokens.token(id);
    if (token.empty()) continue;
    initial.emplace_back(token, id);
    if (token.starts_with(prefix_)) continuation.emplace_back(token.substr(prefix_.size()), id);
  }
  initial_ = TokenTrie(std::move(initial));
  continuation_ = TokenTrie(std::move(continuation));
  return {};
}

void WordPieceModel::tokenize_piece(std::string_view text, std::size_t begin, std::size_t end,
                                    Scratch&, std::vector<ModelToken>& out) const {
  std::uint64_t characters = 0;
  for (std::size_t at = begin; at < end; at += utf8_length(text[at])) ++characters;
  const std::size_t before = out.size();
  bool known = characters <= max_characters_;
  for (std::size_t at = begin; known && at < end;) {
    const TokenTrie& trie = at == begin ? initial_ : continuation_;
    const TokenTrie::Match match = trie.longest(text.substr(at, end - at));
    known = match.id >= 0;
    if (known) out.push_back({match.id, at, at + match.size});
    at += match.size;
  }
  if (known) return;
  out.erase(out.begin() + static_cast<std::ptrdiff_t>(before), out.end());
  out.push_back({unk_, begin, end});
}

void WordPieceModel::add_to(Digest& digest) const {
  const std::string covered =
      "wordpiece " + std::to_string(unk_) + " " + std::to_string(max_characters_) + " " + prefix_;
  digest.update(std::as_bytes(std::span(covered)));
}

}  // namespace

Result<std::unique_ptr<const TokenModel>> read_wordpiece_model(const JsonValue& value,
                                                               TokenTable& tokens) {
  COLLEGIUM_RETURN_IF_ERROR(read_vocabulary(value, tokens));
  auto model = std::make_unique<WordPieceModel>();
  COLLEGIUM_RETURN_IF_ERROR(model->read(value, tokens));
  return std::unique_ptr<const TokenModel>(std::move(model));
}

}  // namespace collegium::core
