#include <atomic>
#include <thread>

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

TEST(LibraryThreads, ManyThreadsGetTheSameBits) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  const std::vector<std::string> questions = {"how is the river 1?", "what is the law?",
                                              "music and engine"};
  std::vector<std::string> alone;
  for (const std::string& question : questions)
    alone.push_back(without_times(*library->ask(question)));
  std::atomic<int> different{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 9; ++i) {
        const std::size_t q = (i + static_cast<std::size_t>(t)) % questions.size();
        const auto answer = library->ask(questions[q]);
        if (!answer.ok() || without_times(*answer) != alone[q]) ++different;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

TEST(LibraryThreads, ReadersGoOnWhileWritersAddRemoveAndFit) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", true);
  ASSERT_TRUE(library);
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0}, asked{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto answer = library->ask("how is the river 1?");
        const auto info = library->info();
        if (!answer.ok() || !info.ok()) ++failures;
        ++asked;
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    Subject subject = music_subject(10);
    for (Document& document : subject.documents)
      document.text += " The cell " + std::to_string(round + 1) + ".";
    EXPECT_TRUE(library->add("music", subject.documents, subject.pairs).ok());
    const std::vector<std::string> ids = {"music-0", "music-1"};
    EXPECT_TRUE(library->remove("music", ids).ok());
    EXPECT_TRUE(library->fit().ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(asked, 0);
}

TEST(LibraryThreads, OfManyThatCreateOneLibraryOneGetsIt) {
  const TemporaryFolder folder;
  for (int round = 0; round < 5; ++round) {
    const std::string path = folder / ("lib-" + std::to_string(round));
    std::vector<Result<std::shared_ptr<Library>>> results(4, Status::internal("not run"));
    std::vector<std::thread> threads;
    for (auto& result : results)
      threads.emplace_back([&] { result = Library::create(path, tiny_options()); });
    for (std::thread& thread : threads) thread.join();
    std::size_t winners = 0;
    for (const auto& result : results) {
      if (result.ok()) {
        ++winners;
        EXPECT_TRUE((*result)->add("law", law_subject(3).documents).ok());
      } else {
        EXPECT_EQ(result.status().code(), StatusCode::kAlreadyExists)
            << result.status().to_string();
      }
    }
    EXPECT_EQ(winners, 1u);
  }
  EXPECT_EQ(files_in(folder.path()),
            (std::vector<std::string>{"lib-0", "lib-1", "lib-2", "lib-3", "lib-4"}));
}

TEST(LibraryThreads, CloseWaitsForQuestionsUnderWay) {
  const TemporaryFolder folder;
  const auto library = make_library(folder / "lib", false);
  ASSERT_TRUE(library);
  std::atomic<int> strange{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (;;) {
        const auto answer = library->ask("how is the river 1?");
        if (answer.ok()) continue;
        if (answer.status().code() != StatusCode::kFailedPrecondition) ++strange;
        return;
      }
    });
  }
  EXPECT_TRUE(library->close().ok());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(strange, 0);
}

}  // namespace
}  // namespace collegium::router
