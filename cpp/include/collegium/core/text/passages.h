#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// A passage: the unit that is embedded and retrieved. Offsets are bytes into the document's text.
struct PassageSpan {
  ByteSpan bytes;
  // The nearest Markdown heading above ("# ...", as CommonMark 0.31 has it: at most three spaces
  // before it, and not within a fenced block of code), or empty; at most 200 bytes of it.
  std::string section;
};

struct PassageOptions {
  // Tokens a passage may have, special tokens and its title included. Range [16, what the encoder
  // reads: Encoder::max_text_tokens(TextKind::kDocument)].
  std::size_t max_tokens = 256;
};

// Cuts `text` at sections, then paragraphs, then sentences, then words, so that
// passage_input(passage_title(title), passage) fits `options.max_tokens`; neighbours within a
// section are joined while they fit, and a heading without text goes with the section after it.
// Every byte of `text` that is not white space lies in exactly one passage: nothing is truncated.
// A single word that is longer than a passage is cut between characters (should one character
// alone be too many tokens, as a few ligatures can be under SentencePiece, it stands alone).
// Linear in the length of the text. `title` is the whole title. invalid_argument if title or text
// is not UTF-8 or max_tokens is below 16. An empty or all-space text gives no passage.
COLLEGIUM_API Result<std::vector<PassageSpan>> split_passages(std::string_view title,
                                                              std::string_view text,
                                                              const Tokenizer& tokenizer,
                                                              const PassageOptions& options = {});

// The title as the passages of its document carry it: trimmed, and if it takes more than a quarter
// of max_tokens, cut after the last word that fits in a quarter (a word longer than that: after
// a character). The title that is stored and shown stays whole. Same errors.
COLLEGIUM_API Result<std::string> passage_title(std::string_view title, const Tokenizer& tokenizer,
                                                const PassageOptions& options = {});

// What is embedded for a passage: "title passage" (as BEIR does), or the passage alone if there
// is no title. `title` is what passage_title() gave.
COLLEGIUM_API std::string passage_input(std::string_view title, std::string_view passage);

// True if `text` is empty or white space alone, of any script (Unicode's White_Space): it gives
// neither passage nor title. Pre: UTF-8.
COLLEGIUM_API bool is_blank(std::string_view text) noexcept;

// The sentences of `text`, without the white space around them: every other byte lies in exactly
// one span. A sentence ends at . ! ? or their like in other scripts, with the quotes, brackets and
// citation marks that close behind it; not at abbreviations, initials, numbers. A blank line always
// ends one; a line break does behind a short line, around headings and before list items. Linear.
// Bytes that are not UTF-8 count as letters.
COLLEGIUM_API std::vector<ByteSpan> split_sentences(std::string_view text);

}  // namespace collegium::core
