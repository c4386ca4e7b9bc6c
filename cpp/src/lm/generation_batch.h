#pragma once

#include <cstddef>
#include <vector>

#include "lm/generation_run.h"
#include "lm/kept_beginnings.h"

namespace collegium::core {

// Requests under way that share every forward pass, and that come and go between two (continuous
// batching, as in Orca, Yu et al., OSDI 2022). Which requests stand together changes no result. One
// thread at a time.
class GenerationBatch {
 public:
  // More would only wait for rows of a pass.
  static constexpr std::size_t kMostRuns = kBatchRows;

  // Keeps at most so many bytes of the beginnings of those that are done.
  GenerationBatch(const LanguageModelImpl& impl, std::size_t most_kept_bytes)
      : impl_(impl), kept_(most_kept_bytes) {}

  std::size_t size() const noexcept { return runs_.size(); }
  KeptBeginnings& kept() noexcept { return kept_; }

  // Takes in a run that has read nothing, which stays the caller's and must live until it is done.
  // Where it begins as another does, for a page at least, it takes that over. Pre: size() <
  // kMostRuns.
  void add(GenerationRun& run);
  // Of every run the next token, or a piece of the prompt, as far as there are rows; those that
  // come too short are the first the next time. Runs that are done then are no longer in here.
  // Throws std::bad_alloc; then clear().
  void step();
  // Lets go of all runs.
  void clear() noexcept { runs_.clear(); }

 private:
  struct Reading {
    GenerationRun* run;
    Step step;
    std::size_t row;  // its first in hidden_
  };

  // reading_ into hidden_: those that need no pass of their own in one.
  void read_all();
  // The next token of each of choosing_ from its row of last_rows_, and of those behind it as long
  // as guesses are right.
  void choose_all();
  void remove_done();

  const LanguageModelImpl& impl_;
  KeptBeginnings kept_;
  std::vector<GenerationRun*> runs_;  // the first is served first
  // Kept between steps for their memory.
  std::vector<Reading> reading_;
  std::vector<Step> steps_;
  std::vector<GenerationRun*> choosing_;
  std::vector<float> hidden_, last_rows_, logits_;
};

}  // namespace collegium::core
