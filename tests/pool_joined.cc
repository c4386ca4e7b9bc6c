// Ends the threads of the default pool before the process ends: LeakSanitizer at times does not
// know a living thread ("Thread not found in registry" under LSAN_OPTIONS=log_threads=1), does not
// look into its thread-local storage, and reports what is kept there.
#include <gtest/gtest.h>

#include "collegium/core/thread_pool.h"

namespace collegium {
namespace {

class PoolJoined : public testing::Environment {
 public:
  void TearDown() override { core::set_num_threads(1); }
};

const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new PoolJoined);

}  // namespace
}  // namespace collegium
