#include "collegium/core/lm/generation.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lm/generation_batch.h"
#include "lm/language_model_impl.h"

namespace collegium::core {
namespace {

// Runs all of `requests` to their ends, in their order as far as they do not run together.
Result<std::vector<Result<Generation>>> run_requests(const LanguageModelImpl& impl,
                                                     std::span<const RequestView> requests,
                                                     const BatchOptions& options,
                                                     const ProgressCallback& progress) {
  const std::size_t count = requests.size();
  std::vector<std::unique_ptr<GenerationRun>> runs(count);  // none: has a result
  std::vector<std::optional<Result<Generation>>> results(count);
  std::size_t most_bytes = 0, done = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto run = guarded("generate", [&] { return GenerationRun::start(impl, requests[i]); });
    if (run.ok()) {
      most_bytes += (*run)->most_bytes();
      runs[i] = std::move(*run);
    } else {
      results[i].emplace(run.status());
      ++done;
    }
  }
  if (options.max_memory_bytes != 0 && most_bytes > options.max_memory_bytes)
    return Status::resource_exhausted(
        "max_memory_bytes: " + std::to_string(options.max_memory_bytes) + ", the batch of " +
        std::to_string(count) + " could take " + std::to_string(most_bytes));

  GenerationBatch batch(impl, 0);
  const Status status = guarded("generate", [&]() -> Status {
    for (std::size_t next = 0; done != count;) {
      if (!report(progress, "requests", done, count))
        return Status::cancelled("generation stopped with " + std::to_string(done) + " of " +
                                 std::to_string(count) + " requests done");
      for (; next < count && batch.size() < GenerationBatch::kMostRuns; ++next)
        if (runs[next]) batch.add(*runs[next]);
      batch.step();
      for (std::size_t i = 0; i < next; ++i) {
        if (!runs[i] || !runs[i]->done()) continue;
        results[i].emplace(runs[i]->take());
        runs[i].reset();
        ++done;
      }
    }
    return {};
  });
  std::vector<Result<Generation>> taken;
  taken.reserve(count);
  for (auto& result : results) taken.push_back(result ? std::move(*result) : status);
  return taken;
}

}  // namespace

std::size_t LanguageModel::generation_bytes(std::size_t tokens) const noexcept {
  return impl_->generation_bytes(tokens);
}

Result<Generation> LanguageModel::generate(std::string_view prompt, const GenerateOptions& options,
                                           const TokenCallback& on_token,
                                           const ProgressCallback& progress) const {
  return guarded("generate", [&]() -> Result<Generation> {
    const RequestView request{prompt, options, on_token, progress};
    COLLEGIUM_ASSIGN_OR_RETURN(auto results, run_requests(*impl_, {&request, 1}, {}, {}));
    return std::move(results.front());
  });
}

Result<Generation> LanguageModel::chat(std::span<const ChatMessage> messages,
                                       const GenerateOptions& options,
                                       const TokenCallback& on_token,
                                       const ProgressCallback& progress) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string prompt,
                             apply_chat_template(messages, options.enable_thinking));
  GenerateOptions as_it_is = options;
  as_it_is.add_special_tokens = false;  // The template has put in its own.
  return generate(prompt, as_it_is, on_token, progress);
}

Result<std::vector<Result<Generation>>> LanguageModel::generate_batch(
    std::span<const GenerateRequest> requests, const BatchOptions& options,
    const ProgressCallback& progress) const {
  using Results = std::vector<Result<Generation>>;
  return guarded("generate_batch", [&]() -> Result<Results> {
    std::vector<RequestView> views;
    views.reserve(requests.size());
    for (const GenerateRequest& request : requests)
      views.push_back({request.prompt, request.options, request.on_token, request.progress});
    return run_requests(*impl_, views, options, progress);
  });
}

}  // namespace collegium::core
