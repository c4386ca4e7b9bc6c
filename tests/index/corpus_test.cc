#include "collegium/index/corpus.h"

#include <sys/stat.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "corpus_testing.h"

namespace collegium::index {
namespace {

constexpr std::size_t kDim = 8;

// Small whole numbers: their inner products are exact in any precision, and ties are many.
std::vector<float> whole_rows(std::size_t n, std::mt19937& random) {
  std::vector<float> rows(n * kDim);
  for (float& value : rows) value = static_cast<float>(static_cast<int>(random() % 5) - 2);
  return rows;
}

// What the corpus should answer: every document scored by its best passage, the first of equals.
struct ModelHit {
  std::string id;
  std::uint32_t passage;
  float score;
  bool operator==(const ModelHit&) const = default;
};
using Model = std::map<std::string, std::vector<float>>;  // id -> (passages, dim)

std::vector<ModelHit> model_search(const Model& model, std::span<const float> query,
                                   std::size_t k) {
  std::vector<ModelHit> hits;
  for (const auto& [id, rows] : model) {
    ModelHit best{id, 0, 0.0f};
    for (std::size_t i = 0; i * kDim < rows.size(); ++i) {
      double score = 0.0;
      for (std::size_t j = 0; j < kDim; ++j)
        score += static_cast<double>(rows[i * kDim + j]) * query[j];
      if (i == 0 || score > best.score)
        best = {id, static_cast<std::uint32_t>(i), static_cast<float>(score)};
    }
    if (!rows.empty()) hits.push_back(best);
  }
  std::stable_sort(hits.begin(), hits.end(),
                   [](const ModelHit& a, const ModelHit& b) { return a.score > b.score; });
  if (hits.size() > k) hits.resize(k);
  return hits;
}

std::vector<ModelHit> summary(const std::vector<Hit>& hits) {
  std::vector<ModelHit> found;
  for (const Hit& hit : hits) found.push_back({hit.document_id, hit.passage, hit.score});
  return found;
}

std::unique_ptr<Corpus> make_corpus(const std::string& path, std::uint64_t hnsw_threshold = 100000,
                                    const std::vector<std::string>& collections = {"law"}) {
  auto corpus = Corpus::create(path, {kDim, "digest", hnsw_threshold});
  EXPECT_OK(corpus);
  WriteSet writes;
  for (const std::string& name : collections) writes.create_collection(name);
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  return std::move(*corpus);
}

void put(Corpus& corpus, const std::string& collection, const std::string& id,
         const std::vector<float>& rows) {
  WriteSet writes;
  writes.put_document(collection, make_document(id, rows.size() / kDim, rows));
  EXPECT_OK(corpus.commit(std::move(writes)));
}

TEST(Corpus, WhatIsCommittedIsFoundAgainAfterReopening) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::mt19937 random(1);
  const auto rows = whole_rows(3, random);
  {
    const auto corpus = make_corpus(path);
    EXPECT_EQ(corpus->commit_seq(), 1u);
    WriteSet writes;
    writes.put_document("law", make_document("doc", 3, rows));
    writes.put_record("pairs/1", "one");
    writes.put_record("pairs/2", "two");
    writes.put_record("settings", std::string("a\0b", 3));
    const auto seq = corpus->commit(std::move(writes));
    ASSERT_OK(seq);
    EXPECT_EQ(*seq, 2u);
    ASSERT_OK(corpus->close());
    ASSERT_OK(corpus->close());
    EXPECT_CODE(corpus->search("law", rows, 1), kFailedPrecondition);
    EXPECT_CODE(corpus->record("settings"), kFailedPrecondition);
    EXPECT_CODE(corpus->has_document("law", "doc"), kFailedPrecondition);
    EXPECT_CODE(corpus->commit(WriteSet()), kFailedPrecondition);
  }
  const auto opened = Corpus::open(path);
  ASSERT_OK(opened);
  Corpus& corpus = **opened;
  EXPECT_EQ(corpus.commit_seq(), 2u);
  EXPECT_EQ(corpus.format_version(), 2u);
  EXPECT_EQ(corpus.options().dim, kDim);
  EXPECT_EQ(corpus.options().encoder_digest, "digest");
  EXPECT_EQ(corpus.options().hnsw_threshold, 100000u);
  EXPECT_EQ(corpus.collections(), std::vector<std::string>{"law"});
  const auto info = corpus.collection_info("law");
  ASSERT_OK(info);
  EXPECT_EQ(info->documents, 1u);
  EXPECT_EQ(info->passages, 3u);
  EXPECT_EQ(info->index_kind, "exact");
  EXPECT_FALSE(info->index_rebuilt) << info->index_note;

  const auto hits = corpus.search("law", std::span(rows).subspan(2 * kDim, kDim), 5);
  ASSERT_OK(hits);
  ASSERT_EQ(hits->size(), 1u);
  const Hit& hit = hits->front();
  EXPECT_EQ(hit.collection, "law");
  EXPECT_EQ(hit.document_id, "doc");
  EXPECT_EQ(hit.bytes.begin, hit.passage * 10);
  EXPECT_EQ(hit.bytes.end, hit.passage * 10 + 10);
  EXPECT_EQ(hit.section, "section " + std::to_string(hit.passage / 2));

  const auto there = corpus.has_document("law", "doc");
  ASSERT_OK(there);
  EXPECT_TRUE(*there);
  const auto absent = corpus.has_document("law", "do");
  ASSERT_OK(absent);
  EXPECT_FALSE(*absent);
  EXPECT_CODE(corpus.has_document("lore", "doc"), kNotFound);

  const auto stored = corpus.stored_document("law", "doc");
  ASSERT_OK(stored);
  EXPECT_EQ(stored->document.title, "title of doc");
  EXPECT_EQ(stored->document.text, std::string(30, 'x'));
  EXPECT_EQ(stored->document.metadata, "{\"n\":1}");
  EXPECT_EQ(stored->vectors, rows);
  ASSERT_EQ(stored->passages.size(), 3u);
  EXPECT_EQ(stored->passages[2].section, "section 1");
  const auto document = corpus.document("law", "doc");
  ASSERT_OK(document);
  EXPECT_EQ(document->text, stored->document.text);

  const auto record = corpus.record("settings");
  ASSERT_OK(record);
  EXPECT_EQ(*record, std::string("a\0b", 3));
  const auto pairs = corpus.records("pairs/");
  ASSERT_OK(pairs);
  const std::vector<std::pair<std::string, std::string>> expected = {{"pairs/1", "one"},
                                                                     {"pairs/2", "two"}};
  EXPECT_EQ(*pairs, expected);
  EXPECT_CODE(corpus.record("nothing"), kNotFound);
  EXPECT_CODE(corpus.document("law", "nothing"), kNotFound);
  EXPECT_CODE(corpus.document("medicine", "doc"), kNotFound);
}

TEST(Corpus, RandomCommitsAnswerLikeAModelAndBruteForceAcrossReopenings) {
  // Threshold 40: the graph is built and left again on the way. Its answers are exact here only
  // because a search for a large share of a block is; so k is small for the exact kind alone.
  for (const std::uint64_t threshold : {std::uint64_t{100000}, std::uint64_t{40}}) {
    const TemporaryFolder folder;
    const std::string path = folder / "corpus";
    std::unique_ptr<Corpus> corpus = make_corpus(path, threshold);
    Model model;
    std::mt19937 random(static_cast<std::uint32_t>(threshold));
    std::set<std::uint64_t> rows_seen;
    for (int step = 0; step < 600; ++step) {
      WriteSet writes;
      std::set<std::string> named;
      for (std::size_t i = random() % 4; i > 0; --i) {
        const std::string id = "d" + std::to_string(random() % 60);
        if (!named.insert(id).second) continue;
        if (random() % 3 == 0) {
          if (model.erase(id) == 1) writes.remove_document("law", id);
        } else {
          model[id] = whole_rows(random() % 5, random);
          writes.put_document("law", make_document(id, model[id].size() / kDim, model[id]));
        }
      }
      ASSERT_OK(corpus->commit(std::move(writes)));
      if (random() % 3 == 0) {
        const auto query = whole_rows(1, random);
        const std::size_t k = 1 + random() % 70;
        const auto hits = corpus->search("law", query, k);
        ASSERT_OK(hits);
        ASSERT_EQ(summary(*hits), model_search(model, query, k)) << "step " << step << " k " << k;
      }
      if (random() % 40 == 0) {
        ASSERT_OK(corpus->flush_indexes());
      }
      if (random() % 60 == 0) {
        ASSERT_OK(corpus->close());
        auto opened = Corpus::open(path);
        ASSERT_OK(opened);
        corpus = std::move(*opened);
        EXPECT_FALSE(corpus->collection_info("law")->index_rebuilt)
            << corpus->collection_info("law")->index_note;
      }
      if (random() % 25 == 0) {
        const auto view = corpus->view("law");
        ASSERT_OK(view);
        ASSERT_EQ((*view)->num_documents(), model.size());
        std::map<std::string, std::vector<float>> seen;
        for (std::size_t d = 0; d < model.size(); ++d) {
          EXPECT_EQ((*view)->find_document((*view)->document_id(d)), d);
          seen[std::string((*view)->document_id(d))];
        }
        for (std::size_t i = 0; i < (*view)->num_passages(); ++i) {
          const auto row = (*view)->vectors().subspan(i * kDim, kDim);
          auto& rows = seen[std::string((*view)->document_id((*view)->passage_document()[i]))];
          rows.insert(rows.end(), row.begin(), row.end());
        }
        ASSERT_EQ(seen, model);
        EXPECT_EQ((*view)->find_document("absent"), std::nullopt);
      }
    }
    const auto info = corpus->collection_info("law");
    ASSERT_OK(info);
    EXPECT_EQ(info->documents, model.size());
    std::size_t passages = 0;
    for (const auto& [id, rows] : model) passages += rows.size() / kDim;
    EXPECT_EQ(info->passages, passages);
  }
}

TEST(Corpus, TiesAreBrokenByIdAlsoAcrossTheBoundary) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  const std::vector<float> row(kDim, 1.0f);
  // 200 equal documents, put in descending order of their ids, each with two equal passages.
  for (int i = 199; i >= 0; --i) {
    std::vector<float> rows = row;
    rows.insert(rows.end(), row.begin(), row.end());
    put(*corpus, "law", "d" + std::to_string(1000 + i), rows);
  }
  for (const std::size_t k : {1u, 7u, 199u, 200u, 1000u}) {
    const auto hits = corpus->search("law", row, k);
    ASSERT_OK(hits);
    ASSERT_EQ(hits->size(), std::min<std::size_t>(k, 200));
    for (std::size_t i = 0; i < hits->size(); ++i) {
      EXPECT_EQ((*hits)[i].document_id, "d" + std::to_string(1000 + i));
      EXPECT_EQ((*hits)[i].passage, 0u);
    }
  }
}

TEST(Corpus, ADocumentWithManyGoodPassagesTakesOnePlace) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  std::vector<float> many;
  for (int i = 0; i < 500; ++i) many.insert(many.end(), kDim, 2.0f);
  put(*corpus, "law", "many", many);
  for (int i = 0; i < 5; ++i)
    put(*corpus, "law", "one" + std::to_string(i), std::vector<float>(kDim, 1.0f));
  const auto hits = corpus->search("law", std::vector<float>(kDim, 1.0f), 3);
  ASSERT_OK(hits);
  const std::vector<ModelHit> expected = {{"many", 0, 16.0f}, {"one0", 0, 8.0f}, {"one1", 0, 8.0f}};
  EXPECT_EQ(summary(*hits), expected);
}

TEST(Corpus, ThePassageOfAHitIsTheOneThatWasFoundOrNone) {
  const TemporaryFolder folder;
  std::mt19937 random(3);
  const auto rows = whole_rows(3, random);
  const auto corpus = make_corpus(folder / "corpus");
  NewDocument document = make_document("doc", 3, rows);
  document.document.text = "aaaaaaaaaabbbbbbbbbbcccccccccc";
  const auto commit = [&] {
    WriteSet writes;
    writes.put_document("law", document);
    ASSERT_OK(corpus->commit(std::move(writes)));
  };
  commit();
  for (std::size_t i = 0; i < 3; ++i) {
    Hit hit = corpus->search("law", std::span(rows).first(kDim), 1)->front();
    hit.row = hit.row - hit.passage + i;
    const auto found = corpus->stored_passage(hit);
    ASSERT_OK(found);
    EXPECT_EQ(found->title, "title of doc");
    EXPECT_EQ(found->text, std::string(10, static_cast<char>('a' + i)));
    EXPECT_EQ(found->passage.section, "section " + std::to_string(i / 2));
    EXPECT_EQ(found->vector,
              std::vector<float>(rows.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                                 rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim)));
  }
  const auto old = corpus->search("law", std::span(rows).first(kDim), 1)->front();
  document.document.text = "AAAAAAAAAABBBBBBBBBBCCCCCCCCCC";  // of the same length
  commit();
  EXPECT_CODE(corpus->stored_passage(old), kNotFound);
  const auto fresh = corpus->search("law", std::span(rows).first(kDim), 1)->front();
  const auto found = corpus->stored_passage(fresh);
  ASSERT_OK(found);
  EXPECT_EQ(found->text, std::string(10, static_cast<char>('A' + fresh.passage)));
  WriteSet removal;
  removal.remove_document("law", "doc");
  ASSERT_OK(corpus->commit(std::move(removal)));
  EXPECT_CODE(corpus->stored_passage(fresh), kNotFound);
}

TEST(Corpus, RowsAreNeverUsedAgain) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::uint64_t last = 0;
  for (int round = 0; round < 4; ++round) {
    auto corpus = round == 0 ? make_corpus(path) : std::move(*Corpus::open(path));
    put(*corpus, "law", "doc", std::vector<float>(2 * kDim, 1.0f));
    const auto hits = corpus->search("law", std::vector<float>(kDim, 1.0f), 1);
    ASSERT_OK(hits);
    EXPECT_GT(hits->front().row, last);
    last = hits->front().row + 1;
    WriteSet writes;
    writes.remove_document("law", "doc");
    ASSERT_OK(corpus->commit(std::move(writes)));
    EXPECT_TRUE(corpus->search("law", std::vector<float>(kDim, 1.0f), 1)->empty());
    EXPECT_CODE(corpus->document("law", "doc"), kNotFound);
  }
}

TEST(Corpus, SearchOverSeveralCollectionsMergesByShiftedScoreIdAndCollection) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 100000, {"a", "b", "empty"});
  std::map<std::string, Model> models;
  std::mt19937 random(3);
  for (const std::string name : {"a", "b"})
    for (int i = 0; i < 40; ++i) {
      const std::string id = "d" + std::to_string(i);
      models[name][id] = whole_rows(1 + random() % 3, random);
      put(*corpus, name, id, models[name][id]);
    }
  for (int i = 0; i < 50; ++i) {
    const auto query_a = whole_rows(1, random);
    const auto query_b = whole_rows(1, random);
    // Shifts great enough to round scores together: the ties they make count as ties.
    const float shift_a = random() % 2 == 0 ? 2.0f : 1e8f;
    const float shift_b = random() % 2 == 0 ? 1.0f : 1e8f;
    const std::size_t k = 1 + random() % 90;
    std::vector<std::tuple<float, std::string, std::string>> expected;
    for (const auto& [name, query, shift] :
         {std::tuple("a", &query_a, shift_a), std::tuple("b", &query_b, shift_b)})
      for (const ModelHit& hit : model_search(models[name], *query, 1000))
        expected.emplace_back(-(hit.score + shift), hit.id, name);
    std::sort(expected.begin(), expected.end());
    expected.resize(std::min(k, expected.size()));
    const std::vector<CollectionQuery> queries = {
        {"b", query_b, shift_b}, {"empty", query_a, 9.0f}, {"a", query_a, shift_a}};
    const auto hits = search_collections(*corpus, queries, k);
    ASSERT_OK(hits);
    std::vector<std::tuple<float, std::string, std::string>> found;
    for (const Hit& hit : *hits) found.emplace_back(-hit.score, hit.document_id, hit.collection);
    EXPECT_EQ(found, expected);
  }
  const auto query = whole_rows(1, random);
  const std::vector<CollectionQuery> twice = {{"a", query, 0.0f}, {"a", query, 0.0f}};
  EXPECT_CODE(search_collections(*corpus, twice, 3), kInvalidArgument);
  const std::vector<CollectionQuery> infinite = {{"a", query, INFINITY}};
  EXPECT_CODE(search_collections(*corpus, infinite, 3), kInvalidArgument);
  EXPECT_TRUE(search_collections(*corpus, {}, 3)->empty());
}

TEST(Corpus, BadWritesAreRefusedWholeAndChangeNothing) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  put(*corpus, "law", "there", std::vector<float>(kDim, 1.0f));
  const std::uint64_t seq = corpus->commit_seq();
  const auto good = [] { return make_document("good", 1, std::vector<float>(kDim, 1.0f)); };
  const auto refused = [&](StatusCode code, const std::function<void(WriteSet&)>& spoil) {
    WriteSet writes;
    writes.put_document("law", good());
    writes.put_record("key", "value");
    spoil(writes);
    const auto status = corpus->commit(std::move(writes)).status();
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_EQ(corpus->commit_seq(), seq);
    EXPECT_CODE(corpus->document("law", "good"), kNotFound);
    EXPECT_CODE(corpus->record("key"), kNotFound);
    EXPECT_EQ(corpus->search("law", std::vector<float>(kDim, 1.0f), 9)->size(), 1u);
  };
  const auto refused_document = [&](const std::function<void(NewDocument&)>& spoil) {
    refused(StatusCode::kInvalidArgument, [&](WriteSet& writes) {
      NewDocument bad = make_document("bad", 2, std::vector<float>(2 * kDim, 1.0f));
      spoil(bad);
      writes.put_document("law", std::move(bad));
    });
  };
  refused_document([](NewDocument& d) { d.document.id = ""; });
  refused_document([](NewDocument& d) { d.document.id = std::string(1025, 'x'); });
  refused_document([](NewDocument& d) { d.document.id = "\xff"; });
  refused_document([](NewDocument& d) { d.document.title = "\xc3"; });
  refused_document([](NewDocument& d) { d.document.text[3] = '\x80'; });
  refused_document([](NewDocument& d) { d.document.metadata = "{\"a\":}"; });
  refused_document([](NewDocument& d) { d.document.metadata = "[1]"; });
  refused_document([](NewDocument& d) { d.vectors.pop_back(); });
  refused_document([](NewDocument& d) { d.vectors.resize(3 * kDim); });
  refused_document([](NewDocument& d) { d.vectors[9] = NAN; });
  refused_document([](NewDocument& d) { d.vectors[9] = INFINITY; });
  refused_document([](NewDocument& d) { d.vectors[9] = 1e30f; });
  refused_document([](NewDocument& d) { d.passages[1].bytes.end = 21; });
  refused_document([](NewDocument& d) { d.passages[1].bytes = {9, 8}; });
  refused_document([](NewDocument& d) { d.passages[1].section = "\xfe"; });
  refused_document([](NewDocument& d) { d.document.id = "good"; });
  using Code = StatusCode;
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.remove_document("law", "good"); });
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.put_record("key", "again"); });
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.remove_record("key"); });
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.put_record("", "no key"); });
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.create_collection(""); });
  refused(Code::kInvalidArgument, [](WriteSet& w) { w.create_collection("\x80"); });
  refused(Code::kInvalidArgument, [](WriteSet& w) {
    w.create_collection("twice");
    w.create_collection("twice");
  });
  refused(Code::kAlreadyExists, [](WriteSet& w) { w.create_collection("law"); });
  refused(Code::kNotFound, [](WriteSet& w) { w.remove_document("law", "absent"); });
  refused(Code::kNotFound, [&](WriteSet& w) { w.put_document("absent", good()); });
  EXPECT_EQ(corpus->collections(), std::vector<std::string>{"law"});
  ASSERT_OK(corpus->commit(WriteSet()));
  EXPECT_EQ(corpus->commit_seq(), seq) << "an empty set is no commit";
}

TEST(Corpus, BadQueriesAreRefused) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  const std::vector<float> query(kDim, 1.0f);
  EXPECT_CODE(corpus->search("law", query, 0), kInvalidArgument);
  EXPECT_CODE(corpus->search("law", std::vector<float>(kDim + 1, 1.0f), 1), kInvalidArgument);
  EXPECT_CODE(corpus->search("law", std::vector<float>(kDim, NAN), 1), kInvalidArgument);
  EXPECT_CODE(corpus->search("law", std::vector<float>(kDim, 1e30f), 1), kInvalidArgument);
  EXPECT_CODE(corpus->search("absent", query, 1), kNotFound);
  EXPECT_CODE(corpus->view("absent"), kNotFound);
  EXPECT_CODE(corpus->collection_info("absent"), kNotFound);
  const auto hits = corpus->search("law", query, 3);
  ASSERT_OK(hits);
  EXPECT_TRUE(hits->empty()) << "an empty collection gives an empty answer";
  EXPECT_EQ((*corpus->view("law"))->num_passages(), 0u);
}

TEST(Corpus, BadOptionsAndPathsAreTypedErrors) {
  const TemporaryFolder folder;
  EXPECT_CODE(Corpus::create(folder / "zero", {0, "digest"}), kInvalidArgument);
  EXPECT_CODE(Corpus::create(folder / "wide", {65537, "digest"}), kInvalidArgument);
  EXPECT_CODE(Corpus::create(folder / "no/such/parent", {kDim, "digest"}), kNotFound);
  EXPECT_CODE(Corpus::open(folder / "absent"), kNotFound);
  EXPECT_CODE(Corpus::open(folder.path()), kNotFound);
  make_corpus(folder / "corpus");
  EXPECT_CODE(Corpus::create(folder / "corpus", {kDim, "digest"}), kAlreadyExists);
  struct stat status {};
  ASSERT_EQ(::stat((folder / "corpus").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(Corpus, ASecondOpenerIsToldWhoHoldsIt) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = make_corpus(path);
  const Status second = Corpus::open(path).status();
  EXPECT_EQ(second.code(), StatusCode::kBusy);
  EXPECT_NE(second.message().find("process " + std::to_string(::getpid()) + " on "),
            std::string::npos)
      << second.message();
  EXPECT_CODE(Corpus::create(path, {kDim, "digest"}), kBusy);
  ASSERT_OK(corpus->close());
  EXPECT_OK(Corpus::open(path));
}

TEST(Corpus, ALargeDocumentAndOneWithoutPassagesAreKept) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  std::mt19937 random(4);
  NewDocument large = make_document("large", 120000, whole_rows(120000, random));
  ASSERT_GT(large.document.text.size(), std::size_t{1} << 20);
  const std::string text = large.document.text;
  {
    const auto corpus = make_corpus(path, /*hnsw_threshold=*/1000000);
    WriteSet writes;
    writes.put_document("law", std::move(large));
    writes.put_document("law", make_document("empty", 0, {}));
    ASSERT_OK(corpus->commit(std::move(writes)));
  }
  std::filesystem::remove_all(path + "/index");
  const auto corpus = Corpus::open(path);
  ASSERT_OK(corpus);
  EXPECT_EQ((*corpus)->document("law", "large")->text, text);
  EXPECT_EQ((*corpus)->stored_document("law", "large")->passages.size(), 120000u);
  const auto view = (*corpus)->view("law");
  ASSERT_OK(view);
  EXPECT_EQ((*view)->num_documents(), 2u);
  EXPECT_EQ((*view)->document_id(0), "empty");
  const auto hits = (*corpus)->search("law", std::vector<float>(kDim, 1.0f), 5);
  ASSERT_OK(hits);
  EXPECT_EQ(hits->size(), 1u) << "nothing finds a document without passages";
  WriteSet writes;
  writes.remove_document("law", "empty");
  ASSERT_OK((*corpus)->commit(std::move(writes)));
  EXPECT_EQ((*(*corpus)->view("law"))->num_documents(), 1u);
}

TEST(Corpus, AGraphAnswersBeyondTheThresholdAndSurvivesReopening) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  constexpr std::size_t kRows = 3000;
  const auto rows = clustered_rows(kRows, kDim, 40, 5);
  const auto queries = clustered_rows(30, kDim, 40, 6);
  auto corpus = make_corpus(path, 1000);
  const auto put_range = [&](std::size_t begin, std::size_t end) {
    WriteSet writes;
    for (std::size_t i = begin; i < end; ++i)
      writes.put_document("law",
                          make_document("d" + std::to_string(i), 1,
                                        {rows.begin() + i * kDim, rows.begin() + (i + 1) * kDim}));
    ASSERT_OK(corpus->commit(std::move(writes)));
  };
  const auto answers = [&] {
    std::vector<std::vector<ModelHit>> all;
    for (std::size_t q = 0; q < 30; ++q)
      all.push_back(
          summary(*corpus->search("law", std::span(queries).subspan(q * kDim, kDim), 10)));
    return all;
  };
  put_range(0, 2900);
  EXPECT_EQ(corpus->collection_info("law")->index_kind, "exact") << "no search builds a graph";
  const auto exact = answers();
  ASSERT_OK(corpus->flush_indexes());
  EXPECT_EQ(corpus->collection_info("law")->index_kind, "hnsw");
  const auto graph = answers();
  std::size_t same = 0;
  for (std::size_t q = 0; q < exact.size(); ++q)
    for (const ModelHit& hit : exact[q])
      same += std::count(graph[q].begin(), graph[q].end(), hit) != 0;
  EXPECT_GE(same, 285u) << "of 300";

  // Rows after the graph are found at once, removed ones are gone at once.
  put_range(2900, kRows);
  WriteSet writes;
  for (std::size_t i = 0; i < kRows; i += 7) writes.remove_document("law", "d" + std::to_string(i));
  ASSERT_OK(corpus->commit(std::move(writes)));
  for (const std::size_t i : {2901u, 2950u, 2999u}) {
    const auto hits = corpus->search("law", std::span(rows).subspan(i * kDim, kDim), 1);
    ASSERT_OK(hits);
    EXPECT_EQ(hits->front().document_id == "d" + std::to_string(i), i % 7 != 0);
  }
  const auto before = answers();
  for (const auto& answer : before)
    for (const ModelHit& hit : answer) EXPECT_NE(std::stoi(hit.id.substr(1)) % 7, 0);
  ASSERT_OK(corpus->close());
  corpus = std::move(*Corpus::open(path));
  EXPECT_FALSE(corpus->collection_info("law")->index_rebuilt);
  EXPECT_EQ(corpus->collection_info("law")->index_kind, "hnsw");
  EXPECT_EQ(answers(), before);
  EXPECT_EQ((*corpus->view("law"))->num_passages(), corpus->collection_info("law")->passages);
}

TEST(Corpus, TheIndexGenerationTellsGraphsOfTheSameCommitApart) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  constexpr std::size_t kRows = 5000;
  const auto rows = clustered_rows(kRows, kDim, 40, 5);
  auto corpus = make_corpus(path, 500);
  const auto put_range = [&](std::size_t begin, std::size_t end) {
    WriteSet writes;
    for (std::size_t i = begin; i < end; ++i)
      writes.put_document("law",
                          make_document("d" + std::to_string(i), 1,
                                        {rows.begin() + i * kDim, rows.begin() + (i + 1) * kDim}));
    ASSERT_OK(corpus->commit(std::move(writes)));
  };
  const auto generation = [&] {
    const auto hits = corpus->search("law", std::span(rows).first(kDim), 5);
    EXPECT_OK(hits);
    const std::uint64_t of_info = corpus->collection_info("law")->index_generation;
    for (const Hit& hit : *hits) EXPECT_EQ(hit.index_generation, of_info);
    return of_info;
  };
  put_range(0, 2000);
  EXPECT_EQ(generation(), 0u) << "searched exactly";
  ASSERT_OK(corpus->flush_indexes());
  const std::uint64_t first = generation();
  EXPECT_NE(first, 0u);
  put_range(2000, kRows);
  EXPECT_EQ(generation(), first) << "rows beside the graph are searched exactly";
  ASSERT_OK(corpus->flush_indexes());
  const std::uint64_t extended = generation();
  EXPECT_NE(extended, first);
  const std::uint64_t commit = corpus->commit_seq();
  ASSERT_OK(corpus->close());
  corpus = std::move(*Corpus::open(path));
  EXPECT_EQ(generation(), extended) << "read from its file";
  ASSERT_OK(corpus->close());
  std::filesystem::remove(path + "/index/0.index");
  corpus = std::move(*Corpus::open(path));
  EXPECT_EQ(generation(), 0u);
  ASSERT_OK(corpus->flush_indexes());
  EXPECT_EQ(corpus->commit_seq(), commit);
  EXPECT_NE(generation(), extended) << "the same rows, built at once";
}

TEST(Corpus, ReadersGoOnDuringCommitsAndSeeWholeCommits) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 60, {"law", "medicine"});
  // Every commit puts the same version into both collections: a merged search must see one.
  const auto write_version = [&](float version) {
    WriteSet writes;
    for (const char* name : {"law", "medicine"}) {
      writes.put_document(name, make_document("doc", 1, std::vector<float>(kDim, version)));
      writes.put_document(name, make_document("n" + std::to_string(static_cast<int>(version)), 2,
                                              std::vector<float>(2 * kDim, -1.0f)));
    }
    EXPECT_OK(corpus->commit(std::move(writes)));
  };
  write_version(1.0f);
  std::atomic<bool> done{false};
  std::atomic<std::size_t> searches{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&, t] {
      const std::vector<float> query(kDim, 1.0f);
      const std::vector<CollectionQuery> both = {{"law", query, 0.0f}, {"medicine", query, 0.0f}};
      while (!done) {
        const auto hits = search_collections(*corpus, both, 2);
        ASSERT_OK(hits);
        ASSERT_EQ(hits->size(), 2u);
        EXPECT_EQ((*hits)[0].score, (*hits)[1].score);
        EXPECT_OK(corpus->stored_document("law", "doc"));
        EXPECT_OK(corpus->collection_info("law"));
        const auto view = corpus->view(t == 0 ? "law" : "medicine");
        ASSERT_OK(view);
        EXPECT_EQ((*view)->vectors().size(), (*view)->num_passages() * kDim);
        if (t == 2) {
          EXPECT_OK(corpus->flush_indexes());
        }
        ++searches;
      }
    });
  for (int version = 2; version < 60 || searches < 100; ++version)
    write_version(static_cast<float>(version));
  done = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace collegium::index
