#include "collegium/router/support_check.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <span>

#include "engine/support_letters.h"
#include "engine/support_words.h"

namespace collegium::router {
namespace {

using Kind = SupportFinding::Kind;

// A negation and a content word belong together when they are this near.
constexpr std::size_t kScope = 4;
// A sentence repeats another if this share of its content words is there.
constexpr double kRepeats = 0.8;

struct PassageWords {
  std::vector<Word> words;
  std::set<std::string, std::less<>> lowers, stems, numbers;
};

PassageWords index_passage(std::string_view passage) {
  PassageWords index;
  index.words = words_of(passage);
  for (Number& number : numbers_of(index.words)) index.numbers.insert(std::move(number.value));
  for (const Word& word : index.words) {
    index.lowers.insert(word.lower);
    index.stems.insert(word.stem);
    for (std::string& number : inner_numbers(word)) index.numbers.insert(std::move(number));
    // The parts of "copy-on-write", "pg_dump.conf", "10kg" may be named alone.
    std::string part;
    const auto flush = [&] {
      if (part.empty()) return;
      index.lowers.insert(part);
      index.stems.insert(stem_of(part));
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
  for (const Number& number : numbers_of(sentence)) {
    // "one" is more often a pronoun than a number.
    if (lower(number.text) != "one" && !passage.numbers.contains(number.value))
      verdict.findings.push_back({Kind::kNumber, number.text});
  }
  for (const Word& word : sentence) {
    if (is_number(word) || word.negation || is_function_word(word.lower)) continue;
    const bool name = is_identifier(word) || starts_upper(word.text);
    if (name && !in_passage(passage, word)) verdict.findings.push_back({Kind::kName, word.text});
  }
  for (const auto part : sentences_of(sentence)) check_negations(part, passage, verdict.findings);
  verdict.supported = verdict.findings.empty();
  return verdict;
}

}  // namespace collegium::router
