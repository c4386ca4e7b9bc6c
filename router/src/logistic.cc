#include "logistic.h"

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <functional>

#include "collegium/core/thread_pool.h"
#include "lbfgs.h"

namespace collegium::router {
namespace {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t kChunk = 512;  // rows; the unit of parallel work, so sums have one order

// Parameters are (classes, dim + 1): weights, then the bias, class by class.
class SoftmaxLoss {
 public:
  explicit SoftmaxLoss(const LogisticProblem& problem) : problem_(problem) {
    for (double weight : problem.weights) total_ += weight;
    chunks_ = (problem.labels.size() + kChunk - 1) / kChunk;
  }
  std::size_t size() const { return problem_.classes * (problem_.dim + 1); }

  double operator()(const Eigen::VectorXd& parameters, Eigen::VectorXd& gradient) const {
    const std::size_t dim = problem_.dim, classes = problem_.classes;
    const auto smoothing = static_cast<float>(problem_.label_smoothing);
    RowMatrix weight(classes, dim);
    Eigen::VectorXf bias(classes);
    for (std::size_t c = 0; c < classes; ++c) {
      for (std::size_t d = 0; d < dim; ++d)
        weight(c, d) = static_cast<float>(parameters[c * (dim + 1) + d]);
      bias[c] = static_cast<float>(parameters[c * (dim + 1) + dim]);
    }
    std::vector<double> losses(chunks_, 0.0);
    std::vector<RowMatrix> weight_gradients(chunks_);
    std::vector<Eigen::VectorXf> bias_gradients(chunks_);
    core::default_pool().parallel_for(chunks_, [&](std::size_t chunk) {
      const std::size_t first = chunk * kChunk;
      const std::size_t n = std::min(kChunk, problem_.labels.size() - first);
      const Eigen::Map<const RowMatrix> rows(problem_.rows.data() + first * dim, n, dim);
      RowMatrix residual = rows * weight.transpose();  // logits, then p - y, weighted
      double loss = 0.0;
      for (std::size_t i = 0; i < n; ++i) {
        auto row = residual.row(i);
        row += bias.transpose();
        const std::uint32_t label = problem_.labels[first + i];
        const double sample_weight = problem_.weights[first + i];
        const float top = row.maxCoeff();
        const float own = (1.0f - smoothing) * row[label] + smoothing * row.mean();
        row = (row.array() - top).exp();
        const float sum = row.sum();
        loss += sample_weight * (std::log(static_cast<double>(sum)) + top - own);
        row /= sum;
        row[label] -= 1.0f - smoothing;
        if (smoothing > 0.0f) row.array() -= smoothing / static_cast<float>(classes);
        row *= static_cast<float>(sample_weight);
      }
      losses[chunk] = loss;
      weight_gradients[chunk] = residual.transpose() * rows;
      bias_gradients[chunk] = residual.colwise().sum().transpose();
    });
    double loss = 0.0;
    gradient.setZero();
    for (std::size_t chunk = 0; chunk < chunks_; ++chunk) {
      loss += losses[chunk];
      for (std::size_t c = 0; c < classes; ++c) {
        gradient.segment(c * (dim + 1), dim) +=
            weight_gradients[chunk].row(c).transpose().cast<double>();
        gradient[c * (dim + 1) + dim] += static_cast<double>(bias_gradients[chunk][c]);
      }
    }
    loss /= total_;
    gradient /= total_;
    for (std::size_t c = 0; c < classes; ++c) {
      const auto own = parameters.segment(c * (dim + 1), dim);
      loss += 0.5 * problem_.l2 * own.squaredNorm();
      gradient.segment(c * (dim + 1), dim) += problem_.l2 * own;
    }
    return loss;
  }

 private:
  const LogisticProblem& problem_;
  double total_ = 0.0;
  std::size_t chunks_ = 0;
};

}  // namespace

LogisticModel fit_logistic(const LogisticProblem& problem) {
  const SoftmaxLoss objective(problem);
  const auto size = static_cast<Eigen::Index>(objective.size());
  const Eigen::VectorXd parameters =
      minimize(std::cref(objective), Eigen::VectorXd::Zero(size), problem.max_iterations);
  LogisticModel model;
  for (std::size_t c = 0; c < problem.classes; ++c) {
    for (std::size_t d = 0; d < problem.dim; ++d)
      model.weight.push_back(static_cast<float>(parameters[c * (problem.dim + 1) + d]));
    model.bias.push_back(static_cast<float>(parameters[c * (problem.dim + 1) + problem.dim]));
  }
  return model;
}

std::vector<double> balanced_weights(std::span<const std::uint32_t> labels, std::size_t classes,
                                     std::span<const double> counts) {
  const auto count_of = [&](std::size_t i) { return counts.empty() ? 1.0 : counts[i]; };
  std::vector<double> sums(classes, 0.0);
  for (std::size_t i = 0; i < labels.size(); ++i) sums[labels[i]] += count_of(i);
  const auto present = classes - static_cast<std::size_t>(std::ranges::count(sums, 0.0));
  std::vector<double> weights;
  for (std::size_t i = 0; i < labels.size(); ++i)
    weights.push_back(static_cast<double>(labels.size()) * count_of(i) /
                      (static_cast<double>(present) * sums[labels[i]]));
  return weights;
}

}  // namespace collegium::router
