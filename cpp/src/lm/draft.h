#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lm/language_model_impl.h"
#include "lm/sampler.h"

namespace collegium::core {

// Guesses what a model says next by asking a quicker one with the same vocabulary (speculative
// decoding, arXiv 2211.17192). It draws with the same numbers as the request, so that where the two
// models agree their samples do. One request; one thread at a time.
class Draft {
 public:
  // Chooses by `options`, without penalties. `impl` must outlive it.
  Draft(const LanguageModelImpl& impl, const GenerateOptions& options);

  // At most `most` tokens behind `tokens`, of which those from `prompt` on are the answer. None
  // where its context is full. Fails as a generation does.
  Result<std::vector<std::int32_t>> guess(std::span<const std::int32_t> tokens, std::size_t prompt,
                                          std::size_t most);
  double flops() const noexcept { return flops_; }  // so far

 private:
  Status read(std::span<const std::int32_t> ids);
  static GenerateOptions without_penalties(GenerateOptions options);

  const LanguageModelImpl& impl_;
  Sampler sampler_;
  KvCache cache_;
  std::vector<std::int32_t> seen_;  // what the cache holds
  std::vector<float> hidden_, logits_;
  double flops_ = 0.0;
};

}  // namespace collegium::core
