// Backup, reading beside a writer, compact, purge, export.
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "corpus_contents.h"
#include "corpus_law.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kDim = kLawDim;

// Runs until the test is over, also when that ends early.
class StoppedThread {
 public:
  StoppedThread(std::atomic<bool>& stop, std::function<void()> work)
      : stop_(stop), thread_(std::move(work)) {}
  ~StoppedThread() {
    stop_ = true;
    thread_.join();
  }
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;

 private:
  std::atomic<bool>& stop_;
  std::thread thread_;
};

TEST(CorpusBackup, EqualsTheCommitItNamesThoughWritersGoOn) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 30);
  ASSERT_OK(corpus->flush_indexes());
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::size_t i = 30; !stop; ++i)
      EXPECT_OK(put(*corpus, "d" + std::to_string(i % 90), "text " + std::to_string(i), i % 90));
  });
  std::vector<BackupReport> reports;
  for (int i = 0; i < 3; ++i) {
    const auto report = corpus->backup(folder / ("backup" + std::to_string(i)));
    EXPECT_OK(report);
    if (report.ok()) reports.push_back(*report);
  }
  stop = true;
  writer.join();
  ASSERT_EQ(reports.size(), 3u);
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const std::string path = folder / ("backup" + std::to_string(i));
    const auto files = files_in(path);
    EXPECT_EQ(files.size(), reports[i].files);
    for (const std::string& name : files) {
      struct stat status {};
      ASSERT_EQ(::stat((path + "/" + name).c_str(), &status), 0);
      EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
      EXPECT_EQ(status.st_nlink, 1u) << name << " must not share its bytes with the corpus";
    }
    const auto copy = Corpus::open(path);
    ASSERT_OK(copy);
    EXPECT_EQ((*copy)->commit_seq(), reports[i].commit_seq);
    const auto report = (*copy)->verify();
    ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << describe(report->findings);
    // Commit 1 makes the collection, commit n + 2 writes text n: the documents as of that commit.
    std::map<std::string, std::string> expected;
    for (std::uint64_t n = 0; n + 2 <= reports[i].commit_seq; ++n)
      expected["d" + std::to_string(n < 30 ? n : n % 90)] =
          (n < 30 ? "text number " : "text ") + std::to_string(n);
    EXPECT_EQ(report->documents, expected.size());
    for (const auto& [id, text] : expected) {
      const auto document = (*copy)->document("law", id);
      ASSERT_OK(document);
      EXPECT_EQ(document->text, text);
    }
  }
  // And it is a corpus to write to.
  const auto copy = Corpus::open(folder / "backup0");
  ASSERT_OK(copy);
  EXPECT_OK(put(**copy, "new", "text", 1));
}

TEST(CorpusBackup, IsRefusedWhereSomethingIsAndLeavesNothingWhenItFails) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 3);
  fs::create_directory(folder / "full");
  write_bytes(folder / "full/theirs", "theirs");
  EXPECT_CODE(corpus->backup(folder / "full"), kAlreadyExists);
  EXPECT_EQ(read_bytes(folder / "full/theirs"), "theirs");
  EXPECT_CODE(corpus->backup(folder / "missing/backup"), kNotFound);
  EXPECT_CODE(corpus->backup(folder / "corpus"), kAlreadyExists);
  fs::create_directory(folder / "empty");
  EXPECT_OK(corpus->backup(folder / "empty"));
}

TEST(CorpusReadOnly, ReadsBesideTheHolderAndStaysAtItsCommitUntilReopened) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = make_corpus(path, 50);
  ASSERT_OK(corpus->flush_indexes());
  ASSERT_OK(put(*corpus, "late", "in the log alone", 51));
  const auto before = contents(*corpus);
  ASSERT_OK(before);
  const auto files = files_in(path);
  const auto reader = Corpus::open_read_only(path);
  ASSERT_OK(reader);
  EXPECT_EQ(files_in(path), files) << "a reader writes nothing";
  EXPECT_EQ(*contents(**reader), *before);
  const auto view = (*reader)->view("law");
  ASSERT_OK(view);
  const std::vector<float> vectors((*view)->vectors().begin(), (*view)->vectors().end());
  EXPECT_CODE(put(**reader, "x", "text", 1), kFailedPrecondition);
  EXPECT_CODE((*reader)->flush_indexes(), kFailedPrecondition);
  EXPECT_CODE((*reader)->compact(), kFailedPrecondition);
  EXPECT_CODE((*reader)->purge(), kFailedPrecondition);
  EXPECT_CODE((*reader)->backup(folder / "backup"), kFailedPrecondition);

  for (std::size_t i = 0; i < 50; i += 2) ASSERT_OK(remove(*corpus, "d" + std::to_string(i)));
  ASSERT_OK(corpus->compact());
  ASSERT_OK(corpus->purge());
  EXPECT_EQ(*contents(**reader), *before) << "its files are kept open";
  const auto verified = (*reader)->verify();
  ASSERT_OK(verified);
  EXPECT_TRUE(verified->ok()) << describe(verified->findings);
  ASSERT_OK((*reader)->reopen());
  EXPECT_EQ(*contents(**reader), *contents(*corpus));
  EXPECT_EQ(std::vector<float>((*view)->vectors().begin(), (*view)->vectors().end()), vectors);
  ASSERT_OK((*reader)->close());
  EXPECT_CODE((*reader)->document("law", "d1"), kFailedPrecondition);
  EXPECT_CODE(Corpus::open_read_only(folder / "none"), kNotFound);
}

TEST(CorpusReadOnly, SlowOpensWholeCommitsWhileTheHolderWritesCompactsAndPurges) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 5);
  std::atomic<bool> stop{false};
  const StoppedThread writer(stop, [&] {
    for (std::size_t i = 5; !stop; ++i) {
      EXPECT_OK(put(*corpus, "d" + std::to_string(i), "text number " + std::to_string(i), i % 9));
      if (i % 16 == 0) {
        EXPECT_OK(corpus->compact());
        EXPECT_OK(corpus->flush_indexes());
      }
      if (i % 50 == 0) {
        EXPECT_OK(corpus->purge());
      }
    }
  });
  int opened = 0;
  for (int i = 0; i < 40; ++i) {
    const auto reader = Corpus::open_read_only(path);
    if (!reader.ok()) {  // only because it lost the race every time
      EXPECT_CODE(reader, kIoError);
      continue;
    }
    ++opened;
    const std::uint64_t seq = (*reader)->commit_seq();
    const auto info = (*reader)->collection_info("law");
    ASSERT_OK(info);
    ASSERT_EQ(info->documents, seq - 1);
    for (std::uint64_t d = 0; d + 1 < seq; ++d)
      ASSERT_OK((*reader)->document("law", "d" + std::to_string(d)));
    const auto report = (*reader)->verify();
    ASSERT_OK(report);
    ASSERT_TRUE(report->ok()) << describe(report->findings);
  }
  EXPECT_GE(opened, 20);
}

std::uint64_t folder_bytes(const std::string& path) {
  std::uint64_t bytes = 0;
  for (const std::string& name : files_in(path)) bytes += read_bytes(path + "/" + name).size();
  return bytes;
}

TEST(CorpusCompact, GivesBackTheRoomOfWhatWasReplaced) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 0);
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    std::string text(20000, ' ');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 26);
    ASSERT_OK(put(*corpus, "one", text, 1));
  }
  const auto before = contents(*corpus);
  ASSERT_OK(corpus->compact());
  EXPECT_LT(folder_bytes(path), 100000u);
  EXPECT_EQ(*contents(*corpus), *before);
  ASSERT_OK(corpus->close());
  EXPECT_EQ(*contents(path), *before);
}

TEST(CorpusPurge, WhatWasRemovedIsInNoFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  for (const std::uint64_t threshold : {100000u, 10u}) {
    fs::remove_all(path);
    auto corpus = make_corpus(path, 30, threshold);
    // Letters like no others: packing leaves them as they are.
    ASSERT_OK(put(*corpus, "qvanishingq", "wxplumbagov", 31));
    ASSERT_OK(put(*corpus, "kept", "zjhalcyonzw", 32));
    ASSERT_OK(corpus->flush_indexes());
    ASSERT_OK(corpus->close());
    auto opened = Corpus::open(path);
    ASSERT_OK(opened);
    corpus = std::move(*opened);
    ASSERT_OK(put(*corpus, "kfumarolevw", "wxplumbagov", 33));
    ASSERT_OK(remove(*corpus, "qvanishingq"));
    ASSERT_OK(remove(*corpus, "kfumarolevw"));
    ASSERT_OK(put(*corpus, "kept", "what is kept", 34));
    WriteSet records;
    records.put_record("secret", "ngossamerqk");
    ASSERT_OK(corpus->commit(std::move(records)));
    WriteSet gone;
    gone.remove_record("secret");
    gone.put_record("last", "");
    ASSERT_OK(corpus->commit(std::move(gone)));
    std::string vector(kDim * sizeof(float), '\0');
    std::memcpy(vector.data(), row_of(31).data(), vector.size());
    const auto found = [&](const std::string& what) {
      std::vector<std::string> where;
      for (const std::string& name : files_in(path))
        if (read_bytes(path + "/" + name).find(what) != std::string::npos) where.push_back(name);
      return where;
    };
    for (const char* what : {"qvanishingq", "wxplumbagov", "zjhalcyonzw", "ngossamerqk"})
      ASSERT_FALSE(found(what).empty()) << what;
    ASSERT_FALSE(found(vector).empty());
    const auto before = contents(*corpus);
    ASSERT_OK(corpus->purge());
    for (const char* what :
         {"qvanishingq", "wxplumbagov", "zjhalcyonzw", "ngossamerqk", "kfumarolevw"})
      EXPECT_EQ(found(what), std::vector<std::string>()) << what;
    EXPECT_EQ(found(vector), std::vector<std::string>());
    if (threshold == 100000) {
      EXPECT_EQ(*contents(*corpus), *before);
    }
    const auto report = corpus->verify();
    ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << describe(report->findings);
    ASSERT_OK(put(*corpus, "after", "text", 35));
    ASSERT_OK(corpus->close());
    const auto again = Corpus::open(path);
    ASSERT_OK(again);
    EXPECT_OK((*again)->document("law", "kept"));
    EXPECT_OK((*again)->document("law", "after"));
    EXPECT_FALSE((*again)->collection_info("law")->index_rebuilt);
  }
}

TEST(CorpusExport, WritesOneJsonObjectADocumentByAscendingId) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 0);
  const std::map<std::string, std::string> texts = {{"a", "plain"},
                                                    {"b\"\\", "quotes \" and \\ and\nlines\t\x01"},
                                                    {"ä", "ünïcödé 日本 😀"},
                                                    {"z", ""}};
  std::size_t i = 0;
  for (const auto& [id, text] : texts) ASSERT_OK(put(*corpus, id, text, i++));
  WriteSet bare;
  bare.put_document("law", {{"bare", "", "no metadata", ""}, {}, {}});
  ASSERT_OK(corpus->commit(std::move(bare)));
  const std::string path = folder / "law.jsonl";
  const auto written = corpus->export_jsonl("law", path);
  ASSERT_OK(written);
  EXPECT_EQ(*written, 5u);
  std::ifstream in(path);
  std::vector<std::string> ids;
  for (std::string line; std::getline(in, line);) {
    const auto parsed = nlohmann::json::parse(line);
    ids.push_back(parsed["_id"]);
    if (ids.back() == "bare") {
      EXPECT_EQ(parsed["metadata"], nlohmann::json::object());
      continue;
    }
    EXPECT_EQ(parsed["text"], texts.at(ids.back()));
    EXPECT_EQ(parsed["title"], "title of " + ids.back());
    EXPECT_TRUE(parsed["metadata"]["n"].is_number());
  }
  EXPECT_EQ(ids, (std::vector<std::string>{"a", "b\"\\", "bare", "z", "ä"}));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_OK(corpus->export_jsonl("law", path)) << "replaces what was exported before";
  EXPECT_CODE(corpus->export_jsonl("none", path), kNotFound);
  EXPECT_CODE(corpus->export_jsonl("law", folder / "none/law.jsonl"), kNotFound);
}

TEST(CorpusFiles, AreReadableByTheirOwnerAlone) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const mode_t before = ::umask(0);
  {
    const auto corpus = make_corpus(path, 5);
    EXPECT_OK(corpus->flush_indexes());
    EXPECT_OK(corpus->compact());
    EXPECT_OK(corpus->backup(folder / "backup"));
  }
  ::umask(before);
  // RocksDB's files keep the mode it gives them: their folder lets nobody in.
  for (const std::string& top : {path, folder / "backup"})
    for (const char* name : {"", "/store", "/index"}) {
      struct stat status {};
      ASSERT_EQ(::stat((top + name).c_str(), &status), 0);
      EXPECT_EQ(status.st_mode & 0777, 0700u) << top << name;
    }
  for (const char* name : {"/COMMITTED", "/OWNER"}) {
    struct stat status {};
    ASSERT_EQ(::stat((path + name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
}

}  // namespace
}  // namespace collegium::index
