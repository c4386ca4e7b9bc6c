#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "lm/language_model_impl.h"
#include "lm/sampler.h"

namespace collegium::core {
namespace {

// Tokens [begin, end) of a text, of which those from `first` on are counted.
struct Window {
  std::size_t text, begin, end, first;
};

Status check_range(const char* field, std::size_t value, std::size_t least, std::size_t most) {
  if (value >= least && value <= most) return {};
  return Status::invalid_argument(std::string(field) + ": " + std::to_string(value) +
                                  ", must be in [" + std::to_string(least) + ", " +
                                  std::to_string(most) + "]");
}

// Every token but the first is counted in one window: the first in which it comes.
void add_windows(std::size_t text, std::size_t tokens, std::size_t window, std::size_t stride,
                 std::vector<Window>& windows) {
  if (tokens < 2) return;
  std::size_t begin = 0, end = std::min(window, tokens);
  windows.push_back({text, begin, end, 1});
  while (end < tokens) {
    begin += stride;
    const std::size_t next = std::min(begin + window, tokens);
    windows.push_back({text, begin, next, end});
    end = next;
  }
}

// Reads windows one behind the other, several in one forward pass where they are short.
class Scorer {
 public:
  Scorer(const LanguageModelImpl& impl, std::vector<std::vector<std::int32_t>> ids, bool keep,
         std::optional<RoutingPlan> plan, const DecoderLora* lora)
      : impl_(impl),
        ids_(std::move(ids)),
        keep_(keep),
        plan_(std::move(plan)),
        lora_(lora),
        scores_(ids_.size()) {
    if (keep_)
      for (std::size_t i = 0; i < ids_.size(); ++i) scores_[i].ids = ids_[i];
  }

  Status run(std::span<const Window> windows, const ProgressCallback& progress) {
    std::size_t total = 0, done = 0;
    for (const Window& window : windows) total += window.end - window.begin;
    const std::size_t width = impl_.model.config().width;
    // A router that looks at a whole text has each window to itself.
    const bool whole = plan_.has_value() && plan_->needs_whole_prompt();
    std::size_t number = 0;                        // of the window that is read next
    std::size_t read = 0;                          // tokens of it that were read
    std::vector<std::unique_ptr<KvCache>> caches;  // of a pass: one a window
    while (number < windows.size()) {
      if (!report(progress, "score", done, total))
        return Status::cancelled("scoring stopped after " + std::to_string(done) + " of " +
                                 std::to_string(total) + " tokens");
      // The window that the pass before did not finish goes on in its cache.
      if (read == 0) caches.clear();
      if (caches.size() > 1) caches.erase(caches.begin(), caches.end() - 1);
      std::vector<Step> steps;
      counted_.clear();
      std::size_t rows = 0;
      while (number < windows.size() && (whole ? steps.empty() : rows < kBatchRows)) {
        const Window& window = windows[number];
        const std::size_t size = window.end - window.begin;
        if (read == 0) caches.push_back(std::make_unique<KvCache>(impl_.new_cache()));
        const std::size_t begin = window.begin + read;
        const std::size_t count = whole ? size : std::min(kBatchRows - rows, window.end - begin);
        const bool ends = begin + count == window.end;
        steps.push_back({.cache = caches.back().get(),
                         .ids = std::span(ids_[window.text]).subspan(begin, count),
                         .routing = plan_ ? &*plan_ : nullptr,
                         .lora = lora_,
                         .more_to_come = !ends});
        // The row of a token says how likely the one behind it is.
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t target = begin + i + 1;
          if (target >= window.first && target < window.end)
            counted_.push_back({window.text, ids_[window.text][target], rows + i});
        }
        rows += count;
        read += count;
        if (ends) {
          ++scores_[window.text].windows;
          ++number;
          read = 0;
        }
      }
      hidden_.resize(rows * width);
      COLLEGIUM_RETURN_IF_ERROR(impl_.model.forward(steps, hidden_.data()));
      done += rows;
      COLLEGIUM_RETURN_IF_ERROR(count_rows());
    }
    return {};
  }

  std::vector<Score> take() { return std::move(scores_); }

 private:
  struct Counted {
    std::size_t text;
    std::int32_t id;
    std::size_t row;  // of hidden_
  };

  // Adds log P of counted_ to their texts' scores.
  Status count_rows() {
    const std::size_t width = impl_.model.config().width, vocab = impl_.model.config().vocab;
    const std::size_t most = std::max<std::size_t>(1, kLogitBytes / (vocab * sizeof(float)));
    for (std::size_t begin = 0; begin < counted_.size(); begin += most) {
      const std::size_t count = std::min(most, counted_.size() - begin);
      logits_.resize(count * vocab);
      found_.resize(count);
      rows_.clear();
      for (std::size_t i = 0; i < count; ++i) {
        const float* row = hidden_.data() + counted_[begin + i].row * width;
        rows_.insert(rows_.end(), row, row + width);
      }
      impl_.model.logits(rows_.data(), count, logits_.data());
      default_pool().parallel_for(count, [&](std::size_t i) {
        const auto row = std::span<const float>(logits_).subspan(i * vocab, vocab);
        found_[i] = row[static_cast<std::size_t>(counted_[begin + i].id)] - log_sum_exp(row);
      });
      for (std::size_t i = 0; i < count; ++i) {
        if (!std::isfinite(found_[i]))
          return Status::corruption("the model's logits are not finite numbers");
        Score& score = scores_[counted_[begin + i].text];
        score.log_probability += found_[i];
        ++score.tokens;
        if (keep_) score.log_probabilities.push_back(static_cast<float>(found_[i]));
      }
    }
    return {};
  }

  const LanguageModelImpl& impl_;
  std::vector<std::vector<std::int32_t>> ids_;
  bool keep_;
  std::optional<RoutingPlan> plan_;  // none: the model's own
  const DecoderLora* lora_;
  std::vector<Score> scores_;
  // Of one pass.
  std::vector<Counted> counted_;
  std::vector<float> hidden_, rows_, logits_;
  std::vector<double> found_;
};

}  // namespace

double Score::mean_log_probability() const noexcept {
  return tokens == 0 ? std::numeric_limits<double>::quiet_NaN()
                     : log_probability / static_cast<double>(tokens);
}

double Score::perplexity() const noexcept { return std::exp(-mean_log_probability()); }

Score sum_scores(std::span<const Score> scores) {
  Score sum;
  for (const Score& score : scores) {
    sum.log_probability += score.log_probability;
    sum.tokens += score.tokens;
    sum.windows += score.windows;
  }
  return sum;
}

Result<std::vector<Score>> LanguageModel::score(std::span<const std::string_view> texts,
                                                const ScoreOptions& options,
                                                const ProgressCallback& progress) const {
  return guarded("score", [&]() -> Result<std::vector<Score>> {
    const std::size_t context = impl_->model.config().context;
    const std::size_t window = options.window == 0 ? context : options.window;
    COLLEGIUM_RETURN_IF_ERROR(check_range("window", window, 2, context));
    const std::size_t stride = options.stride == 0 ? window / 2 : options.stride;
    COLLEGIUM_RETURN_IF_ERROR(check_range("stride", stride, 1, window - 1));
    COLLEGIUM_ASSIGN_OR_RETURN(const DecoderLora* lora, impl_->lora_of(options.lora));
    std::optional<RoutingPlan> plan;
    if (!options.routing.empty()) {
      COLLEGIUM_ASSIGN_OR_RETURN(plan, impl_->model.plan(options.routing));
    }
    std::vector<std::vector<std::int32_t>> ids;
    std::vector<Window> windows;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      auto encoding = impl_->tokenizer->encode(texts[i], {});
      if (!encoding.ok()) return encoding.status().with_context("texts[" + std::to_string(i) + "]");
      ids.push_back(std::move(encoding->ids));
      add_windows(i, ids.back().size(), window, stride, windows);
    }
    Scorer scorer(*impl_, std::move(ids), options.token_log_probabilities, std::move(plan), lora);
    COLLEGIUM_RETURN_IF_ERROR(scorer.run(windows, progress));
    return scorer.take();
  });
}

}  // namespace collegium::core
