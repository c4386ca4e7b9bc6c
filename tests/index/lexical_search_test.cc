#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "collegium/index/filter.h"
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

Status put(Corpus& corpus, const std::vector<NewDocument>& documents) {
  WriteSet writes;
  for (const NewDocument& document : documents) writes.put_document("c", document);
  return core::detail::to_status(corpus.commit(std::move(writes)));
}

std::vector<Hit> search(const Corpus& corpus, const std::string& query, std::size_t k,
                        const SearchOptions& options = {}) {
  auto hits = corpus.search_lexical("c", LexicalQuery::parse(query), k, options);
  EXPECT_OK(hits);
  return hits.ok() ? *hits : std::vector<Hit>();
}

std::vector<std::string> ids(const std::vector<Hit>& hits) {
  std::vector<std::string> found;
  for (const Hit& hit : hits) found.push_back(hit.document_id);
  return found;
}
using Ids = std::vector<std::string>;

// Many passages, so that common words fill many blocks; copies, so that scores tie.
class LexicalRandom : public testing::Test {
 protected:
  void SetUp() override {
    corpus_ = make_corpus(folder_ / "corpus");
    std::vector<NewDocument> documents;
    for (int i = 0; i < 3000; ++i) {
      std::vector<std::string> passages;
      for (std::size_t p = 0; p < 1 + random_() % 3; ++p)
        passages.push_back(random_text(random_, 400, 5 + random_() % 40));
      if (i % 5 == 4) passages = last_;  // a copy under another id
      last_ = passages;
      documents.push_back(LexicalModel::document("d" + std::to_string(random_() % 100000), "w1 t",
                                                 passages, i % 3 == 0 ? "{\"third\": true}" : ""));
      if (!seen_.insert(documents.back().document.id).second) documents.pop_back();
    }
    for (const NewDocument& document : documents) model_.put(document);
    for (std::size_t begin = 0; begin < documents.size(); begin += 700) {
      const auto first = documents.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::size_t n = std::min<std::size_t>(700, documents.size() - begin);
      ASSERT_OK(put(*corpus_, {first, first + static_cast<std::ptrdiff_t>(n)}));
    }
  }

  TemporaryFolder folder_;
  std::mt19937 random_{11};
  std::vector<std::string> last_;
  std::set<std::string> seen_;
  LexicalModel model_{LexicalSettings()};
  std::unique_ptr<Corpus> corpus_;
};

TEST_F(LexicalRandom, ScoresAreThoseOfBm25) {
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> query;
    for (std::size_t i = 0; i < 1 + random_() % 6; ++i) query.push_back(random_word(random_, 450));
    SCOPED_TRACE(join(query));
    const std::size_t k = round % 3 == 0 ? 10000 : 1 + random_() % 40;
    expect_hits(search(*corpus_, join(query), k), model_.scores(query), k);
  }
}

TEST_F(LexicalRandom, SkippingChangesNothing) {
  for (int round = 0; round < 150; ++round) {
    std::vector<std::string> query;
    for (std::size_t i = 0; i < 1 + random_() % 8; ++i) query.push_back(random_word(random_, 400));
    if (round % 4 == 1) query.front() = "+" + query.front();
    if (round % 4 == 2) query.back() = "-" + query.back();
    SCOPED_TRACE(join(query));
    const auto all = search(*corpus_, join(query), 100000);  // never full: nothing is skipped
    for (const std::size_t k : {1u, 2u, 10u, 100u}) {
      const auto some = search(*corpus_, join(query), k);
      ASSERT_EQ(some.size(), std::min<std::size_t>(k, all.size()));
      for (std::size_t i = 0; i < some.size(); ++i) {
        ASSERT_EQ(some[i].document_id, all[i].document_id) << k << " " << i;
        ASSERT_EQ(some[i].score, all[i].score);
        ASSERT_EQ(some[i].row, all[i].row);
      }
    }
  }
}

TEST_F(LexicalRandom, RequiredAndExcludedWordsAndPhrases) {
  for (int round = 0; round < 60; ++round) {
    const std::string a = random_word(random_, 60);
    const std::string b = random_word(random_, 60);
    const std::string c = random_word(random_, 400);
    SCOPED_TRACE(a + " " + b + " " + c);
    expect_hits(search(*corpus_, "+" + a + " " + c, 50), model_.scores({a, c}, {{a}}), 50);
    expect_hits(search(*corpus_, a + " " + c + " -" + b, 50), model_.scores({a, c}, {}, {{b}}), 50);
    expect_hits(search(*corpus_, "\"" + a + " " + b + "\" " + c, 50),
                model_.scores({a, b, c}, {{a, b}}), 50);
    expect_hits(search(*corpus_, c + " -\"" + a + " " + b + "\"", 50),
                model_.scores({c}, {}, {{a, b}}), 50);
    expect_hits(search(*corpus_, "\"" + a + " " + b + " " + a + "\" +" + c, 50),
                model_.scores({a, b, a, c}, {{a, b, a}, {c}}), 50);
  }
}

TEST_F(LexicalRandom, AFilterLosesNoHit) {
  SearchOptions options;
  options.filter = Filter::parse("{\"third\": true}").value();
  for (int round = 0; round < 20; ++round) {
    const std::string query = random_word(random_, 300) + " " + random_word(random_, 300);
    SCOPED_TRACE(query);
    std::vector<Hit> expected;
    for (Hit& hit : search(*corpus_, query, 100000)) {
      const auto document = corpus_->document("c", hit.document_id).value();
      if (!document.metadata.empty()) expected.push_back(std::move(hit));
    }
    if (expected.size() > 20) expected.resize(20);
    const auto found = search(*corpus_, query, 20, options);
    ASSERT_EQ(ids(found), ids(expected));
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].score, expected[i].score);
  }
}

TEST_F(LexicalRandom, AHugeQueryIsAnswered) {
  std::vector<std::string> query;
  for (int i = 0; i < 10000; ++i) query.push_back("w" + std::to_string(i));
  expect_hits(search(*corpus_, join(query), 20), model_.scores(query), 20);
}

TEST(Lexical, QueriesWithNothingToLookForHaveNoHits) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  ASSERT_OK(put(*corpus, {LexicalModel::document("a", "title", {"some text"})}));
  for (const char* query : {"", " ", "?!", "-text", "absent", "+absent text",
                            "\"some absent\" text", "\"\"", "\"text some\""})
    EXPECT_TRUE(search(*corpus, query, 10).empty()) << query;
  EXPECT_EQ(ids(search(*corpus, "+? text", 10)), Ids{"a"});  // a sign alone requires nothing
  EXPECT_CODE(corpus->search_lexical("c", LexicalQuery::words("text"), 0), kInvalidArgument);
  EXPECT_CODE(corpus->search_lexical("c", LexicalQuery::words("\xff"), 1), kInvalidArgument);
  EXPECT_CODE(corpus->search_lexical("d", LexicalQuery::words("text"), 1), kNotFound);
}

TEST(Lexical, AnEmptyCollectionHasNoHits) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  EXPECT_TRUE(search(*corpus, "anything", 10).empty());
  ASSERT_OK(put(*corpus, {LexicalModel::document("none", "title", {})}));  // without passages
  EXPECT_TRUE(search(*corpus, "title", 10).empty());
  ASSERT_OK(put(*corpus, {LexicalModel::document("signs", "", {"...", "!?"})}));
  EXPECT_TRUE(search(*corpus, "title", 10).empty());
}

TEST(Lexical, APhraseDoesNotGoFromTitleToText) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  ASSERT_OK(put(*corpus, {LexicalModel::document("a", "red fox", {"jumps high", "fox jumps"})}));
  EXPECT_TRUE(search(*corpus, "\"red fox jumps\"", 5).empty());
  const auto hits = search(*corpus, "\"fox jumps\"", 5);
  ASSERT_EQ(ids(hits), Ids{"a"});
  EXPECT_EQ(hits[0].passage, 1u);
  EXPECT_EQ(ids(search(*corpus, "\"red fox\"", 5)), Ids{"a"});
}

TEST(Lexical, PhrasesInScriptsWithoutSpacesNamesAndStopWords) {
  LexicalSettings settings;
  settings.stop_words = LexicalSettings::english_stop_words();
  settings.stemmer = "english";
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", settings);
  ASSERT_OK(put(*corpus, {LexicalModel::document("zh", "", {"我住在東京都。"}),
                          LexicalModel::document("ja", "", {"京都と東京"}),
                          LexicalModel::document("code", "", {"call parse_http_request twice"}),
                          LexicalModel::document("us", "", {"the president of the united states"}),
                          LexicalModel::document("no", "", {"president united with the states"}),
                          LexicalModel::document("e", "", {"ship it 🚀 now"})}));
  EXPECT_EQ(ids(search(*corpus, "\"東京都\"", 5)), Ids{"zh"});
  EXPECT_EQ(ids(search(*corpus, "+東京都", 5)), Ids{"zh"});
  EXPECT_EQ(search(*corpus, "東京都", 5).size(), 2u);
  EXPECT_EQ(ids(search(*corpus, "\"parse http request\"", 5)), Ids{"code"});
  EXPECT_EQ(ids(search(*corpus, "+parse_http_request", 5)), Ids{"code"});
  EXPECT_EQ(ids(search(*corpus, "parseHttpRequest", 5)), Ids{"code"});
  EXPECT_EQ(ids(search(*corpus, "\"presidents of the United\"", 5)), Ids{"us"});
  EXPECT_EQ(ids(search(*corpus, "\"president united\"", 5)), Ids{"no"});
  EXPECT_EQ(ids(search(*corpus, "🚀", 5)), Ids{"e"});
  EXPECT_TRUE(search(*corpus, "the of", 5).empty());
}

TEST(Lexical, HitsSayWhichWordsMatchedAndWhere) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  ASSERT_OK(put(*corpus, {LexicalModel::document("a", "Café notes", {"no", "Tea, TEA and café."}),
                          LexicalModel::document("b", "", {"tea"})}));
  const auto hits = search(*corpus, "tea cafe absent", 5);
  ASSERT_EQ(ids(hits), (Ids{"a", "b"}));
  const std::string text = corpus->document("c", "a").value().text;
  ASSERT_EQ(hits[0].matches.size(), 2u);
  float sum = 0.0f;
  for (const LexicalMatch& match : hits[0].matches) {
    sum += match.score;
    for (const core::ByteSpan& span : match.in_text) {
      EXPECT_GE(span.begin, hits[0].bytes.begin);
      const std::string word = text.substr(span.begin, span.end - span.begin);
      EXPECT_TRUE(match.term == "tea" ? word == "Tea" || word == "TEA" : word == "café") << word;
    }
    EXPECT_EQ(match.in_text.size(), match.term == "tea" ? 2u : 1u);
    EXPECT_EQ(match.in_title.size(), match.term == "tea" ? 0u : 1u);
  }
  EXPECT_NEAR(sum, hits[0].score, 1e-6);
  LexicalQuery quiet = LexicalQuery::words("tea");
  quiet.explain = false;
  const auto unexplained = corpus->search_lexical("c", quiet, 5).value();
  ASSERT_EQ(unexplained.size(), 2u);
  EXPECT_TRUE(unexplained[0].matches.empty());
}

TEST(Lexical, TiesAreByIdAlsoAcrossTheBoundary) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  std::vector<NewDocument> documents;
  for (int i = 999; i >= 100; --i)
    documents.push_back(LexicalModel::document("d" + std::to_string(i), "", {"same words here"}));
  ASSERT_OK(put(*corpus, documents));
  for (const std::size_t k : {1u, 7u, 500u}) {
    const auto hits = search(*corpus, "words here", k);
    ASSERT_EQ(hits.size(), k);
    for (std::size_t i = 0; i < k; ++i)
      EXPECT_EQ(hits[i].document_id, "d" + std::to_string(100 + i));
  }
}

TEST(Lexical, CapsAreAppliedWhileRanking) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  std::vector<NewDocument> documents;
  for (int i = 0; i < 60; ++i)
    documents.push_back(LexicalModel::document("d" + std::to_string(100 + i), "", {"same word"},
                                               i < 50 ? "{\"from\": \"x\"}" : "{\"from\": \"y\"}"));
  ASSERT_OK(put(*corpus, documents));
  SearchOptions options;
  options.source_field = "from";
  options.max_per_source = 2;
  EXPECT_EQ(ids(search(*corpus, "word", 4, options)), (Ids{"d100", "d101", "d150", "d151"}));
  EXPECT_EQ(search(*corpus, "word", 10, options).size(), 4u);
}

}  // namespace
}  // namespace collegium::index
