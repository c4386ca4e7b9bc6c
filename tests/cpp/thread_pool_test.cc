#include "collegium/core/thread_pool.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace collegium::core {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

TEST(ThreadPool, RunsEveryTaskOnceForAnyCountAndNumberOfThreads) {
  for (const std::size_t threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const std::size_t count : {0, 1, 2, 3, 1000}) {
      std::vector<std::atomic<int>> calls(count);
      pool.parallel_for(count, [&](std::size_t i) { ++calls[i]; });
      for (const auto& n : calls) ASSERT_EQ(n, 1) << threads << " threads, " << count << " tasks";
    }
  }
}

TEST(ThreadPool, ZeroThreadsMeansTheHardwares) {
  EXPECT_EQ(ThreadPool(0).num_threads(), std::max(1u, std::thread::hardware_concurrency()));
}

// Each waits until the other has begun, so one thread alone would never end.
TEST(ThreadPool, WorkersReallyWorkBesideTheCaller) {
  ThreadPool pool(2);
  std::atomic<int> begun{0};
  std::mutex mutex;
  std::set<std::thread::id> threads;
  pool.parallel_for(2, [&](std::size_t) {
    ++begun;
    while (begun < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2u);
  EXPECT_TRUE(threads.contains(std::this_thread::get_id()));
}

TEST(ThreadPool, NestedCallsRunInOrderOnTheTasksOwnThread) {
  ThreadPool pool(4);
  ThreadPool other(3);
  for (ThreadPool* inner : {&pool, &other}) {
    std::atomic<int> wrong{0};
    pool.parallel_for(20, [&](std::size_t) {
      const auto self = std::this_thread::get_id();
      std::size_t expected = 0;
      inner->parallel_for(10, [&](std::size_t i) {
        if (std::this_thread::get_id() != self || i != expected++) ++wrong;
      });
      if (expected != 10) ++wrong;
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST(ThreadPool, SeveralThreadsMayCallAtOnce) {
  ThreadPool pool(3);
  std::atomic<std::size_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 5; ++caller)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        std::vector<std::uint64_t> out(64);
        pool.parallel_for(out.size(), [&](std::size_t i) { out[i] = i + 1; });
        for (const auto value : out) total += value;
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 5u * 50u * (64u * 65u / 2u));
}

TEST(ThreadPool, RethrowsTheLowestFailingTaskAndGoesOnWorking) {
  for (const std::size_t threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      std::string message;
      try {
        pool.parallel_for(100, [&](std::size_t i) {
          // The lowest failing task is the slowest to fail.
          if (i == 3) std::this_thread::sleep_for(std::chrono::microseconds(100));
          if (i == 3 || i == 4 || i == 50) throw std::runtime_error(std::to_string(i));
        });
      } catch (const std::runtime_error& error) {
        message = error.what();
      }
      ASSERT_EQ(message, "3") << threads << " threads";
      std::atomic<int> calls{0};
      pool.parallel_for(10, [&](std::size_t) { ++calls; });
      ASSERT_EQ(calls, 10);
    }
  }
}

TEST(ThreadPool, ExceptionOfANestedCallComesThrough) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.parallel_for(4,
                                 [&](std::size_t) {
                                   pool.parallel_for(4, [](std::size_t i) {
                                     if (i == 2) throw std::out_of_range("inner");
                                   });
                                 }),
               std::out_of_range);
}

TEST(ThreadPool, ResultsDoNotDependOnTheNumberOfThreads) {
  const auto sums = [](std::size_t threads) {
    ThreadPool pool(threads);
    std::vector<float> out(37);
    pool.parallel_for(out.size(), [&](std::size_t i) {
      for (int k = 1; k < 2000; ++k) out[i] += 1.0f / static_cast<float>(k * (i + 1));
    });
    return out;
  };
  const auto one = sums(1);
  for (const std::size_t threads : {2, 3, 8}) EXPECT_EQ(sums(threads), one);
}

TEST(ThreadPool, ResizedPoolStillRunsEveryTask) {
  ThreadPool pool(1);
  for (const std::size_t threads : {4, 2, 1, 3}) {
    pool.resize(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    std::atomic<int> calls{0};
    pool.parallel_for(100, [&](std::size_t) { ++calls; });
    EXPECT_EQ(calls, 100);
  }
}

// Workers look for the next job for a while before they sleep, but only for a while.
TEST(ThreadPool, AnIdlePoolTakesNoTime) {
  for (const std::size_t threads : {2, 16}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 20; ++round) pool.parallel_for(32, [](std::size_t) {});
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::clock_t before = std::clock();  // of all threads of the process
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    EXPECT_LT(used, 0.05) << threads << " threads";
  }
}

TEST(ThreadPool, MoreThreadsThanAnyMachineHasBecome1024) {
  ThreadPool pool(1);
  pool.resize(std::numeric_limits<std::size_t>::max());
  EXPECT_LE(pool.num_threads(), 1024u);
  EXPECT_GT(pool.num_threads(), 1u);
}

TEST(ThreadPool, SeveralThreadsMayResizeItWhileOthersWork) {
  ThreadPool pool(2);
  std::atomic<bool> resizing{true};
  std::atomic<std::size_t> wrong{0};
  std::vector<std::thread> callers, resizers;
  for (int caller = 0; caller < 2; ++caller)
    callers.emplace_back([&] {
      while (resizing) {
        std::vector<std::uint64_t> out(64);
        pool.parallel_for(out.size(), [&](std::size_t i) { out[i] = i + 1; });
        for (std::size_t i = 0; i < out.size(); ++i) wrong += out[i] != i + 1;
        wrong += pool.num_threads() == 0 || pool.num_threads() > 5;
      }
    });
  for (std::size_t resizer = 0; resizer < 3; ++resizer)
    resizers.emplace_back([&, resizer] {
      for (std::size_t round = 0; round < 200; ++round) pool.resize(1 + (round + resizer) % 5);
    });
  for (auto& resizer : resizers) resizer.join();
  resizing = false;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0u);
  pool.resize(3);
  EXPECT_EQ(pool.num_threads(), 3u);
}

#if defined(__SSE2__)
constexpr unsigned int kFlush = 0x8000, kDenormalsAreZero = 0x0040;

// Every thread of the pool takes part: each task waits for all the others.
TEST(ThreadPool, TasksSeeDenormalsFlushedOnEveryThread) {
  constexpr std::size_t kThreads = 3;
  ThreadPool pool(kThreads);
  std::atomic<std::size_t> begun{0};
  std::atomic<int> wrong{0};
  pool.parallel_for(kThreads, [&](std::size_t) {
    ++begun;
    while (begun < kThreads) std::this_thread::yield();
    volatile float tiny = std::numeric_limits<float>::min();
    volatile float denormal = std::numeric_limits<float>::denorm_min();
    volatile float half = tiny * 0.5f;        // flush to zero
    volatile float large = denormal * 1e30f;  // denormals are zero
    if (half != 0.0f || large != 0.0f) ++wrong;
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, CallersFloatingPointSettingsComeBack) {
  const unsigned int before = _mm_getcsr();
  for (const std::size_t threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const unsigned int settings : {before & ~(kFlush | kDenormalsAreZero), before | kFlush,
                                        (before & ~kFlush) | _MM_ROUND_TOWARD_ZERO}) {
      _mm_setcsr(settings);
      pool.parallel_for(8, [](std::size_t) {});
      EXPECT_EQ(_mm_getcsr(), settings);
      EXPECT_THROW(pool.parallel_for(8, [](std::size_t) { throw std::runtime_error("x"); }),
                   std::runtime_error);
      EXPECT_EQ(_mm_getcsr(), settings);
    }
  }
  _mm_setcsr(before);
}
#endif

TEST(ThreadPool, TasksSeeOneOpenMpThreadAndTheCallersNumberComesBack) {
  void* libgomp = ::dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (libgomp == nullptr) GTEST_SKIP() << "no libgomp on this machine";
  const auto set_threads = reinterpret_cast<void (*)(int)>(::dlsym(libgomp, "omp_set_num_threads"));
  const auto max_threads = reinterpret_cast<int (*)()>(::dlsym(libgomp, "omp_get_max_threads"));
  const int before = max_threads();
  set_threads(5);
  constexpr std::size_t kThreads = 3;
  ThreadPool pool(kThreads);
  std::atomic<std::size_t> begun{0};
  std::atomic<int> wrong{0};
  pool.parallel_for(kThreads, [&](std::size_t) {
    ++begun;
    while (begun < kThreads) std::this_thread::yield();
    if (max_threads() != 1) ++wrong;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(max_threads(), 5);
  set_threads(before);
}

TEST(ThreadPool, ForkedChildDoesTheWorkItself) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer does not follow a fork with threads";
  ThreadPool pool(3);
  // Many forks: whatever a worker was doing at that moment, its locks among it, is what the child
  // finds.
  for (int round = 0; round < 50; ++round) {
    pool.parallel_for(10, [](std::size_t) {});
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // hanging is the failure to find
      std::atomic<int> calls{0};
      pool.parallel_for(100, [&](std::size_t) { ++calls; });
      pool.resize(2);
      pool.parallel_for(100, [&](std::size_t) { ++calls; });
      std::_Exit(calls == 200 && pool.num_threads() == 2 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "round " << round;
    ASSERT_EQ(WEXITSTATUS(status), 0) << "round " << round;
  }
}

TEST(DefaultPool, ReferenceStaysValidWhenTheSizeChanges) {
  ThreadPool& pool = default_pool();
  const std::size_t before = pool.num_threads();
  set_num_threads(3);
  EXPECT_EQ(&default_pool(), &pool);
  EXPECT_EQ(pool.num_threads(), 3u);
  set_num_threads(before);
}

// The environment is read once, so each value needs a process of its own.
TEST(DefaultPoolDeathTest, SizeComesFromTheEnvironment) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const std::size_t hardware = std::max(1u, std::thread::hardware_concurrency());
  const auto exits_well = [](const char* value, std::size_t expected) {
    ::setenv("COLLEGIUM_NUM_THREADS", value, 1);
    std::_Exit(default_pool().num_threads() == expected ? 0 : 1);
  };
  EXPECT_EXIT(exits_well("3", 3), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exits_well("-3", hardware), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exits_well("many", hardware), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace collegium::core
