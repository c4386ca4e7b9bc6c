#pragma once

#include <cstddef>

#include "collegium/core/thread_pool.h"

namespace collegium::core {

// Gives the pool its number of threads back after a test that changes it.
struct ThreadsRestored {
  const std::size_t before = default_pool().num_threads();
  ThreadsRestored() = default;
  ThreadsRestored(const ThreadsRestored&) = delete;
  ThreadsRestored& operator=(const ThreadsRestored&) = delete;
  ~ThreadsRestored() { set_num_threads(before); }
};

}  // namespace collegium::core
