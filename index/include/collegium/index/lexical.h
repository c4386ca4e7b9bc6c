#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::index {

// How the words of a collection are found and scored; kept in the store. A passage's words are
// those of its document's title and its own.
//
// A word is a run of letters, marks and digits of any script (with ' between letters and . or ,
// between digits), in compatibility form (NFKC) and without case; a final 's is dropped. Scripts
// that put no spaces between words (Han, kana, Thai, Lao, Khmer, Myanmar) give each pair of
// neighbouring characters. An emoji is a word. Everything else separates words.
struct COLLEGIUM_API LexicalSettings {
  // BM25 as Lucene (since 8) has it, for a word of the query with frequency tf in a passage:
  //   idf * tf / (tf + k1 * (1 - b + b * words of the passage / mean words of a passage))
  //   idf = ln(1 + (N - df + 0.5) / (df + 0.5)), N passages, df of them with the word
  // A word counts as often as the query has it.
  double k1 = 1.2;  // [0, 1000]; 0: a word counts once however often it is there
  double b = 0.75;  // [0, 1]; 0: long passages are not held back
  // Snowball's algorithm by name ("english", "german", ...; see stemmers()); empty: words as they
  // are.
  std::string stemmer;
  // Words left out; they still take their place in a phrase. In any case, without stemming.
  std::vector<std::string> stop_words;
  // "cafe" finds "café": combining accents of Latin, Greek and Cyrillic are dropped.
  bool fold_accents = true;
  // A snake_case or camelCase name is found whole and by its parts.
  bool split_names = true;

  // invalid_argument names the field.
  Status validate() const;
  // The same words are found; k1 and b may differ.
  bool same_words(const LexicalSettings& other) const;
  static std::vector<std::string> stemmers();
  static std::vector<std::string> english_stop_words();
};

// One word as it was found in a text.
struct LexicalToken {
  std::string term;
  core::ByteSpan bytes;        // in the text
  std::uint32_t position = 0;  // words before it, stop words too; the parts of a name count
  // A name with parts; it stands where its first part does.
  bool whole_name = false;
};

// The words of `text`. invalid_argument when it is not UTF-8 or the settings are not valid.
COLLEGIUM_API Result<std::vector<LexicalToken>> lexical_tokens(std::string_view text,
                                                               const LexicalSettings& settings);

// What a lexical search looks for. A passage is a hit if it has at least one of the words that
// count, and all that is required, and nothing that is excluded. Words of what is required count as
// others do; several in one clause are a phrase: next to each other, in this order. Something
// required that no word is left of (stop words, signs) is passed over.
struct COLLEGIUM_API LexicalQuery {
  enum class Need : std::uint8_t { kOptional, kRequired, kExcluded };
  struct Clause {
    std::string text;
    Need need = Need::kOptional;
  };
  std::vector<Clause> clauses;
  // Hits say which words matched and where, at the price of reading their documents.
  bool explain = true;

  // What people write. Words are optional; "in quotes" is required as a phrase; +word is required,
  // -word and -"a phrase" are excluded. Signs count where a clause begins: behind white space, with
  // something right behind them. A quote that is not closed ends with the text. Everything is a
  // query; one with nothing to look for has no hits.
  static LexicalQuery parse(std::string_view text);
  // All of `text` as optional words, for questions in which signs mean nothing.
  static LexicalQuery words(std::string_view text);
};

// Why a passage matched: a word of the query (as it is in the index), what it gave to the score,
// and where it stands.
struct LexicalMatch {
  std::string term;
  float score = 0.0f;
  std::vector<core::ByteSpan> in_title;  // bytes of the document's title
  std::vector<core::ByteSpan> in_text;   // bytes of the document's text, within the passage
};

}  // namespace collegium::index
