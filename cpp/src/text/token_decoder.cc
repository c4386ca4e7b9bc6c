#include "text/token_decoder.h"

#include "text/byte_alphabet.h"
#include "text/json_fields.h"
#include "text/utf8_repair.h"
#include "text/wordpiece.h"

namespace collegium::core {

Result<TokenDecoder> TokenDecoder::read(const JsonValue& value) {
  TokenDecoder made;
  if (value.is_null()) return made;
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, required_string(value, "type"));
  if (type == "WordPiece") {
    made.kind_ = Kind::kWordPiece;
    COLLEGIUM_ASSIGN_OR_RETURN(made.text_, required_string(value, "prefix"));
    COLLEGIUM_ASSIGN_OR_RETURN(made.flag_, required_bool(value, "cleanup"));
  } else if (type == "ByteLevel") {
    made.kind_ = Kind::kByteLevel;
  } else if (type == "Metaspace") {
    made.kind_ = Kind::kMetaspace;
    COLLEGIUM_ASSIGN_OR_RETURN(made.text_, required_string(value, "replacement"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string scheme,
                               value.string_or("prepend_scheme", "always"));
    made.flag_ = scheme != "never";
    if (made.text_.empty()) return Status::corruption(value.where() + ": replacement is empty");
  } else {
    made.kind_ = Kind::kUnknown;
    made.text_ = kind_not_run(value, "decoder", type).message();
  }
  return made;
}

Result<std::string> TokenDecoder::decode(const std::vector<std::string_view>& tokens) const {
  std::string out;
  if (kind_ == Kind::kUnknown) return Status::not_supported(text_);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view token = tokens[i];
    if (kind_ == Kind::kByteLevel) {
      out += read_spelling(token);
    } else if (kind_ == Kind::kMetaspace) {
      std::size_t done = 0;
      for (std::size_t at; (at = token.find(text_, done)) != token.npos; done = at + text_.size()) {
        out += token.substr(done, at - done);
        if (i > 0 || !flag_) out += ' ';
      }
      out += token.substr(done);
    } else if (kind_ == Kind::kWordPiece) {
      std::string part(token);
      if (i > 0) part = token.starts_with(text_) ? part.substr(text_.size()) : " " + part;
      if (flag_) clean_up_wordpiece(part);
      out += part;
    } else {
      if (i > 0) out += ' ';
      out += token;
    }
  }
  return kind_ == Kind::kByteLevel ? repair_utf8(out) : out;
}

}  // namespace collegium::core
