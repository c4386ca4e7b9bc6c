#include "engine/support_letters.h"

#include <cstddef>

namespace collegium::router {
namespace {

// A letter and its lower case have as many bytes each.
char32_t lower_letter(char32_t c) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (within('A', 'Z') || (within(0xC0, 0xDE) && c != 0xD7)) return c + 0x20;
  if (within(0x100, 0x137) || within(0x14A, 0x177) || within(0x1F8, 0x21F) ||
      within(0x1E00, 0x1E95) || within(0x1EA0, 0x1EFF) || within(0x460, 0x481) ||
      within(0x48A, 0x4BF) || within(0x4D0, 0x52F))
    return c | 1;
  if (within(0x139, 0x148) || within(0x179, 0x17E)) return c + (c & 1);
  if (c == 0x178) return 0xFF;
  if (c == 0x386) return 0x3AC;
  if (within(0x388, 0x38A)) return c + 0x25;
  if (c == 0x38C) return 0x3CC;
  if (within(0x38E, 0x38F)) return c + 0x3F;
  if (within(0x391, 0x3AB) && c != 0x3A2) return c + 0x20;
  if (within(0x400, 0x40F)) return c + 0x50;
  if (within(0x410, 0x42F)) return c + 0x20;
  if (within(0x531, 0x556)) return c + 0x30;
  return c;
}

// The letter of two or three bytes of UTF-8 at text[i], and how many; 0 bytes: there is none.
char32_t wide_letter(std::string_view text, std::size_t i, std::size_t& bytes) {
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? char32_t{static_cast<unsigned char>(text[at])} : char32_t{0};
  };
  const auto continues = [&](std::size_t at) { return (byte(at) & 0xC0) == 0x80; };
  bytes = 0;
  if (byte(i) >= 0xC2 && byte(i) <= 0xDF && continues(i + 1)) {
    bytes = 2;
    return (byte(i) & 0x1F) << 6 | (byte(i + 1) & 0x3F);
  }
  if (byte(i) >= 0xE1 && byte(i) <= 0xEF && continues(i + 1) && continues(i + 2)) {
    bytes = 3;
    return (byte(i) & 0x0F) << 12 | (byte(i + 1) & 0x3F) << 6 | (byte(i + 2) & 0x3F);
  }
  return 0;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string result(text);
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (is_upper(result[i])) {
      result[i] = static_cast<char>(lower_letter(static_cast<unsigned char>(result[i])));
      continue;
    }
    std::size_t bytes = 0;
    const char32_t c = lower_letter(wide_letter(result, i, bytes));
    if (bytes == 2) {
      result[i] = static_cast<char>(0xC0 | c >> 6);
      result[i + 1] = static_cast<char>(0x80 | (c & 0x3F));
    } else if (bytes == 3) {
      result[i + 1] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
      result[i + 2] = static_cast<char>(0x80 | (c & 0x3F));
    }
    if (bytes > 0) i += bytes - 1;
  }
  return result;
}

bool starts_upper(std::string_view text) {
  std::size_t bytes = 0;
  const char32_t c = wide_letter(text, 0, bytes);
  return is_upper(text.front()) || (bytes > 0 && lower_letter(c) != c);
}

}  // namespace collegium::router
