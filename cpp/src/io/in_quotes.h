#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace collegium::core {

// 'text' for a message; a long one is cut between two UTF-8 characters.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMaxBytes = 100;
  if (text.size() <= kMaxBytes) return "'" + std::string(text) + "'";
  std::size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return "'" + std::string(text.substr(0, end)) + "...'";
}

}  // namespace collegium::core
