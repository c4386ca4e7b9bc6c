#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <string>
#include <thread>
#include <vector>

#include "lexical_testing.h"

namespace collegium::index {
namespace {

std::unique_ptr<Corpus> make_corpus(const std::string& path, const LexicalSettings& settings = {}) {
  auto corpus = Corpus::create(path, {.dim = 1, .encoder_digest = "e"}).value();
  WriteSet writes;
  writes.create_collection("c");
  writes.set_lexical("c", settings);
  EXPECT_OK(corpus->commit(std::move(writes)));
  return corpus;
}

std::vector<Hit> search(const Corpus& corpus, const std::string& query, std::size_t k) {
  auto hits = corpus.search_lexical("c", LexicalQuery::parse(query), k);
  EXPECT_OK(hits);
  return hits.ok() ? *hits : std::vector<Hit>();
}

TEST(LexicalStore, FollowsRandomWritesAndRestarts) {
  LexicalSettings settings;
  settings.k1 = 0.9;
  settings.b = 0.4;
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus", settings);
  LexicalModel model(settings);
  std::mt19937 random(5);
  for (int round = 0; round < 120; ++round) {
    WriteSet writes;
    std::set<std::string> named;
    const std::size_t operations = 1 + random() % 40;
    for (std::size_t i = 0; i < operations; ++i) {
      const std::string id = "d" + std::to_string(random() % 700);
      if (!named.insert(id).second) continue;
      if (random() % 3 == 0) {
        if (!model.has(id)) continue;
        writes.remove_document("c", id);
        model.remove(id);
        continue;
      }
      std::vector<std::string> passages;
      for (std::size_t p = 0; p < random() % 4; ++p)
        passages.push_back(random_text(random, 60, random() % 30));
      const NewDocument added =
          LexicalModel::document(id, random_text(random, 60, random() % 3), passages);
      model.put(added);
      writes.put_document("c", added);
    }
    ASSERT_OK(corpus->commit(std::move(writes)));
    if (round % 10 == 9) {
      ASSERT_OK(corpus->close());
      corpus = Corpus::open(folder / "corpus").value();
      EXPECT_EQ(corpus->lexical_settings("c").value().b, 0.4);
      EXPECT_FALSE(corpus->collection_info("c").value().postings_rebuilt);
    }
    if (round % 4 != 0) continue;
    for (int q = 0; q < 5; ++q) {
      const std::string a = random_word(random, 65);
      const std::string b = random_word(random, 65);
      SCOPED_TRACE(std::to_string(round) + ": " + a + " " + b);
      expect_hits(search(*corpus, a + " " + b, 2000), model.scores({a, b}), 2000);
      expect_hits(search(*corpus, a + " " + b, 5), model.scores({a, b}), 5);
      expect_hits(search(*corpus, "\"" + a + " " + b + "\"", 2000), model.scores({a, b}, {{a, b}}),
                  2000);
    }
  }
}

// Every key of the two column families.
std::map<std::string, std::string> postings_of(const std::string& corpus) {
  std::vector<std::string> names;
  const std::string folder = corpus + "/store";
  EXPECT_TRUE(rocksdb::DB::ListColumnFamilies({}, folder, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  EXPECT_TRUE(rocksdb::DB::OpenForReadOnly({}, folder, families, &handles, &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  std::map<std::string, std::string> found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "postings" || names[i] == "positions") {
      const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, handles[i]));
      for (it->SeekToFirst(); it->Valid(); it->Next())
        found[names[i] + "/" + it->key().ToString()] = it->value().ToString();
    }
    EXPECT_TRUE(db->DestroyColumnFamilyHandle(handles[i]).ok());
  }
  return found;
}

TEST(LexicalStore, WhatIsRemovedLeavesNothingBehind) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus");
  ASSERT_OK(corpus->close());
  const auto empty = postings_of(folder / "corpus");
  ASSERT_EQ(empty.size(), 1u);  // the summary

  corpus = Corpus::open(folder / "corpus").value();
  std::mt19937 random(3);
  WriteSet writes;
  for (int i = 0; i < 1000; ++i)
    writes.put_document(
        "c", LexicalModel::document("d" + std::to_string(i), "t", {random_text(random, 100, 20)}));
  ASSERT_OK(corpus->commit(std::move(writes)));
  ASSERT_OK(corpus->close());
  ASSERT_GT(postings_of(folder / "corpus").size(), 200u);

  corpus = Corpus::open(folder / "corpus").value();
  WriteSet removal;
  for (int i = 0; i < 1000; ++i) removal.remove_document("c", "d" + std::to_string(i));
  ASSERT_OK(corpus->commit(std::move(removal)));
  EXPECT_TRUE(search(*corpus, "w0 w1 t", 10).empty());
  ASSERT_OK(corpus->close());
  EXPECT_EQ(postings_of(folder / "corpus"), empty);
}

TEST(LexicalStore, AStoreFromBeforePostingsGetsThem) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus");
  LexicalModel model{LexicalSettings()};
  std::mt19937 random(4);
  for (int commit = 0; commit < 3; ++commit) {
    WriteSet writes;
    for (int i = 0; i < 300; ++i) {
      const auto added = LexicalModel::document(
          "d" + std::to_string(random() % 500) + "." + std::to_string(commit) + std::to_string(i),
          "title", {random_text(random, 100, 20), random_text(random, 100, 9)});
      model.put(added);
      writes.put_document("c", added);
    }
    ASSERT_OK(corpus->commit(std::move(writes)));
  }
  ASSERT_OK(corpus->close());
  {
    // As a store of version 1 is: without these families.
    const std::string path = folder / "corpus/store";
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names)
      families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, path, families, &handles, &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    ASSERT_TRUE(db->Put({}, handles[0], "m/format", std::string("\1\0\0\0", 4)).ok());
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == "postings" || names[i] == "positions") {
        ASSERT_TRUE(db->DropColumnFamily(handles[i]).ok());
      }
      ASSERT_TRUE(db->DestroyColumnFamilyHandle(handles[i]).ok());
    }
  }
  // RocksDB wrote a MANIFEST of its own meanwhile, which is not the one that was sealed.
  auto reopened = Corpus::open(folder / "corpus");
  if (!reopened.ok()) GTEST_FAIL() << reopened.status().to_string();
  corpus = std::move(*reopened);
  EXPECT_TRUE(corpus->collection_info("c").value().postings_rebuilt);
  EXPECT_EQ(corpus->format_version(), 2u);
  expect_hits(search(*corpus, "w1 w20 title", 40), model.scores({"w1", "w20", "title"}), 40);
  ASSERT_OK(corpus->close());
  corpus = Corpus::open(folder / "corpus").value();
  EXPECT_FALSE(corpus->collection_info("c").value().postings_rebuilt);
  expect_hits(search(*corpus, "w1 w20 title", 40), model.scores({"w1", "w20", "title"}), 40);
}

TEST(LexicalStore, SettingsAreKeptAndOnlyScoringMayChangeLater) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus");
  LexicalSettings settings;
  settings.stemmer = "english";
  settings.stop_words = {"the"};
  settings.fold_accents = false;
  const auto set = [&] {
    WriteSet writes;
    writes.set_lexical("c", settings);
    return corpus->commit(std::move(writes));
  };
  ASSERT_OK(set());  // no passages yet
  WriteSet writes;
  const auto added = LexicalModel::document("a", "", {"the runners", "x"});
  writes.put_document("c", added);
  ASSERT_OK(corpus->commit(std::move(writes)));
  ASSERT_OK(corpus->close());
  corpus = Corpus::open(folder / "corpus").value();
  const LexicalSettings read = corpus->lexical_settings("c").value();
  EXPECT_TRUE(read.same_words(settings));
  EXPECT_EQ(search(*corpus, "runner", 5).size(), 1u);
  EXPECT_TRUE(search(*corpus, "the", 5).empty());

  settings.k1 = 0.0;  // then every score is the idf
  ASSERT_OK(set());
  EXPECT_NEAR(search(*corpus, "runner", 5).at(0).score, std::log(1 + 1.5 / 1.5), 1e-6);
  settings.stemmer = "";
  EXPECT_CODE(set(), kFailedPrecondition);
  EXPECT_EQ(search(*corpus, "runner", 5).size(), 1u);
  settings.k1 = -1;
  EXPECT_CODE(set(), kInvalidArgument);
}

TEST(LexicalStore, LongDocumentsAndLongWords) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus");
  std::string many;
  for (int i = 0; i < 10000; ++i) many += "n" + std::to_string(i) + " ";
  const std::string repeated = [] {
    std::string text;
    for (int i = 0; i < 70000; ++i) text += "again ";
    return text;
  }();
  const std::string word(100000, 'z');
  LexicalModel model{LexicalSettings()};
  WriteSet writes;
  for (const NewDocument& added :
       {LexicalModel::document("many", "", {many}), LexicalModel::document("again", "", {repeated}),
        LexicalModel::document("z", word + "1", {word, "n77"})}) {
    model.put(added);
    writes.put_document("c", added);
  }
  ASSERT_OK(corpus->commit(std::move(writes)));
  for (const std::string& query : {std::string("n77"), std::string("again"), word, word + "1"})
    expect_hits(search(*corpus, query, 5), model.scores({query}), 5);
  expect_hits(search(*corpus, "\"n4999 n5000\"", 5),
              model.scores({"n4999", "n5000"}, {{"n4999", "n5000"}}), 5);
  EXPECT_TRUE(search(*corpus, word + "2", 5).empty());
  WriteSet removal;
  removal.remove_document("c", "z");
  ASSERT_OK(corpus->commit(std::move(removal)));
  model.remove("z");
  EXPECT_TRUE(search(*corpus, word, 5).empty());
  expect_hits(search(*corpus, "n77", 5), model.scores({"n77"}), 5);
}

TEST(LexicalStore, ReadersSeeOneCommit) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  // Every commit replaces all documents by ones that have its number.
  const auto write = [&](int number) {
    WriteSet writes;
    for (int i = 0; i < 20; ++i)
      writes.put_document("c", LexicalModel::document("d" + std::to_string(i), "",
                                                      {"common n" + std::to_string(number)}));
    ASSERT_OK(corpus->commit(std::move(writes)));
  };
  write(0);
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      while (!done) {
        const auto hits = corpus->search_lexical("c", LexicalQuery::words("common"), 100);
        ASSERT_OK(hits);
        ASSERT_EQ(hits->size(), 20u);
        for (const Hit& hit : *hits) {
          EXPECT_EQ(hit.score, hits->front().score);
          EXPECT_EQ(hit.matches.size(), 1u);
        }
      }
    });
  for (int number = 1; number < 60; ++number) write(number);
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_TRUE(search(*corpus, "n58", 10).empty());
  EXPECT_EQ(search(*corpus, "n59", 100).size(), 20u);
}

TEST(LexicalStore, ClosingAndFailingToOpenLeaveNothingOpen) {
  const TemporaryFolder folder;
  auto corpus = make_corpus(folder / "corpus");
  WriteSet writes;
  writes.put_document("c", LexicalModel::document("a", "", {"text"}));
  ASSERT_OK(corpus->commit(std::move(writes)));
  ASSERT_OK(corpus->close());
  EXPECT_CODE(corpus->search_lexical("c", LexicalQuery::words("text"), 1), kFailedPrecondition);
  EXPECT_CODE(corpus->lexical_settings("c"), kFailedPrecondition);
}

}  // namespace
}  // namespace collegium::index
