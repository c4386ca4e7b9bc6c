#include "collegium/core/thread_pool.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <pmmintrin.h>
#include <xmmintrin.h>
#endif

namespace collegium::core {
namespace {

// More threads than any machine we run on has; a typing error in the environment stops here.
constexpr std::size_t kMaxThreads = 1024;

// libgomp, if the process has it: FAISS brings it, this folder does not link it. OpenMP keeps the
// number of threads per calling thread, so setting it here reaches nobody else's thread.
struct OpenMp {
  using SetThreads = void (*)(int);
  using GetThreads = int (*)();
  SetThreads set_threads;
  GetThreads max_threads;

  static OpenMp find() {
    return {reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads")),
            reinterpret_cast<GetThreads>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"))};
  }
  bool present() const { return set_threads != nullptr && max_threads != nullptr; }
};

// The settings tasks run under, for the life of the object.
class TaskEnvironment {
 public:
  explicit TaskEnvironment(const OpenMp& open_mp) : open_mp_(open_mp) {
#if defined(__SSE2__)
    control_ = _mm_getcsr();
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    _MM_SET_DENORMALS_ZERO_MODE(_MM_DENORMALS_ZERO_ON);
#endif
    if (open_mp_.present()) {
      open_mp_threads_ = open_mp_.max_threads();
      open_mp_.set_threads(1);
    }
  }
  ~TaskEnvironment() {
    if (open_mp_.present()) open_mp_.set_threads(open_mp_threads_);
#if defined(__SSE2__)
    _mm_setcsr(control_);
#endif
  }
  TaskEnvironment(const TaskEnvironment&) = delete;
  TaskEnvironment& operator=(const TaskEnvironment&) = delete;

 private:
  OpenMp open_mp_;
  int open_mp_threads_ = 0;
#if defined(__SSE2__)
  unsigned int control_ = 0;
#endif
};

thread_local bool inside_task = false;

// About what the kernel takes to wake a thread on a virtual machine: a thread that looks so long
// before it goes to sleep wastes at most as much again as the wake-up it may save.
constexpr std::chrono::microseconds kSpinTime{100};

// Looks for `ready` for kSpinTime: what comes in quick succession, as the layers of a network do,
// would else pay for a wake-up each time. Does not yield: where other processes want the core, even
// ones of low priority, a thread that yields is away for milliseconds and helps with nothing.
template <typename Ready>
bool spin_until(const Ready& ready) {
  constexpr int kLooks = 64;  // a few microseconds
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kLooks; ++i) {
      if (ready()) return true;
#if defined(__SSE2__)
      _mm_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

// One parallel_for. Lives on its caller's stack.
struct Job {
  Job(std::size_t num_tasks, const std::function<void(std::size_t)>& function)
      : count(num_tasks), task(function) {}

  const std::size_t count;
  const std::function<void(std::size_t)>& task;
  std::atomic<std::size_t> next{0};  // the lowest task nobody has claimed
  // Threads of the pool inside run(). Changed under State::mutex; a thread that has taken itself
  // off touches the job no more.
  std::atomic<std::size_t> workers{0};
  std::mutex error_mutex;
  std::size_t error_task = 0;
  std::exception_ptr error;

  // Tasks are claimed in order, so whichever task throws, all lower ones have been claimed and
  // will end: the lowest failing task is the same for every number of threads.
  void run() noexcept {
    inside_task = true;
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        task(i);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error || i < error_task) {
          error = std::current_exception();
          error_task = i;
        }
        next.store(count);
      }
    }
    inside_task = false;
  }
};

std::size_t hardware_threads() {
  return std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

std::size_t default_num_threads() {
  const char* value = std::getenv("COLLEGIUM_NUM_THREADS");
  if (value == nullptr) return 0;
  char* end = nullptr;
  const unsigned long long number = std::strtoull(value, &end, 10);
  return end == value || *end != '\0' || value[0] == '-' ? 0 : number;
}

}  // namespace

struct ThreadPool::State {
  const OpenMp open_mp = OpenMp::find();
  const pid_t process = getpid();
  std::mutex mutex;
  std::condition_variable work;  // a job came, or stop
  std::condition_variable done;  // a worker left a job
  std::deque<Job*> jobs;         // those with tasks to claim, oldest first
  // How often jobs, or stop, changed for those who wait for it; under the mutex.
  std::atomic<std::uint64_t> news{0};
  bool stop = false;
  std::mutex resizing;                      // held by whoever starts or joins threads
  std::vector<std::thread> threads;         // under `resizing`
  std::atomic<std::size_t> num_workers{0};  // threads.size(), for all others
  // Where there are more threads than cores, one that looks is in the way of one that works.
  std::atomic<bool> may_spin{true};

  // The next two under `resizing`.
  void start(std::size_t num_threads) {
    if (num_threads == 0) num_threads = hardware_threads();
    num_threads = std::min(num_threads, kMaxThreads);
    may_spin = num_threads <= hardware_threads();
    threads.reserve(num_threads - 1);
    for (std::size_t i = 1; i < num_threads; ++i) {
      // Fewer threads than asked for are slower, not wrong.
      try {
        threads.emplace_back([this] { work_until_stopped(); });
      } catch (const std::system_error&) {
        break;
      }
    }
    num_workers = threads.size();
  }

  void join() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
      ++news;
    }
    work.notify_all();
    for (auto& thread : threads) thread.join();
    threads.clear();
    num_workers = 0;
    const std::lock_guard lock(mutex);
    stop = false;
  }

  void work_until_stopped() {
    const TaskEnvironment environment(open_mp);
    std::unique_lock lock(mutex);
    while (true) {
      // One that a job woke too late looks for the next one too, else it would come late for ever.
      while (!stop && jobs.empty()) {
        const std::uint64_t known = news;
        const auto changed = [&] { return news != known; };
        if (known != 0 && may_spin) {
          lock.unlock();
          spin_until(changed);
          lock.lock();
        }
        work.wait(lock, changed);
      }
      if (stop) return;
      Job* job = jobs.front();
      ++job->workers;
      lock.unlock();
      job->run();
      lock.lock();
      forget(job);
      if (--job->workers == 0) done.notify_all();
    }
  }

  // Takes an exhausted job off the list, once. Under the mutex.
  void forget(Job* job) {
    const auto position = std::find(jobs.begin(), jobs.end(), job);
    if (position != jobs.end()) jobs.erase(position);
  }
};

ThreadPool::ThreadPool(std::size_t num_threads) {
  auto state = std::make_unique<State>();
  state->start(num_threads);
  state_ = state.release();
}

ThreadPool::~ThreadPool() {
  // The threads of a parent process cannot be joined, nor the objects they would wait on destroyed.
  State* const state = state_;
  if (state->process != getpid()) return;
  state->join();
  delete state;
}

std::size_t ThreadPool::num_threads() const noexcept { return state_.load()->num_workers + 1; }

void ThreadPool::resize(std::size_t num_threads) {
  if (State* parents = state_; parents->process != getpid()) {
    // Left as it is, for the reason above. Of two threads that come here, one is too late.
    auto fresh = std::make_unique<State>();
    if (state_.compare_exchange_strong(parents, fresh.get())) static_cast<void>(fresh.release());
  }
  State& state = *state_;
  const std::lock_guard lock(state.resizing);
  state.join();
  state.start(num_threads);
}

void ThreadPool::parallel_for(std::size_t count, const std::function<void(std::size_t)>& task) {
  if (count == 0) return;
  if (inside_task) {
    for (std::size_t i = 0; i < count; ++i) task(i);
    return;
  }
  Job job(count, task);
  State& state = *state_;
  // A forked child has none of the threads, and a mutex that one of them may have held.
  const bool shared = count > 1 && state.num_workers > 0 && state.process == getpid();
  if (shared) {
    {
      const std::lock_guard lock(state.mutex);
      state.jobs.push_back(&job);
      ++state.news;
    }
    if (count > 2)
      state.work.notify_all();
    else
      state.work.notify_one();
  }
  {
    const TaskEnvironment environment(state.open_mp);
    job.run();
  }
  if (shared) {
    std::unique_lock lock(state.mutex);
    state.forget(&job);
    lock.unlock();
    const auto finished = [&job] { return job.workers == 0; };
    if (!state.may_spin || !spin_until(finished)) {
      lock.lock();
      state.done.wait(lock, finished);
    }
  }
  if (job.error) std::rethrow_exception(job.error);
}

ThreadPool& default_pool() {
  static ThreadPool* const pool = new ThreadPool(default_num_threads());
  return *pool;
}

void set_num_threads(std::size_t num_threads) { default_pool().resize(num_threads); }

}  // namespace collegium::core
