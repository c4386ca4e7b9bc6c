#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/lm/generation.h"
#include "lm/draft.h"
#include "lm/generation_text.h"
#include "lm/kept_beginnings.h"
#include "lm/language_model_impl.h"
#include "lm/sampler.h"
#include "text/utf8_repair.h"

namespace collegium::core {

// What a request is, wherever that is kept.
struct RequestView {
  std::string_view prompt;
  const GenerateOptions& options;
  const TokenCallback& on_token;
  const ProgressCallback& progress;
};

// One request under way: what it has read, what it reads next, and what it has said. One thread at
// a time.
class GenerationRun {
 public:
  // Checks the request and reads its prompt's tokens; no memory yet for keys and values. What
  // `request` refers to must outlive the run.
  static Result<std::unique_ptr<GenerationRun>> start(const LanguageModelImpl& impl,
                                                      const RequestView& request);

  bool done() const noexcept { return done_; }
  // The most that it can take; see LanguageModel::generation_bytes().
  std::size_t most_bytes() const noexcept { return most_bytes_; }

  // Asks the request's progress callback; false if that ended it.
  bool may_go_on();
  // What can fail, or leaves a record, goes through the layers by itself, so that another's failure
  // is never seen, and takes over nothing that another has read.
  bool alone() const noexcept { return plan_.has_value() || trace_ != nullptr; }

  // Of this one's prompt, how many tokens it could take over from `other`; a page at least, or 0.
  // Before anything was read.
  std::size_t common_with(const GenerationRun& other) const;
  // Will take over so many tokens of `other`, once that has read them, and waits for them. Null:
  // of none.
  void share_with(const GenerationRun* other, std::size_t tokens) {
    shares_ = other;
    shared_ = tokens;
  }
  // Takes what it waits for if that is there; true if it has to wait.
  bool wait_for_shared();
  // `other` goes: takes what it has of that, and waits no more.
  void forget(const GenerationRun& other);
  // Takes over what is kept of another's, if that is more than it waits for.
  void take_over(KeptBeginnings& kept);
  // Gives away what it has read. Pre: done(), and nobody waits for it.
  void keep(KeptBeginnings& kept);

  // What is to be read next: at most `rows` tokens, or a whole prompt where a router wants that.
  Step next(std::size_t rows);
  // next()'s step was read. Of its last how many tokens the logits are wanted: 0 within a prompt,
  // then 1, and one for each guess.
  std::size_t was_read(const Step& step);
  // Chooses the next token from the logits behind the first of those. True if the next one's are
  // of use: a guess was right.
  bool choose(std::span<const float> logits);
  void fail(Status status) {
    status_ = std::move(status);
    done_ = true;
  }
  // Once. Pre: done().
  Result<Generation> take();

 private:
  GenerationRun(const LanguageModelImpl& impl, const RequestView& request,
                std::vector<std::int32_t> prompt);
  Status choose_or_fail(std::span<const float> logits);
  // Makes `id` what is read next, and what is guessed to follow.
  Status read_next(std::int32_t id);
  // Between two steps, positions that were read and stay.
  std::size_t there() const { return done_ ? length() : cache_.length(); }
  // Behind a step, positions that were read, without guesses that were wrong or not looked at.
  std::size_t length() const { return cache_.length() - (guesses_.size() - right_); }
  void take_over(const KvCache& cache, std::size_t tokens);
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
  std::vector<std::int32_t> tokens_;  // prompt and answer
  std::vector<std::int32_t> next_;    // what the model has not read yet, from read_ on
  std::size_t read_ = 0;
  const GenerationRun* shares_ = nullptr;  // who reads the first shared_ tokens
  std::size_t shared_ = 0;
  std::vector<std::int32_t> guesses_;  // behind the first of next_
  std::size_t right_ = 0;              // of guesses_, so far
  std::size_t most_guesses_;
  std::optional<Draft> draft_;
  std::size_t most_bytes_ = 0;
  Generation generation_;
  Status status_;
  bool done_ = false;
};

}  // namespace collegium::core
