#include "text/unicode_forms.h"

#include <iterator>

#include "text/hangul.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

struct Composition {
  char32_t first;
  char32_t second;
  char32_t whole;
};
struct FormRange {
  char32_t first;
  char32_t last;
  std::uint8_t value;
};

#include "text/unicode_form_tables.inc"

constexpr char32_t kCodePoints = 0x110000;
constexpr char32_t kJoiner = 0x200D;

// Classes of grapheme clusters in the table; the last two are of Hangul syllables.
enum Cluster : std::uint8_t {
  kOther = 0,
  kAttach = 1,  // belongs to what is before it
  kPrepend = 2,
  kControl = 3,
  kLead = 4,
  kVowel = 5,
  kTail = 6,
  kLeadVowel = 7,
  kLeadVowelTail = 8,
  kPictograph = 9,
  kClassBits = 15,
  kConsonant = 16,  // one and the next are one cluster if a linker is between them
  kLinker = 32,
  kBetween = 64,  // may be there besides
};

std::uint64_t pair_of(char32_t first, char32_t second) {
  return std::uint64_t{first} << 32 | second;
}

}  // namespace

const UnicodeForms& UnicodeForms::get() {
  static const UnicodeForms forms;
  return forms;
}

UnicodeForms::UnicodeForms() : flags_(kCodePoints, 0), clusters_(kCodePoints, 0) {
  for (std::size_t i = 0; i < std::size(kCompatibilityDecompositions);
       i += 2 + kCompatibilityDecompositions[i + 1]) {
    compatible_[kCompatibilityDecompositions[i]] = i + 1;
    flags_[kCompatibilityDecompositions[i]] |= kHasCompatible;
  }
  for (const Composition& c : kCompositions) {
    compositions_[pair_of(c.first, c.second)] = c.whole;
    flags_[c.second] |= kMayChangeNfc;
  }
  const auto mark = [](std::vector<std::uint8_t>& in, std::span<const FormRange> ranges,
                       bool is_flag, std::uint8_t flag) {
    for (const FormRange& range : ranges)
      for (char32_t c = range.first; c <= range.last; ++c) in[c] |= is_flag ? flag : range.value;
  };
  mark(flags_, kMarkRanges, true, kMark);
  mark(flags_, kWordRanges, true, kWord);
  mark(clusters_, kClusterRanges, false, 0);
  for (char32_t c = kHangulFirst; c < kHangulEnd; ++c)
    clusters_[c] = (c - kHangulFirst) % kTails == 0 ? kLeadVowel : kLeadVowelTail;
  for (char32_t c = kVowelFirst; c < kVowelFirst + kVowels; ++c) flags_[c] |= kMayChangeNfc;
  for (char32_t c = kTailBefore + 1; c < kTailBefore + kTails; ++c) flags_[c] |= kMayChangeNfc;
  const UnicodeTables& tables = UnicodeTables::get();
  for (char32_t c = 0; c < kCodePoints; ++c) {
    if (tables.flags(c) & UnicodeTables::kCombines) flags_[c] |= kMayChangeNfc;
    if (!(tables.flags(c) & UnicodeTables::kDecomposes)) continue;
    if (c >= kHangulFirst && c < kHangulEnd) continue;
    // Those that come out of composition again are kept, if nothing follows.
    std::array<char32_t, 4> parts;
    const std::size_t count = tables.decompose(c, parts);
    char32_t whole = parts[0];
    for (std::size_t i = 1; i < count && whole != 0; ++i) whole = compose(whole, parts[i]);
    if (whole != c) flags_[c] |= kMayChangeNfc;
  }
}

std::size_t UnicodeForms::decompose_compatible(char32_t c,
                                               std::span<char32_t, kMaxParts> out) const {
  if (flags_[c] & kHasCompatible) {
    const std::size_t at = compatible_.find(c)->second;
    const std::size_t count = kCompatibilityDecompositions[at];
    for (std::size_t i = 0; i < count; ++i) out[i] = kCompatibilityDecompositions[at + 1 + i];
    return count;
  }
  return UnicodeTables::get().decompose(c, out.first<4>());
}

char32_t UnicodeForms::compose(char32_t first, char32_t second) const {
  if (first >= kLeadFirst && first < kLeadFirst + kLeads) {
    if (second >= kVowelFirst && second < kVowelFirst + kVowels)
      return kHangulFirst + ((first - kLeadFirst) * kVowels + (second - kVowelFirst)) * kTails;
    return 0;
  }
  if (first >= kHangulFirst && first < kHangulEnd) {
    if (second > kTailBefore && second < kTailBefore + kTails &&
        (first - kHangulFirst) % kTails == 0)
      return first + (second - kTailBefore);
    return 0;
  }
  const auto found = compositions_.find(pair_of(first, second));
  return found == compositions_.end() ? 0 : found->second;
}

std::size_t UnicodeForms::cluster_end(std::string_view text, std::size_t begin) const {
  std::size_t at = begin;
  char32_t before = decode_utf8(text, at);
  std::uint8_t seen = clusters_[before];
  // What the two rules that look further back have seen of this cluster.
  bool pictograph = (seen & kClassBits) == kPictograph;  // then only what attaches
  bool joined = false;                                   // and a joiner last
  bool consonant = seen & kConsonant;                    // then linkers and what may be between
  bool linker = false;
  while (at < text.size()) {
    std::size_t next_at = at;
    const char32_t c = decode_utf8(text, next_at);
    const std::uint8_t next = clusters_[c];
    const auto left = static_cast<std::uint8_t>(seen & kClassBits);
    const auto right = static_cast<std::uint8_t>(next & kClassBits);
    bool together = false;
    if (before == '\r' && c == '\n') {
      together = true;
    } else if (left == kControl || right == kControl) {
      together = false;
    } else if (right == kAttach || left == kPrepend) {
      together = true;
    } else if (left == kLead) {
      together =
          right == kLead || right == kVowel || right == kLeadVowel || right == kLeadVowelTail;
    } else if (left == kLeadVowel || left == kVowel) {
      together = right == kVowel || right == kTail;
    } else if (left == kLeadVowelTail || left == kTail) {
      together = right == kTail;
    } else if (joined && right == kPictograph) {
      together = true;
    } else if (consonant && linker && (next & kConsonant)) {
      together = true;
    }
    if (!together) break;
    if (right != kAttach) pictograph = right == kPictograph;
    joined = pictograph && c == kJoiner;
    if (next & kConsonant) {
      consonant = true;
      linker = false;
    } else if (consonant && (next & kLinker)) {
      linker = true;
    } else if (!(next & kBetween)) {
      consonant = false;
      linker = false;
    }
    before = c;
    seen = next;
    at = next_at;
  }
  return at;
}

}  // namespace collegium::core
