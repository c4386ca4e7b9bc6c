#pragma once

#include <cstddef>
#include <string_view>

#include "text/utf8.h"

namespace collegium::core {

// Unicode's White_Space.
constexpr bool is_white_space(char32_t c) noexcept {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// Where the first character of text[begin, end) that is no white space starts, or end.
// Pre: valid UTF-8, begin and end on characters.
inline std::size_t skip_space(std::string_view text, std::size_t begin, std::size_t end) noexcept {
  while (begin < end) {
    std::size_t next = begin;
    if (!is_white_space(decode_utf8(text, next))) break;
    begin = next;
  }
  return begin;
}

// Where the character before `position` starts. Pre: valid UTF-8, position > 0 on a character.
inline std::size_t previous_character(std::string_view text, std::size_t position) noexcept {
  do --position;
  while (is_utf8_continuation(text[position]));
  return position;
}

// The end of text[begin, end) without the white space at its end.
inline std::size_t trim_end(std::string_view text, std::size_t begin, std::size_t end) noexcept {
  while (begin < end) {
    const std::size_t last = previous_character(text, end);
    std::size_t next = last;
    if (!is_white_space(decode_utf8(text, next))) break;
    end = last;
  }
  return end;
}

}  // namespace collegium::core
