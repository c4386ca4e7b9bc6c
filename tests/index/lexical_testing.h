#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "corpus_testing.h"

namespace collegium::index {

// BM25 over everything, without an index: what lexical search is compared with.
class LexicalModel {
 public:
  explicit LexicalModel(LexicalSettings settings) : settings_(std::move(settings)) {}

  // One document of these passages.
  static NewDocument document(const std::string& id, const std::string& title,
                              const std::vector<std::string>& passages,
                              const std::string& metadata = "") {
    NewDocument made;
    made.document = {id, title, "", metadata};
    for (const std::string& passage : passages) {
      const std::size_t begin = made.document.text.size();
      made.document.text += passage;
      made.passages.push_back({{begin, made.document.text.size()}, ""});
      made.document.text += "\n\n";
    }
    made.vectors.assign(passages.size(), 1.0f);
    return made;
  }

  void put(const NewDocument& added) {
    std::vector<Words>& all = documents_[added.document.id];
    all.clear();
    for (const core::PassageSpan& p : added.passages) {
      Words words = words_of(added.document.title);
      const std::string text =
          added.document.text.substr(p.bytes.begin, p.bytes.end - p.bytes.begin);
      const Words more = words_of(text);
      words.push_back("");  // no phrase goes across
      words.insert(words.end(), more.begin(), more.end());
      all.push_back(std::move(words));
    }
  }
  void remove(const std::string& id) { documents_.erase(id); }
  bool has(const std::string& id) const { return documents_.contains(id); }

  // Scores of all documents that match, by id. Terms must be words as they are in a text.
  std::map<std::string, double> scores(const std::vector<std::string>& query,
                                       const std::vector<std::vector<std::string>>& required = {},
                                       const std::vector<std::vector<std::string>>& excluded = {}) {
    double passages = 0;
    double words = 0;
    std::map<std::string, double> df;
    for (const auto& [id, all] : documents_)
      for (const Words& passage : all) {
        passages += 1;
        words += static_cast<double>(passage.size() - 1);
        for (const std::string& word : std::set<std::string>(passage.begin(), passage.end()))
          df[word] += 1;
      }
    std::map<std::string, double> found;
    for (const auto& [id, all] : documents_)
      for (const Words& passage : all) {
        const auto has = [&passage](const std::vector<std::string>& phrase) {
          return std::search(passage.begin(), passage.end(), phrase.begin(), phrase.end()) !=
                 passage.end();
        };
        if (!std::all_of(required.begin(), required.end(), has)) continue;
        if (std::any_of(excluded.begin(), excluded.end(), has)) continue;
        double score = 0.0;
        bool any = false;
        for (const std::string& word : query) {
          const auto tf = static_cast<double>(std::count(passage.begin(), passage.end(), word));
          if (tf == 0.0) continue;
          any = true;
          const double idf = std::log(1.0 + (passages - df[word] + 0.5) / (df[word] + 0.5));
          const double length = static_cast<double>(passage.size() - 1);
          score +=
              idf * tf /
              (tf + settings_.k1 * (1 - settings_.b + settings_.b * length * passages / words));
        }
        if (any) found[id] = std::max(found[id], score);
      }
    return found;
  }

 private:
  using Words = std::vector<std::string>;
  static Words words_of(const std::string& text) {
    Words words;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find_first_of(" .\n", at), text.size());
      if (end > at) words.push_back(text.substr(at, end - at));
      at = end + 1;
    }
    return words;
  }
  LexicalSettings settings_;
  std::map<std::string, std::vector<Words>> documents_;
};

// Words "w0", "w1", ..., the first ones often.
inline std::string random_word(std::mt19937& random, int words) {
  const double u = static_cast<double>(random()) / 4294967296.0;
  return "w" + std::to_string(static_cast<int>(words * u * u * u));
}
inline std::string random_text(std::mt19937& random, int words, std::size_t length) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i)
    text.append(i == 0 ? "" : " ").append(random_word(random, words));
  return text;
}

inline std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : " ").append(word);
  return text;
}

// Hits are what the model says: every score, nothing missing, in order.
inline void expect_hits(const std::vector<Hit>& hits, const std::map<std::string, double>& expected,
                        std::size_t k) {
  ASSERT_EQ(hits.size(), std::min(k, expected.size()));
  std::vector<double> best;
  for (const auto& [id, score] : expected) best.push_back(score);
  std::sort(best.rbegin(), best.rend());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    const auto found = expected.find(hits[i].document_id);
    ASSERT_TRUE(found != expected.end()) << hits[i].document_id;
    const double tolerance = 1e-6 * std::max(1.0, found->second);  // float's rounding
    EXPECT_NEAR(hits[i].score, found->second, tolerance) << hits[i].document_id;
    EXPECT_NEAR(hits[i].score, best[i], tolerance) << i;
    if (i == 0) continue;
    EXPECT_TRUE(
        hits[i - 1].score > hits[i].score ||
        (hits[i - 1].score == hits[i].score && hits[i - 1].document_id < hits[i].document_id));
  }
}

}  // namespace collegium::index
