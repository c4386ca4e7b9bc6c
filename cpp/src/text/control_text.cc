#include "text/control_text.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace collegium::core {

ControlText::ControlText(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
  std::erase(tokens_, std::string());
  for (std::uint32_t i = 0; i < tokens_.size(); ++i)
    by_last_byte_[static_cast<unsigned char>(tokens_[i].back())].push_back(i);
  // A space breaks a token for good only where no control token has a space itself.
  spaced_ = std::ranges::any_of(
      tokens_, [](const std::string& token) { return token.find(' ') != token.npos; });
}

std::string ControlText::without(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  // Before every step `result` holds no control token, so that a new one can only be at its end.
  for (const char c : text) {
    result += c;
    for (const std::uint32_t i : by_last_byte_[static_cast<unsigned char>(c)]) {
      const std::string& token = tokens_[i];
      if (!result.ends_with(token)) continue;
      std::size_t second = 1;  // where its second character starts
      while (second < token.size() && is_utf8_continuation(token[second])) ++second;
      const std::size_t begin = result.size() - token.size();
      if (spaced_ || second == token.size()) {
        result.resize(begin);
        break;
      }
      result.insert(begin + second, 1, ' ');
    }
  }
  return result;
}

}  // namespace collegium::core
