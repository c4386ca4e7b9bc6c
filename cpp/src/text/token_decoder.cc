#include "text/token_decoder.h"

#include <utility>

#include "collegium/core/text/tokenizer.h"
#include "text/byte_alphabet.h"
#include "text/json_fields.h"
#include "text/utf8_repair.h"
#include "text/wordpiece.h"

namespace collegium::core {
namespace {

// Real sequences have four steps and none within another.
constexpr std::size_t kMaxSteps = 64;
constexpr int kMaxDepth = 4;

std::string replaced(std::string_view token, std::string_view wanted, std::string_view content) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at; (at = token.find(wanted, done)) != token.npos; done = at + wanted.size())
    out.append(token.substr(done, at - done)).append(content);
  return out.append(token.substr(done));
}

// The byte of "<0x41>"; -1: another token.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = 16 * byte + digit;
  }
  return byte;
}

}  // namespace

Result<TokenDecoder> TokenDecoder::read(const JsonValue& value) { return read(value, 0); }

Result<TokenDecoder> TokenDecoder::read(const JsonValue& value, int depth) {
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
  } else if (type == "Replace" && value.has("pattern") && value.get("pattern")->has("String")) {
    made.kind_ = Kind::kReplace;
    COLLEGIUM_ASSIGN_OR_RETURN(made.text_, value.get("pattern")->get_string("String"));
    COLLEGIUM_ASSIGN_OR_RETURN(made.content_, required_string(value, "content"));
    if (made.text_.empty()) return Status::corruption(value.where() + ": pattern is empty");
  } else if (type == "ByteFallback") {
    made.kind_ = Kind::kByteFallback;
  } else if (type == "Fuse") {
    made.kind_ = Kind::kFuse;
  } else if (type == "Strip") {
    made.kind_ = Kind::kStrip;
    COLLEGIUM_ASSIGN_OR_RETURN(made.text_, required_string(value, "content"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t start, value.unsigned_or("start", 0));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t stop, value.unsigned_or("stop", 0));
    made.start_ = start;
    made.stop_ = stop;
    if (made.text_.empty()) return Status::corruption(value.where() + ": content is empty");
  } else if (type == "Sequence" && depth < kMaxDepth) {
    made.kind_ = Kind::kSequence;
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "decoders"));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto decoders, list.as_array(kMaxSteps));
    for (const JsonValue& decoder : decoders) {
      COLLEGIUM_ASSIGN_OR_RETURN(TokenDecoder step, read(decoder, depth + 1));
      if (step.kind_ == Kind::kUnknown) return step;
      // A null is no decoder here; the package gives none.
      if (decoder.is_null()) return Status::corruption(decoder.where() + ": is null");
      made.steps_.push_back(std::move(step));
    }
  } else {
    made.kind_ = Kind::kUnknown;
    made.text_ = kind_not_run(value, "decoder", type).message();
  }
  return made;
}

// One step of the package's: from tokens to tokens.
std::vector<std::string> TokenDecoder::run(std::vector<std::string> tokens) const {
  switch (kind_) {
    case Kind::kUnknown:
      return tokens;
    case Kind::kSequence:
      for (const TokenDecoder& step : steps_) tokens = step.run(std::move(tokens));
      return tokens;
    case Kind::kByteFallback:
      return fall_back(tokens);
    case Kind::kByteLevel: {
      std::string all;
      for (const std::string& token : tokens) all += read_spelling(token);
      return {repair_utf8(all)};
    }
    case Kind::kFuse: {
      std::string all;
      for (const std::string& token : tokens) all += token;
      return {std::move(all)};
    }
    default:
      break;
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::string& token = tokens[i];
    if (kind_ == Kind::kMetaspace) {
      token = replaced(token, text_, i > 0 || !flag_ ? " " : "");
    } else if (kind_ == Kind::kReplace) {
      token = replaced(token, text_, content_);
    } else if (kind_ == Kind::kStrip) {
      std::string_view rest = token;
      for (std::size_t n = 0; n < start_ && rest.starts_with(text_); ++n)
        rest.remove_prefix(text_.size());
      for (std::size_t n = 0; n < stop_ && rest.ends_with(text_); ++n)
        rest.remove_suffix(text_.size());
      token = std::string(rest);
    } else if (kind_ == Kind::kWordPiece) {
      if (i > 0) token = token.starts_with(text_) ? token.substr(text_.size()) : " " + token;
      if (flag_) clean_up_wordpiece(token);
    } else if (i > 0) {
      token.insert(0, 1, ' ');
    }
  }
  return tokens;
}

// A run of byte tokens is the text they make, or as many U+FFFD as there are where it is none.
std::vector<std::string> TokenDecoder::fall_back(const std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (check_utf8(bytes, "bytes").ok()) {
      out.push_back(bytes);
    } else {
      for (std::size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(token);
  }
  flush();
  return out;
}

Result<std::string> TokenDecoder::decode(const std::vector<std::string_view>& tokens) const {
  if (kind_ == Kind::kUnknown) return Status::not_supported(text_);
  std::string out;
  for (const std::string& token : run({tokens.begin(), tokens.end()})) out += token;
  return out;
}

Result<std::string> TokenDecoder::token_bytes(std::string_view token) const {
  switch (kind_) {
    case Kind::kByteLevel:
      return read_spelling(token);
    case Kind::kMetaspace:
      return replaced(token, text_, " ");
    case Kind::kReplace:
      return replaced(token, text_, content_);
    case Kind::kByteFallback: {
      const int byte = fallback_byte(token);
      return byte < 0 ? std::string(token) : std::string(1, static_cast<char>(byte));
    }
    case Kind::kFuse:
    case Kind::kStrip:  // at the ends of a text alone
      return std::string(token);
    case Kind::kSequence: {
      std::string bytes(token);
      for (const TokenDecoder& step : steps_) {
        const bool is_byte = step.kind_ == Kind::kByteFallback && fallback_byte(bytes) >= 0;
        COLLEGIUM_ASSIGN_OR_RETURN(bytes, step.token_bytes(bytes));
        if (is_byte) break;
      }
      return bytes;
    }
    case Kind::kUnknown:
      return Status::not_supported(text_);
    default:
      return Status::not_supported("a decoder that puts spaces between tokens is not run here");
  }
}

}  // namespace collegium::core
