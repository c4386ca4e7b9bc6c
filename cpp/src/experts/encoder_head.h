#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "experts/encoder_config.h"
#include "experts/trunk.h"
#include "kernels/kernels.h"

namespace collegium::core {

class ModelDigest;

// From the states of a text's tokens to its vector: pooling, Dense layers, truncation (Matryoshka,
// arXiv 2205.13147), normalisation. Immutable; any number of threads may use it.
class EncoderHead {
 public:
  // Reads the Dense layers' weights below `folder`, and adds them to `digest`. not_found,
  // corruption by file and tensor.
  static Result<std::unique_ptr<EncoderHead>> load(const std::string& folder,
                                                   const EncoderConfig& config,
                                                   const Kernels& kernels, ModelDigest& digest);

  std::size_t dim() const noexcept { return dim_; }
  // states (tokens, hidden) to out (dim,), pooling tokens [first, tokens), of which there is one at
  // least. A sum over tokens goes in their order. What is truncated is normalised behind, if the
  // model ends with a normalisation.
  void apply(const float* states, std::size_t first, std::size_t tokens, float* out) const;

 private:
  EncoderHead(const EncoderConfig& config, const Kernels& kernels);
  void pool(PoolingMode mode, const float* states, std::size_t first, std::size_t tokens,
            float* out) const;
  void normalize(float* x, std::size_t n) const;

  const Kernels& kernels_;
  const std::vector<PoolingMode> pooling_;
  const std::size_t hidden_;
  const std::size_t whole_dim_;  // before truncation
  const std::size_t dim_;
  const bool normalized_;
  std::vector<HeadStep> steps_;
  std::vector<Linear> dense_;  // (steps,), empty for a normalisation
};

}  // namespace collegium::core
