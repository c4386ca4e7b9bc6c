#include "lm/generation_run.h"

#include <algorithm>
#include <utility>

namespace collegium::core {
namespace {

// Of one token of the vocabulary while a token is chosen: its logit, the logit under penalties,
// the candidate, its place in the order of typical_p, and among the alternatives.
constexpr std::size_t kChoiceBytes = 2 * sizeof(float) + sizeof(Sampler::Candidate) +
                                     sizeof(std::pair<double, std::size_t>) +
                                     sizeof(TokenProbability);

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

}  // namespace

GenerationRun::GenerationRun(const LanguageModelImpl& impl, const RequestView& request,
                             std::vector<std::int32_t> prompt)
    : impl_(impl),
      request_(request),
      cache_(impl.new_cache()),
      sampler_(request.options, prompt),
      text_(request.options.stop),
      tokens_(prompt),
      next_(std::move(prompt)),
      most_guesses_(kFirstGuesses) {
  generation_.prompt_tokens = next_.size();
}

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
  std::size_t most_bytes = impl.generation_bytes(most_tokens);
  const LanguageModelImpl* draft = options.draft != nullptr ? options.draft->impl_.get() : nullptr;
  if (draft != nullptr) {
    if (draft->tokenizer->tokenizer().digest() != impl.tokenizer->tokenizer().digest() ||
        draft->model.config().vocab != impl.model.config().vocab)
      return Status::invalid_argument("draft: " + draft->path + " has another vocabulary than " +
                                      impl.path);
    most_bytes += draft->generation_bytes(most_tokens);
  }
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
  if (draft != nullptr && !run->alone()) run->draft_.emplace(*draft, options);
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
  // What the other has read or will have read for certain; of this one's the last token is read in
  // any case: its logits are wanted.
  const std::size_t there = std::max(other.generation_.prompt_tokens, other.there());
  const std::span<const std::int32_t> mine(tokens_), others(other.tokens_);
  const std::size_t both = common_beginning(mine.first(mine.size() - 1), others.first(there));
  return both < kFewestShared ? 0 : both;
}

bool GenerationRun::wait_for_shared() {
  if (shares_ == nullptr) return false;
  if (shares_->there() < shared_) return true;
  take_over(shares_->cache_, shared_);
  shares_ = nullptr;
  return false;
}

void GenerationRun::forget(const GenerationRun& other) {
  if (shares_ != &other) return;
  const std::size_t tokens = std::min(shared_, other.there());
  if (tokens >= kFewestShared) take_over(other.cache_, tokens);
  shares_ = nullptr;
}

void GenerationRun::take_over(KeptBeginnings& kept) {
  if (alone()) return;
  const std::span<const std::int32_t> tokens(tokens_);
  const auto found = kept.find(tokens.first(tokens.size() - 1), request_.options.lora.get());
  if (found.tokens < kFewestShared || (shares_ != nullptr && found.tokens <= shared_)) return;
  take_over(*found.cache, found.tokens);
  shares_ = nullptr;
}

void GenerationRun::take_over(const KvCache& cache, std::size_t tokens) {
  cache_ = cache.fork(tokens);
  read_ = generation_.shared_tokens = tokens;
}

void GenerationRun::keep(KeptBeginnings& kept) {
  if (alone() || !status_.ok()) return;
  const std::size_t tokens = there();
  cache_.truncate(tokens);
  const std::size_t bytes = KvCache::bytes(impl_.model.config(), impl_.kv_cache, tokens);
  kept.keep(std::span(tokens_).first(tokens), request_.options.lora, std::move(cache_), bytes);
}

Step GenerationRun::next(std::size_t rows) {
  if (!guesses_.empty() && next_.size() > rows) {
    guesses_.resize(rows - 1);
    next_.resize(rows);
  }
  const std::span<const std::int32_t> ids(next_);
  std::size_t count = ids.size() - read_;
  if (!whole_prompt_) count = std::min({count, impl_.prompt_step(), rows});
  const bool more_to_come = read_ + count < ids.size();
  return {.cache = &cache_,
          .ids = ids.subspan(read_, count),
          .routing = plan_.has_value() ? &*plan_ : nullptr,
          .trace = trace_.get(),
          .lora = lora_,
          .more_to_come = more_to_come,
          .wanted = more_to_come ? 0 : guesses_.size() + 1};
}

std::size_t GenerationRun::was_read(const Step& step) {
  const std::size_t ids = step.ids.size();
  generation_.flops += impl_.model.forward_flops(cache_.length() - ids, ids, step.num_wanted());
  read_ += ids;
  return step.wanted;
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
  if (done_) return false;
  const Status read = guarded("generate", [&] { return read_next(generation_.ids.back()); });
  if (!read.ok()) fail(read);
  return false;
}

Status GenerationRun::read_next(std::int32_t id) {
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
  if (alone()) return {};
  // One token less than the answer may have: the last one is never read.
  const std::size_t room = std::min(options.max_new_tokens - generation_.ids.size(),
                                    impl_.model.config().context - cache_.length()) -
                           1;
  const std::size_t most = std::min(most_guesses_, room);
  guesses_ = guess_by_lookup(tokens_, std::min(options.prompt_lookup, most));
  if (guesses_.empty() && draft_) {
    const double before = draft_->flops();
    COLLEGIUM_ASSIGN_OR_RETURN(guesses_, draft_->guess(tokens_, generation_.prompt_tokens,
                                                       std::min(options.draft_tokens, most)));
    generation_.flops += draft_->flops() - before;
  }
  next_.insert(next_.end(), guesses_.begin(), guesses_.end());
  return {};
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
  tokens_.push_back(id);
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

Result<Generation> GenerationRun::take() {
  if (!status_.ok()) return status_;
  generation_.trace = std::move(trace_);
  return std::move(generation_);
}

std::size_t LanguageModelImpl::generation_bytes(std::size_t tokens) const noexcept {
  const DecoderConfig& config = model.config();
  return KvCache::bytes(config, kv_cache, std::min(tokens, config.context)) +
         config.vocab * kChoiceBytes;
}

}  // namespace collegium::core
