// One opener at a time, and forks of it.
#include "folder_lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "corpus_testing.h"

namespace collegium::index {
namespace {

constexpr std::size_t kDim = 4;

// A forked child that sleeps, with copies of all our descriptors; killed with the object.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    while (pid_ == 0) ::pause();
  }
  ~Sleeper() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  bool started() const { return pid_ > 0; }

 private:
  const pid_t pid_;
};

// What `work` returns in a forked child, 0 to 255; -1 if it does not return within a minute.
int in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    ::_exit(work());
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// A corpus with one document, "a".
std::unique_ptr<Corpus> make_corpus(const std::string& path) {
  CorpusOptions options;
  options.dim = kDim;
  options.encoder_digest = "digest";
  auto corpus = Corpus::create(path, options);
  EXPECT_OK(corpus);
  if (!corpus.ok()) return nullptr;
  WriteSet writes;
  writes.create_collection("law");
  writes.put_document("law", make_document("a", 1, {1, 0, 0, 0}));
  EXPECT_OK((*corpus)->commit(std::move(writes)));
  return std::move(*corpus);
}

Status add_document(Corpus& corpus, const std::string& id) {
  WriteSet writes;
  writes.put_document("law", make_document(id, 1, {0, 1, 0, 0}));
  return corpus.commit(std::move(writes)).status();
}

TEST(FolderLock, IsHeldUntilDestroyedWhoeverWasForkedMeanwhile) {
  const TemporaryFolder folder;
  auto lock = FolderLock::acquire(folder.path());
  ASSERT_OK(lock);
  EXPECT_CODE(FolderLock::acquire(folder.path()), kBusy);
  const Sleeper sleeper;
  ASSERT_TRUE(sleeper.started());
  lock->reset();
  EXPECT_OK(FolderLock::acquire(folder.path()));
}

TEST(FolderLock, IsNotReleasedByAForkedChildsCopy) {
  const TemporaryFolder folder;
  auto lock = FolderLock::acquire(folder.path());
  ASSERT_OK(lock);
  EXPECT_EQ(in_child([&] {
              lock->reset();
              return 0;
            }),
            0);
  EXPECT_CODE(FolderLock::acquire(folder.path()), kBusy);
}

TEST(CorpusFork, ASleepingChildDoesNotKeepTheCorpusLocked) {
  const TemporaryFolder folder;
  const auto corpus = make_corpus(folder / "corpus");
  ASSERT_TRUE(corpus);
  const Sleeper sleeper;
  ASSERT_TRUE(sleeper.started());
  ASSERT_OK(corpus->close());
  ASSERT_OK(Corpus::open(folder / "corpus"));
}

TEST(CorpusFork, AChildReadsButDoesNotWriteTheParentsCorpus) {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus";
  auto corpus = make_corpus(path);
  ASSERT_TRUE(corpus);
  const std::string said = folder / "said";
  EXPECT_EQ(in_child([&] {
              if (!corpus->document("law", "a").ok()) return 1;
              const Status commit = add_document(*corpus, "child");
              std::ofstream(said) << commit.message();
              if (commit.code() != StatusCode::kFailedPrecondition) return 2;
              if (corpus->flush_indexes().code() != StatusCode::kFailedPrecondition) return 3;
              if (!corpus->close().ok()) return 4;
              if (corpus->document("law", "a").status().code() != StatusCode::kFailedPrecondition)
                return 5;
              corpus.reset();
              // The parent's lock still holds.
              return Corpus::open(path).status().code() == StatusCode::kBusy ? 0 : 6;
            }),
            0);
  std::ifstream file(said);
  const std::string message{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(message.find("was opened by process " + std::to_string(::getpid())), std::string::npos)
      << message;
  // The child wrote nothing, and took nothing from the parent.
  EXPECT_FALSE(std::filesystem::exists(path + "/index/0.index"));
  ASSERT_OK(add_document(*corpus, "parent"));
  ASSERT_OK(corpus->close());
  const auto reopened = Corpus::open(path);
  ASSERT_OK(reopened);
  EXPECT_EQ((*reopened)->commit_seq(), 2u);
  EXPECT_OK((*reopened)->document("law", "parent"));
  EXPECT_CODE((*reopened)->document("law", "child"), kNotFound);
  // A child of its own opening writes.
  ASSERT_OK((*reopened)->close());
  EXPECT_EQ(in_child([&] {
              const auto own = Corpus::open(path);
              return own.ok() && add_document(**own, "child").ok() && (*own)->close().ok() ? 0 : 1;
            }),
            0);
  const auto last = Corpus::open(path);
  ASSERT_OK(last);
  EXPECT_OK((*last)->document("law", "child"));
}

}  // namespace
}  // namespace collegium::index
