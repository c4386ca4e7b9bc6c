// When commits are durable, and how a corpus recovers.
#include <cstring>
#include <random>
#include <thread>

#include "corpus_contents.h"
#include "corpus_impl.h"
#include "corpus_law.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kDim = kLawDim;

TEST(CorpusReopen, KeepsViewsAndSeesTheSame) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 20);
  const auto before = contents(*corpus);
  const auto view = corpus->view("law");
  ASSERT_OK(view);
  ASSERT_OK(corpus->reopen());
  EXPECT_EQ(*contents(*corpus), *before);
  EXPECT_EQ((*view)->num_documents(), 20u);
  EXPECT_FALSE(corpus->collection_info("law")->index_rebuilt) << "what is in memory serves on";
  EXPECT_OK(put(*corpus, "new", "text", 21));
  ASSERT_OK(corpus->close());
  EXPECT_CODE(corpus->reopen(), kFailedPrecondition);
}

TEST(CorpusReopen, ReadsOnWhenTheFilesAreDamagedAndRecoversWithThem) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 20);
  const auto before = contents(*corpus);
  fs::rename(path + "/store/CURRENT", path + "/store/AWAY");
  EXPECT_CODE(corpus->reopen(), kCorruption);
  EXPECT_EQ(*contents(*corpus), *before);
  fs::rename(path + "/store/AWAY", path + "/store/CURRENT");
  ASSERT_OK(corpus->reopen());
  EXPECT_OK(put(*corpus, "new", "text", 21));
}

CorpusImpl& inside(Corpus& corpus) { return static_cast<CorpusImpl&>(corpus); }

TEST(CorpusDurability, CommitsThatWaitTogetherShareASyncAndAreNotSeenBeforeIt) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus", 0);
  constexpr std::size_t kThreads = 8;
  for (std::size_t round = 0; round < 10; ++round) {
    const std::uint64_t syncs = inside(*corpus).num_syncs();
    const std::uint64_t before = corpus->commit_seq();
    auto held = inside(*corpus).hold_syncs();
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        EXPECT_OK(put(*corpus, std::to_string(round) + "-" + std::to_string(t), "text", t));
      });
    while (inside(*corpus).written_seq() < before + kThreads) std::this_thread::yield();
    EXPECT_EQ(corpus->commit_seq(), before);
    EXPECT_EQ(corpus->collection_info("law")->documents, round * kThreads);
    held.unlock();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(inside(*corpus).num_syncs(), syncs + 1) << "for " << kThreads << " commits";
    EXPECT_EQ(corpus->commit_seq(), before + kThreads);
    EXPECT_EQ(corpus->collection_info("law")->documents, (round + 1) * kThreads);
  }
  // Alone each has its own.
  const std::uint64_t alone = inside(*corpus).num_syncs();
  for (std::size_t i = 0; i < 5; ++i) ASSERT_OK(put(*corpus, "alone", "text", i));
  EXPECT_EQ(inside(*corpus).num_syncs(), alone + 5);
  const auto report = corpus->verify();
  ASSERT_OK(report);
  EXPECT_TRUE(report->ok()) << describe(report->findings);
}

// COMMITTED: u64 commit_seq at byte 16 of the slot with the greater u64 at byte 8.
std::uint64_t marked(const std::string& path) {
  const std::string bytes = read_bytes(path + "/COMMITTED");
  std::uint64_t best_write = 0;
  std::uint64_t seq = 0;
  for (const std::size_t slot : {0u, 64u}) {
    std::uint64_t fields[2];
    std::memcpy(fields, bytes.data() + slot + 8, sizeof(fields));
    if (fields[0] >= best_write) {
      best_write = fields[0];
      seq = fields[1];
    }
  }
  return seq;
}

TEST(CorpusDurability, AnAsynchronousCommitIsSeenAtOnceAndMarkedWhenSynced) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const CommitOptions async{Durability::kAsync};
  {
    const auto corpus = make_corpus(path, 3);
    const std::uint64_t before = inside(*corpus).num_syncs();
    const std::uint64_t acknowledged = corpus->commit_seq();
    for (std::size_t i = 0; i < 20; ++i)
      ASSERT_OK(put(*corpus, "async" + std::to_string(i), "text", i, async));
    EXPECT_EQ(inside(*corpus).num_syncs(), before);
    EXPECT_EQ(corpus->commit_seq(), acknowledged + 20);
    EXPECT_EQ(corpus->collection_info("law")->documents, 23u);
    EXPECT_EQ(corpus->search("law", std::vector<float>(kDim, 1.0f), 50)->size(), 23u);
    EXPECT_EQ(marked(path), acknowledged);
    // The system has them: whoever opens a copy of the files sees them.
    copy_folder(path, folder / "copy");
    EXPECT_EQ((*Corpus::open(folder / "copy"))->commit_seq(), acknowledged + 20);
    ASSERT_OK(corpus->sync());
    EXPECT_EQ(inside(*corpus).num_syncs(), before + 1);
    EXPECT_EQ(marked(path), acknowledged + 20);
    ASSERT_OK(put(*corpus, "one more", "text", 1, async));
    ASSERT_OK(corpus->flush_indexes());
    EXPECT_EQ(marked(path), acknowledged + 21) << "before an index file is ahead of the store";
    ASSERT_OK(put(*corpus, "the last", "text", 1, async));
  }
  EXPECT_EQ(marked(path), 26u) << "closing syncs";
}

TEST(CorpusDurability, LosingTheUnsyncedTailIsNoDataLossAndLosingMoreIs) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  const auto corpus = make_corpus(path, 5);
  const auto log_of = [](const std::string& of) {
    std::string log;
    for (const std::string& name : files_in(of))
      if (name.ends_with(".log") && fs::file_size(of + "/" + name) > 0) log = of + "/" + name;
    return log;
  };
  const std::size_t synced = fs::file_size(log_of(path));
  for (std::size_t i = 0; i < 10; ++i)
    ASSERT_OK(put(*corpus, "async" + std::to_string(i), "text", i, {Durability::kAsync}));
  const std::size_t all = fs::file_size(log_of(path));
  ASSERT_GT(all, synced + 500);
  std::mt19937 random(1);
  const std::string copy = folder / "copy";
  for (int attempt = 0; attempt < 40; ++attempt) {
    copy_folder(path, copy);
    const std::string log = log_of(copy);
    if (attempt % 2 == 0) {  // the tail is gone
      fs::resize_file(log, synced + random() % (all - synced));
    } else {  // its middle never reached the disk, its end did
      std::string bytes = read_bytes(log);
      const std::size_t at = synced + random() % (all - synced - 100);
      bytes.replace(at, 100, 100, '\0');
      write_bytes(log, bytes);
    }
    const auto opened = Corpus::open(copy);
    ASSERT_OK(opened);
    const std::uint64_t seq = (*opened)->commit_seq();
    EXPECT_GE(seq, 6u);
    EXPECT_LT(seq, 16u);
    EXPECT_EQ((*opened)->collection_info("law")->documents, seq - 1);
    const auto report = (*opened)->verify();
    ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << describe(report->findings);
    EXPECT_OK(put(**opened, "new", "text", 1));
  }
  copy_folder(path, copy);
  fs::resize_file(log_of(copy), synced - 1);
  EXPECT_CODE(Corpus::open(copy), kCorruption);
}

}  // namespace
}  // namespace collegium::index
