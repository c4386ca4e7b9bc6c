#include "text/bpe_pretokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>

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

std::uint8_t classes_of(std::uint32_t code_point) {
  static const std::array<std::uint8_t, 256> low = [] {
    std::array<std::uint8_t, 256> table{};
    for (std::uint32_t c = 0; c < table.size(); ++c) table[c] = look_up_classes(c);
    return table;
  }();
  return code_point < low.size() ? low[code_point] : look_up_classes(code_point);
}

struct Character {
  std::uint32_t code_point;
  std::uint8_t classes;
  std::size_t end;  // byte offset past it
};

// Reads the character at `begin` of valid UTF-8.
Character character_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  const std::uint32_t code_point = decode_utf8(text, end);
  return {code_point, classes_of(code_point), end};
}

// What ` ?X+` runs over: letters, numbers, or what is neither nor a space.
enum class Run { kLetters, kNumbers, kOther, kSpaces };

Run run_of(std::uint8_t classes) {
  if (classes & kBpeSpace) return Run::kSpaces;
  if (classes & kBpeLetter) return Run::kLetters;
  if (classes & kBpeNumber) return Run::kNumbers;
  return Run::kOther;
}

// Length of the contraction that starts `text`, or 0.
std::size_t contraction_length(std::string_view text) {
  for (const std::string_view c : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
    if (text.starts_with(c)) return c.size();
  return 0;
}

// The end of the run of `kind` that starts at `at`.
std::size_t run_end(std::string_view text, std::size_t at, std::size_t end, Run kind) {
  while (at < end) {
    const Character c = character_at(text, at);
    if (run_of(c.classes) != kind) break;
    at = c.end;
  }
  return at;
}

void split_gpt2(std::string_view text, std::size_t begin, std::size_t end,
                std::vector<ByteSpan>& pieces) {
  while (begin < end) {
    const Character first = character_at(text, begin);
    std::size_t stop = 0;
    if (first.code_point == '\'') stop = contraction_length(text.substr(begin, end - begin));
    if (stop != 0) {
      stop += begin;
    } else if (run_of(first.classes) != Run::kSpaces) {
      stop = run_end(text, first.end, end, run_of(first.classes));
    } else {
      const Run next = first.code_point == ' ' && first.end < end
                           ? run_of(character_at(text, first.end).classes)
                           : Run::kSpaces;
      if (next != Run::kSpaces) {
        stop = run_end(text, first.end, end, next);
      } else {
        // \s+(?!\S): all the spaces up to the end, else all but the last, which may go with the
        // word after it; \s+: a single one.
        std::size_t last = begin;
        stop = begin;
        while (stop < end) {
          const Character c = character_at(text, stop);
          if (run_of(c.classes) != Run::kSpaces) break;
          last = stop;
          stop = c.end;
        }
        if (stop < end && last > begin) stop = last;
      }
    }
    pieces.push_back({begin, stop});
    begin = stop;
  }
}

}  // namespace

Result<BpePattern> bpe_pattern(std::string_view name) {
  if (name == "gpt-2" || name == "gpt2") return BpePattern::kGpt2;
  if (name == "smollm") return BpePattern::kSmolLm;
  return Status::not_supported("tokenizer.ggml.pre: '" + std::string(name) +
                               "' is not run here; allowed: gpt-2, smollm");
}

std::vector<ByteSpan> split_bpe_pieces(std::string_view text, BpePattern pattern) {
  std::vector<ByteSpan> pieces;
  if (pattern == BpePattern::kGpt2) {
    split_gpt2(text, 0, text.size(), pieces);
    return pieces;
  }
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.classes & kBpeDigit) {
      split_gpt2(text, begin, at, pieces);
      pieces.push_back({at, c.end});
      begin = c.end;
    }
    at = c.end;
  }
  split_gpt2(text, begin, text.size(), pieces);
  return pieces;
}

}  // namespace collegium::core
