#include <cmath>

#include "engine/hybrid.h"
#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

index::Hit hit(std::string collection, std::string id, float score) {
  index::Hit made;
  made.collection = std::move(collection);
  made.document_id = std::move(id);
  made.score = score;
  return made;
}

TEST(RankerLists, OwnScoresAreShiftedAndACollectionWithoutExpertHasNone) {
  std::map<std::string, CollectionRankings, std::less<>> rankings;
  rankings["law"].plain = {hit("law", "a", 0.5f)};
  rankings["law"].dense = {hit("law", "a", 0.75f)};
  rankings["law"].lexical = {hit("law", "z", 9.0f)};
  rankings["music"].plain = rankings["music"].dense = {hit("music", "m", 0.25f)};
  Route route;
  route.entries.resize(2);
  route.entries[0].collection = "music";
  route.entries[0].probability = 0.0;  // counts as the least there is
  route.entries[1].collection = "law";
  route.entries[1].probability = 1.0;
  route.entries[1].searched_again = true;
  route.entries[1].shift = -0.125;
  const RankerLists made = ranker_lists(route, rankings);
  ASSERT_EQ(made.sources.size(), 2u);
  EXPECT_EQ(made.sources[0].collection, "law");
  ASSERT_EQ(made.sources[0].own.size(), 1u);
  EXPECT_EQ(made.sources[0].own[0].score, 0.625);
  EXPECT_EQ(made.sources[0].plain[0].score, 0.5);
  EXPECT_EQ(made.sources[0].lexical[0].id, "z");
  EXPECT_TRUE(made.sources[1].own.empty());
  EXPECT_EQ(made.sources[1].probability, kMinProbability);
}

// Questions share a word with their document that vectors of random weights see little of, and
// nature's words stand in every music document too: what a ranker learns is to look at both.
std::shared_ptr<Library> make_judged_library(const std::string& path) {
  auto library = Library::create(path, tiny_options());
  EXPECT_TRUE(library.ok()) << library.status().to_string();
  if (!library.ok()) return nullptr;
  for (Subject subject : {law_subject(60), nature_subject(60), music_subject(60)}) {
    for (std::size_t i = 0; i < subject.pairs.size(); ++i)
      subject.pairs[i].split = i % 3 == 0 ? Split::kTrain : Split::kDev;
    const auto added = (*library)->add(subject.name, subject.documents, subject.pairs);
    EXPECT_TRUE(added.ok()) << added.status().to_string();
  }
  return *library;
}

TEST(LibraryRanker, IsKeptWhereItWinsOnDevAndExplainsEveryPassage) {
  const TemporaryFolder folder;
  const auto library = make_judged_library(folder / "lib");
  ASSERT_TRUE(library);
  const auto fit = library->fit();
  ASSERT_OK(fit);
  EXPECT_GT(fit->fusion_dev_ndcg, 0.0);
  EXPECT_GT(fit->ranker_dev_ndcg, 0.0);
  EXPECT_EQ(fit->ranked, fit->ranker_dev_ndcg >= fit->fusion_dev_ndcg + 0.0005);
  EXPECT_THAT(fit->to_text(), HasSubstr("merge   by "));
  AskOptions options;
  options.k = 5;
  const auto before = library->search("how is the river 2?", options);
  ASSERT_OK(before);
  ASSERT_EQ(before->passages.size(), 5u);
  for (const CitedPassage& passage : before->passages) {
    EXPECT_EQ(passage.ranking.empty(), !fit->ranked);
    if (!fit->ranked) continue;
    double odds = 0.0;
    for (const RankerContribution& part : passage.ranking) odds += part.given;
    EXPECT_NEAR(passage.score, 1.0 / (1.0 + std::exp(-odds)), 1e-6);  // a probability
    EXPECT_THAT(before->to_json(), HasSubstr("\"lexical share\""));
  }
  // Read back, the same answer; asked for a weight of words, or for one collection, no ranker.
  ASSERT_TRUE(library->reopen().ok());
  EXPECT_EQ(without_times(*library->search("how is the river 2?", options)),
            without_times(*before));
  AskOptions other = options;
  other.lexical_weight = 0.5;
  EXPECT_TRUE(library->search("how is the river 2?", other)->passages[0].ranking.empty());
  other = options;
  other.collections = {"nature"};
  EXPECT_TRUE(library->search("how is the river 2?", other)->passages[0].ranking.empty());
  // What is served is what is evaluated.
  const auto evaluation = library->evaluate();
  ASSERT_OK(evaluation);
  EXPECT_TRUE(!fit->ranked || evaluation->served == "served");
}

TEST(LibraryRanker, FewDevQuestionsTeachNone) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", /*fitted=*/true);
  ASSERT_TRUE(library);
  EXPECT_TRUE(library->search("what is law 3?")->passages[0].ranking.empty());
}

}  // namespace
}  // namespace collegium::router
