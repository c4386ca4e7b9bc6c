#include "text/bpe_pretokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "io/in_quotes.h"
#include "text/bpe_characters.h"
#include "text/bpe_runs.h"
#include "text/bpe_tables.h"

namespace collegium::core {
namespace {

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
    const BpeCharacter c = bpe_character_at(text, at);
    if (run_of(c.classes) != kind) break;
    at = c.end;
  }
  return at;
}

void split_gpt2(std::string_view text, std::size_t begin, std::size_t end,
                std::vector<ByteSpan>& pieces) {
  while (begin < end) {
    const BpeCharacter first = bpe_character_at(text, begin);
    std::size_t stop = 0;
    if (first.code_point == '\'') stop = contraction_length(text.substr(begin, end - begin));
    if (stop != 0) {
      stop += begin;
    } else if (run_of(first.classes) != Run::kSpaces) {
      stop = run_end(text, first.end, end, run_of(first.classes));
    } else {
      const Run next = first.code_point == ' ' && first.end < end
                           ? run_of(bpe_character_at(text, first.end).classes)
                           : Run::kSpaces;
      if (next != Run::kSpaces) {
        stop = run_end(text, first.end, end, next);
      } else {
        // \s+(?!\S): all the spaces up to the end, else all but the last, which may go with the
        // word after it; \s+: a single one.
        std::size_t last = begin;
        stop = begin;
        while (stop < end) {
          const BpeCharacter c = bpe_character_at(text, stop);
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

// Length of the contraction in either case that starts `text`, or 0. U+017F is an s too.
std::size_t any_case_contraction_length(std::string_view text) {
  constexpr std::string_view kLongS = "\xc5\xbf";
  if (text.substr(1).starts_with(kLongS)) return 1 + kLongS.size();
  std::array<char, 3> lowered{};
  const std::size_t size = std::min(text.size(), lowered.size());
  for (std::size_t i = 0; i < size; ++i)
    lowered[i] = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
  return contraction_length(std::string_view(lowered.data(), size));
}

// One piece of kLlama3 or kQwen2 after another; `numbers` at most are a piece.
void split_llama3(std::string_view text, std::size_t begin, std::size_t end, int numbers,
                  std::vector<ByteSpan>& pieces) {
  const auto next_run = [&](std::size_t at) {
    return at < end ? run_of(bpe_character_at(text, at).classes) : Run::kSpaces;
  };
  while (begin < end) {
    const BpeCharacter first = bpe_character_at(text, begin);
    const Run run = run_of(first.classes);
    std::size_t stop = 0;
    if (first.code_point == '\'' &&
        (stop = any_case_contraction_length(text.substr(begin, end - begin))) != 0) {
      stop += begin;
    } else if (run == Run::kLetters ||
               (run != Run::kNumbers && !is_bpe_line_end(first.code_point) &&
                next_run(first.end) == Run::kLetters)) {
      stop = run_end(text, first.end, end, Run::kLetters);
    } else if (run == Run::kNumbers) {
      stop = first.end;
      for (int i = 1; i < numbers && next_run(stop) == Run::kNumbers; ++i)
        stop = bpe_character_at(text, stop).end;
    } else if (run == Run::kOther ||
               (first.code_point == ' ' && next_run(first.end) == Run::kOther)) {
      stop = run_end(text, first.end, end, Run::kOther);
      while (stop < end && is_bpe_line_end(static_cast<unsigned char>(text[stop]))) ++stop;
    } else {
      stop = bpe_white_space_end(text, begin, end);
    }
    pieces.push_back({begin, stop});
    begin = stop;
  }
}

}  // namespace

Result<BpePre> bpe_pre(std::string_view name) {
  // Several names stand for one pattern: whoever writes a file names the tokenizer it came from.
  // Composed are those whose models had it so in training, which llama.cpp leaves out.
  static constexpr BpePattern kGpt2[] = {BpePattern::kGpt2};
  static constexpr BpePattern kSmolLm[] = {BpePattern::kSmolLm};
  static constexpr BpePattern kLlama3[] = {BpePattern::kLlama3};
  static constexpr BpePattern kQwen2[] = {BpePattern::kQwen2};
  static constexpr BpePattern kDeepSeekLlm[] = {
      BpePattern::kLineEnds,       BpePattern::kCasedLetters, BpePattern::kAsciiAndWidePunctuation,
      BpePattern::kTrailingSpaces, BpePattern::kIdeographs,   BpePattern::kNumbers};
  static constexpr BpePattern kDeepSeekCoder[] = {BpePattern::kLineEnds, BpePattern::kLetters,
                                                  BpePattern::kPunctuation, BpePattern::kIdeographs,
                                                  BpePattern::kNumber};
  static constexpr BpePattern kDeepSeekV3[] = {
      BpePattern::kThreeNumbers, BpePattern::kIdeographsAndKana, BpePattern::kDeepSeekV3};
  static constexpr BpePre kKnown[] = {
      {.name = "gpt-2", .patterns = kGpt2},
      {.name = "gpt2", .patterns = kGpt2},
      {.name = "olmo", .patterns = kGpt2, .composed = true},  // GPT-NeoX's
      {.name = "smollm", .patterns = kSmolLm},
      {.name = "refact", .patterns = kSmolLm},  // Granite's
      {.name = "starcoder", .patterns = kSmolLm},
      {.name = "llama-bpe", .patterns = kLlama3, .whole_tokens = true},
      {.name = "llama3", .patterns = kLlama3, .whole_tokens = true},
      {.name = "llama-v3", .patterns = kLlama3, .whole_tokens = true},
      {.name = "falcon3", .patterns = kLlama3, .whole_tokens = true},
      {.name = "dbrx", .patterns = kLlama3},  // OLMo 2's
      {.name = "smaug-bpe", .patterns = kLlama3},
      {.name = "qwen2", .patterns = kQwen2, .composed = true},
      {.name = "deepseek-r1-qwen", .patterns = kQwen2, .composed = true},
      {.name = "deepseek-llm", .patterns = kDeepSeekLlm},  // DeepSeek-V2's, too
      {.name = "deepseek-coder", .patterns = kDeepSeekCoder},
      {.name = "deepseek-v3", .patterns = kDeepSeekV3},
  };
  std::string allowed;
  for (const BpePre& known : kKnown) {
    if (known.name == name) return known;
    allowed += (allowed.empty() ? "" : ", ") + std::string(known.name);
  }
  return Status::not_supported("tokenizer.ggml.pre: " + in_quotes(name) +
                               " is not run here; allowed: " + allowed);
}

std::vector<ByteSpan> split_bpe_pieces(std::string_view text,
                                       std::span<const BpePattern> patterns) {
  std::vector<ByteSpan> pieces;
  append_bpe_pieces(text, 0, text.size(), patterns.front(), pieces);
  std::vector<ByteSpan> before;
  for (const BpePattern pattern : patterns.subspan(1)) {
    before.swap(pieces);
    pieces.clear();
    for (const ByteSpan piece : before)
      append_bpe_pieces(text, piece.begin, piece.end, pattern, pieces);
  }
  return pieces;
}

void append_bpe_pieces(std::string_view text, std::size_t begin, std::size_t end,
                       BpePattern pattern, std::vector<ByteSpan>& pieces) {
  if (pattern == BpePattern::kGpt2) {
    split_gpt2(text, begin, end, pieces);
    return;
  }
  if (pattern == BpePattern::kLlama3 || pattern == BpePattern::kQwen2) {
    split_llama3(text, begin, end, pattern == BpePattern::kLlama3 ? 3 : 1, pieces);
    return;
  }
  if (pattern != BpePattern::kSmolLm) {
    append_bpe_runs(text, begin, end, pattern, pieces);
    return;
  }
  for (std::size_t at = begin; at < end;) {
    const BpeCharacter c = bpe_character_at(text, at);
    if (c.classes & kBpeDigit) {
      split_gpt2(text, begin, at, pieces);
      pieces.push_back({at, c.end});
      begin = c.end;
    }
    at = c.end;
  }
  split_gpt2(text, begin, end, pieces);
}

bool is_bpe_digit(char32_t c) { return bpe_classes_of(c) & kBpeDigit; }

std::optional<BpePattern> bpe_pattern_of_regex(std::string_view as_written) {
  const std::string regex = with_spelled_line_ends(as_written);
  constexpr std::string_view kGpt2Regex =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kLlama3Regex =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
      R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kQwen2Regex =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
      R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (regex == kGpt2Regex) return BpePattern::kGpt2;
  if (regex == kLlama3Regex) return BpePattern::kLlama3;
  if (regex == kQwen2Regex) return BpePattern::kQwen2;
  return bpe_run_of_regex(regex);
}

}  // namespace collegium::core
