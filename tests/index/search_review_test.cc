// Input that was once read past its end, taken apart without bound, or believed when it was wrong.
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <bit>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "collegium/index/filter.h"
#include "lexical_blocks.h"
#include "lexical_tables.h"
#include "lexical_testing.h"
#include "lexical_words.h"
#include "scan.h"

namespace collegium::index {
namespace {

using Db = rocksdb::DB;
using Handle = rocksdb::ColumnFamilyHandle*;

// Changes one family behind the library's back.
void tamper(const std::string& path, const std::string& family,
            const std::function<void(Db&, Handle)>& change) {
  std::vector<std::string> names;
  ASSERT_TRUE(Db::ListColumnFamilies({}, path + "/store", &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<Handle> handles;
  Db* opened = nullptr;
  ASSERT_TRUE(Db::Open(rocksdb::DBOptions(), path + "/store", families, &handles, &opened).ok());
  const std::unique_ptr<Db> db(opened);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == family) change(*db, handles[i]);
  for (Handle handle : handles) EXPECT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
}

Status commit_documents(Corpus& corpus, std::vector<NewDocument> documents, bool create) {
  WriteSet writes;
  if (create) writes.create_collection("c");
  for (NewDocument& document : documents) writes.put_document("c", std::move(document));
  return corpus.commit(std::move(writes)).status();
}

void make_corpus(const std::string& path, std::vector<NewDocument> documents) {
  auto corpus = Corpus::create(path, {.dim = 1, .encoder_digest = "e"}).value();
  ASSERT_OK(commit_documents(*corpus, std::move(documents), true));
  ASSERT_OK(corpus->close());
}

NewDocument cut_document(std::size_t begin, std::size_t end) {
  NewDocument made;
  made.document = {"d", "", "a\xC3\xA9 word \xC3\xA9", ""};  // é at 1 and at 9
  made.passages = {{{begin, end}, ""}};
  made.vectors = {1.0f};
  return made;
}

TEST(SearchReview, PassageBoundsInsideACharacterAreRefused) {
  const TemporaryFolder folder;
  auto corpus = Corpus::create(folder / "c", {.dim = 1, .encoder_digest = "e"}).value();
  ASSERT_OK(commit_documents(*corpus, {}, true));
  for (const auto& [begin, end, bound] :
       {std::tuple(2, 11, "begin 2"), {0, 2, "end 2"}, {0, 10, "end 10"}}) {
    const Status status = commit_documents(
        *corpus, {cut_document(static_cast<std::size_t>(begin), static_cast<std::size_t>(end))},
        false);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(std::string("document 'd': passage 0: its ") + bound),
              std::string::npos)
        << status.to_string();
  }
  EXPECT_OK(commit_documents(*corpus, {cut_document(1, 9)}, false));
  EXPECT_OK(commit_documents(*corpus, {cut_document(0, 11)}, false));
}

// A store of before that was refused. Its summary has no digest, so its words are found anew.
TEST(SearchReview, BoundsInsideACharacterOfAnOldStoreTakeInTheCharacter) {
  const TemporaryFolder folder;
  const std::string path = folder / "c";
  make_corpus(path, {cut_document(0, 11)});
  tamper(path, "directory", [](Db& db, Handle family) {
    const std::string key = std::string(4, '\0') + "d";
    std::string value;
    ASSERT_TRUE(db.Get({}, family, key, &value).ok());
    value[16] = 2;   // begin
    value[24] = 10;  // end
    ASSERT_TRUE(db.Put({}, family, key, value).ok());
  });
  tamper(path, "postings", [](Db& db, Handle family) {
    std::string value;
    ASSERT_TRUE(db.Get({}, family, summary_key(0), &value).ok());
    value[0] = 1;
    value.resize(value.size() - 8);
    ASSERT_TRUE(db.Put({}, family, summary_key(0), value).ok());
  });
  std::filesystem::remove(path + "/index/0.index");  // it has the bounds too
  auto corpus = Corpus::open(path).value();
  LexicalQuery query = LexicalQuery::parse("\xC3\xA9");
  query.explain = true;
  const auto hits = corpus->search_lexical("c", query, 3);
  ASSERT_OK(hits);
  ASSERT_EQ(hits->size(), 1u);
  ASSERT_EQ(hits->front().matches.size(), 1u);
  EXPECT_EQ(hits->front().matches[0].in_text.size(), 2u);
  WriteSet writes;  // what is taken out is what was put in
  writes.remove_document("c", "d");
  EXPECT_OK(corpus->commit(std::move(writes)));
}

TEST(SearchReview, ScansOfCodesThatCannotTellRowsApartAreThoseOfFloats) {
  constexpr std::size_t kRows = 40000;
  constexpr std::size_t kDim = 8;
  std::vector<float> vectors(kRows * kDim, 0.35f);
  for (std::size_t i = 0; i < kRows; ++i)
    vectors[i * kDim] = 0.3f + 1e-4f * static_cast<float>(i % 97);
  const ScanRows rows{vectors, kDim, {}, kRows};
  // Of a pass: zeros, ones that nothing separates, and ones for which the codes are enough.
  std::vector<float> queries(300 * kDim, 0.35f);
  for (std::size_t q = 0; q < 300; ++q)
    for (std::size_t d = 0; d < kDim && q % 3 != 1; ++d)
      queries[q * kDim + d] = q % 3 == 0 || d > 0 ? 0.0f : 100.0f;
  const auto expected = scan_floats(rows, queries, 10);
  for (const ScanKind kind : {ScanKind::kInt8, ScanKind::kBfloat16}) {
    const auto found = scan_codes(rows, make_codes(vectors, kDim, kind), queries, 10);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t q = 0; q < found.size(); ++q) {
      ASSERT_EQ(found[q].best.size(), 10u);
      EXPECT_EQ(found[q].complete, expected[q].complete);
      for (std::size_t i = 0; i < 10; ++i) {
        ASSERT_EQ(found[q].best[i].position, expected[q].best[i].position) << q;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(found[q].best[i].score),
                  std::bit_cast<std::uint32_t>(expected[q].best[i].score));
      }
    }
  }
}

TEST(SearchReview, ATitleCountsForEveryPassageOfACommit) {
  const TemporaryFolder folder;
  auto corpus = Corpus::create(folder / "c", {.dim = 1, .encoder_digest = "e"}).value();
  ASSERT_OK(commit_documents(*corpus, {}, true));
  NewDocument large;
  large.document = {"d", std::string(std::size_t{1} << 20, 'x'), "text", ""};
  large.passages.assign(1024, {{0, 4}, ""});
  large.vectors.assign(1024, 1.0f);
  const Status status = commit_documents(*corpus, {large}, false);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  // 1024 * (2^20 + 4)
  EXPECT_NE(status.message().find("have 1073745920 bytes, allowed are 1073741824"),
            std::string::npos)
      << status.to_string();
}

TEST(SearchReview, EveryObjectAndListOfAFilterCounts) {
  const auto filter = [](std::size_t n, const std::string& part) {
    std::string text = R"({"$and":[)";
    for (std::size_t i = 0; i < n; ++i) text += part + ",";
    text.back() = ']';
    return text + "}";
  };
  // The outer object and the list are two more.
  EXPECT_OK(Filter::parse(filter(Filter::kMaxNodes - 2, "{}")));
  for (const auto& [n, part] : {std::pair(Filter::kMaxNodes - 1, "{}"),
                                {Filter::kMaxNodes / 2, R"({"$not":{}})"},
                                {Filter::kMaxNodes / 3 + 1, R"({"$or":[{}]})"}}) {
    const auto parsed = Filter::parse(filter(n, part));
    ASSERT_FALSE(parsed.ok()) << part;
    EXPECT_NE(parsed.status().message().find("is object, list or test 4001, allowed are 4000"),
              std::string::npos)
        << parsed.status().to_string();
  }
}

TEST(SearchReview, PostingsOfAnotherTokenizerAreMadeAnew) {
  LexicalSettings other;
  other.stemmer = "english";
  EXPECT_NE(words_digest({}), words_digest(other));
  EXPECT_EQ(words_digest(other), words_digest(other));

  for (const bool with_digest : {false, true}) {
    const TemporaryFolder folder;
    const std::string path = folder / "c";
    make_corpus(path, {LexicalModel::document("d", "", {"deep water"})});
    tamper(path, "postings", [&](Db& db, Handle family) {
      std::string value;
      ASSERT_TRUE(db.Get({}, family, summary_key(0), &value).ok());
      if (with_digest) {
        value.back() = static_cast<char>(value.back() ^ 1);
      } else {
        value[0] = 1;
        value.resize(value.size() - 8);
      }
      ASSERT_TRUE(db.Put({}, family, summary_key(0), value).ok());
      // As the other would have written it.
      ASSERT_TRUE(db.Get({}, family, term_key(0, "water"), &value).ok());
      ASSERT_TRUE(db.Put({}, family, term_key(0, "wasser"), value).ok());
      ASSERT_TRUE(db.Delete({}, family, term_key(0, "water")).ok());
    });
    for (const bool rebuilt : {true, false}) {
      auto corpus = Corpus::open(path).value();
      EXPECT_EQ(corpus->collection_info("c").value().postings_rebuilt, rebuilt);
      const auto hits = corpus->search_lexical("c", LexicalQuery::parse("water"), 3);
      ASSERT_OK(hits);
      EXPECT_EQ(hits->size(), 1u);
      ASSERT_OK(corpus->close());
    }
    tamper(path, "postings", [](Db& db, Handle family) {
      std::string value;
      EXPECT_TRUE(db.Get({}, family, term_key(0, "wasser"), &value).IsNotFound());
    });
  }
}

TEST(SearchReview, PostingsThatCannotBeAreCorruption) {
  const auto record = [](const std::vector<Posting>& postings) {
    return std::string("\1\0\0\0\0\0\0\0", 8) + PostingBlock::write(postings);
  };
  const std::uint64_t largest = ~std::uint64_t{0};
  for (const std::string& value :
       {record({}), record({{largest - 100, 1, 1}}), record({{std::uint64_t{1} << 63, 1, 1}})}) {
    const TemporaryFolder folder;
    const std::string path = folder / "c";
    make_corpus(path, {LexicalModel::document("d", "", {"water"})});
    tamper(path, "postings", [&](Db& db, Handle family) {
      ASSERT_TRUE(db.Put({}, family, term_key(0, "water"), value).ok());
    });
    auto corpus = Corpus::open(path).value();
    for (const char* query : {"water", "+water", "+\"water water\""})
      EXPECT_CODE(corpus->search_lexical("c", LexicalQuery::parse(query), 3), kCorruption) << query;
  }
}

}  // namespace
}  // namespace collegium::index
