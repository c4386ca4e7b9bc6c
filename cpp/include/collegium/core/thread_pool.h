#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "collegium/core/export.h"

namespace collegium::core {

// The one set of threads the project has; nothing of ours uses OpenMP. Work is given as
// independent tasks, so results never depend on the number of threads.
class COLLEGIUM_API ThreadPool {
 public:
  // `num_threads` counts the caller, who works too: 1 starts no thread. 0: hardware concurrency.
  // More than 1024 are taken for a typing error and become 1024.
  explicit ThreadPool(std::size_t num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t num_threads() const noexcept;

  // Replaces the number of threads, counted as above. From any thread, several at once too, but not
  // from inside a task. Waits for the work under way; what comes meanwhile is done by its callers
  // alone.
  void resize(std::size_t num_threads);

  // Calls task(i) for every i in [0, count), on this pool's threads and the caller's; returns when
  // all are done. Safe from several threads at once, and from inside a task (which then runs
  // serially). When tasks throw, no further ones are begun, and the exception of the lowest i is
  // rethrown here after those under way have ended: the same one for any number of threads.
  //
  // A task sees denormals flushed to zero and, where libgomp is loaded, one OpenMP thread; the
  // caller's own settings are as before when this returns. In a forked child the workers are gone
  // and the caller does all the work.
  void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

 private:
  struct State;
  std::atomic<State*> state_;  // owned; another only in a forked child
};

// The process's pool, made at first use with COLLEGIUM_NUM_THREADS threads (default: hardware
// concurrency), and never destroyed.
COLLEGIUM_API ThreadPool& default_pool();

// default_pool().resize(num_threads): references to the pool stay valid.
COLLEGIUM_API void set_num_threads(std::size_t num_threads);

}  // namespace collegium::core
