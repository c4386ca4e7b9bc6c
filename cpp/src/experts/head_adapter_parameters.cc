#include "experts/head_adapter_parameters.h"

#include <cmath>

#include "collegium/core/experts/packed_vectors.h"
#include "collegium/core/random.h"

namespace collegium::core {
namespace {

std::vector<float> transposed(std::span<const float> matrix, std::size_t rows,
                              std::size_t columns) {
  std::vector<float> result(matrix.size());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = matrix[i * columns + j];
  return result;
}

// (rows, outputs) = a (rows, k) times the transpose of w (outputs, k)
std::vector<float> product(std::span<const float> a, std::span<const float> w, std::size_t k) {
  const PackedVectors packed = std::move(PackedVectors::create(w, k)).value();
  const std::size_t rows = a.size() / k;
  std::vector<float> result(rows * packed.size());
  packed.scores(a.data(), rows, result.data(), packed.size());
  return result;
}

}  // namespace

void Adam::step(float learning_rate, std::span<const float> gradient, std::span<float> parameters) {
  ++steps_;
  const float mean_scale = 1.0f / (1.0f - std::pow(kBeta1, static_cast<float>(steps_)));
  const float square_scale = 1.0f / (1.0f - std::pow(kBeta2, static_cast<float>(steps_)));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const float g = gradient[i];
    mean_[i] += (1.0f - kBeta1) * (g - mean_[i]);
    square_[i] += (1.0f - kBeta2) * (g * g - square_[i]);
    parameters[i] -=
        learning_rate * (mean_[i] * mean_scale) / (std::sqrt(square_[i] * square_scale) + 1e-8f);
  }
}

HeadAdapterParameters::HeadAdapterParameters(std::size_t dim, std::size_t rank, std::uint64_t seed)
    : dim_(dim),
      rank_(rank),
      weight_(HeadAdapter::identity(dim).weight()),
      bias_(dim, 0.0f),
      down_(rank * dim),
      up_(dim * rank, 0.0f),
      weight_adam_(rank == 0 ? dim * dim : 0),
      bias_adam_(dim),
      down_adam_(rank * dim),
      up_adam_(dim * rank) {
  Random random(seed);
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  for (float& value : down_) value = static_cast<float>(scale * random.normal());
}

Result<HeadAdapter> HeadAdapterParameters::adapter() const {
  if (rank_ == 0) return HeadAdapter::create(dim_, weight_, bias_);
  return HeadAdapter::create_low_rank(dim_, rank_, down_, up_, bias_);
}

void HeadAdapterParameters::step(float learning_rate, float identity_decay,
                                 std::vector<float>& weight_gradient,
                                 std::span<const float> bias_gradient) {
  if (identity_decay > 0.0f)
    for (std::size_t i = 0; i < dim_; ++i)
      for (std::size_t j = 0; j < dim_; ++j)
        weight_gradient[i * dim_ + j] +=
            identity_decay * (weight_[i * dim_ + j] - (i == j ? 1.0f : 0.0f));
  bias_adam_.step(learning_rate, bias_gradient, bias_);
  if (rank_ == 0)
    weight_adam_.step(learning_rate, weight_gradient, weight_);
  else
    step_factors(learning_rate, weight_gradient);
}

// d up = dW down^T and d down = up^T dW.
void HeadAdapterParameters::step_factors(float learning_rate,
                                         std::span<const float> weight_gradient) {
  const std::vector<float> up_gradient = product(weight_gradient, down_, dim_);
  const std::vector<float> down_gradient =
      product(transposed(up_, dim_, rank_), transposed(weight_gradient, dim_, dim_), dim_);
  up_adam_.step(learning_rate, up_gradient, up_);
  down_adam_.step(learning_rate, down_gradient, down_);
  weight_ = product(up_, transposed(down_, rank_, dim_), rank_);
  for (std::size_t i = 0; i < dim_; ++i) weight_[i * dim_ + i] += 1.0f;
}

}  // namespace collegium::core
