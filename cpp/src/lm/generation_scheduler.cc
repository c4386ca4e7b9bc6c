#include "collegium/core/lm/generation_scheduler.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lm/generation_batch.h"
#include "lm/generation_run.h"
#include "lm/language_model_impl.h"

namespace collegium::core {
namespace {

// Longer waits would overflow the clock.
std::chrono::nanoseconds bounded(std::chrono::nanoseconds wait) {
  return std::min<std::chrono::nanoseconds>(wait, std::chrono::hours(24 * 365));
}

}  // namespace

static_assert(SchedulerOptions::kMostRunning == GenerationBatch::kMostRuns);

Status SchedulerOptions::validate() const {
  if (max_running == 0 || max_running > kMostRunning)
    return Status::invalid_argument("max_running: " + std::to_string(max_running) +
                                    ", must be in [1, " + std::to_string(kMostRunning) + "]");
  if (max_waiting == 0) return Status::invalid_argument("max_waiting: 0, must be at least 1");
  return {};
}

// A request from submit() to its result. Who waits has no run's memory but the prompt's tokens.
struct Submission::Impl {
  explicit Impl(GenerateRequest submitted) : request(std::move(submitted)) {}

  GenerateRequest request;
  GenerationScheduler::DoneCallback on_done;
  ProgressCallback progress;  // the request's own, and whether it was cancelled
  std::atomic<bool> cancelled = false;
  std::unique_ptr<GenerationRun> run;  // until it is done
  std::weak_ptr<Shared> shared;

  mutable std::mutex mutex;
  mutable std::condition_variable ended;
  std::optional<Result<Generation>> result;  // under `mutex`; stays once it is there
};

// What a scheduler, its thread and its submissions have in common. Order of the two locks: never
// one within the other, and no callback within either.
struct Submission::Shared {
  Shared(std::shared_ptr<const LanguageModel> lm, const LanguageModelImpl& of_lm,
         const SchedulerOptions& chosen)
      : model(std::move(lm)), impl(of_lm), options(chosen) {}

  using Item = std::shared_ptr<Submission>;

  void serve();
  void start_some(GenerationBatch& batch, std::vector<Item>& running);
  void finish(const Item& item, Result<Generation> result);
  void cancel(const Submission& submission);
  bool on_own_thread() const { return std::this_thread::get_id() == thread_id; }

  const std::shared_ptr<const LanguageModel> model;
  const LanguageModelImpl& impl;
  const SchedulerOptions options;

  std::mutex mutex;
  std::condition_variable work;  // something waits, or the end
  std::condition_variable room;  // in `waiting`
  std::deque<Item> waiting;
  bool closed = false;
  SchedulerStats stats;

  std::mutex joining;
  std::thread thread;
  std::thread::id thread_id;
};

// ---- Submission -------------------------------------------------------------------------------

Submission::Submission(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Submission::~Submission() = default;

void Submission::cancel() {
  impl_->cancelled = true;
  if (const auto shared = impl_->shared.lock()) shared->cancel(*this);
}

bool Submission::done() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->result.has_value();
}

bool Submission::wait_for(std::chrono::nanoseconds most) const {
  std::unique_lock lock(impl_->mutex);
  return impl_->ended.wait_for(lock, bounded(most), [&] { return impl_->result.has_value(); });
}

Result<Generation> Submission::result() const {
  std::unique_lock lock(impl_->mutex);
  impl_->ended.wait(lock, [&] { return impl_->result.has_value(); });
  return *impl_->result;
}

// ---- What is shared ---------------------------------------------------------------------------

void Submission::Shared::finish(const Item& item, Result<Generation> result) {
  Impl& submitted = *item->impl_;
  submitted.run.reset();
  {
    const std::lock_guard lock(mutex);
    if (result.ok()) {
      ++stats.finished;
      stats.prompt_tokens += result->prompt_tokens;
      stats.shared_tokens += result->shared_tokens;
      stats.generated_tokens += result->ids.size();
    } else {
      ++(result.status().code() == StatusCode::kCancelled ? stats.cancelled : stats.failed);
    }
  }
  {
    const std::lock_guard lock(submitted.mutex);
    submitted.result.emplace(std::move(result));
  }
  submitted.ended.notify_all();
  // The result stays as it is from here on. What the callback throws is nobody's to catch.
  if (submitted.on_done)
    static_cast<void>(guarded("on_done", [&]() -> Status {
      submitted.on_done(*submitted.result);
      return {};
    }));
  submitted.on_done = {};
  submitted.progress = {};
  submitted.request = {};
}

// One that waits is done at once; one that runs is asked before its next step.
void Submission::Shared::cancel(const Submission& submission) {
  Item item;
  {
    const std::lock_guard lock(mutex);
    const auto found =
        std::ranges::find_if(waiting, [&](const Item& one) { return one.get() == &submission; });
    if (found == waiting.end()) return;
    item = std::move(*found);
    waiting.erase(found);
    stats.waiting = waiting.size();
  }
  room.notify_one();
  finish(item, Status::cancelled("generation cancelled while it waited"));
}

// From `waiting` into the batch, in their order, as long as the next one fits.
void Submission::Shared::start_some(GenerationBatch& batch, std::vector<Item>& running) {
  const std::lock_guard lock(mutex);
  while (!waiting.empty() && running.size() < options.max_running) {
    GenerationRun& run = *waiting.front()->impl_->run;
    const std::size_t reserved = stats.reserved_bytes + run.most_bytes();
    if (options.max_memory_bytes != 0) {
      if (reserved > options.max_memory_bytes) return;
      batch.kept().shrink(options.max_memory_bytes - reserved);
    }
    batch.add(run);
    running.push_back(std::move(waiting.front()));
    waiting.pop_front();
    room.notify_one();
    stats.reserved_bytes = reserved;
    stats.kept_bytes = batch.kept().bytes();
    stats.most_bytes = std::max(stats.most_bytes, stats.reserved_bytes + stats.kept_bytes);
    stats.waiting = waiting.size();
    stats.running = running.size();
  }
}

void Submission::Shared::serve() {
  GenerationBatch batch(impl, options.max_kept_bytes);
  std::vector<Item> running;
  while (true) {
    {
      std::unique_lock lock(mutex);
      work.wait(lock, [&] { return closed || !waiting.empty() || !running.empty(); });
      if (closed) break;
    }
    const Status status = guarded("generate", [&]() -> Status {
      start_some(batch, running);
      batch.step();
      return {};
    });
    if (!status.ok()) {  // not enough memory: those that run fail, those that wait have their turn
      batch.clear();
      batch.kept().shrink(0);
    }
    std::vector<std::pair<Item, Result<Generation>>> gone;
    std::size_t freed = 0;
    std::erase_if(running, [&](Item& item) {
      GenerationRun& run = *item->impl_->run;
      if (status.ok() && !run.done()) return false;
      freed += run.most_bytes();
      gone.emplace_back(std::move(item), run.done() ? run.take() : Result<Generation>(status));
      return true;
    });
    {
      const std::lock_guard lock(mutex);
      ++stats.passes;
      stats.running = running.size();
      stats.reserved_bytes -= freed;
      stats.kept_bytes = batch.kept().bytes();
    }
    for (auto& [item, result] : gone) finish(item, std::move(result));
  }
  batch.clear();
  std::deque<Item> rest;
  {
    const std::lock_guard lock(mutex);
    rest.swap(waiting);
    stats.waiting = stats.running = 0;
    stats.reserved_bytes = stats.kept_bytes = 0;
  }
  room.notify_all();
  rest.insert(rest.end(), running.begin(), running.end());
  for (const Item& item : rest)
    finish(item, Status::cancelled("the scheduler was closed before the generation was done"));
}

// ---- GenerationScheduler ----------------------------------------------------------------------

GenerationScheduler::GenerationScheduler(std::shared_ptr<Shared> shared)
    : shared_(std::move(shared)) {}

GenerationScheduler::~GenerationScheduler() {
  close();
  if (shared_->on_own_thread()) shared_->thread.detach();  // which holds what it still needs
}

Result<std::unique_ptr<GenerationScheduler>> GenerationScheduler::create(
    std::shared_ptr<const LanguageModel> model, const SchedulerOptions& options) {
  if (model == nullptr) return Status::invalid_argument("model: there is none");
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  return guarded("scheduler", [&]() -> Result<std::unique_ptr<GenerationScheduler>> {
    const LanguageModelImpl& impl = *model->impl_;
    auto shared = std::make_shared<Shared>(std::move(model), impl, options);
    shared->thread = std::thread([shared] { shared->serve(); });
    shared->thread_id = shared->thread.get_id();
    return std::unique_ptr<GenerationScheduler>(new GenerationScheduler(std::move(shared)));
  });
}

Result<std::shared_ptr<Submission>> GenerationScheduler::submit(
    GenerateRequest request, DoneCallback on_done,
    std::optional<std::chrono::nanoseconds> most_wait) {
  return guarded("submit", [&]() -> Result<std::shared_ptr<Submission>> {
    Shared& shared = *shared_;
    auto impl = std::make_unique<Submission::Impl>(std::move(request));
    impl->on_done = std::move(on_done);
    impl->shared = shared_;
    impl->progress = [&submitted = *impl](const Progress& progress) {
      return !submitted.cancelled &&
             (!submitted.request.progress || submitted.request.progress(progress));
    };
    const RequestView view{impl->request.prompt, impl->request.options, impl->request.on_token,
                           impl->progress};
    COLLEGIUM_ASSIGN_OR_RETURN(impl->run, GenerationRun::start(shared.impl, view));
    const std::size_t bytes = impl->run->most_bytes(), most = shared.options.max_memory_bytes;
    if (most != 0 && bytes > most)
      return Status::resource_exhausted("max_memory_bytes: the scheduler has " +
                                        std::to_string(most) + ", the request could take " +
                                        std::to_string(bytes));
    std::shared_ptr<Submission> submission(new Submission(std::move(impl)));

    std::unique_lock lock(shared.mutex);
    const auto may_enter = [&] {
      return shared.closed || shared.waiting.size() < shared.options.max_waiting;
    };
    if (shared.on_own_thread()) most_wait = std::chrono::nanoseconds(0);
    if (!most_wait) {
      shared.room.wait(lock, may_enter);
    } else if (!shared.room.wait_for(lock, bounded(*most_wait), may_enter)) {
      return Status::busy("max_waiting: " + std::to_string(shared.options.max_waiting) +
                          " requests wait already");
    }
    if (shared.closed) return Status::failed_precondition("submit: the scheduler is closed");
    shared.waiting.push_back(submission);
    shared.stats.waiting = shared.waiting.size();
    lock.unlock();
    shared.work.notify_one();
    return submission;
  });
}

void GenerationScheduler::close() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->closed = true;
  }
  shared_->work.notify_all();
  shared_->room.notify_all();
  if (shared_->on_own_thread()) return;
  const std::lock_guard lock(shared_->joining);
  if (shared_->thread.joinable()) shared_->thread.join();
}

SchedulerStats GenerationScheduler::stats() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->stats;
}

const LanguageModel& GenerationScheduler::model() const noexcept { return *shared_->model; }

}  // namespace collegium::core
