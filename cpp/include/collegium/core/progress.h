#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace collegium::core {

// Where a long operation stands. `total` is 0 when it is not known.
struct Progress {
  std::string_view stage;  // "encode", "train", "index", ...
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

// Called now and then from the thread that made the call, never concurrently. Returning false
// cancels: the operation ends with StatusCode::kCancelled and leaves what was acknowledged.
// An empty function means nobody is interested.
using ProgressCallback = std::function<bool(const Progress&)>;

// True when the work may go on.
inline bool report(const ProgressCallback& callback, std::string_view stage, std::uint64_t done,
                   std::uint64_t total) {
  return !callback || callback(Progress{stage, done, total});
}

}  // namespace collegium::core
