#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lm/decoder_weights.h"

namespace collegium::core {

// Asks the system to read experts' mapped weights that are not in memory, all at once and before
// they are multiplied: one page after another, as a product touches them, a disk gives a fraction
// of what it can. Where everything is in memory it costs a look at an expert's pages every few
// seconds. Where the system does not say what is in memory (another user's file) it does nothing.
// Any number of threads may use it.
class ExpertPages {
 public:
  // Which layers have how many experts.
  explicit ExpertPages(const DecoderWeights& weights);

  // The experts `ids` of a layer will be used. True if pages of one were not in memory: they are
  // being read now. Does not wait. Pre: ids are experts of that layer.
  bool want(const MoeWeights& moe, std::size_t layer, std::span<const std::size_t> ids) noexcept;

  // Of experts that were guessed before their layer chose, so many were right. Guesses are worth
  // reading while most of them are: a wrong one keeps the disk from the others.
  void judge(std::size_t right, std::size_t guessed) noexcept;
  bool guesses_well() const noexcept { return rightness_.load(std::memory_order_relaxed) >= 0.5f; }

 private:
  std::vector<std::size_t> first_;  // (layers,): of its experts in seen_
  // When all of an expert was in memory or asked for, milliseconds of the steady clock; 0: never.
  std::unique_ptr<std::atomic<std::uint32_t>[]> seen_;
  std::atomic<float> rightness_ = 1.0f;  // of guesses, the last ones counting most
};

}  // namespace collegium::core
