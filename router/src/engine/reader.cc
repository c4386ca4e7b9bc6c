#include "engine/reader.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <set>

#include "collegium/core/text/passages.h"
#include "collegium/router/support_check.h"

namespace collegium::router {
namespace {

constexpr std::size_t kPassages = 3;
constexpr std::size_t kSentences = 40;
constexpr std::size_t kAnswerSentences = 3;
// A sentence's score: mostly its own likeness to the question, partly its passage's, so that a
// sentence of the best passage wins among equals.
constexpr double kPassageWeight = 0.3;
// A second or third sentence joins the best one if it scores nearly as well.
constexpr double kJoinWithin = 0.08;
// Longer "sentences" are tables or lists that lost their marks: read only if there is nothing else.
constexpr std::size_t kMaxSentenceBytes = 600;
// What the model is shown of one passage; three of them and the question fit a context of 2,048.
constexpr std::size_t kPromptPassageBytes = 1200;
// If not even this much fits beside the question, it is answered extractively.
constexpr std::size_t kMinPromptPassageBytes = 150;

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::string squeeze(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (!is_space(c)) {
      result += c;
    } else if (!result.empty() && result.back() != ' ') {
      result += ' ';
    }
  }
  while (!result.empty() && result.back() == ' ') result.pop_back();
  return result;
}

struct Sentence {
  std::string text;
  std::size_t passage = 0;  // position in the passages given
  double score = 0.0;
};

std::size_t count_words(std::string_view text) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), ' '));
}

// A heading or a fragment answers nothing by itself.
bool is_proper(const std::string& sentence) {
  return count_words(sentence) >= 4 && sentence.size() <= kMaxSentenceBytes &&
         sentence.front() != '#';
}

// The proper sentences of one passage, and a few others in case no passage has a proper one.
struct PassageSentences {
  std::vector<std::string> proper, rest;
};

PassageSentences sentences_of(std::string_view passage) {
  PassageSentences sentences;
  for (const core::ByteSpan span : core::split_sentences(passage)) {
    std::string text = squeeze(passage.substr(span.begin, span.end - span.begin));
    if (text.empty()) continue;
    if (is_proper(text)) {
      sentences.proper.push_back(std::move(text));
    } else if (sentences.rest.size() < kPassages) {
      sentences.rest.push_back(std::move(text));
    }
  }
  return sentences;
}

// At most kSentences, each once, in the order of the passages.
std::vector<Sentence> candidate_sentences(std::span<const CitedPassage> passages) {
  passages = passages.first(std::min(passages.size(), kPassages));
  std::vector<PassageSentences> all;
  for (const CitedPassage& passage : passages) all.push_back(sentences_of(passage.text));
  const bool any_proper = std::any_of(
      all.begin(), all.end(), [](const PassageSentences& one) { return !one.proper.empty(); });

  std::vector<Sentence> candidates;
  std::set<std::string> seen;
  std::vector<std::size_t> next(all.size(), 0);
  const auto take = [&](std::size_t p, std::size_t at_most) {
    const std::vector<std::string>& from = any_proper ? all[p].proper : all[p].rest;
    for (std::size_t taken = 0;
         taken < at_most && next[p] < from.size() && candidates.size() < kSentences; ++next[p]) {
      if (!seen.insert(from[next[p]]).second) continue;
      candidates.push_back({from[next[p]], p, 0.0});
      ++taken;
    }
  };
  for (std::size_t p = 0; p < all.size(); ++p) take(p, kSentences / all.size());
  // What later passages leave of their share, the first ones use.
  for (std::size_t p = 0; p < all.size(); ++p) take(p, kSentences);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Sentence& a, const Sentence& b) { return a.passage < b.passage; });
  return candidates;
}

double dot(std::span<const float> a, const float* b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

// The longest beginning of `text` that ends with a sentence and has at most `limit` bytes.
std::string_view clip(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = 0;
  for (const core::ByteSpan span : core::split_sentences(text)) {
    if (span.end > limit) break;
    end = span.end;
  }
  if (end == 0) {
    end = limit;  // one long sentence: cut between characters
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  }
  return text.substr(0, end);
}

std::string cited_text(const CitedPassage& passage) {
  return passage.title + "\n" + passage.section + "\n" + passage.text;
}

// Takes "[1]" and "[1, 2]" out of a sentence; the numbers go to `citations`.
std::string strip_citations(std::string_view sentence, std::vector<std::size_t>& citations) {
  std::string text;
  for (std::size_t i = 0; i < sentence.size();) {
    if (sentence[i] == '[') {
      std::size_t end = i + 1;
      std::vector<std::size_t> numbers;
      std::size_t value = 0;
      bool digits = false, valid = true;
      for (; end < sentence.size() && sentence[end] != ']'; ++end) {
        const char c = sentence[end];
        if (c >= '0' && c <= '9') {
          value = std::min<std::size_t>(value * 10 + static_cast<std::size_t>(c - '0'), 1000000);
          digits = true;
        } else if (c == ',' && digits) {
          numbers.push_back(value);
          value = 0;
          digits = false;
        } else if (c != ' ') {
          valid = false;
          break;
        }
      }
      if (digits) numbers.push_back(value);
      if (valid && end < sentence.size() && !numbers.empty()) {
        citations.insert(citations.end(), numbers.begin(), numbers.end());
        i = end + 1;
        continue;
      }
    }
    text += sentence[i++];
  }
  return squeeze(text);
}

std::set<std::string> content_words(std::string_view text) {
  std::set<std::string> words;
  std::string word;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || byte >= 0x80) {
      word += static_cast<char>(std::tolower(byte));
    } else {
      if (word.size() > 2) words.insert(word);
      word.clear();
    }
  }
  if (word.size() > 2) words.insert(word);
  return words;
}

// The passage that shares most words with the sentence; the first among equals.
const CitedPassage& best_match(std::string_view sentence, std::span<const CitedPassage> passages) {
  const auto words = content_words(sentence);
  std::size_t best = 0, best_shared = 0;
  for (std::size_t p = 0; p < passages.size(); ++p) {
    const auto other = content_words(cited_text(passages[p]));
    const auto shared = static_cast<std::size_t>(std::count_if(
        words.begin(), words.end(), [&](const std::string& w) { return other.contains(w); }));
    if (shared > best_shared) {
      best = p;
      best_shared = shared;
    }
  }
  return passages[best];
}

}  // namespace

core::ChatMessage user_message(const core::LanguageModel& model, std::string_view content) {
  return {"user", model.without_control_tokens(content)};
}

std::vector<core::ChatMessage> reading_prompt(const core::LanguageModel& model,
                                              std::string_view question,
                                              std::span<const CitedPassage> passages,
                                              std::size_t passage_bytes) {
  std::string content = "Passages:\n";
  for (const CitedPassage& passage : passages.first(std::min(passages.size(), kPassages))) {
    content += "[" + std::to_string(passage.number) + "] ";
    if (!passage.title.empty()) content += passage.title + ". ";
    content += squeeze(clip(passage.text, passage_bytes)) + "\n";
  }
  content += "\nQuestion: " + std::string(question) +
             "\nAnswer in one or two sentences, using only the passages.";
  return {{"system", "You answer questions from the given passages and nothing else."},
          user_message(model, content)};
}

Result<Reading> read_extractive(const core::Encoder& encoder, std::span<const float> question,
                                std::span<const CitedPassage> passages) {
  Reading reading;
  std::vector<Sentence> sentences = candidate_sentences(passages);
  if (sentences.empty()) {
    reading.reader = "none";
    return reading;
  }
  std::vector<std::string_view> texts;
  for (const Sentence& sentence : sentences) texts.push_back(sentence.text);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto embeddings,
                             encoder.encode(texts, core::TextKind::kDocument));
  double best = -2.0;
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    const double own = dot(question, embeddings.vectors.data() + i * encoder.dim());
    sentences[i].score =
        (1.0 - kPassageWeight) * own + kPassageWeight * passages[sentences[i].passage].similarity;
    best = std::max(best, sentences[i].score);
    reading.read_flops += encoder.flops(embeddings.num_tokens[i]);
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < sentences.size(); ++i)
    if (sentences[i].score >= best - kJoinWithin) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return sentences[a].score > sentences[b].score;
  });
  order.resize(std::min(order.size(), kAnswerSentences));
  std::sort(order.begin(), order.end());  // back to reading order
  for (const std::size_t i : order) {
    if (!reading.text.empty()) reading.text += ' ';
    reading.text +=
        sentences[i].text + " [" + std::to_string(passages[sentences[i].passage].number) + "]";
  }
  reading.reader = "extractive";
  return reading;
}

std::vector<CheckedSentence> check_generated(std::string_view text,
                                             std::span<const CitedPassage> passages) {
  std::vector<CheckedSentence> checked;
  if (passages.empty()) return checked;
  for (const core::ByteSpan span : core::split_sentences(text)) {
    std::vector<std::size_t> citations;
    CheckedSentence sentence;
    sentence.text = strip_citations(text.substr(span.begin, span.end - span.begin), citations);
    // A citation alone ("It does. [1]") belongs to the sentence before it.
    if (std::none_of(sentence.text.begin(), sentence.text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c >= 0x80; }))
      continue;
    const CitedPassage* passage = nullptr;
    for (const std::size_t number : citations) {
      const auto found = std::find_if(passages.begin(), passages.end(),
                                      [&](const CitedPassage& p) { return p.number == number; });
      if (found == passages.end()) {
        sentence.problem = "it cites [" + std::to_string(number) + "], which is not a passage";
      } else if (passage == nullptr) {
        passage = &*found;
      }
    }
    if (passage == nullptr) passage = &best_match(sentence.text, passages);
    sentence.citation = passage->number;
    if (sentence.problem.empty())
      sentence.problem = check_support(sentence.text, cited_text(*passage)).reason();
    checked.push_back(std::move(sentence));
  }
  return checked;
}

Result<Reading> read_generative(const core::Encoder& encoder, const core::LanguageModel& model,
                                std::string_view question_text, std::span<const float> question,
                                std::span<const CitedPassage> passages,
                                const core::GenerateOptions& options,
                                const core::LanguageModel::TokenCallback& on_token) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (passages.empty()) return read_extractive(encoder, question, passages);
  const auto shown = passages.first(std::min(passages.size(), kPassages));
  const auto heartbeat = [&](const core::Progress&) {
    return !on_token || on_token(std::string_view());
  };
  core::GenerateOptions answering = options;
  answering.enable_thinking = false;  // thoughts are no answer, and cite nothing
  // A prompt that does not fit is made shorter before it is given up.
  std::string problem;
  core::Generation generated;
  double answer_ms = 0.0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t bytes = kPromptPassageBytes;; bytes /= 2) {
    auto generation =
        model.chat(reading_prompt(model, question_text, shown, bytes), answering, {}, heartbeat);
    if (generation.ok()) {
      generated = std::move(*generation);
      answer_ms =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
              .count();
      break;
    }
    if (generation.status().code() != StatusCode::kInvalidArgument)
      return generation.status().with_context("generative reading");
    if (bytes / 2 < kMinPromptPassageBytes) {
      problem = generation.status().message();
      break;
    }
  }

  Reading reading;
  const auto checked = check_generated(generated.text, shown);
  if (checked.empty() && problem.empty()) problem = "the language model wrote nothing";
  for (const CheckedSentence& sentence : checked) {
    if (!sentence.problem.empty()) {
      problem = "\"" + sentence.text + "\" is not borne out by [" +
                std::to_string(sentence.citation) + "]: " + sentence.problem;
      break;
    }
    if (!reading.text.empty()) reading.text += ' ';
    reading.text += sentence.text + " [" + std::to_string(sentence.citation) + "]";
  }
  if (problem.empty()) {
    reading.reader = "generative";
  } else {
    COLLEGIUM_ASSIGN_OR_RETURN(reading, read_extractive(encoder, question, passages));
    reading.note = "generative reading fell back to extractive: " + problem;
  }
  reading.answer_flops = generated.flops;
  reading.answer_ms = answer_ms;
  if (on_token && !reading.text.empty()) on_token(reading.text);
  return reading;
}

}  // namespace collegium::router
