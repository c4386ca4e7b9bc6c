#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bind.h"
#include "calls.h"
#include "collegium/core/lm/generation_scheduler.h"
#include "held.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::GenerateOptions;
using core::Generation;
using core::GenerationScheduler;
using core::LanguageModel;
using core::SchedulerOptions;
using core::SchedulerStats;
using std::chrono::nanoseconds;

// Between two looks for Ctrl-C.
constexpr nanoseconds kSlice = std::chrono::milliseconds(50);

// Seconds, None: without end.
std::optional<nanoseconds> time_of(const std::optional<double>& seconds) {
  if (!seconds) return std::nullopt;
  if (std::isnan(*seconds))
    throw StatusError(Status::invalid_argument("timeout is nan, expected seconds or None"));
  constexpr double kYear = 365.0 * 24 * 3600;
  return nanoseconds(static_cast<std::int64_t>(std::clamp(*seconds, 0.0, kYear) * 1e9));
}

// Calls `attempt(slice)` without the GIL until it is true or the time is over, and looks for Ctrl-C
// in between; whether it came true.
template <typename Attempt>
bool until(std::optional<nanoseconds> time, Attempt attempt) {
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    nanoseconds slice = kSlice;
    if (time)
      slice = std::clamp<nanoseconds>(*time - (std::chrono::steady_clock::now() - begin),
                                      nanoseconds(0), kSlice);
    {
      py::gil_scoped_release release;
      if (attempt(slice)) return true;
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (time && std::chrono::steady_clock::now() - begin >= *time) return false;
  }
}

// The Python callables of a submission, which threads without the GIL call and let go of.
class Callables {
 public:
  Callables(py::object on_token, py::object on_done)
      : on_token_(std::move(on_token)), on_done_(std::move(on_done)) {}

  bool token(std::string_view piece) {
    const py::gil_scoped_acquire acquire;
    return give_piece(on_token_.get(), piece, error_);
  }
  void done() const {
    const py::gil_scoped_acquire acquire;
    try {
      on_done_.get()();
    } catch (const py::error_already_set&) {  // nobody is there to be told
    }
  }
  // What on_token raised. Once the submission is done.
  std::exception_ptr error() const { return error_; }

 private:
  Held on_token_, on_done_;
  std::exception_ptr error_;
};

class PySubmission {
 public:
  PySubmission(std::shared_ptr<core::Submission> submission, std::shared_ptr<Callables> callables)
      : submission_(std::move(submission)), callables_(std::move(callables)) {}

  void cancel() const {
    py::gil_scoped_release release;
    submission_->cancel();
  }
  bool done() const { return submission_->done(); }
  bool wait(const std::optional<double>& timeout) const {
    return until(time_of(timeout), [&](nanoseconds slice) { return submission_->wait_for(slice); });
  }
  Generation result(const std::optional<double>& timeout) const {
    if (!wait(timeout)) {
      PyErr_SetString(PyExc_TimeoutError, "the generation is not done yet");
      throw py::error_already_set();
    }
    if (callables_->error()) std::rethrow_exception(callables_->error());
    return unwrap(submission_->result());
  }

 private:
  std::shared_ptr<core::Submission> submission_;
  std::shared_ptr<Callables> callables_;
};

class PyScheduler {
 public:
  PyScheduler(const std::shared_ptr<LanguageModel>& model, const WholeNumber& max_memory_bytes,
              const WholeNumber& max_running, const WholeNumber& max_waiting,
              const WholeNumber& max_kept_bytes) {
    const SchedulerOptions options{.max_memory_bytes = max_memory_bytes.value("max_memory_bytes"),
                                   .max_running = max_running.value("max_running"),
                                   .max_waiting = max_waiting.value("max_waiting"),
                                   .max_kept_bytes = max_kept_bytes.value("max_kept_bytes")};
    scheduler_ = unwrap(GenerationScheduler::create(model, options));
  }
  PyScheduler(const PyScheduler&) = delete;
  PyScheduler& operator=(const PyScheduler&) = delete;
  ~PyScheduler() {
    py::gil_scoped_release release;  // its thread may be about to call Python
    scheduler_.reset();
  }

  std::unique_ptr<PySubmission> submit(Utf8 prompt, const GenerateOptions& options,
                                       const py::object& on_token, const py::object& on_done,
                                       const std::optional<double>& timeout) {
    auto callables = std::make_shared<Callables>(on_token, on_done);
    GenerationScheduler::DoneCallback done;
    if (!on_done.is_none()) done = [callables](const Result<Generation>&) { callables->done(); };
    core::GenerateRequest request;
    request.prompt = std::string(prompt);
    request.options = options;
    if (!on_token.is_none())
      request.on_token = [callables](std::string_view piece) { return callables->token(piece); };
    std::optional<Result<std::shared_ptr<core::Submission>>> submitted;
    until(time_of(timeout), [&](nanoseconds slice) {
      submitted.emplace(scheduler_->submit(request, done, slice));
      return submitted->status().code() != StatusCode::kBusy;
    });
    return std::make_unique<PySubmission>(unwrap(std::move(*submitted)), std::move(callables));
  }
  void close() {
    py::gil_scoped_release release;
    scheduler_->close();
  }
  SchedulerStats stats() const { return scheduler_->stats(); }

 private:
  std::unique_ptr<GenerationScheduler> scheduler_;
};

}  // namespace

void bind_lm_scheduler(py::module_& m) {
  py::class_<SchedulerStats>(m, "SchedulerStats")
      .def_readonly("waiting", &SchedulerStats::waiting)
      .def_readonly("running", &SchedulerStats::running)
      .def_readonly("finished", &SchedulerStats::finished)
      .def_readonly("cancelled", &SchedulerStats::cancelled)
      .def_readonly("failed", &SchedulerStats::failed)
      .def_readonly("reserved_bytes", &SchedulerStats::reserved_bytes)
      .def_readonly("kept_bytes", &SchedulerStats::kept_bytes)
      .def_readonly("most_bytes", &SchedulerStats::most_bytes)
      .def_readonly("passes", &SchedulerStats::passes)
      .def_readonly("prompt_tokens", &SchedulerStats::prompt_tokens)
      .def_readonly("shared_tokens", &SchedulerStats::shared_tokens)
      .def_readonly("generated_tokens", &SchedulerStats::generated_tokens);
  py::class_<PySubmission>(m, "Submission")
      .def("cancel", &PySubmission::cancel)
      .def("done", &PySubmission::done)
      .def("wait", &PySubmission::wait, py::arg("timeout") = py::none())
      .def("result", &PySubmission::result, py::arg("timeout") = py::none());
  const SchedulerOptions defaults;
  py::class_<PyScheduler>(m, "GenerationScheduler")
      .def(py::init<const std::shared_ptr<LanguageModel>&, const WholeNumber&, const WholeNumber&,
                    const WholeNumber&, const WholeNumber&>(),
           py::arg("model"), py::kw_only(), py::arg("max_memory_bytes") = defaults.max_memory_bytes,
           py::arg("max_running") = defaults.max_running,
           py::arg("max_waiting") = defaults.max_waiting,
           py::arg("max_kept_bytes") = defaults.max_kept_bytes)
      .def("submit", &PyScheduler::submit, py::arg("prompt"), py::kw_only(), py::arg("options"),
           py::arg("on_token") = py::none(), py::arg("on_done") = py::none(),
           py::arg("timeout") = py::none())
      .def("close", &PyScheduler::close)
      .def_property_readonly("stats", &PyScheduler::stats);
}

}  // namespace collegium::python
