#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "collegium/core/file_envelope.h"
#include "filter_testing.h"

namespace collegium::index {
namespace {

using namespace filter_testing;

struct Selection {
  const char* json;
  bool (*wanted)(const Known&);
};

// group is uniform in [0, 1000).
const Selection kSelections[] = {
    {R"({"group":-5})", [](const Known&) { return false; }},
    {R"({"absent":1})", [](const Known&) { return false; }},
    {R"({"group":{"$in":[]}})", [](const Known&) { return false; }},
    {R"({"group":17})", [](const Known& k) { return k.group == 17; }},
    {R"({"group":{"$gte":100,"$lt":200}})",
     [](const Known& k) { return k.group >= 100 && k.group < 200; }},
    {R"({"parity":"odd"})", [](const Known& k) { return k.group >= 0 && k.group % 2 == 1; }},
    {R"({"path":{"$prefix":"g/1"}})",
     [](const Known& k) { return k.group >= 0 && std::to_string(k.group)[0] == '1'; }},
    {R"({"$or":[{"group":{"$lt":3}},{"path":"g/999/x"},{"group":{"$exists":false}}]})",
     [](const Known& k) { return k.group < 3 || k.group == 999; }},
    {R"({"$not":{"group":{"$gt":10}}})", [](const Known& k) { return k.group <= 10; }},
    {R"({"group":{"$exists":true}})", [](const Known& k) { return k.group >= 0; }},
    {R"({})", [](const Known&) { return true; }},
    {R"({"absent":{"$ne":1}})", [](const Known&) { return true; }},
};

TEST(FilteredSearch, ExactEqualsBruteForceThroughAddsReplacementsRemovalsAndReopening) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = make_corpus(path, 1000000);
  std::mt19937 random(3);
  Model model;
  const auto check = [&](const char* when) {
    const auto query = whole_rows(1, random);
    for (const Selection& selection : kSelections) {
      const auto expected = rank_all(model, query, selection.wanted);
      for (const std::size_t k : {std::size_t{1}, std::size_t{7}, std::size_t{100000}}) {
        const auto hits = corpus->search("c", query, k, filtered(selection.json));
        ASSERT_OK(hits);
        auto best = expected;
        if (best.size() > k) best.resize(k);
        ASSERT_EQ(summary(*hits), best) << when << ": " << selection.json << ", k " << k;
      }
    }
  };
  check("empty");
  for (int round = 0; round < 12; ++round) {
    WriteSet writes;
    std::set<std::string> touched;
    for (int i = 0; i < 60; ++i) {
      const std::string id = number(random() % 500);
      if (!touched.insert(id).second) continue;
      if (model.contains(id) && random() % 4 == 0) {
        writes.remove_document("c", id);
        model.erase(id);
        continue;
      }
      Known known{whole_rows(random() % 4, random), static_cast<int>(random() % 1000)};
      if (random() % 5 == 0) known.group = -1;
      put(writes, "c", id, known);
      model[id] = known;
    }
    ASSERT_OK(corpus->commit(std::move(writes)));
    if (round % 3 == 0) check("after a commit");
    if (round == 6) {
      ASSERT_OK(corpus->close());
      auto opened = Corpus::open(path);
      ASSERT_OK(opened);
      corpus = std::move(*opened);
      EXPECT_FALSE(corpus->collection_info("c")->index_rebuilt);
      check("reopened");
    }
  }
  check("last");
  ASSERT_OK(corpus->close());
  std::filesystem::remove_all(path + "/index");
  auto opened = Corpus::open(path);
  ASSERT_OK(opened);
  corpus = std::move(*opened);
  EXPECT_TRUE(corpus->collection_info("c")->index_rebuilt);
  check("rebuilt from the store");
}

// 20,000 rows in 20 clusters. "cluster" correlates with every query near a cluster as much as it
// can: nothing, or everything, of what a graph finds first passes.
class FilteredGraph : public testing::Test {
 protected:
  static constexpr std::size_t kRows = 20000;
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    corpus_ = make_corpus(*folder_ / "corpus", 1000).release();
    rows_ = new std::vector<float>(clustered_rows(kRows, kDim, 20, 5));
    ids_ = new std::vector<std::string>();
    clusters_ = new std::vector<int>();
    const auto centres = clustered_rows(20, kDim, 20, 77);
    WriteSet writes;
    for (std::size_t i = 0; i < kRows; ++i) {
      const auto row = std::span(*rows_).subspan(i * kDim, kDim);
      int nearest = 0;
      for (int c = 1; c < 20; ++c)
        if (product(row, std::span(centres).subspan(static_cast<std::size_t>(c) * kDim, kDim)) >
            product(row,
                    std::span(centres).subspan(static_cast<std::size_t>(nearest) * kDim, kDim)))
          nearest = c;
      clusters_->push_back(nearest);
      ids_->push_back(number(i));
      NewDocument made = make_document(ids_->back(), 1, {row.begin(), row.end()});
      made.document.metadata =
          "{\"i\":" + std::to_string(i) + ",\"cluster\":" + std::to_string(nearest) + "}";
      writes.put_document("c", std::move(made));
    }
    ASSERT_OK(corpus_->commit(std::move(writes)));
    ASSERT_OK(corpus_->flush_indexes());
    ASSERT_EQ(corpus_->collection_info("c")->index_kind, "hnsw");
  }
  static void TearDownTestSuite() {
    delete corpus_;
    delete folder_;
    delete rows_;
    delete ids_;
    delete clusters_;
  }
  static std::span<const float> row(std::size_t i) {
    return std::span(*rows_).subspan(i * kDim, kDim);
  }

  // `wanted(i)`: whether row i passes `json`.
  template <typename Wanted>
  void check(const std::string& json, Wanted wanted) {
    std::vector<std::size_t> matching;
    for (std::size_t i = 0; i < kRows; ++i)
      if (wanted(i)) matching.push_back(i);
    const auto queries = clustered_rows(12, kDim, 20, 1000);
    double recalled = 0.0;
    double expected_in_all = 0.0;
    for (std::size_t q = 0; q < 12; ++q) {
      const auto query = std::span(queries).subspan(q * kDim, kDim);
      std::vector<std::pair<float, std::size_t>> ranked;
      for (const std::size_t i : matching) ranked.emplace_back(-product(query, row(i)), i);
      std::sort(ranked.begin(), ranked.end());
      for (const std::size_t k : {std::size_t{1}, std::size_t{10}, std::size_t{300}}) {
        const std::size_t count = std::min(k, matching.size());
        const auto graph = corpus_->search("c", query, k, filtered(json));
        const auto exact = corpus_->search("c", query, k, filtered(json, /*exact=*/true));
        ASSERT_OK(graph);
        ASSERT_OK(exact);
        ASSERT_EQ(graph->size(), count) << json << ", k " << k;
        ASSERT_EQ(exact->size(), count) << json << ", k " << k;
        std::set<std::string> best;
        for (std::size_t i = 0; i < count; ++i) {
          // Rounding may swap what is equal to a rounding; the scores say so.
          EXPECT_NEAR((*exact)[i].score, -ranked[i].first, 1e-5f);
          best.insert((*ids_)[ranked[i].second]);
        }
        for (const auto* hits : {&*graph, &*exact}) {
          std::set<std::string> seen;
          for (std::size_t i = 0; i < count; ++i) {
            const Hit& hit = (*hits)[i];
            EXPECT_TRUE(wanted(std::stoul(hit.document_id))) << json << ": " << hit.document_id;
            EXPECT_TRUE(seen.insert(hit.document_id).second);
            if (i > 0) {
              EXPECT_GE((*hits)[i - 1].score, hit.score);
            }
          }
        }
        for (const Hit& hit : *graph) recalled += best.contains(hit.document_id) ? 1.0 : 0.0;
        expected_in_all += static_cast<double>(count);
      }
    }
    if (expected_in_all > 0.0) {
      EXPECT_GE(recalled / expected_in_all, 0.95) << json;
    }
  }

  static TemporaryFolder* folder_;
  static Corpus* corpus_;
  static std::vector<float>* rows_;
  static std::vector<std::string>* ids_;
  static std::vector<int>* clusters_;
};
TemporaryFolder* FilteredGraph::folder_;
Corpus* FilteredGraph::corpus_;
std::vector<float>* FilteredGraph::rows_;
std::vector<std::string>* FilteredGraph::ids_;
std::vector<int>* FilteredGraph::clusters_;

TEST_F(FilteredGraph, GivesAsManyHitsAsMatchAtEverySelectivity) {
  check(R"({"i":{"$lt":0}})", [](std::size_t) { return false; });
  check(R"({"i":12345})", [](std::size_t i) { return i == 12345; });
  check(R"({"i":{"$gte":500,"$lt":520}})", [](std::size_t i) { return i >= 500 && i < 520; });
  check(R"({"i":{"$lt":2000}})", [](std::size_t i) { return i < 2000; });
  check(R"({"i":{"$ne":7}})", [](std::size_t i) { return i != 7; });
  check("{}", [](std::size_t) { return true; });
}

TEST_F(FilteredGraph, GivesThemWhenTheFilterFollowsTheVectors) {
  const auto& clusters = *clusters_;
  for (int c = 0; c < 20; c += 3) {
    const std::string value = std::to_string(c);
    check("{\"cluster\":" + value + "}", [&](std::size_t i) { return clusters[i] == c; });
    check("{\"cluster\":{\"$ne\":" + value + "}}", [&](std::size_t i) { return clusters[i] != c; });
    // Most rows, so that the graph is walked, and nothing near queries of the other clusters.
    check("{\"cluster\":{\"$lte\":" + value + "}}",
          [&](std::size_t i) { return clusters[i] <= c; });
    check("{\"cluster\":" + value + ",\"i\":{\"$lt\":1000}}",
          [&](std::size_t i) { return clusters[i] == c && i < 1000; });
  }
}

TEST_F(FilteredGraph, AnswersAlikeInAnyOrderAndOnManyThreads) {
  const auto queries = clustered_rows(4, kDim, 20, 9);
  std::vector<std::string> filters;
  for (int i = 0; i < 24; ++i)
    filters.push_back("{\"i\":{\"$gte\":" + std::to_string(i * 300) +
                      "},\"cluster\":{\"$lt\":" + std::to_string(i % 7 + 5) + "}}");
  std::vector<std::vector<Found>> alone;
  for (const std::string& json : filters)
    alone.push_back(
        summary(*corpus_->search("c", std::span(queries).first(kDim), 10, filtered(json))));
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 3 * filters.size(); ++i) {
        const std::size_t f = (i * 7 + t * 5) % filters.size();
        const auto hits =
            corpus_->search("c", std::span(queries).first(kDim), 10, filtered(filters[f]));
        if (!hits.ok() || summary(*hits) != alone[f]) ++wrong[t];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(FilteredSearch, AGraphThatGrewKeepsTheMetadataOfAllItsRows) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = make_corpus(path, 500);
  const auto rows = clustered_rows(1400, kDim, 10, 4);
  Model model;
  const auto add = [&](std::size_t from, std::size_t to, bool with_metadata) {
    WriteSet writes;
    for (std::size_t i = from; i < to; ++i) {
      Known known{{rows.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                   rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim)},
                  with_metadata ? static_cast<int>(i % 1000) : -1};
      put(writes, "c", number(i), known);
      model[number(i)] = known;
    }
    ASSERT_OK(corpus->commit(std::move(writes)));
  };
  const auto check = [&] {
    for (const Selection& selection : kSelections) {
      std::set<std::string> expected;
      for (const auto& [id, known] : model)
        if (selection.wanted(known)) expected.insert(id);
      const auto hits =
          corpus->search("c", std::span(rows).first(kDim), 10000, filtered(selection.json));
      ASSERT_OK(hits);
      std::set<std::string> found;
      for (const Hit& hit : *hits) found.insert(hit.document_id);
      ASSERT_EQ(found, expected) << selection.json;
    }
  };
  add(0, 1000, /*with_metadata=*/false);
  ASSERT_OK(corpus->flush_indexes());
  check();
  add(1000, 1200, true);  // extends a graph without any
  ASSERT_OK(corpus->flush_indexes());
  ASSERT_EQ(corpus->collection_info("c")->index_kind, "hnsw");
  check();
  add(1200, 1210, true);  // stays beside the graph
  check();
  add(1210, 1400, false);
  ASSERT_OK(corpus->flush_indexes());
  check();
  ASSERT_OK(corpus->close());
  corpus = std::move(*Corpus::open(path));
  EXPECT_FALSE(corpus->collection_info("c")->index_rebuilt);
  check();
}

TEST(FilteredSearch, AGraphWithoutALivingRowGivesNothing) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 500);
  const auto rows = clustered_rows(600, kDim, 10, 4);
  WriteSet writes;
  WriteSet removes;
  for (std::size_t i = 0; i < 600; ++i) {
    const auto at = rows.begin() + static_cast<std::ptrdiff_t>(i * kDim);
    put(writes, "c", number(i), {{at, at + static_cast<std::ptrdiff_t>(kDim)}, 1});
    removes.remove_document("c", number(i));
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  ASSERT_OK(corpus->flush_indexes());
  ASSERT_EQ(corpus->collection_info("c")->index_kind, "hnsw");
  EXPECT_EQ(corpus->search("c", std::span(rows).first(kDim), 5, filtered(R"({"group":2})"))->size(),
            0u);
  ASSERT_OK(corpus->commit(std::move(removes)));
  EXPECT_EQ(corpus->search("c", std::span(rows).first(kDim), 5)->size(), 0u);
}

TEST(FilteredSearch, MergesCollectionsAndLeavesOutThoseWithoutAMatch) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000, {"a", "b", "empty"});
  std::mt19937 random(8);
  std::map<std::string, Model> models;
  WriteSet writes;
  for (const std::string name : {"a", "b"})
    for (std::size_t i = 0; i < 200; ++i) {
      Known known{whole_rows(2, random), name == "a" ? static_cast<int>(random() % 1000) : -1};
      put(writes, name, number(i), known);
      models[name][number(i)] = known;
    }
  ASSERT_OK(corpus->commit(std::move(writes)));
  const auto query = whole_rows(1, random);
  const CollectionQuery queries[] = {
      {"a", query, 0.0f}, {"b", query, 1.0f}, {"empty", query, 0.0f}};
  for (const Selection& selection : kSelections) {
    std::vector<std::pair<Found, std::string>> expected;
    for (const auto& [name, model] : models)
      for (Found found : rank_all(model, query, selection.wanted)) {
        found.score += name == "b" ? 1.0f : 0.0f;
        expected.emplace_back(found, name);
      }
    std::sort(expected.begin(), expected.end(), [](const auto& x, const auto& y) {
      return std::tuple(-x.first.score, x.first.id, x.second) <
             std::tuple(-y.first.score, y.first.id, y.second);
    });
    if (expected.size() > 25) expected.resize(25);
    const auto hits = search_collections(*corpus, queries, 25, filtered(selection.json));
    ASSERT_OK(hits);
    std::vector<std::pair<Found, std::string>> found;
    for (const Hit& hit : *hits)
      found.emplace_back(Found{hit.document_id, hit.passage, hit.score}, hit.collection);
    EXPECT_EQ(found, expected) << selection.json;
  }
}

// Any JSON value, as text, with what a writer may do: space, escapes, keys that come twice.
std::string random_json(std::mt19937& random, int depth) {
  static const char* const kKeys[] = {"a", "b", "c", "a.b", "\\u0061", "\\\"", "", "b\\/"};
  static const char* const kScalars[] = {
      "1",    "1.0",   "-2",          "2.5",  "1e2",     "true",      "false",
      "null", "\"x\"", "\"\\u0078\"", "\"\"", "\"{[,\"", "\"y\\\"\"", "18446744073709551615"};
  const auto space = [&] { return std::string(random() % 4 == 0 ? " \n" : ""); };
  const auto kind = random() % 6;
  if (depth == 0 || kind < 3) return kScalars[random() % std::size(kScalars)];
  const std::size_t count = random() % 4;
  std::string text = space() + (kind == 3 ? "[" : "{") + space();
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) text += "," + space();
    if (kind != 3)
      text +=
          "\"" + std::string(kKeys[random() % std::size(kKeys)]) + "\"" + space() + ":" + space();
    text += random_json(random, depth - 1) + space();
  }
  return text + (kind == 3 ? "]" : "}");
}

// Segments read stored text in their own way; Filter::accepts() goes through a JSON parser.
TEST(FilteredSearch, SegmentsFindInStoredTextWhatAParserFinds) {
  std::mt19937 random(21);
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 1000000);
  std::map<std::string, std::string> metadata;
  WriteSet writes;
  for (std::size_t i = 0; i < 3000; ++i) {
    std::string text = random_json(random, 4);
    if (text.find('{') != text.find_first_not_of(" \n")) text = "{\"a\":" + text + "}";
    NewDocument made = make_document(number(i), 1, whole_rows(1, random));
    made.document.metadata = text;
    metadata[number(i)] = text;
    writes.put_document("c", std::move(made));
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  const auto query = whole_rows(1, random);
  std::size_t accepted = 0;
  for (const char* field :
       {"a", "b", "c", "a.b", "a.a", "b.a.b", "a.b.a", "", "a.", "b/", "\\\"", "c.c", "a.a.b.c"}) {
    if (field[0] == '\0') continue;
    for (const char* test :
         {R"({"$exists":true})", "1", R"("x")", R"({"$gte":2})", R"({"$in":["",null,100]})",
          R"({"$prefix":"y\""})", R"({"$lt":"{["})"}) {
      const std::string json = "{\"" + std::string(field) + "\":" + test + "}";
      const auto hits = corpus->search("c", query, 10000, filtered(json));
      ASSERT_OK(hits);
      std::set<std::string> found;
      for (const Hit& hit : *hits) found.insert(hit.document_id);
      const auto wanted = filter(json);
      for (const auto& [id, text] : metadata)
        ASSERT_EQ(found.contains(id), wanted->accepts(text)) << json << " on " << text;
      accepted += found.size();
    }
  }
  EXPECT_GT(accepted, 5000u);
}

TEST(FilteredSearch, AnIndexFileThatKnowsNoMetadataIsNotBelieved) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::mt19937 random(1);
  {
    const auto corpus = make_corpus(path, 1000000);
    WriteSet writes;
    put(writes, "c", "one", {whole_rows(1, random), 17});
    ASSERT_OK(corpus->commit(std::move(writes)));
    ASSERT_OK(corpus->close());
  }
  const std::string file = std::filesystem::directory_iterator(path + "/index")->path().string();
  const auto current = core::read_file_envelope(file, {"index", 3});
  ASSERT_OK(current);
  for (const std::uint32_t version : {1u, 2u}) {
    ASSERT_OK(core::write_file_envelope(file, {"index", version}, current->payload));
    const auto corpus = Corpus::open(path);
    ASSERT_OK(corpus);
    const auto info = (*corpus)->collection_info("c");
    ASSERT_OK(info);
    EXPECT_TRUE(info->index_rebuilt);
    EXPECT_NE(
        info->index_note.find("has version " + std::to_string(version) + ", this build reads 3"),
        std::string::npos);
    const auto hits = (*corpus)->search("c", whole_rows(1, random), 1, filtered(R"({"group":17})"));
    ASSERT_OK(hits);
    EXPECT_EQ(hits->size(), 1u);
  }
}

}  // namespace
}  // namespace collegium::index
