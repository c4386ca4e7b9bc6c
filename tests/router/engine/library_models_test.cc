// With real models, where they are: COLLEGIUM_MINILM (folder) and COLLEGIUM_SMOLLM2 (GGUF file).
#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;

struct Manual {
  std::string collection;
  std::vector<Document> documents;
  std::vector<Pair> pairs;
};

std::vector<Manual> manuals() {
  return {
      {"postgresql",
       {make_document("not-null", "Not-Null Constraints",
                      "A not-null constraint simply specifies that a column must not assume the "
                      "null value. It is always written as a column constraint."),
        make_document("dump", "SQL Dump",
                      "The utility program pg_dump writes a file with SQL commands that recreate "
                      "the database. Dumps are internally consistent."),
        make_document("port", "Connection Settings",
                      "The server listens on TCP port 5432 by default. The parameter "
                      "listen_addresses says on which addresses it listens.")},
       {{"How do I make a column reject empty values?", "not-null", Split::kTrain, 1.0f},
        {"backing up a database to a file", "dump", Split::kTrain, 1.0f},
        {"which port does the server use", "port", Split::kDev, 1.0f}}},
      {"lilypond",
       {make_document("slur", "Slurs",
                      "Slurs are entered using parentheses. A slur connects notes of different "
                      "pitch that are played without separation."),
        make_document("beam", "Automatic beams",
                      "By default, beams are inserted automatically between short notes."),
        make_document("repeat", "Long repeats",
                      "Repeats are written with repeat volta and may have alternative endings.")},
       {{"writing a curved line over notes", "slur", Split::kTrain, 1.0f},
        {"grouping eighth notes", "beam", Split::kTrain, 1.0f},
        {"play a section twice", "repeat", Split::kDev, 1.0f}}}};
}

const char* minilm() { return std::getenv("COLLEGIUM_MINILM"); }
const char* smollm2() { return std::getenv("COLLEGIUM_SMOLLM2"); }

std::shared_ptr<Library> make_manuals(const std::string& path, bool with_language_model) {
  CreateOptions options;
  options.encoder = minilm();
  options.link = true;
  if (with_language_model) options.language_model = smollm2();
  const auto library = Library::create(path, options);
  EXPECT_TRUE(library.ok()) << library.status().to_string();
  if (!library.ok()) return nullptr;
  for (const Manual& manual : manuals()) {
    const auto added = (*library)->add(manual.collection, manual.documents, manual.pairs);
    EXPECT_TRUE(added.ok()) << added.status().to_string();
  }
  const auto fit = (*library)->fit();
  EXPECT_TRUE(fit.ok()) << fit.status().to_string();
  return *library;
}

TEST(SlowModels, MiniLMFindsAndQuotesTheRightPassage) {
  if (minilm() == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM is not set";
  const TemporaryFolder folder;
  const auto library = make_manuals(folder / "lib", false);
  ASSERT_TRUE(library);
  const auto answer = library->ask("How can I stop a column from holding nulls?");
  ASSERT_OK(answer);
  EXPECT_EQ(answer->route.entries.at(0).collection, "postgresql");
  ASSERT_FALSE(answer->passages.empty());
  EXPECT_EQ(answer->passages[0].document_id, "not-null");
  EXPECT_THAT(answer->text, HasSubstr("must not assume the null value. [1]"));
  EXPECT_THAT(answer->to_text(), HasSubstr("[1] postgresql › Not-Null Constraints  score 0."));
}

TEST(SlowModels, TheLanguageModelAnswersByItselfAndWhatItReadsIsBorneOut) {
  if (minilm() == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM is not set";
  if (smollm2() == nullptr) GTEST_SKIP() << "COLLEGIUM_SMOLLM2 is not set";
  const TemporaryFolder folder;
  const auto library = make_manuals(folder / "lib", true);
  ASSERT_TRUE(library);
  AskOptions options;
  options.gate = GateDecision::kInternal;
  options.generate.max_new_tokens = 16;
  std::string streamed;
  const auto internal = library->ask("What is 2 plus 2?", options, [&](std::string_view piece) {
    streamed += piece;
    return true;
  });
  ASSERT_OK(internal);
  EXPECT_EQ(internal->reader, "internal");
  EXPECT_FALSE(internal->text.empty());
  EXPECT_EQ(streamed, internal->text);
  EXPECT_TRUE(internal->passages.empty());

  options = {};
  options.gate = GateDecision::kRetrieve;
  options.read = ReadMode::kGenerative;
  options.generate.max_new_tokens = 48;
  const auto read = library->ask("On which port does the server listen?", options);
  ASSERT_OK(read);
  // Either every sentence passed the check, or the extractive reading took over and says so.
  if (read->reader == "generative") {
    EXPECT_THAT(read->text, HasSubstr("["));
  } else {
    EXPECT_EQ(read->reader, "extractive");
    EXPECT_THAT(read->note, HasSubstr("fell back to extractive"));
  }
  // The language model's time and work are the answer's, the encoder's those of reading.
  const auto cost_of = [&](const std::string& stage) {
    for (const StageCost& cost : read->cost)
      if (cost.stage == stage) return cost;
    return StageCost{};
  };
  EXPECT_GT(cost_of("answer").flops, 0.0);
  EXPECT_GT(cost_of("answer").ms, cost_of("read").ms);
  EXPECT_EQ(cost_of("read").flops > 0.0, read->reader == "extractive");
  const auto again = library->ask("On which port does the server listen?", options);
  ASSERT_OK(again);
  EXPECT_EQ(without_times(*again), without_times(*read));
}

}  // namespace
}  // namespace collegium::router
