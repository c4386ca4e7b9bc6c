// The list of bad input the project promises to withstand, one test each.
#include <sys/mount.h>
#include <sys/wait.h>

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

#define EXPECT_FAILS(expression, expected_code, part)              \
  do {                                                             \
    const Status failed = status_of(expression);                   \
    EXPECT_EQ(failed.code(), expected_code) << failed.to_string(); \
    EXPECT_THAT(failed.message(), HasSubstr(part));                \
  } while (false)

std::shared_ptr<Library> empty_library(const std::string& path) {
  auto library = Library::create(path, tiny_options());
  EXPECT_TRUE(library.ok()) << library.status().to_string();
  return library.ok() ? *library : nullptr;
}

// The tiny encoder's files in `path`.
std::string copy_of_encoder(const std::string& path) {
  fs::copy(tiny_encoder(), path, fs::copy_options::recursive);
  return path;
}

TEST(BadInput, AnUnknownFolderIsNotFound) {
  const TemporaryFolder folder;
  EXPECT_FAILS(Library::open(folder / "nowhere"), StatusCode::kNotFound, "nowhere");
  fs::create_directory(folder / "plain");
  EXPECT_FAILS(Library::open(folder / "plain"), StatusCode::kNotFound, "is not a library");
  CreateOptions options;
  options.encoder = folder / "no-model";
  EXPECT_FAILS(Library::create(folder / "lib", options), StatusCode::kNotFound, "no-model");
  EXPECT_FAILS(Library::create(folder / "lib", {}), StatusCode::kInvalidArgument, "encoder");
  options = tiny_options();
  options.language_model = folder / "none.gguf";
  EXPECT_FAILS(Library::create(folder / "lib", options), StatusCode::kNotFound, "none.gguf");
  EXPECT_EQ(files_in(folder.path()), std::vector<std::string>{"plain"});  // nothing left behind
}

TEST(BadInput, AFileWhereAFolderIsExpectedIsSaid) {
  const TemporaryFolder folder;
  write_file(folder / "file", "text");
  EXPECT_FAILS(Library::open(folder / "file"), StatusCode::kInvalidArgument, "is a file");
  EXPECT_FAILS(Library::create(folder / "file", tiny_options()), StatusCode::kInvalidArgument,
               "is a file");
  fs::create_directory(folder / "full");
  write_file(folder / "full/precious", "text");
  EXPECT_FAILS(Library::create(folder / "full", tiny_options()), StatusCode::kAlreadyExists,
               "not empty");
  EXPECT_EQ(read_file(folder / "full/precious"), "text");
  fs::create_directory(folder / "empty");
  ASSERT_OK(Library::create(folder / "empty/", tiny_options()));  // an empty folder will do
  EXPECT_FAILS(Library::create(folder / "empty", tiny_options()), StatusCode::kAlreadyExists,
               "library already");
}

TEST(BadInput, ALinkToAnEmptyFolderBecomesALinkToTheLibrary) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "target");
  fs::create_directory_symlink("target", folder / "link");
  ASSERT_OK(Library::create(folder / "link", tiny_options()));
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(files_in(folder.path()), (std::vector<std::string>{"link", "target"}));
  ASSERT_OK(Library::open(folder / "target"));
  ASSERT_OK(Library::open(folder / "link"));
  EXPECT_FAILS(Library::create(folder / "link", tiny_options()), StatusCode::kAlreadyExists,
               "library already");
  fs::create_directory_symlink("nothing", folder / "dangling");
  EXPECT_FAILS(Library::create(folder / "dangling", tiny_options()), StatusCode::kInvalidArgument,
               "is a link to a folder that does not exist");
  EXPECT_EQ(files_in(folder.path()), (std::vector<std::string>{"dangling", "link", "target"}));
}

TEST(BadInput, ANewLibraryIsItsOwnersAlone) {
  const TemporaryFolder folder;
  ASSERT_OK(Library::create(folder / "lib", tiny_options()));
  EXPECT_EQ(fs::status(folder / "lib").permissions(), fs::perms::owner_all);
}

TEST(BadInput, HalfAModelIsRefusedAndLeavesNothing) {
  const TemporaryFolder folder;
  for (const char* file : {"config.json", "vocab.txt", "model.safetensors"}) {
    const std::string half = copy_of_encoder(folder / (std::string("half-") + file));
    fs::remove(half + "/" + file);
    CreateOptions options;
    options.encoder = half;
    EXPECT_FAILS(Library::create(folder / "lib", options), StatusCode::kNotFound, file);
    EXPECT_FALSE(fs::exists(folder / "lib"));
  }
  const std::string torn = copy_of_encoder(folder / "torn");
  const std::string weights = read_file(torn + "/model.safetensors");
  write_file(torn + "/model.safetensors", weights.substr(0, weights.size() / 2));
  CreateOptions options;
  options.encoder = torn;
  EXPECT_EQ(Library::create(folder / "lib", options).status().code(), StatusCode::kCorruption);
}

TEST(BadInput, ADamagedCopyOfTheEncoderIsCorruption) {
  const TemporaryFolder folder;
  { ASSERT_TRUE(empty_library(folder / "lib")); }
  const std::string weights = folder / "lib/encoder/model.safetensors";
  const std::string whole = read_file(weights);
  std::string flipped = whole;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  write_file(weights, flipped);
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kCorruption, "damaged or changed");
  write_file(weights, whole.substr(0, 1000));
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kCorruption, "cannot be read");
  fs::remove(weights);
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kCorruption, "model.safetensors");
  write_file(weights, whole);
  ASSERT_OK(Library::open(folder / "lib"));
}

TEST(BadInput, ALinkedEncoderMayMoveButNotChange) {
  const TemporaryFolder folder;
  const std::string model = copy_of_encoder(folder / "model");
  CreateOptions create;
  create.encoder = model;
  create.link = true;
  {
    auto library = Library::create(folder / "lib", create);
    ASSERT_OK(library);
    EXPECT_FALSE(fs::exists(folder / "lib/encoder"));
    ASSERT_OK((*library)->add("law", law_subject(3).documents));
  }
  fs::rename(model, folder / "moved");
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kNotFound, "OpenOptions");
  OpenOptions open;
  open.encoder = folder / "moved";
  { ASSERT_OK(Library::open(folder / "lib", open)); }
  // Another encoder, of another dimension or not, is not the one the vectors belong to.
  open.encoder = std::string(COLLEGIUM_TEST_DATA) + "/encoder/prefixed";
  EXPECT_FAILS(Library::open(folder / "lib", open), StatusCode::kFailedPrecondition, "digest");
}

TEST(BadInput, TheWrongDimensionIsRefused) {
  const TemporaryFolder folder;
  { ASSERT_TRUE(empty_library(folder / "lib")); }
  {
    auto corpus = index::Corpus::open(folder / "lib");
    ASSERT_OK(corpus);
    index::WriteSet writes;
    writes.create_collection("law");
    index::NewDocument document;
    document.document = make_document("a", "", "text");
    document.passages.push_back({{0, 4}, ""});
    document.vectors.assign(7, 0.5f);  // 32 are due
    writes.put_document("law", std::move(document));
    EXPECT_EQ((*corpus)->commit(std::move(writes)).status().code(), StatusCode::kInvalidArgument);
  }
  // A store of another dimension under a library's settings.
  index::CorpusOptions options;
  options.dim = 16;
  options.encoder_digest = "other";
  fs::rename(folder / "lib", folder / "old");
  {
    std::string settings;
    {
      auto old = index::Corpus::open(folder / "old");
      ASSERT_OK(old);
      settings = *(*old)->record("library");
    }
    auto corpus = index::Corpus::create(folder / "lib", options);
    ASSERT_OK(corpus);
    index::WriteSet writes;
    writes.put_record("library", settings);
    ASSERT_OK((*corpus)->commit(std::move(writes)));
  }
  fs::copy(folder / "old/encoder", folder / "lib/encoder", fs::copy_options::recursive);
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kCorruption, "dimension 16");
}

TEST(BadInput, DocumentsAndPairsAreCheckedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const auto library = empty_library(folder / "lib");
  ASSERT_TRUE(library);
  const Document good = make_document("good", "", "The river runs.");
  const auto add = [&](const Document& bad, std::vector<Pair> pairs = {}) {
    const std::vector<Document> documents = {good, bad};
    return library->add("law", documents, pairs);
  };
  const auto invalid = StatusCode::kInvalidArgument;
  EXPECT_FAILS(add(make_document("good", "", "other")), invalid, "same id as document 0");
  EXPECT_FAILS(add(make_document("", "", "text")), invalid, "document 1 has an empty id");
  EXPECT_FAILS(add(make_document(std::string(1025, 'x'), "", "text")), invalid, "1025 bytes");
  EXPECT_FAILS(add(make_document("a", "", "")), invalid, "document 1 ('a') is empty");
  EXPECT_FAILS(add(make_document("a", " ", "\n\t")), invalid, "is empty");
  EXPECT_FAILS(add(make_document("a", "\u2003", "\u00a0\u3000")), invalid, "is empty");
  EXPECT_FAILS(add(make_document("a", "", "bad \xC3\x28 bytes")), invalid, "UTF-8");
  EXPECT_FAILS(add(make_document("a", "\xFF", "text")), invalid, "UTF-8");
  EXPECT_FAILS(add(make_document("\xFF", "", "text")), invalid, "UTF-8");
  EXPECT_FAILS(add({"a", "", "text", "{\"year\":"}), invalid, "metadata is not JSON");
  EXPECT_FAILS(add({"a", "", "text", "[1]"}), invalid, "not a JSON object");
  const Document fine = make_document("a", "", "text");
  EXPECT_FAILS(add(fine, {{"query", "zzz", {}, 1.0f}}), invalid, "no document 'zzz'");
  EXPECT_FAILS(add(fine, {{"  ", "a", {}, 1.0f}}), invalid, "empty query");
  EXPECT_FAILS(add(fine, {{"\u00a0\u3000", "a", {}, 1.0f}}), invalid, "empty query");
  EXPECT_FAILS(add(fine, {{"\xFF", "a", {}, 1.0f}}), invalid, "UTF-8");
  EXPECT_FAILS(add(fine, {{"query", "a", {}, 0.0f}}), invalid, "gain");
  EXPECT_FAILS(add(fine, {{"query", "a", {}, 1.0f}, {"query", "a", {}, 2.0f}}), invalid,
               "another gain or split than in pair 0");
  EXPECT_FAILS(add(fine, {{"query", "a", Split::kDev, 1.0f}, {"query", "a", Split::kTrain, 1.0f}}),
               invalid, "another gain or split than in pair 0");
  EXPECT_FAILS(add(fine, {{"query", "a", {}, 1.0f, "A b"}}), invalid, "kind 'A b'");
  EXPECT_FAILS(add(fine, {{"query", "a", {}, 1.0f, "judged"}}), invalid, "kind 'judged'");
  EXPECT_FAILS(add(fine, {{"query", "a", {}, 1.0f, std::string(33, 'a')}}), invalid, "1 to 32");
  const std::vector<Document> documents = {good};
  EXPECT_FAILS(library->add("a/b", documents), invalid, "'/'");
  EXPECT_FAILS(library->add("", documents), invalid, "1 to 128");
  EXPECT_TRUE(library->info()->collections.empty());
  const std::vector<std::string> empty_query = {"hello", ""};
  EXPECT_FAILS(library->add_negatives(empty_query), invalid, "negative 1");
  EXPECT_EQ(library->info()->negatives, 0u);
}

TEST(BadInput, QuestionsAreChecked) {
  const TemporaryFolder folder;
  const auto library = empty_library(folder / "lib");
  ASSERT_TRUE(library);
  ASSERT_OK(library->add("law", law_subject(3).documents));
  const auto invalid = StatusCode::kInvalidArgument;
  EXPECT_FAILS(library->ask(""), invalid, "empty");
  EXPECT_FAILS(library->ask(" \n"), invalid, "empty");
  EXPECT_FAILS(library->ask("\u00a0\u3000"), invalid, "empty");
  EXPECT_FAILS(library->ask("a\xFF"), invalid, "UTF-8");
  AskOptions options;
  options.k = 0;
  EXPECT_FAILS(library->ask("law", options), invalid, "allowed are 1 to 1000");
  options.k = 1001;
  EXPECT_FAILS(library->search("law", options), invalid, "1001");
  options.k = 5;
  options.collections = {"lore"};
  EXPECT_FAILS(library->ask("law", options), StatusCode::kNotFound, "there are: 'law'");
  EXPECT_FAILS(library->document("law", "zzz"), StatusCode::kNotFound, "zzz");
  EXPECT_FAILS(library->document("lore", "zzz"), StatusCode::kNotFound, "lore");
}

TEST(BadInput, ADocumentOfOneMegabyteIsTakenWhole) {
  const TemporaryFolder folder;
  const auto library = empty_library(folder / "lib");
  ASSERT_TRUE(library);
  std::string text;
  while (text.size() < (1u << 20)) text += "The river runs in winter and the market is not law. ";
  text += "Unaffable engine music.";
  const std::vector<Document> documents = {make_document("big", "water", text)};
  const auto added = library->add("all", documents);
  ASSERT_OK(added);
  EXPECT_GT(added->passages, 10000u);
  EXPECT_EQ(library->document("all", "big")->text, text);
  const auto found = library->search("Unaffable engine music.");
  ASSERT_OK(found);
  EXPECT_THAT(found->passages.at(0).text, HasSubstr("Unaffable engine music."));
  // A megabyte without a space is one word; it is cut, not dropped.
  const std::vector<Document> word = {make_document("word", "", std::string(1u << 20, 'a'))};
  ASSERT_OK(library->add("word", word));
}

TEST(BadInput, ALibraryOpenedTwiceNamesItsHolder) {
  const TemporaryFolder folder;
  const auto library = empty_library(folder / "lib");
  ASSERT_TRUE(library);
  EXPECT_FAILS(Library::open(folder / "lib"), StatusCode::kBusy, std::to_string(::getpid()));
  // From another process too.
  const pid_t child = ::fork();
  if (child == 0) {
    const auto second = Library::open(folder / "lib");
    const bool told =
        second.status().code() == StatusCode::kBusy &&
        second.status().message().find(std::to_string(::getppid())) != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_OK(library->close());
  ASSERT_OK(Library::open(folder / "lib"));
}

TEST(BadInput, AfterCloseEveryCallIsAFailedPrecondition) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  ASSERT_OK(library->close());
  ASSERT_OK(library->close());
  const auto closed = StatusCode::kFailedPrecondition;
  EXPECT_FAILS(library->ask("law"), closed, "closed");
  EXPECT_FAILS(library->search("law"), closed, "closed");
  EXPECT_FAILS(library->add("law", {}), closed, "closed");
  EXPECT_FAILS(library->remove("law", {}), closed, "closed");
  EXPECT_FAILS(library->add_negatives({}), closed, "closed");
  EXPECT_FAILS(library->fit(), closed, "closed");
  EXPECT_FAILS(library->evaluate(), closed, "closed");
  EXPECT_FAILS(library->info(), closed, "closed");
  EXPECT_FAILS(library->document("law", "law-1"), closed, "closed");
}

TEST(BadInput, ADamagedIndexFileIsRebuiltAndReported) {
  const TemporaryFolder folder;
  std::string before;
  {
    const auto library = make_library(folder / "lib", true);
    ASSERT_TRUE(library);
    before = without_times(*library->search("how is the river 1?"));
  }
  std::size_t damaged = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "lib/index")) {
    if (!entry.is_regular_file()) continue;
    std::string bytes = read_file(entry.path().string());
    if (bytes.empty()) continue;
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 8);
    write_file(entry.path().string(), bytes);
    ++damaged;
  }
  ASSERT_GT(damaged, 0u);
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  const auto info = (*library)->info();
  ASSERT_OK(info);
  std::size_t rebuilt = 0;
  for (const auto& collection : info->collections) {
    rebuilt += collection.index.index_rebuilt ? 1 : 0;
    if (collection.index.index_rebuilt) {
      EXPECT_NE(collection.index.index_note, "");
    }
  }
  EXPECT_GT(rebuilt, 0u);
  EXPECT_THAT(info->to_text(), HasSubstr("index rebuilt"));
  EXPECT_EQ(without_times(*(*library)->search("how is the river 1?")), before);
}

TEST(BadInput, ADamagedStoreIsATypedError) {
  const TemporaryFolder folder;
  {
    const auto library = make_library(folder / "lib", false);
    ASSERT_TRUE(library);
  }
  std::size_t damaged = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "lib/store")) {
    const std::string extension = entry.path().extension().string();
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() ||
        (extension != ".log" && extension != ".sst" && !name.starts_with("MANIFEST")))
      continue;
    std::string bytes = read_file(entry.path().string());
    if (bytes.size() < 64) continue;
    for (std::size_t i = bytes.size() / 4; i < bytes.size() / 2; ++i)
      bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
    write_file(entry.path().string(), bytes);
    ++damaged;
  }
  ASSERT_GT(damaged, 0u);
  const auto library = Library::open(folder / "lib");
  EXPECT_EQ(library.status().code(), StatusCode::kCorruption) << library.status().to_string();
}

TEST(BadInput, AFullDiskLosesNothingThatWasAcknowledged) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "small");
  const std::string mount_point = folder / "small";
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=12m") != 0)
    GTEST_SKIP() << "a small file system cannot be mounted here (not root)";
  std::size_t acknowledged = 0;
  Status full;
  {
    const auto library = empty_library(mount_point + "/lib");
    if (library) {
      const std::string filler(60000, 'a');
      for (std::size_t i = 0; i < 1000 && full.ok(); ++i) {
        std::vector<Document> documents;
        documents.push_back(make_document("doc-" + std::to_string(i), "", "river law " + filler));
        full = status_of(library->add("all", documents));
        if (full.ok()) acknowledged = i + 1;
      }
      EXPECT_EQ(full.code(), StatusCode::kResourceExhausted) << full.to_string();
      // What is there can still be asked for.
      EXPECT_TRUE(library->search("river law").ok());
      (void)library->close();
    }
  }
  EXPECT_GT(acknowledged, 0u);
  // With room again everything acknowledged is there, and writing goes on.
  const bool grown = ::mount("tmpfs", mount_point.c_str(), "tmpfs", MS_REMOUNT, "size=64m") == 0;
  EXPECT_TRUE(grown);
  {
    const auto library = Library::open(mount_point + "/lib");
    EXPECT_TRUE(library.ok()) << library.status().to_string();
    if (library.ok()) {
      for (std::size_t i = 0; i < acknowledged; ++i)
        EXPECT_TRUE((*library)->document("all", "doc-" + std::to_string(i)).ok()) << i;
      const std::vector<Document> one_more = {make_document("one-more", "", "law")};
      EXPECT_TRUE((*library)->add("all", one_more).ok());
    }
  }
  EXPECT_EQ(::umount2(mount_point.c_str(), MNT_DETACH), 0);
}

// Each of these would wait for the call that waits for its callback.
TEST(BadInput, ACallbackMayReadButNotWriteOrClose) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", /*fitted=*/false);
  std::size_t calls = 0;
  const core::ProgressCallback call_back = [&](const core::Progress&) {
    ++calls;
    const auto refused = StatusCode::kFailedPrecondition;
    const Subject subject = law_subject(1);
    const std::vector<std::string> ids{"law-1"};
    EXPECT_FAILS(library->add("other", subject.documents), refused, "add was called from inside");
    EXPECT_FAILS(library->remove("law", ids), refused, "remove was called from inside");
    EXPECT_FAILS(library->add_negatives(small_talk()), refused, "add_negatives was called");
    EXPECT_FAILS(library->fit(), refused, "fit was called from inside");
    EXPECT_FAILS(library->close(), refused, "close was called from inside");
    EXPECT_TRUE(library->info().ok());
    EXPECT_TRUE(library->search("how is the law?").ok());
    return true;
  };
  const auto calls_back = [&](const auto& result) {
    ASSERT_OK(result);
    EXPECT_GT(calls, 0u);
    calls = 0;
  };
  calls_back(library->add("more", law_subject(2).documents, {}, call_back));
  calls_back(library->add_negatives(small_talk(), call_back));
  calls_back(library->fit({}, call_back));
  calls_back(library->evaluate({}, call_back));
  // Another library is not in the middle of anything; and afterwards neither is this one.
  const auto other = make_library(folder / "other", /*fitted=*/false);
  const std::vector<std::string> first{"law-1"}, second{"law-2"};
  ASSERT_OK(library->add("again", law_subject(2).documents, {}, [&](const core::Progress&) {
    const Status status = other->remove("law", first);
    return status.ok() || status.code() == StatusCode::kNotFound;  // the second time
  }));
  ASSERT_OK(library->remove("law", second));
  ASSERT_OK(library->close());
}

TEST(BadInput, AModelsPathThatIsStoredMustBeUtf8) {
  const TemporaryFolder folder;
  CreateOptions options;
  options.encoder = copy_of_encoder(folder / "caf\xe9");
  options.link = true;
  EXPECT_FAILS(Library::create(folder / "lib", options), StatusCode::kInvalidArgument, "UTF-8");
  EXPECT_EQ(files_in(folder.path()), std::vector<std::string>{"caf\xe9"});
  options.link = false;
  ASSERT_OK(Library::create(folder / "lib", options));
  // The library's own may be anything.
  ASSERT_OK(Library::create(folder / "lib-\xe9", options));
  ASSERT_OK(Library::open(folder / "lib-\xe9"));
  // A copied language model keeps its name.
  fs::copy(std::string(COLLEGIUM_TEST_DATA) + "/tiny_llama.gguf", folder / "mod\xe9le.gguf");
  options.language_model = folder / "mod\xe9le.gguf";
  EXPECT_FAILS(Library::create(folder / "lib2", options), StatusCode::kInvalidArgument, "UTF-8");
  EXPECT_FALSE(fs::exists(folder / "lib2"));
}

}  // namespace
}  // namespace collegium::router
