#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// How text is cut into pieces that merges never cross.
enum class BpePattern {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kGpt2,
  // Every digit alone first, then kGpt2 between them. This is what the model was trained with and
  // what llama.cpp does for "smollm".
  kSmolLm,
  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  // \s*[\r\n]+|\s+(?!\S)|\s+
  kLlama3,
  // The same with \p{N} alone instead of up to three.
  kQwen2,
  // [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
  //  ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  kDeepSeekV3,
  // Runs, which leave what is between them to the pattern behind them (bpe_runs.h).
  kLineEnds,                 // [\r\n]
  kTrailingSpaces,           // \s+$
  kCasedLetters,             // \s?[A-Za-z and so on]+
  kAsciiAndWidePunctuation,  // \s?[!-/:-~ and so on]+
  kIdeographs,               // [ideographs, Hangul and much beside]+
  kIdeographsAndKana,
  kLetters,       // \s?\p{L}+
  kPunctuation,   // \s?\p{P}+
  kNumber,        // \p{N}
  kThreeNumbers,  // \p{N}{1,3}
  kNumbers,       // \p{N}+
};

// What a name in `tokenizer.ggml.pre` stands for.
struct BpePre {
  std::string_view name;
  std::span<const BpePattern> patterns;  // each cuts the pieces of the one before
  bool composed = false;                 // text is brought into the form NFC first
  bool whole_tokens = false;  // a piece that is a token is that token whatever its merges say
};
// not_supported, by name, for one that is not run here.
Result<BpePre> bpe_pre(std::string_view name);

// The pattern a tokenizer.json spells as a regular expression, or none: regular expressions are
// known by their spelling here, not run.
std::optional<BpePattern> bpe_pattern_of_regex(std::string_view regex);

// The pieces of `text` in order; together they cover it. `text` must be valid UTF-8.
// Linear in the text.
std::vector<ByteSpan> split_bpe_pieces(std::string_view text, std::span<const BpePattern> patterns);
// Those of one pattern for text[begin, end), added to `pieces`.
void append_bpe_pieces(std::string_view text, std::size_t begin, std::size_t end,
                       BpePattern pattern, std::vector<ByteSpan>& pieces);

// Whether the Digits pre-tokeniser cuts at `c`.
bool is_bpe_digit(char32_t c);

}  // namespace collegium::core
