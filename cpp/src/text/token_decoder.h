#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"

namespace collegium::core {

class JsonValue;

// How tokens become text again: the `decoder` of a tokenizer.json.
class TokenDecoder {
 public:
  // corruption. A decoder that is not run here is no failure until decode() is called: it changes
  // no ids. `value` may be null: a space between all tokens.
  static Result<TokenDecoder> read(const JsonValue& value);

  // not_supported, by name.
  Result<std::string> decode(const std::vector<std::string_view>& tokens) const;
  // The bytes a token stands for between others; they may be part of a character. not_supported
  // where a token does not stand for the same bytes everywhere.
  Result<std::string> token_bytes(std::string_view token) const;

 private:
  enum class Kind {
    kSpaces,
    kWordPiece,
    kByteLevel,
    kMetaspace,
    kReplace,
    kByteFallback,
    kFuse,
    kStrip,
    kSequence,
    kUnknown
  };
  static Result<TokenDecoder> read(const JsonValue& value, int depth);
  std::vector<std::string> run(std::vector<std::string> tokens) const;
  static std::vector<std::string> fall_back(const std::vector<std::string>& tokens);

  Kind kind_ = Kind::kSpaces;
  std::string text_;       // a prefix, what is replaced or stripped, or why not
  std::string content_;    // what replaces it
  bool flag_ = false;      // clean up, or a first replacement is dropped
  std::size_t start_ = 0;  // characters that are stripped, at most
  std::size_t stop_ = 0;
  std::vector<TokenDecoder> steps_;
};

}  // namespace collegium::core
