#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "collegium/index/filter.h"
#include "corpus_testing.h"

// A corpus with metadata beside a model of it that is searched by brute force.
namespace collegium::index::filter_testing {

constexpr std::size_t kDim = 16;

// A document of the model: what the corpus was given.
struct Known {
  std::vector<float> rows;  // (passages, kDim)
  int group = 0;            // metadata: {"group": ..., "parity": ..., "path": ...}; < 0: none
};
using Model = std::map<std::string, Known>;

inline std::string metadata_of(const Known& known) {
  if (known.group < 0) return "";
  return "{\"group\":" + std::to_string(known.group) + ",\"parity\":\"" +
         (known.group % 2 == 0 ? "even" : "odd") + "\",\"path\":\"g/" +
         std::to_string(known.group) + "/x\"}";
}

inline float product(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * double{b[i]};
  return static_cast<float>(sum);
}

struct Found {
  std::string id;
  std::uint32_t passage;
  float score;
  bool operator==(const Found&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Found& found) {
  return out << found.id << '#' << found.passage << ' ' << found.score;
}

// Every document that `wanted` takes, best first.
template <typename Wanted>
std::vector<Found> rank_all(const Model& model, std::span<const float> query, Wanted wanted) {
  std::vector<Found> ranked;
  for (const auto& [id, known] : model) {
    if (known.rows.empty() || !wanted(known)) continue;
    Found best{id, 0, 0.0f};
    for (std::size_t p = 0; p * kDim < known.rows.size(); ++p) {
      const float score = product(query, std::span(known.rows).subspan(p * kDim, kDim));
      if (p == 0 || score > best.score) best = {id, static_cast<std::uint32_t>(p), score};
    }
    ranked.push_back(best);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Found& a, const Found& b) { return a.score > b.score; });
  return ranked;
}

inline std::vector<Found> summary(const std::vector<Hit>& hits) {
  std::vector<Found> found;
  for (const Hit& hit : hits) found.push_back({hit.document_id, hit.passage, hit.score});
  return found;
}

inline std::shared_ptr<const Filter> filter(const std::string& json) {
  auto parsed = Filter::parse(json);
  EXPECT_OK(parsed) << json;
  return *parsed;
}

inline SearchOptions filtered(const std::string& json, bool exact = false) {
  SearchOptions options;
  options.filter = filter(json);
  options.exact = exact;
  return options;
}

// Small whole numbers: their products are exact in any order, and ties are many.
inline std::vector<float> whole_rows(std::size_t n, std::mt19937& random) {
  std::vector<float> rows(n * kDim);
  for (float& value : rows) value = static_cast<float>(static_cast<int>(random() % 5) - 2);
  return rows;
}

inline std::unique_ptr<Corpus> make_corpus(const std::string& path, std::uint64_t hnsw_threshold,
                                           const std::vector<std::string>& names = {"c"}) {
  auto corpus = Corpus::create(path, {kDim, "digest", hnsw_threshold});
  EXPECT_OK(corpus);
  WriteSet writes;
  for (const std::string& name : names) writes.create_collection(name);
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  return std::move(*corpus);
}

inline void put(WriteSet& writes, const std::string& collection, const std::string& id,
                const Known& known) {
  NewDocument made = make_document(id, known.rows.size() / kDim, known.rows);
  made.document.metadata = metadata_of(known);
  writes.put_document(collection, std::move(made));
}

inline std::string number(std::size_t i) {
  const std::string digits = std::to_string(i);
  return std::string(6 - digits.size(), '0') + digits;
}

}  // namespace collegium::index::filter_testing
