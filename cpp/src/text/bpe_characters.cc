#include "text/bpe_characters.h"

#include <algorithm>

namespace collegium::core {

std::uint8_t look_up_bpe_classes(std::uint32_t code_point) {
  const CodePointRange* end = kBpeRanges + kNumBpeRanges;
  const CodePointRange* range =
      std::upper_bound(kBpeRanges, end, code_point,
                       [](std::uint32_t c, const CodePointRange& r) { return c < r.first; });
  if (range == kBpeRanges) return 0;
  --range;
  return code_point <= range->last ? range->classes : std::uint8_t{0};
}

std::size_t bpe_white_space_end(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t last = begin;
  std::size_t line_end = begin;
  std::size_t stop = begin;
  while (stop < end) {
    const BpeCharacter c = bpe_character_at(text, stop);
    if ((c.classes & kBpeSpace) == 0) break;
    last = stop;
    stop = c.end;
    if (is_bpe_line_end(c.code_point)) line_end = stop;
  }
  if (line_end > begin) return line_end;
  return stop < end && last > begin ? last : stop;
}

}  // namespace collegium::core
