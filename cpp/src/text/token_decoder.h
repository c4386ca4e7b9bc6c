#pragma once

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

 private:
  enum class Kind { kSpaces, kWordPiece, kByteLevel, kMetaspace, kUnknown };

  Kind kind_ = Kind::kSpaces;
  std::string text_;   // a prefix, a replacement, or why not
  bool flag_ = false;  // clean up, or a first replacement is dropped
};

}  // namespace collegium::core
