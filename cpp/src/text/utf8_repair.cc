#include "text/utf8_repair.h"

#include <cstddef>
#include <cstdint>

namespace collegium::core {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of the character `lead` begins; 0: none begins so.
std::size_t character_length(std::uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// May `byte` stand at `position` > 0 of a character that begins with `lead`? Only the second byte
// is bound by the first: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool may_follow(std::uint8_t lead, std::size_t position, std::uint8_t byte) {
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xBF;
  if (position == 1) {
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  return byte >= low && byte <= high;
}

}  // namespace

std::string Utf8Repair::push(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (!pending_.empty()) {
      const auto lead = static_cast<std::uint8_t>(pending_[0]);
      if (may_follow(lead, pending_.size(), byte)) {
        pending_.push_back(c);
        if (pending_.size() == character_length(lead)) {
          out += pending_;
          pending_.clear();
        }
        continue;
      }
      out += kReplacement;
      pending_.clear();
    }
    switch (character_length(byte)) {
      case 0:
        out += kReplacement;
        break;
      case 1:
        out.push_back(c);
        break;
      default:
        pending_.push_back(c);
    }
  }
  return out;
}

std::string Utf8Repair::finish() {
  std::string out;
  if (!pending_.empty()) out = kReplacement;
  pending_.clear();
  return out;
}

std::string repair_utf8(std::string_view bytes) {
  Utf8Repair repair;
  std::string out = repair.push(bytes);
  out += repair.finish();
  return out;
}

}  // namespace collegium::core
