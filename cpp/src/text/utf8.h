#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace collegium::core {

// Bytes of the character that starts with `lead`. Pre: `lead` starts a character of valid UTF-8.
inline std::size_t utf8_length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

inline bool is_utf8_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// The character at `position`, which moves behind it. Pre: `text` is valid UTF-8 and `position`
// lies on a character of it.
inline char32_t decode_utf8(std::string_view text, std::size_t& position) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t lead = byte(0);
  char32_t c = lead;
  std::size_t length = 1;
  if (lead >= 0xf0) {
    c = (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    length = 4;
  } else if (lead >= 0xe0) {
    c = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    length = 3;
  } else if (lead >= 0x80) {
    c = (lead & 0x1f) << 6 | (byte(1) & 0x3f);
    length = 2;
  }
  position += length;
  return c;
}

// Bytes that encode_utf8() takes.
inline std::size_t utf8_size(char32_t c) noexcept {
  return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

// Writes `c` to `out` (4 bytes of room) and returns how many it took. Pre: `c` < 0x110000.
inline std::size_t encode_utf8(char32_t c, char* out) noexcept {
  const auto put = [&](std::size_t i, char32_t value) { out[i] = static_cast<char>(value); };
  if (c < 0x80) {
    put(0, c);
    return 1;
  }
  if (c < 0x800) {
    put(0, 0xc0 | c >> 6);
    put(1, 0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    put(0, 0xe0 | c >> 12);
    put(1, 0x80 | (c >> 6 & 0x3f));
    put(2, 0x80 | (c & 0x3f));
    return 3;
  }
  put(0, 0xf0 | c >> 18);
  put(1, 0x80 | (c >> 12 & 0x3f));
  put(2, 0x80 | (c >> 6 & 0x3f));
  put(3, 0x80 | (c & 0x3f));
  return 4;
}

// Offset of the first byte that belongs to no valid character; text.size() when all do.
std::size_t find_invalid_utf8(std::string_view text) noexcept;

}  // namespace collegium::core
