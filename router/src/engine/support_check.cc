#include "collegium/router/support_check.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <set>
#include <span>

namespace collegium::router {
namespace {

using Kind = SupportFinding::Kind;

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
constexpr std::array kNumberWords = {"zero",  "one",   "two",  "three", "four",   "five",  "six",
                                     "seven", "eight", "nine", "ten",   "eleven", "twelve"};

// A negation and a content word belong together when they are this near.
constexpr std::size_t kScope = 4;
// A sentence repeats another if this share of its content words is there.
constexpr double kRepeats = 0.8;

template <std::size_t n>
bool contains(const std::array<const char*, n>& words, std::string_view word) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return word == w; });
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Bytes beyond ASCII belong to words: no letter of UTF-8 is cut.
bool is_letter(char c) {
  return is_upper(c) || is_lower(c) || static_cast<unsigned char>(c) >= 0x80;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (is_upper(c)) c = static_cast<char>(c - 'A' + 'a');
  return result;
}

struct Word {
  std::string text;   // as written
  std::string lower;  // and folded
  std::string stem;   // and without the commonest endings
  bool starts_sentence = false;
  bool negation = false;
};

// Just enough that "constraints" meets "constraint" and "added" meets "add". Not a Porter stemmer:
// a wrong stem only sends an answer back to the extractive reader.
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

bool has_digit(std::string_view text) { return std::any_of(text.begin(), text.end(), is_digit); }

// "1,000.50" and "1000.5" are one number; "12" in words is 12.
std::string number_of(const std::string& word) {
  for (std::size_t i = 0; i < kNumberWords.size(); ++i)
    if (word == kNumberWords[i]) return std::to_string(i);
  if (!has_digit(word)) return {};
  std::string number;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    if (is_digit(c) || c == '.') {
      number += c;
    } else if (c != ',') {
      return {};  // letters: an identifier such as utf8, or a unit written together
    }
  }
  if (std::count(number.begin(), number.end(), '.') == 1) {
    while (number.back() == '0') number.pop_back();
    if (number.back() == '.') number.pop_back();
  }
  std::size_t zeros = 0;  // "07" is 7
  while (zeros + 1 < number.size() && number[zeros] == '0' && is_digit(number[zeros + 1])) ++zeros;
  return number.substr(zeros);
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

// Typographic quotes, dashes and spaces become those of ASCII; everything else of UTF-8 stays.
std::string plain_punctuation(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view three = text.substr(i, 3);
    if (three == "\u2018" || three == "\u2019") {
      result += '\'';
      i += 3;
    } else if (three.size() == 3 && three >= "\u2010" && three <= "\u2027") {
      result += three == "\u2010" || three == "\u2011" ? '-' : ' ';
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

std::vector<Word> words_of(std::string_view given) {
  const std::string text_plain = plain_punctuation(given);
  const std::string_view text = text_plain;
  std::vector<Word> words;
  bool starts = true;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = 0;
    if (is_citation(text, i, end)) {
      i = end;
      continue;
    }
    const bool option = text[i] == '-' && i + 2 < text.size() && text[i + 1] == '-' &&
                        is_letter(text[i + 2]) && (i == 0 || text[i - 1] == ' ');
    if (!option && !is_letter(text[i]) && !is_digit(text[i]) && text[i] != '_') {
      if (text[i] == '.' || text[i] == '!' || text[i] == '?' || text[i] == '\n' || text[i] == ':')
        starts = true;
      ++i;
      continue;
    }
    end = option ? i + 2 : i;
    while (end < text.size() && (is_letter(text[end]) || is_digit(text[end]) || text[end] == '_' ||
                                 joins_word(text, end)))
      ++end;
    Word word;
    word.text = std::string(text.substr(i, end - i));
    word.lower = lower(word.text);
    if (word.lower.ends_with("'s")) word.lower.resize(word.lower.size() - 2);
    word.starts_sentence = starts;
    word.negation = contains(kNegations, word.lower) || word.lower.ends_with("n't");
    word.stem = stem_of(word.lower);
    words.push_back(std::move(word));
    starts = false;
    i = end;
  }
  return words;
}

bool is_content(const Word& word) {
  return !word.negation && !contains(kFunctionWords, word.lower) &&
         (word.lower.size() > 1 || is_digit(word.lower.front()));
}

// Marks in the text alone: CamelCase, ALLCAPS, snake_case, --option, letters with digits.
bool is_identifier(const Word& word) {
  const std::string& text = word.text;
  if (text.starts_with("--") || text.find('_') != std::string::npos) return true;
  bool letter = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && is_upper(text[i])) return true;
    letter = letter || is_letter(text[i]);
  }
  return letter && has_digit(text);
}

struct PassageWords {
  std::vector<Word> words;
  std::set<std::string, std::less<>> lowers, stems, numbers;
};

PassageWords index_passage(std::string_view passage) {
  PassageWords index;
  index.words = words_of(passage);
  for (const Word& word : index.words) {
    index.lowers.insert(word.lower);
    index.stems.insert(word.stem);
    if (std::string number = number_of(word.lower); !number.empty()) index.numbers.insert(number);
    // The parts of "copy-on-write", "pg_dump.conf", "10kg" may be named alone.
    std::string part;
    const auto flush = [&] {
      if (part.empty()) return;
      index.lowers.insert(part);
      index.stems.insert(stem_of(part));
      if (std::string number = number_of(part); !number.empty()) index.numbers.insert(number);
      part.clear();
    };
    for (const char c : word.lower) {
      if (c == '-' || c == '_' || c == '.' || c == '\'') {
        flush();
      } else {
        if (!part.empty() && is_digit(part.back()) != is_digit(c)) flush();
        part += c;
      }
    }
    flush();
  }
  return index;
}

bool in_passage(const PassageWords& passage, const Word& word) {
  return passage.lowers.contains(word.lower) || passage.stems.contains(word.stem);
}

// Content words within kScope words after a negation, or before it if none follow. `words` is one
// sentence.
std::vector<std::size_t> scope_of(std::span<const Word> words, std::size_t negation) {
  std::vector<std::size_t> scope;
  for (std::size_t i = negation + 1; i < words.size() && i <= negation + kScope; ++i)
    if (is_content(words[i])) scope.push_back(i);
  if (!scope.empty()) return scope;
  for (std::size_t i = negation; i > 0 && negation - i < kScope; --i)
    if (is_content(words[i - 1])) scope.push_back(i - 1);
  return scope;
}

// Whether `words`, one sentence, denies the word of that stem: a negation stands shortly before it,
// or just after it ("assumes nothing").
bool denies(std::span<const Word> words, std::string_view stem) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].negation) continue;
    const std::size_t begin = i > 2 ? i - 2 : 0;
    const std::size_t end = std::min(words.size(), i + kScope + 2);
    for (std::size_t j = begin; j < end; ++j)
      if (words[j].stem == stem) return true;
  }
  return false;
}

std::vector<std::span<const Word>> sentences_of(std::span<const Word> words) {
  std::vector<std::span<const Word>> sentences;
  for (std::size_t begin = 0; begin < words.size();) {
    std::size_t end = begin + 1;
    while (end < words.size() && !words[end].starts_sentence) ++end;
    sentences.push_back(words.subspan(begin, end - begin));
    begin = end;
  }
  return sentences;
}

// Share of the content words of `sentence` that `source` has too.
double overlap(std::span<const Word> sentence, std::span<const Word> source) {
  std::set<std::string_view> stems;
  for (const Word& word : source)
    if (is_content(word)) stems.insert(word.stem);
  std::size_t content = 0, shared = 0;
  for (const Word& word : sentence) {
    if (!is_content(word)) continue;
    ++content;
    if (stems.contains(word.stem)) ++shared;
  }
  if (content < 2) return 0.0;
  return static_cast<double>(shared) / static_cast<double>(content);
}

void check_negations(std::span<const Word> sentence, const PassageWords& passage,
                     std::vector<SupportFinding>& findings) {
  const auto sources = sentences_of(passage.words);
  // A sentence that repeats one of the passage's is held against that one; any other against all.
  double best = 0.0;
  for (const auto source : sources) best = std::max(best, overlap(sentence, source));
  std::vector<std::span<const Word>> against;
  for (const auto source : sources)
    if (best < kRepeats || overlap(sentence, source) == best) against.push_back(source);

  // Inserted: it denies something that they do not deny.
  for (std::size_t i = 0; i < sentence.size(); ++i) {
    if (!sentence[i].negation) continue;
    const auto scope = scope_of(sentence, i);
    const bool borne_out =
        std::any_of(against.begin(), against.end(), [&](std::span<const Word> source) {
          if (scope.empty())
            return std::any_of(source.begin(), source.end(),
                               [](const Word& word) { return word.negation; });
          for (std::size_t s = 0; s < scope.size() && s < 2; ++s)
            if (denies(source, sentence[scope[s]].stem)) return true;
          return false;
        });
    if (!borne_out) {
      std::string text = sentence[i].lower;
      if (!scope.empty()) text.append(" ").append(sentence[scope[0]].lower);
      findings.push_back({Kind::kNegation, text});
    }
  }

  // Lost: it repeats a sentence of the passage and leaves out that something is denied there.
  if (best < kRepeats) return;
  for (const auto source : against) {
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (!source[i].negation) continue;
      const auto scope = scope_of(source, i);
      if (scope.empty()) continue;
      const std::string_view denied = source[scope[0]].stem;
      const bool repeated = std::any_of(sentence.begin(), sentence.end(),
                                        [&](const Word& word) { return word.stem == denied; });
      if (repeated && !denies(sentence, denied)) {
        std::string text = source[i].lower;
        text.append(" ").append(source[scope[0]].lower).append(" (lost)");
        findings.push_back({Kind::kNegation, std::move(text)});
      }
    }
  }
}

}  // namespace

std::string SupportVerdict::reason() const {
  std::string text;
  for (const SupportFinding& finding : findings) {
    if (!text.empty()) text += "; ";
    switch (finding.kind) {
      case Kind::kNumber:
        text.append("number '").append(finding.text).append("' is not in the passage");
        break;
      case Kind::kName:
        text.append("name '").append(finding.text).append("' is not in the passage");
        break;
      case Kind::kNegation:
        text.append("negation '").append(finding.text).append("' is not as in the passage");
        break;
    }
  }
  return text;
}

SupportVerdict check_support(std::string_view sentence_text, std::string_view passage_text) {
  const std::vector<Word> sentence = words_of(sentence_text);
  const PassageWords passage = index_passage(passage_text);
  SupportVerdict verdict;
  for (const Word& word : sentence) {
    if (const std::string number = number_of(word.lower); !number.empty()) {
      // "one" is more often a pronoun than a number.
      if (word.lower != "one" && !passage.numbers.contains(number))
        verdict.findings.push_back({Kind::kNumber, word.text});
      continue;
    }
    if (word.negation || contains(kFunctionWords, word.lower)) continue;
    const bool name = is_identifier(word) || is_upper(word.text.front());
    if (name && !in_passage(passage, word)) verdict.findings.push_back({Kind::kName, word.text});
  }
  for (const auto part : sentences_of(sentence)) check_negations(part, passage, verdict.findings);
  verdict.supported = verdict.findings.empty();
  return verdict;
}

}  // namespace collegium::router
