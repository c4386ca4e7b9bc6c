#include "text/unicode.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "text/hangul.h"

namespace collegium::core {
namespace {

struct FlagRange {
  char32_t first;
  char32_t last;
  std::uint8_t value;
};
struct LowerRange {
  char32_t first;
  char32_t last;
  std::uint8_t step;
  std::int32_t delta;
};
struct Decomposition {
  char32_t code_point;
  char32_t parts[4];  // 0 behind the last
};

#include "text/unicode_tables.inc"

// The only code point whose lower case is two: LATIN CAPITAL LETTER I WITH DOT ABOVE.
constexpr char32_t kDottedI = 0x130;

// The range that holds `c`, or null.
template <typename Range, std::size_t size>
const Range* find_range(const Range (&ranges)[size], char32_t c) noexcept {
  const Range* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), c,
                       [](char32_t value, const Range& range) { return value < range.first; });
  if (after == std::begin(ranges)) return nullptr;
  const Range* range = after - 1;
  return c <= range->last ? range : nullptr;
}

}  // namespace

const UnicodeTables& UnicodeTables::get() {
  static const UnicodeTables tables;
  return tables;
}

UnicodeTables::UnicodeTables() {
  std::vector<std::uint8_t> all(0x110000, 0);
  for (const FlagRange& range : kFlagRanges) {
    for (char32_t c = range.first; c <= range.last; ++c) all[c] |= range.value;
  }
  for (const FlagRange& range : kCombiningRanges) {
    for (char32_t c = range.first; c <= range.last; ++c) all[c] |= kCombines;
  }
  for (const LowerRange& range : kLowerRanges) {
    for (char32_t c = range.first; c <= range.last; c += range.step) all[c] |= kLowers;
  }
  all[kDottedI] |= kLowers;
  for (const Decomposition& entry : kDecompositions) all[entry.code_point] |= kDecomposes;
  for (char32_t c = kHangulFirst; c < kHangulEnd; ++c) all[c] |= kDecomposes;

  std::map<std::vector<std::uint8_t>, std::uint16_t> known;
  for (std::size_t i = 0; i < block_of_.size(); ++i) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(i << kBlockBits);
    std::vector<std::uint8_t> block(begin, begin + static_cast<std::ptrdiff_t>(kBlockSize));
    const auto [at, fresh] = known.try_emplace(block, static_cast<std::uint16_t>(known.size()));
    if (fresh) blocks_.insert(blocks_.end(), block.begin(), block.end());
    block_of_[i] = at->second;
  }
}

std::size_t UnicodeTables::decompose(char32_t c, std::span<char32_t, 4> out) const noexcept {
  out[0] = c;
  if (!(flags(c) & kDecomposes)) return 1;
  if (c >= kHangulFirst && c < kHangulEnd) {
    const char32_t syllable = c - kHangulFirst;
    out[0] = kLeadFirst + syllable / (kVowels * kTails);
    out[1] = kVowelFirst + syllable / kTails % kVowels;
    out[2] = kTailBefore + syllable % kTails;
    return out[2] == kTailBefore ? 2 : 3;
  }
  const Decomposition* entry =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), c,
                       [](const Decomposition& e, char32_t value) { return e.code_point < value; });
  std::size_t count = 0;
  while (count < 4 && entry->parts[count] != 0) {
    out[count] = entry->parts[count];
    ++count;
  }
  return count;
}

std::uint8_t UnicodeTables::combining_class(char32_t c) const noexcept {
  if (!(flags(c) & kCombines)) return 0;
  return find_range(kCombiningRanges, c)->value;
}

std::size_t UnicodeTables::lower(char32_t c, std::span<char32_t, 2> out) const noexcept {
  out[0] = c;
  if (!(flags(c) & kLowers)) return 1;
  if (c == kDottedI) {
    out[0] = U'i';
    out[1] = 0x307;
    return 2;
  }
  const LowerRange* range = find_range(kLowerRanges, c);
  out[0] = static_cast<char32_t>(static_cast<std::int32_t>(c) + range->delta);
  return 1;
}

}  // namespace collegium::core
