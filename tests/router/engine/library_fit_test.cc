#include <cmath>
#include <set>

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;
using testing::Not;

// 40 queries, each with five documents that are its own words, so plain search finds all five
// first.
Subject five_of_each() {
  Subject subject{"law", {}, {}};
  for (std::size_t q = 0; q < 40; ++q) {
    std::string text = q % 2 == 0 ? "law market" : "river winter";
    for (std::size_t n = q + 1; n > 0; n /= 3) text += " " + std::to_string(n % 3 + 1);
    for (std::size_t j = 0; j < 5; ++j) {
      const std::string id = "d" + std::to_string(q) + "-" + std::to_string(j);
      subject.documents.push_back(make_document(id, "", text));
      subject.pairs.push_back({text, id, std::nullopt, 1.0f});
    }
  }
  return subject;
}

TEST(LibraryFit, AllDocumentsOfAQueryAreRelevantInTheSplitItIsUsedIn) {
  const TemporaryFolder folder;
  const auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const Subject subject = five_of_each();
  ASSERT_OK((*library)->add(subject.name, subject.documents, subject.pairs));
  const auto fit = (*library)->fit();
  ASSERT_OK(fit);
  std::size_t expected[3] = {0, 0, 0};
  for (std::size_t q = 0; q < 40; ++q) {
    Split last = Split::kTrain;
    for (std::size_t j = 0; j < 5; ++j)
      last = std::max(last, split_of_document(subject.documents[5 * q + j].id));
    ++expected[static_cast<std::size_t>(last)];
  }
  const FitReport::Expert& expert = fit->experts.at(0);
  EXPECT_EQ(expert.train, expected[0]);
  EXPECT_EQ(expert.dev, expected[1]);
  EXPECT_EQ(expert.test, expected[2]);
  for (const Split split : {Split::kDev, Split::kTest}) {
    ASSERT_GT(expected[static_cast<std::size_t>(split)], 2u);
    const auto evaluation = (*library)->evaluate({split, 1});
    ASSERT_OK(evaluation);
    EXPECT_NEAR(evaluation->row("plain")->merged.mean.ndcg_at_10, 1.0, 1e-9);
  }
}

TEST(LibraryFit, AQueryIsUsedInTheLastOfItsSplitsAlone) {
  const TemporaryFolder folder;
  const auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const std::vector<Document> documents = {make_document("a", "", "the law"),
                                           make_document("b", "", "the river"),
                                           make_document("c", "", "the music")};
  const std::vector<Pair> pairs = {
      {"what is law 1", "a", Split::kTrain, 1.0f}, {"what is law 1", "b", Split::kTest, 1.0f},
      {"what is law 2", "a", Split::kTrain, 1.0f}, {"what is law 2", "c", Split::kDev, 1.0f},
      {"what is law 3", "b", Split::kDev, 1.0f},   {"what is law 3", "c", Split::kTest, 1.0f},
      {"what is law 4", "c", Split::kTrain, 1.0f}};
  ASSERT_OK((*library)->add("law", documents, pairs));
  const auto fit = (*library)->fit();
  ASSERT_OK(fit);
  EXPECT_EQ(fit->experts.at(0).train, 1u);  // law 4 alone
  EXPECT_EQ(fit->experts.at(0).dev, 1u);
  EXPECT_EQ(fit->experts.at(0).test, 2u);
}

TEST(LibraryFit, SaysWhichKindOfPairsTrainedWhat) {
  const TemporaryFolder folder;
  const auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const std::vector<Document> documents = {make_document("a", "", "the law"),
                                           make_document("b", "", "the river")};
  const std::vector<Pair> pairs = {{"what is law 1", "a", Split::kTrain, 1.0f},
                                   {"what is law 2", "a", Split::kTrain, 1.0f, "cloze"},
                                   {"what is law 3", "b", Split::kTrain, 2.0f, "log"},
                                   {"what is law 4", "b", Split::kDev, 1.0f, "log"},
                                   {"what is law 4", "b", Split::kDev, 1.0f, "log"}};
  ASSERT_OK((*library)->add("law", documents, pairs));
  const auto fit = (*library)->fit();
  ASSERT_OK(fit);
  using Counts = std::array<std::size_t, 3>;
  const std::map<std::string, Counts> expected = {
      {"judged", {1, 0, 0}}, {"cloze", {1, 0, 0}}, {"log", {1, 1, 0}}};
  EXPECT_EQ(fit->experts.at(0).pair_kinds, expected);
  EXPECT_THAT(fit->to_text(),
              HasSubstr("pairs in train: 1 cloze, 1 judged, 1 log; in dev: 1 log\n"));
  EXPECT_THAT(fit->to_json(), HasSubstr("\"cloze\":{\"train\":1,\"dev\":0,\"test\":0}"));
  EXPECT_THAT(fit->to_html(), HasSubstr("1 cloze, 1 judged, 1 log"));
}

TEST(LibraryFit, APairThatWasMadeLeavesOneThatWasJudgedAsItIs) {
  const TemporaryFolder folder;
  const auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const std::vector<Document> documents = {make_document("a", "", "the law")};
  const std::vector<Pair> judged = {{"what is law", "a", Split::kTest, 1.0f}};
  const std::vector<Pair> made = {{"what is law", "a", Split::kTrain, 1.0f, "headings"}};
  ASSERT_OK((*library)->add("law", documents, made));
  EXPECT_EQ((*library)->info()->collections.at(0).pairs[0], 1u);
  ASSERT_OK((*library)->add("law", {}, judged));
  EXPECT_EQ((*library)->info()->collections.at(0).pairs[2], 1u);
  ASSERT_OK((*library)->add("law", {}, made));
  EXPECT_EQ((*library)->info()->collections.at(0).pairs[0], 0u);
  EXPECT_EQ((*library)->info()->collections.at(0).pairs[2], 1u);
}

TEST(LibraryFit, AnyOptionOfTheAdaptersThatDiffersTrainsAnew) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  FitOptions options;
  options.learn.multi_task = false;
  options.learn.adapter.max_epochs = 1;
  const auto kept = [&] {
    const auto report = library->fit(options);
    EXPECT_TRUE(report.ok()) << report.status().to_string();
    return report.ok() && report->experts.at(0).kept;
  };
  EXPECT_FALSE(kept());
  EXPECT_TRUE(kept());
  options.learn.adapter.learning_rate = 1e-7f;
  EXPECT_FALSE(kept());
  options.learn.adapter.learning_rate = 2e-7f;
  EXPECT_FALSE(kept());
  options.learn.adapter.identity_decay = 1e-8f;
  EXPECT_FALSE(kept());
  options.learn.adapter.seed = 1ull << 53;
  EXPECT_FALSE(kept());
  options.learn.adapter.seed = (1ull << 53) + 1;
  EXPECT_FALSE(kept());
  options.learn.adapter.mined_negatives = 51;
  EXPECT_FALSE(kept());
  options.learn.adapter.false_negative_margin = 1e-8f;
  EXPECT_FALSE(kept());
  options.learn.router = "linear";  // no concern of an adapter's
  EXPECT_TRUE(kept());
}

TEST(LibraryFit, LooksForHardDocumentsWhereTrainingNeedsThem) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const auto fit = [&](core::TrainingLoss loss, core::NegativePool pool, bool& looked) {
    FitOptions options;
    options.learn.adapter.loss = loss;
    options.learn.adapter.pools = {pool};
    options.learn.adapter.mined_negatives = 10;
    looked = false;
    return library->fit(options, [&](const core::Progress& progress) {
      looked = looked || progress.stage == "hard documents";
      return true;
    });
  };
  bool looked = false;
  const auto whole = fit(core::TrainingLoss::kInfoNce, core::NegativePool::kWhole, looked);
  ASSERT_OK(whole);
  EXPECT_FALSE(looked);
  for (core::TrainingLoss loss : {core::TrainingLoss::kInfoNce, core::TrainingLoss::kMarginMse}) {
    const auto report = fit(loss, core::NegativePool::kMined, looked);
    ASSERT_OK(report);
    EXPECT_TRUE(looked);
    for (const FitReport::Expert& expert : report->experts) {
      EXPECT_EQ(expert.pool, core::NegativePool::kMined) << expert.collection;
      ASSERT_FALSE(expert.loss.empty()) << expert.collection;
      EXPECT_GT(expert.loss.front(), expert.loss.back()) << expert.collection;
    }
  }
  FitOptions options;
  options.learn.adapter.loss = core::TrainingLoss::kMarginMse;
  options.learn.adapter.mined_negatives = 11;
  const auto cancelled = library->fit(
      options, [](const core::Progress& progress) { return progress.stage != "hard documents"; });
  EXPECT_EQ(cancelled.status().code(), StatusCode::kCancelled);
}

TEST(LibraryFit, AnInterruptedOneGoesOnWithTheExpertsItTrained) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  FitOptions options;
  options.learn.multi_task = false;
  options.learn.adapter.max_epochs = 2;
  const auto cancelled = library->fit(
      options, [](const core::Progress& progress) { return progress.stage != "routers"; });
  EXPECT_EQ(cancelled.status().code(), StatusCode::kCancelled);
  std::set<std::string> stages;
  const auto resumed = library->fit(options, [&](const core::Progress& progress) {
    stages.insert(std::string(progress.stage));
    return true;
  });
  ASSERT_OK(resumed);
  EXPECT_EQ(stages.count("train law"), 0u);
  EXPECT_TRUE(resumed->experts.at(0).kept);
  EXPECT_THAT(resumed->experts.at(0).note, HasSubstr("before an interruption"));
  const auto again = library->fit(options);
  ASSERT_OK(again);
  EXPECT_TRUE(again->experts.at(0).kept);
  EXPECT_THAT(again->experts.at(0).note, Not(HasSubstr("interruption")));
}

TEST(LibraryFit, AnEvaluationSaysWhereDataChangedSinceFit) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const auto note = [&] { return library->evaluate({Split::kTest, 1})->note; };
  EXPECT_THAT(note(), Not(HasSubstr("changed since fit")));
  std::vector<Pair> moved = law_subject().pairs;
  for (Pair& pair : moved) pair.split = Split::kTest;  // most were train
  ASSERT_OK(library->add("law", {}, moved));
  EXPECT_THAT(note(), HasSubstr("pairs of law changed since fit"));
  ASSERT_OK(library->fit());
  EXPECT_THAT(note(), Not(HasSubstr("changed since fit")));
}

}  // namespace
}  // namespace collegium::router
