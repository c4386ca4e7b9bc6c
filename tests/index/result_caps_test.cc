#include "collegium/index/result_caps.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "filter_testing.h"

namespace collegium::index {
namespace {

using namespace filter_testing;

// The definition in result_caps.h, once more and plainly.
std::vector<Found> cap_all(const Model& model, const std::vector<Found>& ranked, std::size_t k,
                           std::size_t max_per_source, double similarity) {
  std::vector<Found> kept;
  for (const Found& candidate : ranked) {
    const auto vector_of = [&](const Found& f) {
      return std::span(model.at(f.id).rows).subspan(f.passage * kDim, kDim);
    };
    std::size_t same = 0;
    bool duplicate = false;
    for (const Found& better : kept) {
      const int group = model.at(candidate.id).group;
      if (group >= 0 && model.at(better.id).group == group) ++same;
      if (double{product(vector_of(candidate), vector_of(better))} >= similarity) duplicate = true;
    }
    if (max_per_source != 0 && same >= max_per_source) continue;
    if (duplicate) continue;
    kept.push_back(candidate);
    if (kept.size() == k) break;
  }
  return kept;
}

TEST(ResultCaps, AreGreedyInRankOrderAndStillGiveKHits) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000);
  std::mt19937 random(12);
  Model model;
  WriteSet writes;
  for (std::size_t i = 0; i < 700; ++i) {
    Known known{whole_rows(1 + random() % 3, random), static_cast<int>(random() % 12) - 2};
    // Copies: every third has the rows of an earlier one.
    if (i % 3 == 2) known.rows = model.at(number(random() % i)).rows;
    put(writes, "c", number(i), known);
    model[number(i)] = known;
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  for (int q = 0; q < 5; ++q) {
    const auto query = whole_rows(1, random);
    const auto ranked = rank_all(model, query, [](const Known&) { return true; });
    for (const std::size_t k : {1u, 10u, 60u, 1000u})
      for (const std::size_t per_source : {0u, 1u, 3u})
        for (const double similarity : {1e9, 40.0, 20.0, 0.0, -1e9}) {
          SearchOptions options;
          options.source_field = "group";
          options.max_per_source = per_source;
          if (similarity < 1e9) options.duplicate_similarity = similarity;
          const auto hits = corpus->search("c", query, k, options);
          ASSERT_OK(hits);
          ASSERT_EQ(summary(*hits), cap_all(model, ranked, k, per_source, similarity))
              << "k " << k << ", per source " << per_source << ", similarity " << similarity;
          for (const Hit& hit : *hits) {
            const int group = model.at(hit.document_id).group;
            EXPECT_EQ(hit.source, group < 0 ? "" : std::to_string(group));
          }
        }
  }
}

TEST(ResultCaps, HoldAcrossCollectionsAndWithAFilter) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000, {"a", "b"});
  std::mt19937 random(13);
  Model model;  // ids differ between the two, so that one model holds both
  WriteSet writes;
  for (std::size_t i = 0; i < 400; ++i) {
    Known known{whole_rows(1, random), static_cast<int>(random() % 8)};
    put(writes, i % 2 == 0 ? "a" : "b", number(i), known);
    model[number(i)] = known;
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  const auto query = whole_rows(1, random);
  const CollectionQuery queries[] = {{"b", query, 0.0f}, {"a", query, 0.0f}};
  const auto ranked = rank_all(model, query, [](const Known& k) { return k.group % 2 == 0; });
  for (const std::size_t per_source : {1u, 2u, 5u}) {
    SearchOptions options = filtered(R"({"parity":"even"})");
    options.source_field = "group";
    options.max_per_source = per_source;
    options.duplicate_similarity = 25.0;
    const auto hits = search_collections(*corpus, queries, 12, options);
    ASSERT_OK(hits);
    EXPECT_EQ(summary(*hits), cap_all(model, ranked, 12, per_source, 25.0));
  }
}

TEST(ResultCaps, ASourceIsTheFieldsFirstValueAsJson) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000);
  const std::pair<const char*, const char*> cases[] = {
      {R"({"s":"a"})", R"("a")"}, {R"({"s":["a","b"]})", R"("a")"},
      {R"({"s":1})", "1"},        {R"({"s":1.0})", "1"},
      {R"({"s":"1"})", R"("1")"}, {R"({"s":null})", "null"},
      {R"({"s":{"t":1}})", ""},   {R"({"s":[]})", ""},
      {R"({"other":1})", ""},     {"", ""},
      {R"({"s":0.5})", "0.5"},    {R"({"s":true})", "true"}};
  WriteSet writes;
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    std::vector<float> row(kDim);
    row[0] = 100.0f - static_cast<float>(i);
    NewDocument made = make_document(number(i), 1, row);
    made.document.metadata = cases[i].first;
    writes.put_document("c", std::move(made));
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  std::vector<float> query(kDim);
  query[0] = 1.0f;
  SearchOptions options;
  options.source_field = "s";
  const auto all = corpus->search("c", query, 100, options);
  ASSERT_OK(all);
  ASSERT_EQ(all->size(), std::size(cases));
  for (std::size_t i = 0; i < std::size(cases); ++i) EXPECT_EQ((*all)[i].source, cases[i].second);
  options.max_per_source = 1;
  const auto capped = corpus->search("c", query, 100, options);
  ASSERT_OK(capped);
  std::vector<std::string> ids;
  for (const Hit& hit : *capped) ids.push_back(hit.document_id.substr(4));
  EXPECT_EQ(ids,
            (std::vector<std::string>{"00", "02", "04", "05", "06", "07", "08", "09", "10", "11"}));
}

TEST(ResultCaps, BadOptionsAreRefused) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000);
  const std::vector<float> query(kDim, 1.0f);
  SearchOptions options;
  options.max_per_source = 2;
  EXPECT_CODE(corpus->search("c", query, 1, options), kInvalidArgument);
  options.source_field = std::string(Filter::kMaxFieldBytes + 1, 'a');
  EXPECT_CODE(corpus->search("c", query, 1, options), kInvalidArgument);
  options.source_field = "a";
  options.duplicate_similarity = std::nan("");
  EXPECT_CODE(corpus->search("c", query, 1, options), kInvalidArgument);
  options.duplicate_similarity = 0.5;
  EXPECT_OK(corpus->search("c", query, 1, options));
}

}  // namespace
}  // namespace collegium::index
