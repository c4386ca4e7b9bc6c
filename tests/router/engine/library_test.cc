#include "collegium/router/library.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;

TEST(Library, FromDocumentsToARoutedCitedAnswer) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", /*fitted=*/true);
  ASSERT_TRUE(library);
  AskOptions options;
  options.gate = GateDecision::kRetrieve;
  const auto answer = library->ask("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->reader, "extractive");
  ASSERT_FALSE(answer->passages.empty());
  EXPECT_EQ(answer->passages[0].number, 1u);
  EXPECT_THAT(answer->text, HasSubstr("["));
  EXPECT_EQ(answer->route.entries.size(), 3u);
  EXPECT_NE(answer->route.router, "none");
  EXPECT_EQ(answer->generation.size(), 32u);
  EXPECT_GT(answer->commit_seq, 0u);
  std::vector<std::string> stages;
  for (const StageCost& cost : answer->cost) stages.push_back(cost.stage);
  EXPECT_THAT(stages, testing::IsSupersetOf({"encode", "search", "read"}));
  for (const StageCost& cost : answer->cost) {
    if (cost.stage == "gate") {
      EXPECT_EQ(cost.flops, 0.0);  // it was told
    } else {
      EXPECT_GT(cost.flops, 0.0) << cost.stage;
    }
  }
}

TEST(Library, TheGatesAndTheRoutersArithmeticIsInTheCost) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const auto answer = library->ask("how is the river 1?");
  ASSERT_OK(answer);
  ASSERT_NE(answer->gate.stage, GateStage::kAlways);
  const auto info = library->info();
  ASSERT_OK(info);
  // Inner products with a vector of each training query, of each collection (three: its centroid,
  // the router's weight and its prototype), the direction, and of some of the negatives.
  double rows = 3.0 * 3.0 + 1.0;
  for (const auto& collection : info->collections)
    rows += static_cast<double>(collection.pairs[static_cast<int>(Split::kTrain)]);
  const double row_flops = 2.0 * static_cast<double>(info->dim);
  for (const StageCost& cost : answer->cost) {
    if (cost.stage == "gate") {
      EXPECT_GT(cost.flops, row_flops * rows);
      // The route that is only shown is computed once more.
      EXPECT_LE(cost.flops, row_flops * (rows + static_cast<double>(info->negatives) + 6.0));
    } else {
      EXPECT_GT(cost.flops, 0.0) << cost.stage;
    }
  }
}

TEST(Library, ARoutedSearchMapsTheQuestionOnce) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  AskOptions options;
  options.policy = Policy::kRouted;
  const auto answer = library->search("how is the river 1?", options);
  ASSERT_OK(answer);
  const auto info = library->info();
  ASSERT_OK(info);
  double rows = 3.0 * 2.0 + static_cast<double>(answer->passages.size());  // router, similarities
  const double searches = answer->route.entries[0].searched_again ? 2.0 : 1.0;
  for (const auto& collection : info->collections)
    rows += searches * static_cast<double>(collection.index.passages);
  if (searches > 1.0) rows += static_cast<double>(info->dim);
  double flops = 0.0;
  for (const StageCost& cost : answer->cost)
    if (cost.stage == "search") flops += cost.flops;
  EXPECT_DOUBLE_EQ(flops, 2.0 * static_cast<double>(info->dim) * rows);
}

std::shared_ptr<Library> library_with_language_model(const std::string& path) {
  CreateOptions create = tiny_options();
  create.language_model = tiny_language_model();
  auto library = Library::create(path, create);
  EXPECT_TRUE(library.ok()) << library.status().to_string();
  if (!library.ok()) return nullptr;
  EXPECT_TRUE((*library)->add("law", law_subject().documents).ok());
  return *library;
}

TEST(Library, WhatWasStreamedIsNotSaidAgainAfterACommit) {
  const TemporaryFolder folder;
  const auto library = library_with_language_model(folder / "lib");
  ASSERT_TRUE(library);
  AskOptions options;
  options.gate = GateDecision::kRetrieve;
  options.read = ReadMode::kGenerative;
  std::string streamed;
  int commits = 0;
  const auto answer = library->ask("what is law?", options, [&](std::string_view piece) {
    streamed += piece;
    if (piece.empty() || commits == 2) return true;
    const std::vector<Document> documents = {
        make_document("new-" + std::to_string(commits++), "market", "The market runs on.")};
    std::thread([&] { EXPECT_TRUE(library->add("law", documents).ok()); }).join();
    return true;
  });
  ASSERT_OK(answer);
  EXPECT_EQ(commits, 1);
  EXPECT_THAT(answer->note, HasSubstr("fell back to extractive"));
  EXPECT_FALSE(answer->text.empty());
  EXPECT_EQ(streamed, answer->text);
}

TEST(Library, AQuestionTooLongForTheLanguageModelKeepsWhatWasRead) {
  const TemporaryFolder folder;
  const auto library = library_with_language_model(folder / "lib");
  ASSERT_TRUE(library);
  std::string question = "what is law?";
  for (int i = 0; i < 50; ++i) question += " and the market";
  AskOptions options;
  options.gate = GateDecision::kBoth;
  options.read = ReadMode::kGenerative;
  const auto answer = library->ask(question, options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->reader, "extractive");
  EXPECT_FALSE(answer->text.empty());
  EXPECT_THAT(answer->note, HasSubstr("fell back to extractive: prompt: "));
  EXPECT_THAT(answer->note, HasSubstr("no internal answer: prompt: "));
  options.gate = GateDecision::kInternal;  // and nothing else to answer with
  EXPECT_EQ(library->ask(question, options).status().code(), StatusCode::kInvalidArgument);
}

TEST(Library, CitedPassagesAreBytesOfTheirDocuments) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const auto answer = library->search("how is the river 1?");
  ASSERT_OK(answer);
  EXPECT_TRUE(answer->text.empty());
  ASSERT_EQ(answer->passages.size(), 5u);
  for (const CitedPassage& passage : answer->passages) {
    const auto document = library->document(passage.collection, passage.document_id);
    ASSERT_OK(document);
    EXPECT_EQ(document->text.substr(passage.bytes.begin, passage.bytes.end - passage.bytes.begin),
              passage.text);
    EXPECT_EQ(document->title, passage.title);
  }
}

TEST(Library, BeforeFitEverythingIsSearchedPlainly) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const auto answer = library->ask("how is the music 2?");
  ASSERT_OK(answer);
  EXPECT_EQ(answer->route.router, "none");
  EXPECT_EQ(answer->gate.stage, GateStage::kAlways);
  EXPECT_EQ(answer->gate.decision, GateDecision::kRetrieve);
  EXPECT_EQ(answer->generation, "");
  EXPECT_FALSE(answer->passages.empty());
  // Without prior or shift the rank is that of the plain cosine.
  for (const CitedPassage& passage : answer->passages)
    EXPECT_NEAR(passage.score, passage.similarity, 1e-5);
}

TEST(Library, TheSameQuestionGivesTheSameBitsAlsoAfterReopening) {
  const TemporaryFolder folder;
  std::vector<std::string> first;
  const std::vector<std::string> questions = {"how is the river 1?", "what is the law?",
                                              "music and engine", "not to!"};
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    for (const std::string& question : questions) {
      const auto once = library->ask(question);
      ASSERT_OK(once);
      const auto twice = library->ask(question);
      ASSERT_OK(twice);
      EXPECT_EQ(without_times(*once), without_times(*twice));
      first.push_back(without_times(*once));
    }
    ASSERT_OK(library->close());
  }
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto answer = (*library)->ask(questions[i]);
    ASSERT_OK(answer);
    EXPECT_EQ(without_times(*answer), first[i]);
  }
}

TEST(Library, CollectionsRestrictASearch) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  AskOptions options;
  options.collections = {"law"};
  options.k = 50;
  const auto answer = library->search("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->passages.size(), 40u);
  for (const CitedPassage& passage : answer->passages) EXPECT_EQ(passage.collection, "law");
  EXPECT_EQ(answer->route.entries.size(), 1u);
}

TEST(Library, BothPoliciesAnswer) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  for (const Policy policy : {Policy::kBound, Policy::kRouted}) {
    AskOptions options;
    options.policy = policy;
    const auto answer = library->search("how is the river 1?", options);
    ASSERT_OK(answer);
    EXPECT_EQ(answer->route.policy, policy_name(policy));
    EXPECT_EQ(answer->passages.size(), 5u);
  }
}

TEST(Library, ALongDocumentIsSplitAndNothingIsLost) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "The river runs in winter and is not the law. ";
  text += "The engine of the music is unaffable.";
  const std::vector<Document> documents = {make_document("long", "a cell", text)};
  const auto added = (*library)->add("all", documents);
  ASSERT_OK(added);
  EXPECT_GT(added->passages, 50u);
  EXPECT_EQ(added->truncated, 0u);
  const auto found = (*library)->search("The engine of the music is unaffable.");
  ASSERT_OK(found);
  ASSERT_EQ(found->passages.size(), 1u);  // a document scores once, by its best passage
  ASSERT_OK((*library)->close());
  const auto corpus = index::Corpus::open(folder / "lib");
  ASSERT_OK(corpus);
  const auto stored = (*corpus)->stored_document("all", "long");
  ASSERT_OK(stored);
  EXPECT_EQ(stored->passages.size(), added->passages);
  std::vector<int> covered(text.size(), 0);
  for (const core::PassageSpan& passage : stored->passages)
    for (std::size_t i = passage.bytes.begin; i < passage.bytes.end; ++i) ++covered[i];
  for (std::size_t i = 0; i < text.size(); ++i)
    ASSERT_TRUE(text[i] == ' ' || covered[i] == 1) << "byte " << i;
}

// The vectors of a document of a closed library, (passages, dim).
std::vector<float> stored_vectors(const std::string& path, const std::string& id) {
  const auto corpus = index::Corpus::open(path);
  EXPECT_TRUE(corpus.ok()) << corpus.status().to_string();
  if (!corpus.ok()) return {};
  const auto stored = (*corpus)->stored_document("all", id);
  EXPECT_TRUE(stored.ok()) << stored.status().to_string();
  return stored.ok() ? stored->vectors : std::vector<float>();
}

TEST(Library, TextUnderATitleLongerThanTheEncoderReadsIsEmbeddedAllTheSame) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  std::string title = "law";
  for (int i = 0; i < 60; ++i) title += " and market";  // 121 tokens; the encoder reads 32
  const std::vector<Document> documents = {
      make_document("a", title, "The river runs in winter."),
      make_document("b", title, "Music of the engine is unaffable."),
  };
  const auto added = (*library)->add("all", documents);
  ASSERT_OK(added);
  EXPECT_EQ(added->passages, 2u);
  EXPECT_EQ(added->truncated, 0u);
  for (const Document& document : documents) {
    // A quarter of the tokens is the title's.
    const auto found =
        (*library)->search("law and market and market and market and " + document.text);
    ASSERT_OK(found);
    ASSERT_EQ(found->passages.size(), 2u);
    EXPECT_EQ(found->passages[0].document_id, document.id);
    EXPECT_NEAR(found->passages[0].similarity, 1.0, 1e-5);
    EXPECT_LT(found->passages[1].similarity, 0.99);
    EXPECT_EQ(found->passages[0].title, title);
  }
  ASSERT_OK((*library)->close());
  EXPECT_NE(stored_vectors(folder / "lib", "a"), stored_vectors(folder / "lib", "b"));
}

TEST(Library, ATitleWithoutTextThatIsTooLongIsReportedAsTruncated) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  std::string title = "law";
  for (int i = 0; i < 10; ++i) title += " and market";  // 21 tokens: it alone is read whole
  const std::vector<Document> documents = {make_document("a", title, ""),
                                           make_document("b", title + title + title, "\u3000")};
  const auto added = (*library)->add("all", documents);
  ASSERT_OK(added);
  EXPECT_EQ(added->passages, 2u);
  EXPECT_EQ(added->truncated, 1u);
  const auto found = (*library)->search(title);
  ASSERT_OK(found);
  EXPECT_EQ(found->passages.at(0).document_id, "a");
  EXPECT_NEAR(found->passages.at(0).similarity, 1.0, 1e-5);
}

TEST(Library, PassagesLeaveRoomForTheEncodersPrompt) {
  const TemporaryFolder folder;
  CreateOptions options;
  options.encoder = std::string(COLLEGIUM_TEST_DATA) + "/encoder/odd";  // "the law: "
  auto library = Library::create(folder / "lib", options);
  ASSERT_OK(library);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "river winter ";  // one sentence: full passages
  std::string title;
  for (int i = 0; i < 60; ++i) title += "market ";
  const std::vector<Document> documents = {make_document("plain", "", text),
                                           make_document("titled", title, text)};
  const auto added = (*library)->add("all", documents);
  ASSERT_OK(added);
  // 35 words of 37 tokens, with a title of 9 words 26.
  EXPECT_EQ(added->passages, 12u + 16u);
  EXPECT_EQ(added->truncated, 0u);
}

TEST(Library, AddingAgainKeepsVectorsReplacesChangesAndReportsIt) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  Subject subject = law_subject(10);
  auto report = (*library)->add("law", subject.documents, subject.pairs);
  ASSERT_OK(report);
  EXPECT_EQ(report->documents, 10u);
  EXPECT_EQ(report->unchanged, 0u);
  EXPECT_EQ(report->pairs[0] + report->pairs[1] + report->pairs[2], 10u);
  EXPECT_GE(report->passages, 10u);

  subject.documents[3].text = "The river runs.";
  subject.documents[4].metadata = R"({"year": 1999})";
  report = (*library)->add("law", subject.documents, subject.pairs);
  ASSERT_OK(report);
  EXPECT_EQ(report->unchanged, 8u);
  EXPECT_EQ(report->replaced, 2u);
  EXPECT_EQ(report->passages, 1u);  // the metadata alone need no embedding
  EXPECT_EQ((*library)->document("law", "law-3")->text, "The river runs.");
  EXPECT_EQ((*library)->document("law", "law-4")->metadata, R"({"year": 1999})");
  const auto info = (*library)->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->collections[0].index.documents, 10u);
  EXPECT_EQ(
      info->collections[0].pairs[0] + info->collections[0].pairs[1] + info->collections[0].pairs[2],
      10u);
  AskOptions options;
  options.k = 1;
  const auto found = (*library)->search("law 4 The river runs.", options);
  ASSERT_OK(found);
  EXPECT_EQ(found->passages[0].document_id, "law-3");
}

TEST(Library, PairsOfOneDocumentShareASplitAndAGivenSplitIsKept) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const Subject subject = law_subject(1);
  const Split natural = split_of_document("law-0");
  const Split other = natural == Split::kTest ? Split::kTrain : Split::kTest;
  std::vector<Pair> pairs = {{"what is law?", "law-0", std::nullopt, 1.0f},
                             {"how is law?", "law-0", std::nullopt, 1.0f},
                             {"the market", "law-0", other, 1.0f}};
  auto report = (*library)->add("law", subject.documents, pairs);
  ASSERT_OK(report);
  EXPECT_EQ(report->pairs[static_cast<int>(natural)], 2u);
  EXPECT_EQ(report->pairs[static_cast<int>(other)], 1u);
  // The same query and document again, now with a split: replaced, not doubled. The document is
  // known, so it need not be given.
  pairs[0].split = other;
  report = (*library)->add("law", {}, std::span(pairs).first(1));
  ASSERT_OK(report);
  const auto info = (*library)->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->collections[0].pairs[static_cast<int>(natural)], 1u);
  EXPECT_EQ(info->collections[0].pairs[static_cast<int>(other)], 2u);
}

TEST(Library, PairsOfKnownDocumentsNeedOnlyTheirIds) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const std::vector<Document> fresh = {make_document("fresh", "", "The river is a market.")};
  std::vector<Pair> pairs = {{"the law of water", "law-3", Split::kTest, 1.0f},
                             {"the cell of water", "law-3", Split::kTest, 1.0f},
                             {"the river market", "fresh", Split::kTest, 1.0f}};
  const std::size_t before = library->info()->collections[0].pairs[2];
  ASSERT_OK(library->add("law", fresh, pairs));
  EXPECT_EQ(library->info()->collections[0].pairs[2], before + 3);
  // An id of another collection is none of this one's.
  pairs.push_back({"of the river", "nature-3", std::nullopt, 1.0f});
  const Status unknown = library->add("law", {}, pairs).status();
  EXPECT_EQ(unknown.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.message(), HasSubstr("pair 3: no document 'nature-3'"));
  EXPECT_EQ(library->info()->collections[0].pairs[2], before + 3);
  EXPECT_EQ(library->remove("lore", {}).code(), StatusCode::kNotFound);
}

TEST(Library, RemovingTakesDocumentsAndTheirPairsOrNothing) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const std::vector<std::string> missing = {"law-1", "law-99"};
  EXPECT_EQ(library->remove("law", missing).code(), StatusCode::kNotFound);
  EXPECT_TRUE(library->document("law", "law-1").ok());
  const std::vector<std::string> there = {"law-1", "law-2"};
  ASSERT_OK(library->remove("law", there));
  EXPECT_EQ(library->document("law", "law-1").status().code(), StatusCode::kNotFound);
  const auto info = library->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->collections[0].index.documents, 38u);
  EXPECT_EQ(
      info->collections[0].pairs[0] + info->collections[0].pairs[1] + info->collections[0].pairs[2],
      38u);
  AskOptions options;
  options.k = 100;
  const auto found = library->search("how is the market 2?", options);
  ASSERT_OK(found);
  for (const CitedPassage& passage : found->passages) {
    EXPECT_NE(passage.document_id, "law-1");
    EXPECT_NE(passage.document_id, "law-2");
  }
}

TEST(Library, TheGateMayBeForced) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  AskOptions options;
  options.gate = GateDecision::kRefuse;
  auto answer = library->ask("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->gate.decision, GateDecision::kRefuse);
  EXPECT_TRUE(answer->passages.empty());
  EXPECT_EQ(answer->text, "");
  EXPECT_EQ(answer->route.entries.size(), 3u);  // shown all the same

  options.gate = GateDecision::kInternal;  // and there is no language model
  answer = library->ask("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->gate.decision, GateDecision::kRefuse);
  EXPECT_THAT(answer->gate.reason, HasSubstr("no language model"));
  for (const StageCost& cost : answer->cost) EXPECT_NE(cost.stage, "search");

  options.gate = GateDecision::kBoth;
  answer = library->ask("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->reader, "extractive");
  EXPECT_THAT(answer->note, HasSubstr("no language model"));
}

TEST(Library, GenerativeReadingWithoutALanguageModelIsExtractiveAndSaysSo) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  AskOptions options;
  options.read = ReadMode::kGenerative;
  const auto answer = library->ask("how is the river 1?", options);
  ASSERT_OK(answer);
  EXPECT_EQ(answer->reader, "extractive");
  EXPECT_THAT(answer->note, HasSubstr("no language model"));
}

TEST(Library, ALongQuestionIsCutAndSaysSo) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  std::string question = "how is the river 1?";
  for (int i = 0; i < 100; ++i) question += " and the market";
  const auto answer = library->search(question);
  ASSERT_OK(answer);
  EXPECT_THAT(answer->note, HasSubstr("longer than the encoder reads"));
}

TEST(Library, ALibraryWithoutDocumentsRefusesInWords) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  auto answer = (*library)->ask("what is law?");
  ASSERT_OK(answer);
  EXPECT_EQ(answer->gate.decision, GateDecision::kRefuse);
  EXPECT_THAT(answer->to_text(), HasSubstr("no documents"));
  EXPECT_EQ((*library)->fit().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ((*library)->evaluate().status().code(), StatusCode::kFailedPrecondition);
  // An empty collection is a collection; it is neither searched nor learned from.
  ASSERT_OK((*library)->add("empty", {}));
  EXPECT_EQ((*library)->info()->collections.size(), 1u);
  ASSERT_OK((*library)->ask("what is law?"));
  EXPECT_EQ((*library)->fit().status().code(), StatusCode::kFailedPrecondition);
  ASSERT_OK((*library)->add("law", law_subject().documents));
  ASSERT_OK((*library)->fit());
  const auto found = (*library)->search("what is law?");
  ASSERT_OK(found);
  EXPECT_EQ(found->route.entries.size(), 1u);
}

TEST(Library, WithoutAnyPairsItStillFitsAndRoutes) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  for (const Subject& subject : {law_subject(), nature_subject()})
    ASSERT_OK((*library)->add(subject.name, subject.documents));
  const auto report = (*library)->fit();
  ASSERT_OK(report);
  ASSERT_EQ(report->experts.size(), 2u);
  EXPECT_EQ(report->experts[0].strength, 0.0f);
  EXPECT_THAT(report->experts[0].note, HasSubstr("no training queries"));
  const auto answer = (*library)->ask("how is the river 1?");
  ASSERT_OK(answer);
  EXPECT_NE(answer->route.router, "none");
  EXPECT_EQ(answer->route.entries[0].collection, "nature");
}

TEST(Library, ATitleWithoutTextIsFoundByItsTitle) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const std::vector<Document> documents = {make_document("a", "river winter", ""),
                                           make_document("b", "law market", " \n")};
  ASSERT_OK((*library)->add("all", documents));
  const auto found = (*library)->ask("river winter");
  ASSERT_OK(found);
  EXPECT_EQ(found->passages.at(0).document_id, "a");
  EXPECT_NEAR(found->passages.at(0).similarity, 1.0, 1e-5);
}

TEST(Library, InfoSaysWhatThereIs) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const auto info = library->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->dim, 32u);
  EXPECT_EQ(info->max_tokens, 32u);
  EXPECT_EQ(info->collections.size(), 3u);
  EXPECT_EQ(info->negatives, small_talk().size());
  EXPECT_EQ(info->encoder_digest, library->encoder().digest());
  EXPECT_NE(info->router, "none");
  const auto json = nlohmann::json::parse(info->to_json());
  EXPECT_EQ(json["collections"][0]["name"], "law");
  EXPECT_THAT(info->to_text(), HasSubstr("law: 40 documents"));
}

TEST(Library, ProgressIsReportedAndCancels) {
  const TemporaryFolder folder;
  auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const Subject subject = law_subject(1200);
  std::uint64_t last = 0, total = 0;
  std::size_t calls = 0;
  bool ordered = true;
  auto report =
      (*library)->add("law", subject.documents, subject.pairs, [&](const core::Progress& progress) {
        ordered = ordered && progress.done >= last;
        last = progress.done;
        total = progress.total;
        return ++calls < 1000000 && progress.done < 1500;
      });
  EXPECT_EQ(report.status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(ordered);
  EXPECT_EQ(total, 2400u);
  // What was committed before stays, and adding again finds it.
  const auto info = (*library)->info();
  ASSERT_OK(info);
  ASSERT_EQ(info->collections.size(), 1u);
  const std::uint64_t kept = info->collections[0].index.documents;
  EXPECT_GT(kept, 0u);
  EXPECT_LT(kept, 1200u);
  report =
      (*library)->add("law", subject.documents, subject.pairs, [&](const core::Progress& progress) {
        last = progress.done;
        return true;
      });
  ASSERT_OK(report);
  EXPECT_EQ(report->unchanged, kept);
  EXPECT_EQ(last, 2400u);
}

}  // namespace
}  // namespace collegium::router
