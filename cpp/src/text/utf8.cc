#include "text/utf8.h"

#include <simdjson.h>

#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

std::size_t find_invalid_utf8(std::string_view text) noexcept {
  if (simdjson::validate_utf8(text.data(), text.size())) return text.size();
  // Only now, byte by byte, where.
  std::size_t position = 0;
  const auto in = [&](std::size_t i, unsigned low, unsigned high) {
    if (position + i >= text.size()) return false;
    const auto byte = static_cast<unsigned char>(text[position + i]);
    return low <= byte && byte <= high;
  };
  while (position < text.size()) {
    const auto lead = static_cast<unsigned char>(text[position]);
    if (lead < 0x80) {
      ++position;
    } else if (lead >= 0xc2 && lead <= 0xdf && in(1, 0x80, 0xbf)) {
      position += 2;
    } else if (lead >= 0xe0 && lead <= 0xef &&
               in(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && in(2, 0x80, 0xbf)) {
      position += 3;
    } else if (lead >= 0xf0 && lead <= 0xf4 &&
               in(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) && in(2, 0x80, 0xbf) &&
               in(3, 0x80, 0xbf)) {
      position += 4;
    } else {
      return position;
    }
  }
  return text.size();
}

Status check_utf8(std::string_view text, std::string_view what) {
  const std::size_t position = find_invalid_utf8(text);
  if (position == text.size()) return {};
  constexpr char kHex[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(text[position]);
  return Status::invalid_argument(std::string(what) + ": byte 0x" + kHex[byte >> 4] +
                                  kHex[byte & 15] + " at offset " + std::to_string(position) +
                                  " is not UTF-8");
}

}  // namespace collegium::core
