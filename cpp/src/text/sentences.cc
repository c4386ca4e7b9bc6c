#include <algorithm>
#include <array>
#include <iterator>

#include "collegium/core/text/passages.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

constexpr std::size_t kNone = std::size_t(-1);
// A line shorter than this that another follows was broken on purpose: it is a heading, an entry
// of a list, a line of a table. Prose is wrapped later.
constexpr std::size_t kShortLine = 40;        // bytes
constexpr std::size_t kMaxAbbreviation = 16;  // bytes

// Never the end of a sentence with a point behind them, lower case, sorted.
constexpr std::string_view kAbbreviations[] = {
    "adj", "adm",  "al",   "approx", "arr", "assoc", "ave",    "bd",   "bldg", "bros",
    "ca",  "capt", "cf",   "cmdr",   "col", "comp",  "conf",   "def",  "dept", "dr",
    "ed",  "eds",  "eq",   "eqs",    "esp", "est",   "fig",    "figs", "gen",  "gov",
    "hon", "ibid", "incl", "lt",     "maj", "max",   "messrs", "min",  "mr",   "mrs",
    "ms",  "mt",   "orig", "prof",   "ref", "refs",  "rep",    "resp", "rev",  "sen",
    "sgt", "sr",   "st",   "univ",   "viz", "vs",    "vol",    "vols",
};
// These when a number follows.
constexpr std::string_view kBeforeNumbers[] = {"art",  "ch", "chap", "no",   "nos", "nr", "p",
                                               "para", "pp", "sec",  "sect", "tab", "ver"};
// The end of a sentence only when a capital follows.
constexpr std::string_view kBeforeCapitals[] = {
    "apr", "aug", "blvd", "co",  "corp", "dec", "etc", "feb", "inc", "jan",
    "jr",  "jul", "jun",  "ltd", "mar",  "nov", "oct", "rd",  "sep", "sept",
};

template <std::size_t size>
bool contains(const std::string_view (&words)[size], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

bool is_plain_terminator(char32_t c) {
  return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x203c || c == 0x203d ||
         (c >= 0x2047 && c <= 0x2049) || c == 0x0589 || c == 0x061f || c == 0x06d4 || c == 0x0964 ||
         c == 0x0965 || c == 0x1362;
}
// These need no space behind them.
bool is_wide_terminator(char32_t c) {
  return c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f || c == 0xff61;
}
bool is_closer(char32_t c) {
  return c == '"' || c == '\'' || c == ')' || c == ']' || c == '}' || c == 0x2019 || c == 0x201d ||
         c == 0xbb || c == 0x203a || c == 0x3009 || c == 0x300b || c == 0x300d || c == 0x300f ||
         c == 0x3011 || c == 0xff09 || c == 0xff3d || c == 0xff63;
}
bool is_opener(char32_t c) {
  return c == '"' || c == '\'' || c == '(' || c == '[' || c == '{' || c == 0x2018 || c == 0x201c ||
         c == 0xab || c == 0x2039 || c == 0xbf || c == 0xa1;
}
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_ascii_letter(char32_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }
bool is_upper(char32_t c) { return UnicodeTables::get().flags(c) & UnicodeTables::kLowers; }
bool is_lower(char32_t c) {  // of the scripts that begin sentences with capitals
  return (c >= 'a' && c <= 'z') || (c >= 0xdf && c <= 0xff && c != 0xf7) ||
         (c >= 0x3ac && c <= 0x3ce) || (c >= 0x430 && c <= 0x45f);
}
// Line breaks within white space: two make a blank line.
int line_breaks(char32_t c) {
  if (c == 0x2029) return 2;
  return c == '\n' || c == 0x0b || c == 0x0c || c == 0x85 || c == 0x2028 ? 1 : 0;
}

class SentenceSplitter {
 public:
  explicit SentenceSplitter(std::string_view text)
      : text_(text), valid_(find_invalid_utf8(text) == text.size()) {}

  std::vector<ByteSpan> run() {
    for (std::size_t position = 0; position < text_.size();) {
      std::size_t next = position;
      const char32_t c = read(next);
      if (is_white_space(c)) {
        position = space(position);
        continue;
      }
      if (begin_ == kNone) begin_ = position;
      if (is_plain_terminator(c) || is_wide_terminator(c)) {
        position = terminators(position);
        continue;
      }
      if (is_opener(c) && word_ == position) word_ = next;
      end_ = position = next;
    }
    close();
    return std::move(spans_);
  }

 private:
  // The character at `position`, which moves behind it; a byte of broken UTF-8 counts as a letter.
  char32_t read(std::size_t& position) const {
    if (valid_) return decode_utf8(text_, position);
    const auto byte = static_cast<unsigned char>(text_[position++]);
    return byte < 0x80 ? byte : U'\u4e00';
  }
  char32_t peek(std::size_t position) const {
    return position < text_.size() ? read(position) : U'\0';
  }

  void close() {
    if (begin_ != kNone) spans_.push_back({begin_, end_});
    begin_ = kNone;
  }

  // White space from `position`: returns where it ends.
  std::size_t space(std::size_t position) {
    int breaks = 0;
    while (position < text_.size()) {
      std::size_t next = position;
      const char32_t c = read(next);
      if (!is_white_space(c)) break;
      breaks += line_breaks(c);
      position = next;
    }
    if (breaks > 1 || (breaks == 1 && line_break_ends(position))) close();
    if (breaks > 0) line_ = position;
    word_ = position;
    return position;
  }

  // Whether the line break before `next` ends a sentence.
  bool line_break_ends(std::size_t next) const {
    if (text_[line_] == '#' || begins_item(next)) return true;
    return end_ - line_ < kShortLine && !is_lower(peek(next));
  }

  // Whether a line starts as a heading, a quotation, a row or an item of a list does.
  bool begins_item(std::size_t position) const {
    const char32_t c = peek(position);
    if (c == '#' || c == '|' || c == '>' || c == 0x2022) return true;
    if (c == '-' || c == '*' || c == '+') return peek(position + 1) == ' ';
    std::size_t end = position;
    while (end < position + 3 && is_digit(peek(end))) ++end;
    return end > position && (peek(end) == '.' || peek(end) == ')') && peek(end + 1) == ' ';
  }

  // Sentence-ending characters from `position`: returns where they, and what closes behind them,
  // end.
  std::size_t terminators(std::size_t position) {
    const std::size_t first = position;
    bool wide = false;
    bool only_points = true;
    while (position < text_.size()) {
      std::size_t next = position;
      const char32_t c = read(next);
      if (!is_plain_terminator(c) && !is_wide_terminator(c)) break;
      wide |= is_wide_terminator(c);
      only_points &= c == '.';
      position = next;
    }
    const bool one_point = only_points && position == first + 1;
    while (position < text_.size()) {
      std::size_t next = position;
      if (is_closer(read(next))) {
        position = next;
      } else if (const std::size_t end = citation_end(position); end != position) {
        position = end;
      } else {
        break;
      }
    }
    end_ = position;
    const bool spaced = position == text_.size() || is_white_space(peek(position));
    if (wide || (spaced && ends_sentence(first, one_point, position))) close();
    return position;
  }

  // "[12]" behind a point belongs to the sentence before it.
  std::size_t citation_end(std::size_t position) const {
    if (peek(position) != '[') return position;
    std::size_t end = position + 1;
    while (end < position + 5 && is_digit(peek(end))) ++end;
    return end > position + 1 && peek(end) == ']' ? end + 1 : position;
  }

  // `point`: where the sentence-ending characters start; `after`: the white space behind them.
  bool ends_sentence(std::size_t point, bool one_point, std::size_t after) const {
    std::size_t position = after;
    char32_t following = 0;
    while (position < text_.size()) {
      following = read(position);
      if (!is_white_space(following) && !is_opener(following)) break;
      following = 0;
    }
    if (following == 0) return true;
    if (!one_point) return !is_lower(following);
    return point <= word_ || !is_abbreviation(text_.substr(word_, point - word_), following);
  }

  // Whether `word` (what stands before the point) makes the point part of itself.
  bool is_abbreviation(std::string_view word, char32_t following) const {
    if (word.size() > kMaxAbbreviation) return false;
    std::array<char, kMaxAbbreviation> lowered;
    std::size_t letters = 0;
    std::size_t points = 0;
    bool short_parts = true;  // "e.g", "U.S", "Ph.D": at most two letters between points
    std::size_t part = 0;
    for (std::size_t i = 0; i < word.size(); ++i) {
      const auto c = static_cast<unsigned char>(word[i]);
      lowered[i] = static_cast<char>(is_ascii_letter(c) ? c | 0x20 : c);
      if (c == '.') {
        ++points;
        part = 0;
        continue;
      }
      if (is_digit(c)) {
        short_parts = false;
        continue;
      }
      ++letters;
      if (++part > 2 || !is_ascii_letter(c)) short_parts = false;
    }
    const std::string_view lower(lowered.data(), word.size());
    const bool capital_follows = is_upper(following);
    if (letters == 0) return word_ == line_ && points == 0;  // "1." before an item
    if (valid_ && word.size() == utf8_length(word[0])) {
      std::size_t start = 0;
      if (is_upper(decode_utf8(word, start))) return true;  // an initial
      return is_ascii_letter(static_cast<unsigned char>(word[0])) && !capital_follows;
    }
    if (points > 0 && short_parts) {
      if (lower == "a.m" || lower == "p.m") return !capital_follows;
      return true;
    }
    if (contains(kAbbreviations, lower)) return true;
    if (contains(kBeforeNumbers, lower)) return is_digit(following);
    if (contains(kBeforeCapitals, lower)) return !capital_follows;
    return false;
  }

  std::string_view text_;
  bool valid_;
  std::vector<ByteSpan> spans_;
  std::size_t begin_ = kNone;  // of the sentence, once it has begun
  std::size_t end_ = 0;        // behind its last character
  std::size_t word_ = 0;       // of the word, opening quotes and brackets left out
  std::size_t line_ = 0;       // first character of the line
};

}  // namespace

std::vector<ByteSpan> split_sentences(std::string_view text) {
  return SentenceSplitter(text).run();
}

}  // namespace collegium::core
