#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"

namespace collegium::core {

// Adam (arXiv 1412.6980) over one vector of parameters.
class Adam {
 public:
  explicit Adam(std::size_t size) : mean_(size), square_(size) {}
  void step(float learning_rate, std::span<const float> gradient, std::span<float> parameters);

 private:
  static constexpr float kBeta1 = 0.9f;
  static constexpr float kBeta2 = 0.999f;
  std::size_t steps_ = 0;
  std::vector<float> mean_, square_;
};

// A head adapter in training: the identity at first, W whole (rank 0) or I + up down.
class HeadAdapterParameters {
 public:
  // Of low rank, `down` is drawn from `seed` and `up` is zero.
  HeadAdapterParameters(std::size_t dim, std::size_t rank, std::uint64_t seed);

  const std::vector<float>& weight() const noexcept { return weight_; }  // (dim, dim)
  const std::vector<float>& bias() const noexcept { return bias_; }      // (dim,)
  Result<HeadAdapter> adapter() const;

  // Gradients of the loss by W (dim, dim) and b (dim,). identity_decay adds its pull of W.
  void step(float learning_rate, float identity_decay, std::vector<float>& weight_gradient,
            std::span<const float> bias_gradient);

 private:
  void step_factors(float learning_rate, std::span<const float> weight_gradient);

  std::size_t dim_;
  std::size_t rank_;
  std::vector<float> weight_, bias_;
  std::vector<float> down_, up_;  // (rank, dim), (dim, rank); empty if rank is 0
  Adam weight_adam_, bias_adam_, down_adam_, up_adam_;
};

}  // namespace collegium::core
