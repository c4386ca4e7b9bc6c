#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "collegium/core/export.h"
#include "collegium/core/lm/generation.h"
#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"

namespace collegium::core {

struct COLLEGIUM_API SchedulerOptions {
  // A bound on the keys and values of the requests that run and on what is kept of others, as
  // LanguageModel::generation_bytes() counts them. A request that could grow beyond what is free
  // waits; one that could never fit is refused. 0: no limit
  std::size_t max_memory_bytes = 0;
  // Requests that run together, in [1, kMostRunning].
  std::size_t max_running = 64;
  // Requests that wait to run, at least 1. Whoever submits more waits.
  std::size_t max_waiting = 1024;
  // Keys and values kept of requests that are done, for those that begin in the same way (one
  // system prompt, one passage, the next turn of a chat). Taken back as soon as requests need the
  // memory. 0: nothing is kept
  std::size_t max_kept_bytes = std::size_t{256} << 20;

  static constexpr std::size_t kMostRunning = 256;
  Status validate() const;  // invalid_argument names the field, its value and the range
};

// What a scheduler has to do, and has done so far.
struct SchedulerStats {
  std::size_t waiting = 0;
  std::size_t running = 0;
  std::uint64_t finished = 0;       // with a result
  std::uint64_t cancelled = 0;      // by cancel(), a progress callback or the scheduler's end
  std::uint64_t failed = 0;         // otherwise
  std::size_t reserved_bytes = 0;   // the most that those that run can take
  std::size_t kept_bytes = 0;       // of those that are done
  std::size_t most_bytes = 0;       // that the two came to together
  std::uint64_t passes = 0;         // through the layers
  std::uint64_t prompt_tokens = 0;  // of those that finished
  std::uint64_t shared_tokens = 0;  // of them, taken over from others
  std::uint64_t generated_tokens = 0;
};

// A request that was submitted. Any number of threads may use it, and it may outlive its scheduler.
class COLLEGIUM_API Submission {
 public:
  ~Submission();
  // Ends it soon, with cancelled, unless it has ended. Waits for nothing.
  void cancel();
  bool done() const;
  // Waits until it is done, at most so long; whether it is.
  bool wait_for(std::chrono::nanoseconds most) const;
  // Waits until it is done. As LanguageModel::generate() gives it, to the last bit; cancelled.
  Result<Generation> result() const;

 private:
  friend class GenerationScheduler;
  struct Impl;
  struct Shared;
  explicit Submission(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Runs requests on one language model as they come: those that run share every reading of the
// weights (continuous batching, Yu et al., OSDI 2022), join between two passes and leave when they
// are done. They start in the order they came; none overtakes one that waits for memory, and of
// those that run each gets its next token in every pass, with pieces of prompts between, so that
// none starves. A result is that of the request alone, to the last bit.
//
// It has a thread of its own, which calls the callbacks, so those should be quick; what one throws
// is its own request's failure. Any number of threads may submit.
class COLLEGIUM_API GenerationScheduler {
 public:
  // invalid_argument as SchedulerOptions::validate() says, or for no model.
  static Result<std::unique_ptr<GenerationScheduler>> create(
      std::shared_ptr<const LanguageModel> model, const SchedulerOptions& options = {});
  // As close(). Not from a callback.
  ~GenerationScheduler();

  // Called once the submission is done, with its result, by the thread that ended it.
  using DoneCallback = std::function<void(const Result<Generation>&)>;
  // Where max_waiting requests wait already, waits for one to go, at most so long, then busy;
  // without a time as long as it takes. From a callback it never waits.
  // Otherwise the errors of LanguageModel::generate() that come before anything runs;
  // resource_exhausted for a request that does not fit max_memory_bytes; failed_precondition once
  // closed.
  Result<std::shared_ptr<Submission>> submit(
      GenerateRequest request, DoneCallback on_done = {},
      std::optional<std::chrono::nanoseconds> most_wait = std::nullopt);

  // Cancels what waits and runs, and waits for its thread. From a callback it does not wait.
  void close();
  SchedulerStats stats() const;
  const LanguageModel& model() const noexcept;

 private:
  using Shared = Submission::Shared;
  explicit GenerationScheduler(std::shared_ptr<Shared> shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace collegium::core
