// Patterns of one run of characters, and DeepSeek's, which are sequences of them.
#include "text/bpe_runs.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "text/bpe_characters.h"
#include "text/bpe_tables.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

// Cased letters of an older Unicode, as the models' tokenizer.json lists them.
constexpr std::string_view kCasedLetters =
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-"
    "\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-"
    "\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-"
    "\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc"
    "\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-"
    "\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-"
    "\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-"
    "\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-"
    "\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-"
    "\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-"
    "\U000118df\U0001e900-\U0001e943";
constexpr std::string_view kAsciiAndWidePunctuation =
    "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002";
constexpr std::string_view kIdeographs = "\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff";
constexpr std::string_view kIdeographsAndKana = "\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff";

// One or more characters of a kind, in a piece.
struct Run {
  BpePattern pattern;
  bool space = false;        // one of white space may go before them
  std::uint8_t classes = 0;  // of these, or
  std::string_view class_name = {};
  std::string_view listed = {};  // of these, as between brackets
  int most = 0;                  // so many in a piece; 0: all there are
};

constexpr Run kRuns[] = {
    {.pattern = BpePattern::kLineEnds, .listed = "\r\n", .most = 1},
    {.pattern = BpePattern::kCasedLetters, .space = true, .listed = kCasedLetters},
    {.pattern = BpePattern::kAsciiAndWidePunctuation,
     .space = true,
     .listed = kAsciiAndWidePunctuation},
    {.pattern = BpePattern::kIdeographs, .listed = kIdeographs},
    {.pattern = BpePattern::kIdeographsAndKana, .listed = kIdeographsAndKana},
    {.pattern = BpePattern::kLetters, .space = true, .classes = kBpeLetter, .class_name = "\\p{L}"},
    {.pattern = BpePattern::kPunctuation,
     .space = true,
     .classes = kBpePunctuation,
     .class_name = "\\p{P}"},
    {.pattern = BpePattern::kNumber, .classes = kBpeNumber, .class_name = "\\p{N}", .most = 1},
    {.pattern = BpePattern::kThreeNumbers,
     .classes = kBpeNumber,
     .class_name = "\\p{N}",
     .most = 3},
    {.pattern = BpePattern::kNumbers, .classes = kBpeNumber, .class_name = "\\p{N}"},
};

constexpr std::string_view kTrailingSpacesRegex = R"(\s+$)";
constexpr std::string_view kDeepSeekV3Regex =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string as_regex(const Run& run) {
  std::string regex = run.space ? "\\s?" : "";
  regex += run.listed.empty() ? std::string(run.class_name) : "[" + std::string(run.listed) + "]";
  if (run.most != 1) regex += run.most == 0 ? "+" : "{1," + std::to_string(run.most) + "}";
  return with_spelled_line_ends(regex);
}

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;  // inclusive, by beginning

Ranges ranges_of(std::string_view listed) {
  Ranges ranges;
  for (std::size_t at = 0; at < listed.size();) {
    const std::uint32_t first = decode_utf8(listed, at);
    std::uint32_t last = first;
    if (at < listed.size() && listed[at] == '-') last = decode_utf8(listed, ++at);
    ranges.emplace_back(first, last);
  }
  std::ranges::sort(ranges);
  return ranges;
}

const Ranges& ranges_of(const Run& run) {
  static const auto all = [] {
    std::array<Ranges, std::size(kRuns)> made;
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = ranges_of(kRuns[i].listed);
    return made;
  }();
  return all[static_cast<std::size_t>(&run - kRuns)];
}

// Adds what matches and what is between. `match` gives, for a character, where what begins there
// ends, and where to look on if nothing does: behind it or further.
template <typename Match>
void split(std::string_view text, std::size_t begin, std::size_t end, Match match,
           std::vector<ByteSpan>& pieces) {
  std::size_t rest = begin;  // nothing from here on matched
  for (std::size_t at = begin; at < end;) {
    const auto [matched, next] = match(bpe_character_at(text, at), at);
    if (matched) {
      if (rest < at) pieces.push_back({rest, at});
      pieces.push_back({at, next});
      rest = next;
    }
    at = next;
  }
  if (rest < end) pieces.push_back({rest, end});
}

struct Matched {
  bool matched;
  std::size_t end;
};

void split_run(std::string_view text, std::size_t begin, std::size_t end, const Run& run,
               std::vector<ByteSpan>& pieces) {
  const Ranges& ranges = ranges_of(run);
  const auto is_member = [&](const BpeCharacter& c) {
    if (run.listed.empty()) return (c.classes & run.classes) != 0;
    auto range =
        std::ranges::upper_bound(ranges, c.code_point, {}, [](const auto& r) { return r.first; });
    // Neighbours may overlap by their ends, not more.
    return range != ranges.begin() && c.code_point <= (--range)->second;
  };
  const auto run_end = [&](std::size_t at) {
    for (int count = 0; at < end && (run.most == 0 || count < run.most); ++count) {
      const BpeCharacter c = bpe_character_at(text, at);
      if (!is_member(c)) break;
      at = c.end;
    }
    return at;
  };
  split(
      text, begin, end,
      [&](const BpeCharacter& first, std::size_t at) -> Matched {
        if (run.space && (first.classes & kBpeSpace) != 0)
          if (const std::size_t stop = run_end(first.end); stop > first.end) return {true, stop};
        if (is_member(first)) return {true, run_end(at)};
        return {false, first.end};
      },
      pieces);
}

// \s+$, where $ is the end or before a line feed, as in Oniguruma.
void split_trailing_spaces(std::string_view text, std::size_t begin, std::size_t end,
                           std::vector<ByteSpan>& pieces) {
  split(
      text, begin, end,
      [&](const BpeCharacter& first, std::size_t at) -> Matched {
        if ((first.classes & kBpeSpace) == 0) return {false, first.end};
        std::size_t line_feed = at;
        std::size_t stop = first.end;
        while (stop < end) {
          const BpeCharacter c = bpe_character_at(text, stop);
          if ((c.classes & kBpeSpace) == 0) break;
          if (c.code_point == '\n') line_feed = stop;
          stop = c.end;
        }
        if (stop == end) return {true, stop};
        return line_feed > at ? Matched{true, line_feed} : Matched{false, stop};
      },
      pieces);
}

bool is_ascii_letter(std::uint32_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

void split_deepseek_v3(std::string_view text, std::size_t begin, std::size_t end,
                       std::vector<ByteSpan>& pieces) {
  constexpr std::uint8_t kWord = kBpeLetter | kBpeMark;
  constexpr std::uint8_t kSign = kBpePunctuation | kBpeSymbol;
  const auto classes_at = [&](std::size_t at) {
    return at < end ? bpe_character_at(text, at).classes : std::uint8_t{0};
  };
  const auto run_end = [&](std::size_t at, std::uint8_t classes) {
    while (at < end) {
      const BpeCharacter c = bpe_character_at(text, at);
      if ((c.classes & classes) == 0) break;
      at = c.end;
    }
    return at;
  };
  const auto match = [&](const BpeCharacter& first, std::size_t at) -> Matched {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    // The class of ASCII signs is all of them.
    if (first.code_point < 128 && (first.classes & kSign) != 0 && first.end < end &&
        is_ascii_letter(byte(first.end))) {
      std::size_t stop = first.end;
      while (stop < end && is_ascii_letter(byte(stop))) ++stop;
      return {true, stop};
    }
    const bool may_lead = !is_bpe_line_end(first.code_point) &&
                          (first.classes & (kBpeLetter | kSign)) == 0 &&
                          (classes_at(first.end) & kWord) != 0;
    if (may_lead || (first.classes & kWord) != 0) return {true, run_end(first.end, kWord)};
    if ((first.classes & kSign) != 0 ||
        (first.code_point == ' ' && (classes_at(first.end) & kSign) != 0)) {
      std::size_t stop = run_end(first.end, kSign);
      while (stop < end && is_bpe_line_end(byte(stop))) ++stop;
      return {true, stop};
    }
    if ((first.classes & kBpeSpace) == 0) return {false, first.end};
    return {true, bpe_white_space_end(text, at, end)};
  };
  split(text, begin, end, match, pieces);
}

}  // namespace

std::string with_spelled_line_ends(std::string_view regex) {
  std::string spelled;
  for (const char c : regex) {
    if (c == '\r')
      spelled += "\\r";
    else if (c == '\n')
      spelled += "\\n";
    else
      spelled += c;
  }
  return spelled;
}

std::optional<BpePattern> bpe_run_of_regex(std::string_view regex) {
  if (regex == kTrailingSpacesRegex) return BpePattern::kTrailingSpaces;
  if (regex == kDeepSeekV3Regex) return BpePattern::kDeepSeekV3;
  for (const Run& run : kRuns)
    if (regex == as_regex(run)) return run.pattern;
  return {};
}

void append_bpe_runs(std::string_view text, std::size_t begin, std::size_t end, BpePattern pattern,
                     std::vector<ByteSpan>& pieces) {
  if (pattern == BpePattern::kTrailingSpaces) {
    split_trailing_spaces(text, begin, end, pieces);
    return;
  }
  for (const Run& run : kRuns) {
    if (run.pattern != pattern) continue;
    split_run(text, begin, end, run, pieces);
    return;
  }
  split_deepseek_v3(text, begin, end, pieces);
}

}  // namespace collegium::core
