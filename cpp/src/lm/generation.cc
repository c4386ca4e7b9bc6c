#include "collegium/core/lm/generation.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "lm/generation_text.h"
#include "lm/language_model_impl.h"
#include "lm/sampler.h"
#include "text/utf8_repair.h"

namespace collegium::core {
namespace {

// Of one token of the vocabulary while a token is chosen: its logit, the logit under penalties,
// the candidate, its place in the order of typical_p, and among the alternatives.
constexpr std::size_t kChoiceBytes = 2 * sizeof(float) + sizeof(Sampler::Candidate) +
                                     sizeof(std::pair<double, std::size_t>) +
                                     sizeof(TokenProbability);

struct RequestView {
  std::string_view prompt;
  const GenerateOptions& options;
  const TokenCallback& on_token;
  const ProgressCallback& progress;
};

// Guesses at first, and after some were wrong.
constexpr std::size_t kFirstGuesses = 3;
// Tokens that prompts must have in common for one to wait for the other.
constexpr std::size_t kFewestShared = KvCache::kPagePositions;

// What followed the last three tokens, or else the last two, where they stood before last: at most
// `most` tokens.
std::vector<std::int32_t> guess_by_lookup(std::span<const std::int32_t> tokens, std::size_t most) {
  if (most == 0) return {};
  for (const std::size_t length : {std::size_t{3}, std::size_t{2}}) {
    if (tokens.size() <= length) continue;
    const auto last = tokens.last(length);
    const auto before = tokens.first(tokens.size() - 1);
    const auto found = std::find_end(before.begin(), before.end(), last.begin(), last.end());
    if (found == before.end()) continue;
    const auto begin = static_cast<std::size_t>(found - before.begin()) + length;
    const auto guessed = tokens.subspan(begin, std::min(most, tokens.size() - begin));
    return {guessed.begin(), guessed.end()};
  }
  return {};
}

// One request under way.
class GenerationRun {
 public:
  static Result<std::unique_ptr<GenerationRun>> start(const LanguageModelImpl& impl,
                                                      const RequestView& request);

  bool done() const noexcept { return done_; }
  // Before anything was read.
  std::span<const std::int32_t> prompt() const noexcept { return next_; }
  std::size_t most_bytes() const noexcept { return most_bytes_; }

  // Asks the request's progress callback; false if that ended it.
  bool may_go_on();
  // What can fail, or leaves a record, goes through the layers by itself, so that another's failure
  // is never seen.
  bool alone() const noexcept { return plan_.has_value() || trace_ != nullptr; }
  // Takes what `other` has read of the tokens that both begin with, once it has them all; true as
  // long as it is worth waiting for.
  bool wait_for_shared();
  void share_with(const GenerationRun& other, std::size_t tokens) {
    shares_ = &other;
    shared_ = tokens;
  }
  // Of the prompts of the two, how many tokens this one can take over.
  std::size_t common_with(const GenerationRun& other) const;
  // What is to be read next: at most `rows` tokens, or a whole prompt where a router wants that.
  Step next(std::size_t rows) {
    if (!guesses_.empty() && next_.size() > rows) {
      guesses_.resize(rows - 1);
      next_.resize(rows);
    }
    const std::span<const std::int32_t> ids(next_);
    std::size_t count = ids.size() - read_;
    if (!whole_prompt_) count = std::min({count, impl_.prompt_step(), rows});
    return {.cache = &cache_,
            .ids = ids.subspan(read_, count),
            .routing = plan_.has_value() ? &*plan_ : nullptr,
            .trace = trace_.get(),
            .lora = lora_,
            .more_to_come = read_ + count < ids.size()};
  }
  // `ids` of next() were read. Of the last how many of them the logits are wanted: 0 within a
  // prompt, then 1, and one for each guess.
  std::size_t was_read(std::size_t ids);
  // Chooses the next token from the logits behind the first of those. True if the next one's are
  // of use: a guess was right.
  bool choose(std::span<const float> logits);
  void fail(Status status) {
    status_ = std::move(status);
    done_ = true;
  }
  Result<Generation> take() {
    if (!status_.ok()) return status_;
    generation_.trace = std::move(trace_);
    return std::move(generation_);
  }

 private:
  GenerationRun(const LanguageModelImpl& impl, const RequestView& request,
                std::vector<std::int32_t> prompt)
      : impl_(impl),
        request_(request),
        cache_(impl.model.config()),
        sampler_(request.options, prompt),
        text_(request.options.stop),
        next_(std::move(prompt)) {
    generation_.prompt_tokens = next_.size();
    if (request.options.prompt_lookup != 0) history_ = next_;
  }
  Status choose_or_fail(std::span<const float> logits);
  // Makes `id` what is read next, and what is guessed to follow.
  void read_next(std::int32_t id);
  // Positions that were read, without wrong guesses.
  std::size_t length() const { return cache_.length() - (guesses_.size() - right_); }
  // Adds `piece` to the text; false if the caller wants no more.
  bool give(std::string_view piece);
  void end(FinishReason reason);

  const LanguageModelImpl& impl_;
  RequestView request_;
  KvCache cache_;
  std::optional<RoutingPlan> plan_;  // none: the model's own
  const DecoderLora* lora_ = nullptr;
  bool whole_prompt_ = false;
  std::shared_ptr<TokenTrace> trace_;
  Sampler sampler_;
  Utf8Repair repair_;
  GenerationText text_;
  std::vector<std::int32_t> next_;  // what the model has not read yet, from read_ on
  std::size_t read_ = 0;
  const GenerationRun* shares_ = nullptr;  // who reads the first shared_ tokens
  std::size_t shared_ = 0;
  std::vector<std::int32_t> history_;  // prompt and answer, where guesses are looked up
  std::vector<std::int32_t> guesses_;  // behind the first of next_
  std::size_t right_ = 0;              // of guesses_, so far
  std::size_t most_guesses_ = kFirstGuesses;
  std::size_t most_bytes_ = 0;
  Generation generation_;
  Status status_;
  bool done_ = false;
};

Result<std::unique_ptr<GenerationRun>> GenerationRun::start(const LanguageModelImpl& impl,
                                                            const RequestView& request) {
  const GenerateOptions& options = request.options;
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  const auto vocab = static_cast<std::int64_t>(impl.model.config().vocab);
  for (std::size_t i = 0; i < options.stop_ids.size(); ++i)
    if (options.stop_ids[i] < 0 || options.stop_ids[i] >= vocab)
      return Status::invalid_argument("stop_ids[" + std::to_string(i) +
                                      "]: " + std::to_string(options.stop_ids[i]) +
                                      " is outside the vocabulary of " + std::to_string(vocab));
  COLLEGIUM_ASSIGN_OR_RETURN(
      auto encoding,
      impl.tokenizer->encode(request.prompt, {.add_special_tokens = options.add_special_tokens}));
  const std::size_t tokens = encoding.ids.size();
  const std::size_t context = impl.model.config().context;
  if (tokens == 0) return Status::invalid_argument("prompt: has no token");
  if (tokens >= context)
    return Status::invalid_argument("prompt: " + std::to_string(tokens) +
                                    " tokens do not fit the context of " + std::to_string(context) +
                                    " with one to spare");
  COLLEGIUM_ASSIGN_OR_RETURN(const DecoderLora* lora, impl.lora_of(options.lora));
  std::optional<RoutingPlan> plan;
  if (!options.routing.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(plan, impl.model.plan(options.routing));
    if (plan->needs_whole_prompt() && options.max_new_tokens != 1)
      return Status::not_supported("routing: " + options.routing.describe() +
                                   " looks at a whole prompt, so max_new_tokens must be 1, not " +
                                   std::to_string(options.max_new_tokens));
  }
  const std::size_t most_tokens = tokens + std::min(options.max_new_tokens, context - tokens);
  const std::size_t most_bytes = impl.generation_bytes(most_tokens);
  if (options.max_memory_bytes != 0 && most_bytes > options.max_memory_bytes)
    return Status::resource_exhausted(
        "max_memory_bytes: " + std::to_string(options.max_memory_bytes) + ", a generation of " +
        std::to_string(most_tokens) + " tokens could take " + std::to_string(most_bytes));
  std::unique_ptr<GenerationRun> run(new GenerationRun(impl, request, std::move(encoding.ids)));
  run->most_bytes_ = most_bytes;
  run->lora_ = lora;
  run->generation_.routing = options.routing.describe();
  if (options.trace) {
    run->trace_ = std::make_shared<TokenTrace>();
    run->trace_->describe(impl.digest, run->generation_.routing);
  }
  if (plan) run->whole_prompt_ = plan->needs_whole_prompt();
  run->plan_ = std::move(plan);
  return run;
}

bool GenerationRun::may_go_on() {
  const bool in_prompt = generation_.ids.empty();
  const std::size_t done = in_prompt ? read_ : generation_.ids.size();
  const std::size_t total = in_prompt ? next_.size() : request_.options.max_new_tokens;
  const Status status = guarded("generate", [&]() -> Status {
    if (report(request_.progress, in_prompt ? "prompt" : "generate", done, total)) return {};
    return Status::cancelled(
        "generation stopped after " + std::to_string(done) +
        (in_prompt ? " of the " + std::to_string(total) + " tokens of its prompt" : " tokens"));
  });
  if (!status.ok()) fail(status);
  return !done_;
}

std::size_t GenerationRun::common_with(const GenerationRun& other) const {
  if (alone() || other.alone() || lora_ != other.lora_) return 0;
  // The last token is read in any case: its logits are wanted.
  const std::size_t most = std::min(next_.size() - 1, other.next_.size());
  const auto end = next_.begin() + static_cast<std::ptrdiff_t>(most);
  return static_cast<std::size_t>(std::mismatch(next_.begin(), end, other.next_.begin()).first -
                                  next_.begin());
}

bool GenerationRun::wait_for_shared() {
  if (shares_ == nullptr) return false;
  if (shares_->cache_.length() >= shared_) {
    cache_ = shares_->cache_.fork(shared_);
    read_ = generation_.shared_tokens = shared_;
  } else if (!shares_->done()) {
    return true;
  }
  shares_ = nullptr;
  return false;
}

std::size_t GenerationRun::was_read(std::size_t ids) {
  generation_.flops += impl_.model.forward_flops(cache_.length() - ids, ids);
  read_ += ids;
  return read_ == next_.size() ? guesses_.size() + 1 : 0;
}

bool GenerationRun::choose(std::span<const float> logits) {
  const Status status = guarded("generate", [&] { return choose_or_fail(logits); });
  if (!status.ok()) fail(status);
  const bool right =
      !done_ && right_ < guesses_.size() && guesses_[right_] == generation_.ids.back();
  if (right) {
    ++right_;
    return true;
  }
  generation_.guessed_tokens += guesses_.size();
  generation_.accepted_tokens += right_;
  if (!done_) read_next(generation_.ids.back());
  return false;
}

void GenerationRun::read_next(std::int32_t id) {
  const GenerateOptions& options = request_.options;
  if (!guesses_.empty()) {
    // Long guesses are for texts that are being quoted.
    most_guesses_ = right_ == guesses_.size()
                        ? std::min(2 * most_guesses_, GenerateOptions::kMaxLookup)
                        : std::max(kFirstGuesses, right_);
    cache_.truncate(length());
  }
  guesses_.clear();
  right_ = 0;
  next_.assign(1, id);
  read_ = 0;
  if (options.prompt_lookup == 0 || alone()) return;
  // One token less than the answer may have: the last one is never read.
  const std::size_t room = std::min(options.max_new_tokens - generation_.ids.size(),
                                    impl_.model.config().context - cache_.length()) -
                           1;
  guesses_ = guess_by_lookup(history_, std::min({options.prompt_lookup, most_guesses_, room}));
  next_.insert(next_.end(), guesses_.begin(), guesses_.end());
}

Status GenerationRun::choose_or_fail(std::span<const float> logits) {
  const GenerateOptions& options = request_.options;
  generation_.flops += impl_.model.logits_flops(1);
  COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t id,
                             sampler_.choose(logits, generation_.ids.size()));
  if (impl_.is_end(id)) {
    end(FinishReason::kEnd);
    return {};
  }
  if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
    end(FinishReason::kStop);
    return {};
  }
  if (options.log_probabilities || options.alternatives != 0) {
    const double normalizer = log_sum_exp(logits);
    if (options.log_probabilities)
      generation_.log_probabilities.push_back(
          static_cast<float>(logits[static_cast<std::size_t>(id)] - normalizer));
    if (options.alternatives != 0)
      generation_.alternatives.push_back(most_likely(logits, normalizer, options.alternatives));
  }
  generation_.ids.push_back(id);
  if (options.prompt_lookup != 0) history_.push_back(id);
  if (!impl_.tokenizer->is_control(id)) {
    const std::string piece = repair_.push(impl_.tokenizer->token_bytes(id));
    if (!piece.empty() && !give(text_.push(piece))) {
      generation_.finish_reason = FinishReason::kCancelled;
      done_ = true;
      return {};
    }
    if (text_.stopped()) {
      generation_.stop = *text_.stop();
      generation_.finish_reason = FinishReason::kStop;
      done_ = true;
      return {};
    }
  }
  if (generation_.ids.size() == options.max_new_tokens) {
    end(FinishReason::kLength);
  } else if (length() == impl_.model.config().context) {
    end(FinishReason::kContext);
  }
  return {};
}

bool GenerationRun::give(std::string_view piece) {
  generation_.text += piece;
  return piece.empty() || !request_.on_token || request_.on_token(piece) || text_.stopped();
}

void GenerationRun::end(FinishReason reason) {
  done_ = true;
  generation_.finish_reason = reason;
  std::string rest = text_.push(repair_.finish());
  if (text_.stopped()) {  // a stop string of U+FFFD, as a part of a character becomes at the end
    generation_.finish_reason = FinishReason::kStop;
    generation_.stop = *text_.stop();
  } else {
    rest += text_.finish();
  }
  static_cast<void>(give(rest));
}

// The requests' runs, which share every forward pass.
class GenerationBatch {
 public:
  GenerationBatch(const LanguageModelImpl& impl, std::span<const RequestView> requests)
      : impl_(impl) {
    for (const RequestView& request : requests) {
      auto run = guarded("generate", [&] { return GenerationRun::start(impl, request); });
      runs_.push_back(run.ok() ? std::move(*run) : nullptr);
      refused_.push_back(run.status());
    }
    share_beginnings();
  }

  std::size_t most_bytes() const {
    std::size_t bytes = 0;
    for (const auto& run : runs_)
      if (run) bytes += run->most_bytes();
    return bytes;
  }

  void run(const ProgressCallback& progress) {
    const Status status = guarded("generate", [&]() -> Status {
      while (true) {
        const auto done = static_cast<std::size_t>(std::count_if(
            runs_.begin(), runs_.end(), [](const auto& run) { return !run || run->done(); }));
        if (done == runs_.size()) return {};
        if (!report(progress, "requests", done, runs_.size()))
          return Status::cancelled("generation stopped with " + std::to_string(done) + " of " +
                                   std::to_string(runs_.size()) + " requests done");
        step();
      }
    });
    if (status.ok()) return;
    for (const auto& run : runs_)
      if (run && !run->done()) run->fail(status);
  }

  Result<Generation> take(std::size_t i) {
    if (!runs_[i]) return refused_[i];
    return runs_[i]->take();
  }

 private:
  // Of every run that lives the next token, or a piece of the prompt, as far as there are rows.
  // Which rows stand together changes none of them.
  void step() {
    reading_.clear();
    std::size_t rows = 0, last = turn_;
    for (std::size_t i = 0; i < runs_.size() && rows < kBatchRows; ++i) {
      const std::size_t number = (turn_ + i) % runs_.size();
      GenerationRun* run = runs_[number].get();
      if (run == nullptr || run->done() || !run->may_go_on() || run->wait_for_shared()) continue;
      reading_.push_back({run, run->next(kBatchRows - rows), rows});
      rows += reading_.back().step.ids.size();
      last = number;
    }
    if (reading_.empty()) return;
    turn_ = (last + 1) % runs_.size();
    hidden_.resize(rows * impl_.model.config().width);
    read_all();

    const std::size_t width = impl_.model.config().width;
    choosing_.clear();
    last_rows_.clear();
    for (const Reading& reading : reading_) {
      const std::size_t count = reading.step.ids.size();
      if (reading.run->done()) continue;
      const std::size_t wanted = reading.run->was_read(count);
      choosing_.insert(choosing_.end(), wanted, reading.run);
      const float* end = hidden_.data() + (reading.row + count) * width;
      last_rows_.insert(last_rows_.end(), end - wanted * width, end);
    }
    choose_all();
  }

  // reading_ into hidden_: those that need no pass of their own in one.
  void read_all() {
    const std::size_t width = impl_.model.config().width;
    const auto read_alone = [&](const Reading& reading) {
      const Status status =
          impl_.model.forward({&reading.step, 1}, hidden_.data() + reading.row * width);
      if (!status.ok()) reading.run->fail(status.with_context("generate"));
    };
    // The shared pass writes its rows one behind the other, so its runs stand first.
    std::stable_partition(reading_.begin(), reading_.end(),
                          [](const Reading& reading) { return !reading.run->alone(); });
    steps_.clear();
    std::size_t rows = 0;
    for (Reading& reading : reading_) {
      reading.row = rows;
      rows += reading.step.ids.size();
      if (!reading.run->alone()) steps_.push_back(reading.step);
    }
    const std::size_t shared = steps_.size();
    const bool failed = shared != 0 && !impl_.model.forward(steps_, hidden_.data()).ok();
    // Caches are as before then: whose fault it was, each finds out by itself.
    for (std::size_t i = failed ? 0 : shared; i < reading_.size(); ++i) read_alone(reading_[i]);
  }

  // Who begins as another does, for a page at least, reads that once the other has.
  void share_beginnings() {
    constexpr std::size_t kMostTried = 16;  // of those with the same first tokens
    std::map<std::vector<std::int32_t>, std::vector<const GenerationRun*>> by_beginning;
    for (const auto& run : runs_) {
      if (!run || run->prompt().size() <= kFewestShared) continue;
      const auto beginning = run->prompt().first(kFewestShared);
      auto& others = by_beginning[{beginning.begin(), beginning.end()}];
      const GenerationRun* best = nullptr;
      std::size_t most = kFewestShared - 1;
      for (const GenerationRun* other : others) {
        const std::size_t common = run->common_with(*other);
        if (common <= most) continue;
        best = other;
        most = common;
      }
      if (best != nullptr) run->share_with(*best, most);
      if (others.size() < kMostTried) others.push_back(run.get());
    }
  }

  // The next token of each of choosing_ from its row of last_rows_, and of those behind it as long
  // as guesses are right.
  void choose_all() {
    const std::size_t width = impl_.model.config().width, vocab = impl_.model.config().vocab;
    const std::size_t most = std::max<std::size_t>(1, kLogitBytes / (vocab * sizeof(float)));
    const GenerationRun* wrong = nullptr;  // whose further rows are of no use
    for (std::size_t begin = 0; begin < choosing_.size(); begin += most) {
      const std::size_t count = std::min(most, choosing_.size() - begin);
      logits_.resize(count * vocab);
      impl_.model.logits(last_rows_.data() + begin * width, count, logits_.data());
      for (std::size_t i = 0; i < count; ++i) {
        GenerationRun* run = choosing_[begin + i];
        if (run == wrong) continue;
        wrong = run->choose(std::span(logits_).subspan(i * vocab, vocab)) ? nullptr : run;
      }
    }
  }

  struct Reading {
    GenerationRun* run;
    Step step;
    std::size_t row;  // its first in hidden_
  };

  const LanguageModelImpl& impl_;
  std::vector<std::unique_ptr<GenerationRun>> runs_;  // null: refused before it ran
  std::vector<Status> refused_;
  std::size_t turn_ = 0;  // who is served first
  // Kept between steps for their memory.
  std::vector<Reading> reading_;
  std::vector<Step> steps_;
  std::vector<GenerationRun*> choosing_;
  std::vector<float> hidden_, last_rows_, logits_;
};

}  // namespace

std::size_t LanguageModelImpl::generation_bytes(std::size_t tokens) const noexcept {
  const DecoderConfig& config = model.config();
  return KvCache::bytes(config, std::min(tokens, config.context)) + config.vocab * kChoiceBytes;
}

std::size_t LanguageModel::generation_bytes(std::size_t tokens) const noexcept {
  return impl_->generation_bytes(tokens);
}

Result<Generation> LanguageModel::generate(std::string_view prompt, const GenerateOptions& options,
                                           const TokenCallback& on_token,
                                           const ProgressCallback& progress) const {
  return guarded("generate", [&]() -> Result<Generation> {
    const RequestView request{prompt, options, on_token, progress};
    GenerationBatch batch(*impl_, {&request, 1});
    batch.run({});
    return batch.take(0);
  });
}

Result<Generation> LanguageModel::chat(std::span<const ChatMessage> messages,
                                       const GenerateOptions& options,
                                       const TokenCallback& on_token,
                                       const ProgressCallback& progress) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string prompt, apply_chat_template(messages));
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
    GenerationBatch batch(*impl_, views);
    if (options.max_memory_bytes != 0 && batch.most_bytes() > options.max_memory_bytes)
      return Status::resource_exhausted(
          "max_memory_bytes: " + std::to_string(options.max_memory_bytes) + ", the batch of " +
          std::to_string(requests.size()) + " could take " + std::to_string(batch.most_bytes()));
    batch.run(progress);
    Results results;
    results.reserve(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) results.push_back(batch.take(i));
    return results;
  });
}

}  // namespace collegium::core
