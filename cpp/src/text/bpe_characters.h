#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/bpe_tables.h"
#include "text/utf8.h"

namespace collegium::core {

struct BpeCharacter {
  std::uint32_t code_point;
  std::uint8_t classes;  // of bpe_tables.h
  std::size_t end;       // byte offset past it
};

// By search in the tables.
std::uint8_t look_up_bpe_classes(std::uint32_t code_point);

inline std::uint8_t bpe_classes_of(std::uint32_t code_point) {
  static const std::array<std::uint8_t, 256> low = [] {
    std::array<std::uint8_t, 256> table{};
    for (std::uint32_t c = 0; c < table.size(); ++c) table[c] = look_up_bpe_classes(c);
    return table;
  }();
  return code_point < low.size() ? low[code_point] : look_up_bpe_classes(code_point);
}

// Reads the character at `begin` of valid UTF-8.
inline BpeCharacter bpe_character_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  const std::uint32_t code_point = decode_utf8(text, end);
  return {code_point, bpe_classes_of(code_point), end};
}

inline bool is_bpe_line_end(std::uint32_t c) { return c == '\r' || c == '\n'; }

// Where \s*[\r\n]+|\s+(?!\S)|\s+ ends in text[begin, end), which begins with white space: behind
// its last line end; without one at its end if nothing follows, else before its last character,
// which may go with the word after it.
std::size_t bpe_white_space_end(std::string_view text, std::size_t begin, std::size_t end);

}  // namespace collegium::core
