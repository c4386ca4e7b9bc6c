#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "text/bpe_merges.h"
#include "text/pre_tokenizer.h"
#include "text/token_table.h"

namespace collegium::core {

class Digest;
class JsonValue;

// A token and the bytes of the cut text it stands for.
struct ModelToken {
  // Pre: end <= BpeMerges::kMaxTextBytes.
  ModelToken(std::int32_t token, std::size_t first, std::size_t last, bool found = false)
      : id(token),
        begin(static_cast<std::uint32_t>(first)),
        end(static_cast<std::uint32_t>(last)),
        added(found) {}
  std::int32_t id;
  std::uint32_t begin;
  std::uint32_t end;
  bool added;  // it was found in the text, not made by the model
};

// A longer token would let a file make texts take quadratic time; no real one comes near.
inline constexpr std::size_t kMaxTokenBytes = 4096;

// The `model` of a tokenizer.json: makes tokens of pieces. Immutable.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // corruption, not_supported by name. Its tokens are put into `tokens`, which must outlive it.
  static Result<std::unique_ptr<const TokenModel>> read(const JsonValue& value, TokenTable& tokens);

  // The tokens of all pieces, those that are tokens already among them. A piece is changed text
  // of `pieces.text`.
  std::vector<ModelToken> tokenize(const Pieces& pieces) const;

  // What changes ids besides the tokens.
  virtual void add_to(Digest& digest) const = 0;
  virtual std::string_view name() const noexcept = 0;

 protected:
  // What pieces need, used again from one to the next.
  struct Scratch {
    struct Node {
      double score;
      std::uint32_t begin;  // of the token that ends here
      std::int32_t id;      // of it; -1: none ends here
    };
    BpeMerges::Scratch merges;
    std::vector<Node> nodes;
  };
  virtual void tokenize_piece(std::string_view text, std::size_t begin, std::size_t end,
                              Scratch& scratch, std::vector<ModelToken>& out) const = 0;
};

// {"token": id, ...}
Status read_vocabulary(const JsonValue& model, TokenTable& tokens);

Result<std::unique_ptr<const TokenModel>> read_bpe_model(const JsonValue& value,
                                                         TokenTable& tokens);
Result<std::unique_ptr<const TokenModel>> read_unigram_model(const JsonValue& value,
                                                             TokenTable& tokens);
Result<std::unique_ptr<const TokenModel>> read_wordpiece_model(const JsonValue& value,
                                                               TokenTable& tokens);

}  // namespace collegium::core
