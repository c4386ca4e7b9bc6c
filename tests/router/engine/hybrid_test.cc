#include "engine/hybrid.h"

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::ElementsAre;

index::Hit hit(std::string collection, std::string id, float score) {
  index::Hit made;
  made.collection = std::move(collection);
  made.document_id = std::move(id);
  made.score = score;
  return made;
}

std::vector<std::string> names(const std::vector<index::Hit>& hits) {
  std::vector<std::string> result;
  for (const index::Hit& one : hits) result.push_back(one.collection + "/" + one.document_id);
  return result;
}

std::vector<std::string> ids(const Answer& answer) {
  std::vector<std::string> result;
  for (const CitedPassage& passage : answer.passages) result.push_back(passage.document_id);
  return result;
}

TEST(FillPlaces, VectorsSayWhereACollectionStandsAndTheFusedRankingWhatStandsThere) {
  std::map<std::string, CollectionRankings, std::less<>> rankings;
  rankings["law"].dense = {hit("law", "a", 0.9f), hit("law", "b", 0.7f)};
  rankings["law"].lexical = {hit("law", "z", 9.0f), hit("law", "b", 8.0f)};
  rankings["law"].fusion.lexical_weight = 1.0;
  rankings["music"].dense = {hit("music", "m", 0.8f)};
  rankings["music"].lexical = {hit("music", "n", 99.0f)};
  rankings["music"].fusion.lexical_weight = 0.0;
  const auto merged = fill_places(
      {hit("law", "a", 0.9f), hit("music", "m", 0.8f), hit("law", "b", 0.7f)}, rankings);
  ASSERT_OK(merged);
  EXPECT_THAT(names(*merged), ElementsAre("law/z", "music/m", "law/b"));
  EXPECT_EQ((*merged)[0].score, 0.9f);  // of the place
  EXPECT_EQ((*merged)[2].score, 0.7f);
}

TEST(Hybrid, AWeightOfOneIsTheOrderOfWordsAndZeroThatOfVectors) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", /*fitted=*/false);
  ASSERT_TRUE(library);
  AskOptions options;
  options.collections = {"law"};
  options.k = 3;
  const auto plain = library->search("what is law 3?", options);
  ASSERT_OK(plain);
  options.lexical_weight = 0.0;
  EXPECT_EQ(ids(*library->search("what is law 3?", options)), ids(*plain));
  EXPECT_FALSE(plain->passages[0].lexical_score);
  EXPECT_TRUE(plain->passages[0].dense_score);
  EXPECT_EQ(plain->route.entries[0].lexical_weight, 0.0);

  options.lexical_weight = 1.0;
  const auto by_words = library->search("what is law 3?", options);
  ASSERT_OK(by_words);
  ASSERT_EQ(by_words->passages.size(), 3u);
  EXPECT_EQ(by_words->route.entries[0].lexical_weight, 1.0);
  for (std::size_t i = 1; i < 3; ++i) {
    ASSERT_TRUE(by_words->passages[i].lexical_score);
    EXPECT_GE(*by_words->passages[i - 1].lexical_score, *by_words->passages[i].lexical_score);
  }
  EXPECT_THAT(by_words->to_json(), testing::HasSubstr("\"lexical_score\":"));

  options.lexical_weight = 1.5;
  EXPECT_EQ(library->search("what is law 3?", options).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(Hybrid, WhatFitChoseIsServedAndSurvivesClosing) {
  const TemporaryFolder folder;
  std::vector<std::string> before;
  double weight = 0.0;
  {
    const auto library = make_library(folder / "lib", false);
    ASSERT_TRUE(library);
    const auto report = library->fit();
    ASSERT_OK(report);
    weight = report->experts[0].lexical_weight;
    const auto answer = library->search("how is the river 1?");
    ASSERT_OK(answer);
    before = ids(*answer);
    // Fewer dev questions than decide: what stands is the default.
    EXPECT_EQ(weight, index::FusionOptions().lexical_weight);
    AskOptions dense;
    dense.lexical_weight = 0.0;
    const auto without = library->search("how is the river 1?", dense);
    ASSERT_OK(without);
    EXPECT_EQ(without->route.entries[0].lexical_weight, 0.0);
  }
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  const auto after = (*library)->search("how is the river 1?");
  ASSERT_OK(after);
  EXPECT_EQ(ids(*after), before);
  EXPECT_EQ(after->route.entries[0].lexical_weight, weight);
}

}  // namespace
}  // namespace collegium::router
