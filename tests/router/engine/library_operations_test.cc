// Backup, verify, repair, compact, purge, export, reopen and reading alone, of a whole library.
#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
namespace fs = std::filesystem;

constexpr char kQuestion[] = "how is the river 1?";

void flip_middle_byte(const std::string& path) {
  std::string bytes = read_file(path);
  ASSERT_FALSE(bytes.empty());
  bytes[bytes.size() / 2] ^= 0x10;
  write_file(path, bytes);
}

std::string learned_file(const std::string& library, const std::string& suffix) {
  for (const std::string& name : files_in(library + "/learned"))
    if (name.ends_with(suffix)) return library + "/learned/" + name;
  ADD_FAILURE() << "no " << suffix << " in " << library;
  return {};
}

// Whether any file below `folder` holds `text`.
bool folder_holds(const std::string& folder, const std::string& text) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && read_file(entry.path().string()).find(text) != std::string::npos)
      return true;
  return false;
}

std::string said(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) text += finding.where + ": " + finding.problem + "\n";
  return text;
}

TEST(LibraryOperations, ABackupOpensAsALibraryAndAnswersAlike) {
  const TemporaryFolder folder;
  CreateOptions options = tiny_options();
  options.language_model = tiny_language_model();
  auto created = Library::create(folder / "lib", options);
  ASSERT_OK(created);
  for (const Subject& subject : {law_subject(), nature_subject(), music_subject()})
    ASSERT_OK((*created)->add(subject.name, subject.documents, subject.pairs));
  ASSERT_OK((*created)->add_negatives(small_talk()));
  ASSERT_OK((*created)->fit());
  const std::string before = without_times(*(*created)->ask(kQuestion));
  const std::string generation = (*created)->info()->generation;
  const auto report = (*created)->backup(folder / "copy");
  ASSERT_OK(report);
  EXPECT_EQ(report->commit_seq, (*created)->info()->commit_seq);
  EXPECT_GT(report->files, 5u);
  // The original is gone: the copy leans on nothing of it.
  created->reset();
  fs::remove_all(folder / "lib");
  const auto copy = Library::open(folder / "copy");
  ASSERT_OK(copy);
  EXPECT_EQ((*copy)->info()->generation, generation);
  EXPECT_EQ(without_times(*(*copy)->ask(kQuestion)), before);
  EXPECT_TRUE((*copy)->verify()->ok());
  EXPECT_THAT(files_in(folder.path()), testing::ElementsAre("copy"));
}

TEST(LibraryOperations, AFailedBackupLeavesNothing) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  fs::create_directory(folder / "there");
  write_file(folder / "there/file", "mine");
  EXPECT_EQ(library->backup(folder / "there").status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(library->backup(folder / "lib").status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(library->backup(folder / "no/such").status().code(), StatusCode::kNotFound);
  flip_middle_byte(learned_file(folder / "lib", ".gate"));
  const auto damaged = library->backup(folder / "copy");
  EXPECT_EQ(damaged.status().code(), StatusCode::kCorruption);
  EXPECT_THAT(damaged.status().message(), HasSubstr(".gate"));
  EXPECT_THAT(files_in(folder.path()), testing::ElementsAre("lib", "there"));
  EXPECT_THAT(files_in(folder / "there"), testing::ElementsAre("file"));
}

TEST(LibraryOperations, VerifyNamesWhatIsDamagedAndChangesNothing) {
  const TemporaryFolder folder;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    const auto sound = library->verify();
    ASSERT_OK(sound);
    EXPECT_TRUE(sound->ok()) << said(sound->findings);
    EXPECT_EQ(sound->collections, 3u);
    EXPECT_EQ(sound->documents, 120u);
    EXPECT_GT(sound->learned_files, 0u);
    // Also while another holds it.
    EXPECT_TRUE(Library::verify_folder(folder / "lib")->ok());
  }
  flip_middle_byte(learned_file(folder / "lib", ".router"));
  flip_middle_byte(folder / "lib/encoder/model.safetensors");
  const auto found = Library::verify_folder(folder / "lib");
  ASSERT_OK(found);
  EXPECT_THAT(found->findings, SizeIs(2)) << said(found->findings);
  EXPECT_THAT(said(found->findings), HasSubstr(".router"));
  EXPECT_THAT(said(found->findings), HasSubstr("encoder"));
  EXPECT_THAT(found->to_json(), HasSubstr("\"ok\":false"));
  EXPECT_EQ(Library::verify_folder(folder / "none").status().code(), StatusCode::kNotFound);
}

TEST(LibraryOperations, RepairSavesDocumentsAndDropsWhatCannotBeReadByName) {
  const TemporaryFolder folder;
  const auto question = [](Library& library) { return without_times(*library.search(kQuestion)); };
  std::string before;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    before = question(*library);
  }
  // Nothing is wrong: everything is saved.
  const auto whole = Library::repair(folder / "lib", folder / "whole");
  ASSERT_OK(whole);
  EXPECT_EQ(whole->documents, 120u);
  EXPECT_THAT(whole->dropped, SizeIs(0)) << said(whole->dropped);
  {
    const auto library = Library::open(folder / "whole");
    ASSERT_OK(library);
    EXPECT_TRUE((*library)->verify()->ok());
    EXPECT_FALSE((*library)->info()->generation.empty());
    EXPECT_EQ((*library)->search(kQuestion)->passages[0].document_id,
              (*Library::open(folder / "lib"))->search(kQuestion)->passages[0].document_id);
  }
  flip_middle_byte(learned_file(folder / "lib", ".router"));
  flip_middle_byte(folder / "lib/encoder/model.safetensors");
  const auto saved = Library::repair(folder / "lib", folder / "saved");
  ASSERT_OK(saved);
  EXPECT_EQ(saved->documents, 120u);
  EXPECT_THAT(saved->dropped, SizeIs(2)) << said(saved->dropped);
  // The damaged encoder is not taken along; a good copy opens the library.
  EXPECT_FALSE(Library::open(folder / "saved").ok());
  OpenOptions options;
  options.encoder = tiny_encoder();
  const auto library = Library::open(folder / "saved", options);
  ASSERT_OK(library);
  EXPECT_TRUE((*library)->info()->generation.empty());
  ASSERT_OK((*library)->fit());
  EXPECT_TRUE((*library)->verify()->ok());
}

TEST(LibraryOperations, AFailedRepairLeavesNothing) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  EXPECT_EQ(Library::repair(folder / "lib", folder / "to").status().code(), StatusCode::kBusy);
  ASSERT_OK(library->close());
  EXPECT_EQ(Library::repair(folder / "none", folder / "to").status().code(), StatusCode::kNotFound);
  write_file(folder / "lib/store/CURRENT", "nonsense\n");
  EXPECT_EQ(Library::repair(folder / "lib", folder / "to").status().code(),
            StatusCode::kCorruption);
  EXPECT_THAT(files_in(folder.path()), testing::ElementsAre("lib"));
}

TEST(LibraryOperations, PurgedDocumentsAndPairsAreInNoFile) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  // Letters that no compression of the store's turns into others.
  const std::string secret = "Xq7ZjV0wKp";
  const Document document = make_document("secret-id", secret, "river " + secret + ".");
  const Pair pair{"what is " + secret + "?", "secret-id", std::nullopt, 1.0f};
  ASSERT_OK(library->add("law", std::span(&document, 1), std::span(&pair, 1)));
  EXPECT_TRUE(folder_holds(folder / "lib", secret));
  const std::string id = "secret-id";
  ASSERT_OK(library->remove("law", std::span(&id, 1)));
  const std::string before = without_times(*library->search(kQuestion));
  ASSERT_OK(library->compact());
  ASSERT_OK(library->purge());
  EXPECT_FALSE(folder_holds(folder / "lib", secret));
  EXPECT_FALSE(folder_holds(folder / "lib", "secret-id"));
  EXPECT_EQ(without_times(*library->search(kQuestion)), before);
  EXPECT_TRUE(library->verify()->ok());
}

TEST(LibraryOperations, TheNameOfTheMachineIsInNoTable) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  ASSERT_OK(library->compact());
  // RocksDB's properties of a table: those of the session are there, the machine's are not.
  EXPECT_TRUE(folder_holds(folder / "lib/store", "session.identity"));
  EXPECT_FALSE(folder_holds(folder / "lib/store", "host.identity"));
}

TEST(LibraryOperations, ExportWritesADocumentALine) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  const auto documents = library->export_jsonl("law", folder / "law.jsonl");
  ASSERT_OK(documents);
  EXPECT_EQ(*documents, 40u);
  const std::string text = read_file(folder / "law.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 40);
  EXPECT_EQ(library->export_jsonl("none", folder / "none").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(folder / "none"));
}

TEST(LibraryOperations, AReaderStaysAtItsStateUntilItReopensAndNeverWrites) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  OpenOptions options;
  options.read_only = true;
  const auto reader = Library::open(folder / "lib", options);
  ASSERT_OK(reader);
  const std::string before = without_times(*(*reader)->search(kQuestion));
  EXPECT_EQ(before, without_times(*library->search(kQuestion)));

  const Document document = make_document("new", "river", "The river runs 1.");
  const auto code = StatusCode::kFailedPrecondition;
  EXPECT_EQ((*reader)->add("law", std::span(&document, 1)).status().code(), code);
  EXPECT_EQ((*reader)->add_negatives(small_talk()).code(), code);
  EXPECT_EQ((*reader)->fit().status().code(), code);
  EXPECT_EQ((*reader)->backup(folder / "copy").status().code(), code);
  EXPECT_EQ((*reader)->compact().code(), code);
  EXPECT_EQ((*reader)->purge().code(), code);
  EXPECT_THAT(files_in(folder.path()), testing::ElementsAre("lib"));

  ASSERT_OK(library->add("law", std::span(&document, 1)));
  FitOptions other;
  other.learn.multi_task = false;
  ASSERT_OK(library->fit(other));
  EXPECT_EQ(without_times(*(*reader)->search(kQuestion)), before);
  EXPECT_FALSE((*reader)->document("law", "new").ok());
  ASSERT_OK((*reader)->reopen());
  EXPECT_TRUE((*reader)->document("law", "new").ok());
  EXPECT_EQ((*reader)->info()->generation, library->info()->generation);
  EXPECT_EQ(without_times(*(*reader)->search(kQuestion)),
            without_times(*library->search(kQuestion)));
  EXPECT_TRUE((*reader)->verify()->ok());
}

TEST(LibraryOperations, ReopenedItWritesAndAnswersAsBefore) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const std::string before = without_times(*library->search(kQuestion));
  ASSERT_OK(library->reopen());
  EXPECT_EQ(without_times(*library->search(kQuestion)), before);
  const Document document = make_document("new", "law", "The law runs 1.");
  ASSERT_OK(library->add("law", std::span(&document, 1)));
  ASSERT_OK(library->close());
  EXPECT_EQ(library->reopen().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(library->backup(folder / "copy").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(library->verify().status().code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace collegium::router
