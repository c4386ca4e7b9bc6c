// What fit learned: files by digest, one switch, nothing lost when it is interrupted.
#include "engine/learned_files.h"
#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

TEST(Generation, FitWritesFilesNamedByDigestAndReopeningReadsThemBack) {
  const TemporaryFolder folder;
  std::string generation, answer_before;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    generation = library->info()->generation;
    answer_before = without_times(*library->search("how is the river 1?"));
  }
  const auto files = files_in(folder / "lib/learned");
  EXPECT_FALSE(files.empty());
  for (const std::string& file : files)
    EXPECT_THAT(file, testing::MatchesRegex("[0-9a-f]+\\.(adapter|router|gate)"));
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_EQ((*library)->info()->generation, generation);
  EXPECT_EQ(without_times(*(*library)->search("how is the river 1?")), answer_before);
}

TEST(Generation, FittingUnchangedDataAgainLearnsTheSameGeneration) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const std::string first = library->info()->generation;
  const auto again = library->fit();
  ASSERT_OK(again);
  for (const FitReport::Expert& expert : again->experts) EXPECT_TRUE(expert.kept);
  EXPECT_EQ(again->generation, first);
  FitOptions options;
  options.refit = true;
  const auto anew = library->fit(options);
  ASSERT_OK(anew);
  for (const FitReport::Expert& expert : anew->experts) EXPECT_FALSE(expert.kept);
  EXPECT_EQ(anew->generation, first);  // training is deterministic
}

TEST(Generation, AddingACollectionRetrainsNoOtherExpert) {
  const TemporaryFolder folder;
  auto created = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(created);
  const auto library = *created;
  for (const Subject& subject : {law_subject(60), nature_subject(60)})
    ASSERT_OK(library->add(subject.name, subject.documents, subject.pairs));
  ASSERT_OK(library->fit());
  const auto before = library->info();
  const Subject music = music_subject(60);
  ASSERT_OK(library->add("music", music.documents, music.pairs));
  const auto report = library->fit();
  ASSERT_OK(report);
  EXPECT_TRUE(report->experts[0].kept);
  EXPECT_FALSE(report->experts[1].kept);  // music
  EXPECT_TRUE(report->experts[2].kept);
  const auto after = library->info();
  EXPECT_EQ(after->collections[0].expert, before->collections[0].expert);  // law, with digest
  EXPECT_EQ(after->collections[2].expert, before->collections[1].expert);  // nature
  // A changed document makes its collection's expert stale, and no other.
  const std::vector<Document> changed = {make_document("law-1", "", "The water is a cell.")};
  ASSERT_OK(library->add("law", changed));
  const auto again = library->fit();
  ASSERT_OK(again);
  EXPECT_FALSE(again->experts[0].kept);
  EXPECT_TRUE(again->experts[1].kept);
  EXPECT_TRUE(again->experts[2].kept);
}

TEST(Generation, FilesWrittenWithoutASwitchAreLeftoversThatOpeningRemoves) {
  const TemporaryFolder folder;
  std::string generation;
  std::vector<std::string> files;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    generation = library->info()->generation;
    files = files_in(folder / "lib/learned");
    ASSERT_OK(library->close());
  }
  // What a fit that is killed just before its commit leaves behind: whole files, and a torn one.
  write_file(folder / "lib/learned/0123456789abcdef0123456789abcdef.adapter",
             read_file(folder / ("lib/learned/" + files[0])));
  write_file(folder / "lib/learned/fedcba9876543210.router.tmp", "half");
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_EQ((*library)->info()->generation, generation);
  EXPECT_EQ(files_in(folder / "lib/learned"), files);
  ASSERT_OK((*library)->ask("how is the river 1?"));
}

TEST(Generation, WhatAKilledFirstFitLeftIsRemovedByOpening) {
  const TemporaryFolder folder;
  {
    const auto library = make_library(folder / "lib", false);
    ASSERT_TRUE(library);
    ASSERT_OK(library->close());
  }
  fs::create_directories(folder / "lib/learned");
  write_file(folder / "lib/learned/0123456789abcdef0123456789abcdef.adapter", "whole");
  write_file(folder / "lib/learned/fedcba9876543210.router.tmp", "half");
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_TRUE(files_in(folder / "lib/learned").empty());
  ASSERT_OK((*library)->fit());
}

TEST(Generation, IgnoringWhatWasLearnedRemovesNoneOfIt) {
  const TemporaryFolder folder;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
  }
  const auto files = files_in(folder / "lib/learned");
  ASSERT_FALSE(files.empty());
  OpenOptions options;
  options.ignore_learned = true;
  { ASSERT_OK(Library::open(folder / "lib", options)); }
  EXPECT_EQ(files_in(folder / "lib/learned"), files);
}

TEST(Generation, OldFilesGoOnceTheSwitchIsMade) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const Subject more = make_subject("music", {"cell", "music", "water"}, 80);
  ASSERT_OK(library->add("music", more.documents, more.pairs));
  ASSERT_OK(library->fit());
  const auto files = files_in(folder / "lib/learned");
  ASSERT_OK(library->close());
  const auto reopened = Library::open(folder / "lib");
  ASSERT_OK(reopened);
  EXPECT_EQ(files_in(folder / "lib/learned"), files);  // none was left over
}

TEST(Generation, ADamagedLearnedFileIsNamedAndTheDocumentsStayReachable) {
  const TemporaryFolder folder;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
  }
  for (const std::string& name : files_in(folder / "lib/learned")) {
    const std::string path = folder / ("lib/learned/" + name);
    const std::string whole = read_file(path);
    const auto expect_damage = [&](const std::string& bytes, const char* what) {
      write_file(path, bytes);
      const auto library = Library::open(folder / "lib");
      EXPECT_EQ(library.status().code(), StatusCode::kCorruption) << name << " " << what;
      EXPECT_THAT(library.status().message(), HasSubstr(name)) << what;
    };
    std::string flipped = whole;
    flipped[whole.size() / 2] = static_cast<char>(flipped[whole.size() / 2] ^ 4);
    expect_damage(flipped, "flipped");
    expect_damage(whole.substr(0, whole.size() / 2), "truncated");
    expect_damage("", "empty");
    fs::remove(path);
    const auto missing = Library::open(folder / "lib");
    EXPECT_EQ(missing.status().code(), StatusCode::kCorruption) << name;
    EXPECT_THAT(missing.status().message(), HasSubstr(name));
    write_file(path, whole);
  }
  const std::string name = files_in(folder / "lib/learned")[0];
  write_file(folder / ("lib/learned/" + name), "damage");
  OpenOptions options;
  options.ignore_learned = true;
  const auto library = Library::open(folder / "lib", options);
  ASSERT_OK(library);
  EXPECT_EQ((*library)->info()->generation, "");
  ASSERT_OK((*library)->ask("how is the river 1?"));
  ASSERT_OK((*library)->fit());
  ASSERT_OK((*library)->close());
  ASSERT_OK(Library::open(folder / "lib"));
}

TEST(Generation, ACancelledFitLeavesTheOldGeneration) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const std::string before = library->info()->generation;
  const Subject more = nature_subject(60);
  ASSERT_OK(library->add("nature", more.documents, more.pairs));
  const auto fit = library->fit({}, [](const core::Progress&) { return false; });
  EXPECT_EQ(fit.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(library->info()->generation, before);
}

TEST(Generation, ARecordThatIsNotOursIsCorruption) {
  for (const char* record : {"", "{}", "[]", "{\"format\":1}", "{\"format\":1,\"digest\":\"x\"}",
                             "{\"format\":\"1\"}"}) {
    const auto read = read_learned_files("/nonexistent", record, 32);
    EXPECT_EQ(read.status().code(), StatusCode::kCorruption) << record;
  }
  EXPECT_EQ(
      read_learned_files("/nonexistent", "{\"format\":99,\"digest\":\"x\"}", 32).status().code(),
      StatusCode::kNotSupported);
}

}  // namespace
}  // namespace collegium::router
