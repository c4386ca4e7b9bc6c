#include "collegium/core/lm/generation_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "lm/same_answer.h"
#include "lm/tiny_models.h"

namespace collegium::core {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<const LanguageModel> tiny() {
  static const auto model = *LanguageModel::load(test_data("tiny_llama.gguf"));
  return model;
}
std::unique_ptr<GenerationScheduler> scheduler_of(const SchedulerOptions& options = {}) {
  auto made = GenerationScheduler::create(tiny(), options);
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  return std::move(*made);
}
GenerateRequest request_of(std::string prompt, std::size_t tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.options.max_new_tokens = tokens;
  return request;
}
// Of several kinds: greedy and sampled, long and short, with and without guesses.
GenerateRequest random_request(std::mt19937& random) {
  std::string prompt;
  switch (random() % 4) {
    case 0:
      prompt = "0123456789 0123456789 0123456789: the passage that many ask about. ";
      break;
    case 1:
      prompt = "abcabcabcabcabcabcabcabcabcabcabcabcabcabcabc";
      break;
  }
  for (std::size_t i = 1 + random() % 15; i > 0; --i)
    prompt += static_cast<char>('a' + random() % 26);
  GenerateRequest request = request_of(prompt, 1 + random() % 12);
  request.options.temperature = random() % 2 == 0 ? 0.0f : 1.5f;
  request.options.seed = random();
  request.options.prompt_lookup = random() % 3 == 0 ? 8 : 0;
  request.options.log_probabilities = random() % 4 == 0;
  return request;
}
void expect_solo(const GenerateRequest& request, const Generation& generation) {
  const auto alone = tiny()->generate(request.prompt, request.options);
  ASSERT_TRUE(alone.ok());
  expect_same_answer(generation, *alone);
}
// Holds a scheduler's thread in a callback until it is let go.
class Gate {
 public:
  TokenCallback callback() {
    return [this](std::string_view) {
      std::unique_lock lock(mutex_);
      reached_ = true;
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
      return true;
    };
  }
  void wait_until_reached() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return reached_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false, open_ = false;
};

TEST(GenerationScheduler, ResultsAreThoseOfEachRequestAlone) {
  std::mt19937 random(3);
  const auto scheduler = scheduler_of({.max_running = 7});
  std::vector<GenerateRequest> requests;
  std::vector<std::shared_ptr<Submission>> submissions;
  for (int i = 0; i < 60; ++i) {
    requests.push_back(random_request(random));
    auto submission = scheduler->submit(requests.back());
    ASSERT_TRUE(submission.ok()) << submission.status().to_string();
    submissions.push_back(std::move(*submission));
    if (i % 13 == 0) std::this_thread::sleep_for(1ms);  // so that some join those that run
  }
  std::size_t prompt_tokens = 0, shared_tokens = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto result = submissions[i]->result();
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    expect_solo(requests[i], *result);
    prompt_tokens += result->prompt_tokens;
    shared_tokens += result->shared_tokens;
    EXPECT_TRUE(submissions[i]->done());
  }
  const SchedulerStats stats = scheduler->stats();
  EXPECT_EQ(stats.finished, requests.size());
  EXPECT_EQ(stats.cancelled + stats.failed + stats.waiting + stats.running, 0u);
  EXPECT_EQ(stats.prompt_tokens, prompt_tokens);
  EXPECT_EQ(stats.shared_tokens, shared_tokens);
  EXPECT_GT(shared_tokens, 40u * 10);
  EXPECT_EQ(stats.reserved_bytes, 0u);
}

TEST(GenerationScheduler, KeepsBeginningsForThoseThatComeLater) {
  const std::string passage(60, 'p');
  const auto run = [&](GenerationScheduler& scheduler, const GenerateRequest& request) {
    const auto result = (*scheduler.submit(request))->result();
    EXPECT_TRUE(result.ok());
    expect_solo(request, *result);
    return *result;
  };
  const auto scheduler = scheduler_of();
  const Generation first = run(*scheduler, request_of(passage + " first?", 9));
  EXPECT_EQ(first.shared_tokens, 0u);
  EXPECT_GT(scheduler->stats().kept_bytes, 0u);
  EXPECT_GE(run(*scheduler, request_of(passage + " second?", 5)).shared_tokens, 60u);
  // The next turn: prompt and answer but for its last token, which was never read.
  const Generation next = run(*scheduler, request_of(passage + " first?" + first.text + "!", 3));
  EXPECT_GE(next.shared_tokens, first.prompt_tokens);
  EXPECT_EQ(
      run(*scheduler, request_of("another beginning, long enough to be kept", 3)).shared_tokens,
      0u);

  const auto nothing_kept = scheduler_of({.max_kept_bytes = 0});
  run(*nothing_kept, request_of(passage + " first?", 9));
  EXPECT_EQ(run(*nothing_kept, request_of(passage + " second?", 5)).shared_tokens, 0u);
  EXPECT_EQ(nothing_kept->stats().kept_bytes, 0u);
}

TEST(GenerationScheduler, WhatIsKeptGivesWayToRequests) {
  const std::size_t bytes = tiny()->generation_bytes(70);
  const auto scheduler = scheduler_of({.max_memory_bytes = bytes});
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    const auto result = (*scheduler->submit(request_of(std::string(60, letter), 5)))->result();
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    const SchedulerStats stats = scheduler->stats();
    EXPECT_LE(stats.most_bytes, bytes);
    EXPECT_LE(stats.kept_bytes, bytes);
  }
}

TEST(GenerationScheduler, NoMoreMemoryIsReservedThanThereIsAndNoneOvertakes) {
  const std::size_t bytes = tiny()->generation_bytes(96);
  const auto scheduler = scheduler_of({.max_memory_bytes = 2 * bytes, .max_kept_bytes = 0});
  std::mutex mutex;
  std::vector<int> started;
  std::vector<std::shared_ptr<Submission>> submissions;
  // The third is large and waits for both before it; the small ones behind it wait too.
  const std::size_t tokens[] = {80, 80, 80, 1, 1, 1};
  for (int i = 0; i < 6; ++i) {
    GenerateRequest request = request_of("p" + std::to_string(i), tokens[i]);
    request.progress = [&, i](const Progress& progress) {
      const std::lock_guard lock(mutex);
      if (progress.stage == "prompt" && progress.done == 0) started.push_back(i);
      return true;
    };
    submissions.push_back(*scheduler->submit(std::move(request)));
  }
  for (const auto& submission : submissions) EXPECT_TRUE(submission->result().ok());
  EXPECT_EQ(started, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_LE(scheduler->stats().most_bytes, 2 * bytes);
  EXPECT_GT(scheduler->stats().most_bytes, bytes);

  const auto refused = scheduler_of({.max_memory_bytes = 1000})->submit(request_of("p", 80));
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(refused.status().message().find("1000"), std::string::npos);
}

TEST(GenerationScheduler, WhoSubmitsMoreThanMayWaitIsHeldBackOrRefused) {
  Gate gate;
  const auto scheduler = scheduler_of({.max_running = 1, .max_waiting = 2});
  GenerateRequest holding = request_of("hold", 4);
  holding.on_token = gate.callback();
  const auto first = *scheduler->submit(std::move(holding));
  gate.wait_until_reached();
  const auto second = *scheduler->submit(request_of("second", 2));
  const auto third = *scheduler->submit(request_of("third", 2));
  const auto refused = scheduler->submit(request_of("fourth", 2), {}, 1ms);
  EXPECT_EQ(refused.status().code(), StatusCode::kBusy);
  EXPECT_EQ(scheduler->submit(request_of("fourth", 2), {}, 0ns).status().code(), StatusCode::kBusy);
  std::shared_ptr<Submission> fourth;
  std::thread waits([&] { fourth = *scheduler->submit(request_of("fourth", 2)); });
  EXPECT_FALSE(second->wait_for(5ms));
  gate.open();
  waits.join();
  for (const auto& submission : {first, second, third, fourth})
    EXPECT_TRUE(submission->result().ok());
}

TEST(GenerationScheduler, CancelsWhatRunsAndWhatWaits) {
  Gate gate;
  const auto scheduler = scheduler_of({.max_running = 1});
  GenerateRequest holding = request_of("hold", 60);
  holding.on_token = gate.callback();
  const auto runs = *scheduler->submit(std::move(holding));
  std::atomic<int> told = 0;
  const auto waits =
      *scheduler->submit(request_of("waits", 3), [&](const Result<Generation>& result) {
        EXPECT_EQ(result.status().code(), StatusCode::kCancelled);
        ++told;
      });
  const auto stays = *scheduler->submit(request_of("stays", 3));
  gate.wait_until_reached();
  waits->cancel();
  EXPECT_TRUE(waits->done());  // though the thread is held
  EXPECT_EQ(told, 1);
  runs->cancel();
  EXPECT_FALSE(runs->done());
  gate.open();
  EXPECT_EQ(runs->result().status().code(), StatusCode::kCancelled);
  EXPECT_EQ(waits->result().status().code(), StatusCode::kCancelled);
  const auto result = stays->result();
  ASSERT_TRUE(result.ok());
  expect_solo(request_of("stays", 3), *result);
  stays->cancel();
  EXPECT_TRUE(stays->result().ok());  // it had ended
  EXPECT_EQ(scheduler->stats().cancelled, 2u);
}

TEST(GenerationScheduler, OneThatFailsFailsAlone) {
  const auto scheduler = scheduler_of();
  GenerateRequest throws = request_of("throws", 8);
  throws.on_token = [](std::string_view) -> bool { throw std::runtime_error("no more"); };
  GenerateRequest says_no = request_of("says no", 8);
  says_no.on_token = [](std::string_view) { return false; };
  const auto a = *scheduler->submit(std::move(throws));
  const auto b = *scheduler->submit(std::move(says_no));
  const auto c = *scheduler->submit(request_of("goes on", 8), [](const Result<Generation>&) {
    throw std::runtime_error("nobody hears this");
  });
  EXPECT_EQ(a->result().status().code(), StatusCode::kInternal);
  EXPECT_EQ(b->result()->finish_reason, FinishReason::kCancelled);
  expect_solo(request_of("goes on", 8), *c->result());
  EXPECT_EQ(scheduler->stats().failed, 1u);
  EXPECT_EQ(scheduler->submit(request_of("", 8)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(scheduler->submit(request_of("p", 0)).status().code(), StatusCode::kInvalidArgument);
}

TEST(GenerationScheduler, CallbacksMaySubmitAndCancelAndClose) {
  auto scheduler = scheduler_of({.max_running = 1, .max_waiting = 1});
  std::shared_ptr<Submission> inner;
  Status refused;
  std::promise<void> told;
  const auto outer = *scheduler->submit(request_of("outer", 3), [&](const Result<Generation>&) {
    inner = *scheduler->submit(request_of("inner", 3));
    refused = scheduler->submit(request_of("too many", 3)).status();  // and does not wait
    told.set_value();
  });
  told.get_future().wait();
  EXPECT_TRUE(outer->done());
  scheduler->close();
  EXPECT_EQ(refused.code(), StatusCode::kBusy);
  ASSERT_NE(inner, nullptr);
  EXPECT_TRUE(inner->done());

  scheduler = scheduler_of();
  std::promise<void> closed;
  const auto last = *scheduler->submit(request_of("last", 3), [&](const Result<Generation>&) {
    scheduler->close();
    closed.set_value();
  });
  closed.get_future().wait();
  EXPECT_TRUE(last->result().ok());
  EXPECT_EQ(scheduler->submit(request_of("late", 3)).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST(GenerationScheduler, ItsEndCancelsWhatIsLeft) {
  Gate gate;
  auto scheduler = scheduler_of({.max_running = 1});
  GenerateRequest holding = request_of("hold", 60);
  holding.on_token = gate.callback();
  const auto runs = *scheduler->submit(std::move(holding));
  const auto waits = *scheduler->submit(request_of("waits", 3));
  gate.wait_until_reached();
  std::thread closes([&] { scheduler->close(); });
  while (scheduler->submit(request_of("late", 3), {}, 0ns).status().code() !=
         StatusCode::kFailedPrecondition)
    std::this_thread::yield();
  gate.open();
  closes.join();
  EXPECT_EQ(runs->result().status().code(), StatusCode::kCancelled);
  EXPECT_EQ(waits->result().status().code(), StatusCode::kCancelled);
  EXPECT_EQ(scheduler->stats().running + scheduler->stats().waiting, 0u);
  scheduler.reset();
  runs->cancel();  // outlives it
  EXPECT_TRUE(runs->done());
}

TEST(GenerationScheduler, OptionsAreWithinTheirRanges) {
  EXPECT_EQ(GenerationScheduler::create(nullptr).status().code(), StatusCode::kInvalidArgument);
  for (const SchedulerOptions& options :
       {SchedulerOptions{.max_running = 0}, SchedulerOptions{.max_running = 257},
        SchedulerOptions{.max_waiting = 0}})
    EXPECT_EQ(GenerationScheduler::create(tiny(), options).status().code(),
              StatusCode::kInvalidArgument);
  EXPECT_TRUE(SchedulerOptions{.max_running = 256}.validate().ok());
}

// Fewer under a sanitizer's fast suite would miss what this looks for, so it is the same
// everywhere.
TEST(GenerationScheduler, AThousandRequestsFromEightThreadsHalfCancelledAtRandomMoments) {
  constexpr std::size_t kThreads = 8, kEach = 125;
  const std::size_t bytes = tiny()->generation_bytes(96);
  const SchedulerOptions options{.max_memory_bytes = 12 * bytes,
                                 .max_running = 16,
                                 .max_waiting = 100,
                                 .max_kept_bytes = 4 * bytes};
  const auto scheduler = scheduler_of(options);
  struct Sent {
    GenerateRequest request;
    std::shared_ptr<Submission> submission;
    bool cancel = false;
    std::string streamed;
  };
  std::vector<std::vector<Sent>> sent(kThreads);
  std::atomic<std::size_t> told = 0;
  const auto send = [&](std::size_t thread) {
    std::mt19937 random(static_cast<unsigned>(thread) + 1);
    auto& mine = sent[thread];
    mine.resize(kEach);  // so that nothing moves
    for (std::size_t i = 0; i < kEach; ++i) {
      Sent& one = mine[i];
      one.request = random_request(random);
      one.cancel = random() % 2 == 0;
      GenerateRequest with_callback = one.request;
      with_callback.on_token = [&one](std::string_view piece) {
        one.streamed += piece;
        return true;
      };
      auto submission =
          scheduler->submit(std::move(with_callback), [&](const Result<Generation>&) { ++told; });
      ASSERT_TRUE(submission.ok()) << submission.status().to_string();
      one.submission = std::move(*submission);
      // Some at once, some later, some from here, some while they run.
      Sent& earlier = mine[random() % (i + 1)];
      if (earlier.cancel) earlier.submission->cancel();
      if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 900));
    }
    for (Sent& one : mine)
      if (one.cancel) one.submission->cancel();
  };
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) threads.emplace_back(send, t);
  for (std::thread& thread : threads) thread.join();

  std::size_t finished = 0, cancelled = 0;
  for (auto& mine : sent)
    for (Sent& one : mine) {
      const auto result = one.submission->result();
      if (!result.ok()) {
        EXPECT_TRUE(one.cancel) << result.status().to_string();
        EXPECT_EQ(result.status().code(), StatusCode::kCancelled) << result.status().to_string();
        ++cancelled;
        continue;
      }
      ++finished;
      EXPECT_EQ(one.streamed, result->text);
      expect_solo(one.request, *result);
    }
  EXPECT_EQ(finished + cancelled, kThreads * kEach);
  EXPECT_GT(cancelled, 50u);
  EXPECT_GE(finished, kThreads * kEach * 2 / 5);
  scheduler->close();
  EXPECT_EQ(told, kThreads * kEach);
  const SchedulerStats stats = scheduler->stats();
  EXPECT_EQ(stats.finished, finished);
  EXPECT_EQ(stats.cancelled, cancelled);
  EXPECT_EQ(stats.failed + stats.waiting + stats.running + stats.reserved_bytes, 0u);
  EXPECT_LE(stats.most_bytes, options.max_memory_bytes);
}

}  // namespace
}  // namespace collegium::core
