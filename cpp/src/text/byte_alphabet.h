#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace collegium::core {

// GPT-2's spelling of bytes as printable characters: those of Latin-1 that print stand for
// themselves, the others for U+0100 on, in order.
struct ByteAlphabet {
  std::array<std::uint16_t, 256> code_point_of{};
  std::array<std::int16_t, 512> byte_of{};  // -1: in no spelling

  ByteAlphabet() {
    byte_of.fill(-1);
    std::uint16_t next = 256;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      code_point_of[byte] = printable ? static_cast<std::uint16_t>(byte) : next++;
      byte_of[code_point_of[byte]] = static_cast<std::int16_t>(byte);
    }
  }
};

inline const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

inline std::string spell_byte(std::uint8_t byte) {
  const std::uint16_t c = byte_alphabet().code_point_of[byte];
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
}

// The bytes a spelling stands for; the text itself where a character is outside the alphabet.
inline std::string read_spelling(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t i = 0; i < token.size(); ++i) {
    std::uint32_t c = static_cast<std::uint8_t>(token[i]);
    if (c >= 0xC2 && c <= 0xC7 && i + 1 < token.size()) {
      c = ((c & 0x1F) << 6) | (static_cast<std::uint8_t>(token[++i]) & 0x3F);
    } else if (c >= 0x80) {
      return std::string(token);
    }
    const std::int16_t byte = c < 512 ? byte_alphabet().byte_of[c] : std::int16_t{-1};
    if (byte < 0) return std::string(token);
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

}  // namespace collegium::core
