#include "text/bpe_characters.h"

#include <algorithm>
#include <array>

#include "text/bpe_tables.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

std::uint8_t look_up_classes(std::uint32_t code_point) {
  const CodePointRange* end = kBpeRanges + kNumBpeRanges;
  const CodePointRange* range =
      std::upper_bound(kBpeRanges, end, code_point,
                       [](std::uint32_t c, const CodePointRange& r) { return c < r.first; });
  if (range == kBpeRanges) return 0;
  --range;
  return code_point <= range->last ? range->classes : std::uint8_t{0};
}

}  // namespace

std::uint8_t bpe_classes_of(std::uint32_t code_point) {
  static const std::array<std::uint8_t, 256> low = [] {
    std::array<std::uint8_t, 256> table{};
    for (std::uint32_t c = 0; c < table.size(); ++c) table[c] = look_up_classes(c);
    return table;
  }();
  return code_point < low.size() ? low[code_point] : look_up_classes(code_point);
}

BpeCharacter bpe_character_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  const std::uint32_t code_point = decode_utf8(text, end);
  return {code_point, bpe_classes_of(code_point), end};
}

}  // namespace collegium::core
