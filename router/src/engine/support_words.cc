#include "engine/support_words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

#include "engine/support_letters.h"

namespace collegium::router {
namespace {

// Words that begin a sentence with a capital without naming anything, and carry no content.
constexpr std::array kFunctionWords = {
    "a",        "about",  "above",     "according", "add",    "after",       "all",       "also",
    "although", "an",     "and",       "any",       "are",    "as",          "at",        "be",
    "because",  "been",   "before",    "below",     "both",   "but",         "by",        "can",
    "could",    "did",    "do",        "does",      "during", "each",        "either",    "even",
    "every",    "first",  "finally",   "for",       "from",   "furthermore", "had",       "has",
    "have",     "he",     "hence",     "her",       "here",   "his",         "how",       "however",
    "i",        "if",     "in",        "instead",   "into",   "is",          "it",        "its",
    "just",     "like",   "many",      "may",       "might",  "more",        "moreover",  "most",
    "must",     "my",     "next",      "of",        "often",  "on",          "once",      "one",
    "only",     "or",     "other",     "our",       "over",   "passage",     "please",    "second",
    "she",      "should", "similarly", "since",     "so",     "some",        "such",      "than",
    "that",     "the",    "their",     "them",      "then",   "there",       "therefore", "these",
    "they",     "this",   "those",     "though",    "thus",   "to",          "under",     "until",
    "up",       "use",    "using",     "usually",   "very",   "was",         "we",        "were",
    "what",     "when",   "where",     "whether",   "which",  "while",       "who",       "why",
    "will",     "with",   "would",     "yes",       "you",    "your"};
constexpr std::array kNegations = {"no",  "not",  "never",   "cannot", "without", "neither",
                                   "nor", "none", "nothing", "nobody", "hardly"};

template <std::size_t n>
bool contains(const std::array<const char*, n>& words, std::string_view word) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return word == w; });
}

bool is_citation(std::string_view text, std::size_t at, std::size_t& end) {
  if (text[at] != '[') return false;
  std::size_t i = at + 1;
  while (i < text.size() && (is_digit(text[i]) || text[i] == ',' || text[i] == ' ')) ++i;
  if (i == at + 1 || i >= text.size() || text[i] != ']') return false;
  end = i + 1;
  return true;
}

bool joins_word(std::string_view text, std::size_t i) {
  if (i == 0 || i + 1 >= text.size()) return false;
  const char before = text[i - 1], after = text[i + 1];
  const bool inside =
      (is_letter(before) || is_digit(before)) && (is_letter(after) || is_digit(after));
  if (text[i] == '\'' || text[i] == '.' || text[i] == '-') return inside;
  return text[i] == ',' && is_digit(before) && is_digit(after);
}

// Whether a '-' behind `text` can be a sign: in "2-3" and "2021-07-09" it is none.
bool may_precede_sign(std::string_view text) {
  constexpr std::string_view kBefore = " \t\r\n([{=<>,;:/|*+^~\"'";
  return text.empty() || kBefore.find(text.back()) != kBefore.npos;
}

// Typographic quotes, dashes and spaces become those of ASCII; everything else of UTF-8 stays.
std::string plain_punctuation(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view three = text.substr(i, 3);
    if (three == "\u2018" || three == "\u2019") {
      result += '\'';
      i += 3;
    } else if (three == "\u2212") {
      result += '-';
      i += 3;
    } else if (three.size() == 3 && three >= "\u2010" && three <= "\u2027") {
      // An en dash before a number, and after none, is set as a minus.
      const bool minus = three == "\u2013" && i + 3 < text.size() && is_digit(text[i + 3]) &&
                         may_precede_sign(result);
      result += minus || three == "\u2010" || three == "\u2011" ? '-' : ' ';
      i += 3;
    } else if (text.substr(i, 2) == "\u00a0") {
      result += ' ';
      i += 2;
    } else {
      result += text[i++];
    }
  }
  return result;
}

}  // namespace

std::string stem_of(const std::string& word) {
  for (const std::string_view ending : {"ing", "ied", "ies", "ed", "es", "s", "ly"}) {
    if (word.size() >= ending.size() + 3 && word.ends_with(ending)) {
      std::string stem = word.substr(0, word.size() - ending.size());
      if (ending == "ied" || ending == "ies") stem += 'y';
      // "adding" -> "add" and "setting" -> "set" both become one consonant short of doubt.
      if (stem.size() > 3 && stem[stem.size() - 1] == stem[stem.size() - 2]) stem.pop_back();
      if (stem.size() > 3 && stem.back() == 'e') stem.pop_back();
      return stem;
    }
  }
  std::string stem = word;
  if (stem.size() > 3 && stem[stem.size() - 1] == stem[stem.size() - 2]) stem.pop_back();
  if (stem.size() > 3 && stem.back() == 'e') stem.pop_back();
  return stem;
}

std::vector<Word> words_of(std::string_view given) {
  const std::string text_plain = plain_punctuation(given);
  const std::string_view text = text_plain;
  std::vector<Word> words;
  bool starts = true, space = false;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = 0;
    if (is_citation(text, i, end)) {
      i = end;
      continue;
    }
    const bool option = text[i] == '-' && i + 2 < text.size() && text[i + 1] == '-' &&
                        is_letter(text[i + 2]) && (i == 0 || text[i - 1] == ' ');
    const bool sign = text[i] == '-' && i + 1 < text.size() && is_digit(text[i + 1]) &&
                      may_precede_sign(text.substr(0, i));
    if (!option && !sign && !is_letter(text[i]) && !is_digit(text[i]) && text[i] != '_') {
      if (text[i] == '.' || text[i] == '!' || text[i] == '?' || text[i] == '\n' || text[i] == ':')
        starts = true;
      space = space && std::isspace(static_cast<unsigned char>(text[i])) != 0;
      ++i;
      continue;
    }
    end = option ? i + 2 : sign ? i + 1 : i;
    while (end < text.size() && (is_letter(text[end]) || is_digit(text[end]) || text[end] == '_' ||
                                 joins_word(text, end)))
      ++end;
    Word word;
    word.text = std::string(text.substr(i, end - i));
    word.lower = lower(word.text);
    if (word.lower.ends_with("'s")) word.lower.resize(word.lower.size() - 2);
    word.starts_sentence = starts;
    word.after_space = space;
    word.negation = contains(kNegations, word.lower) || word.lower.ends_with("n't");
    word.stem = stem_of(word.lower);
    words.push_back(std::move(word));
    starts = false;
    space = true;
    i = end;
  }
  return words;
}

bool is_function_word(std::string_view lower) { return contains(kFunctionWords, lower); }

bool is_content(const Word& word) {
  return !word.negation && !is_function_word(word.lower) &&
         (word.lower.size() > 1 || is_digit(word.lower.front()));
}

bool is_identifier(const Word& word) {
  const std::string& text = word.text;
  if (text.starts_with("--") || text.find('_') != std::string::npos) return true;
  bool letter = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && is_upper(text[i])) return true;
    letter = letter || is_letter(text[i]);
  }
  return letter && std::any_of(text.begin(), text.end(), is_digit);
}

}  // namespace collegium::router
