#include "logistic.h"

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <deque>

#include "collegium/core/thread_pool.h"

namespace collegium::router {
namespace {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t kChunk = 512;  // rows; the unit of parallel work, so sums have one order
constexpr std::size_t kMemory = 10;  // of L-BFGS
constexpr double kTolerance = 1e-5;  // of the gradient's largest component

// Parameters are (classes, dim + 1): weights, then the bias, class by class.
class Objective {
 public:
  explicit Objective(const LogisticProblem& problem) : problem_(problem) {
    for (double weight : problem.weights) total_ += weight;
    chunks_ = (problem.labels.size() + kChunk - 1) / kChunk;
  }
  std::size_t size() const { return problem_.classes * (problem_.dim + 1); }

  double operator()(const Eigen::VectorXd& parameters, Eigen::VectorXd& gradient) const {
    const std::size_t dim = problem_.dim, classes = problem_.classes;
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
        const float own = row[label];
        row = (row.array() - top).exp();
        const float sum = row.sum();
        loss += sample_weight * (std::log(static_cast<double>(sum)) + top - own);
        row /= sum;
        row[label] -= 1.0f;
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

// The two-loop recursion of Nocedal (1980).
Eigen::VectorXd direction(const Eigen::VectorXd& gradient,
                          const std::deque<std::pair<Eigen::VectorXd, Eigen::VectorXd>>& memory) {
  Eigen::VectorXd q = -gradient;
  std::vector<double> alphas(memory.size());
  for (std::size_t i = memory.size(); i-- > 0;) {
    const auto& [step, change] = memory[i];
    alphas[i] = step.dot(q) / change.dot(step);
    q -= alphas[i] * change;
  }
  if (!memory.empty()) {
    const auto& [step, change] = memory.back();
    q *= step.dot(change) / change.squaredNorm();
  }
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const auto& [step, change] = memory[i];
    q += (alphas[i] - change.dot(q) / change.dot(step)) * step;
  }
  return q;
}

}  // namespace

LogisticModel fit_logistic(const LogisticProblem& problem) {
  const Objective objective(problem);
  const auto size = static_cast<Eigen::Index>(objective.size());
  Eigen::VectorXd parameters = Eigen::VectorXd::Zero(size);
  Eigen::VectorXd gradient(size), next_gradient(size);
  double loss = objective(parameters, gradient);
  std::deque<std::pair<Eigen::VectorXd, Eigen::VectorXd>> memory;
  for (std::size_t i = 0; i < problem.max_iterations; ++i) {
    if (gradient.lpNorm<Eigen::Infinity>() < kTolerance) break;
    Eigen::VectorXd move = direction(gradient, memory);
    double slope = move.dot(gradient);
    if (!(slope < 0.0)) {  // rounding spoiled the memory
      memory.clear();
      move = -gradient;
      slope = -gradient.squaredNorm();
    }
    double length = 1.0, next_loss = loss;
    if (memory.empty()) length = 1.0 / std::max(1.0, std::sqrt(-slope));
    Eigen::VectorXd next;
    bool found = false;
    for (int halving = 0; halving < 30 && !found; ++halving, length *= 0.5) {
      next = parameters + length * move;
      next_loss = objective(next, next_gradient);
      found = next_loss <= loss + 1e-4 * length * slope;  // Armijo
    }
    if (!found) break;  // as far as single precision goes
    Eigen::VectorXd step = next - parameters, change = next_gradient - gradient;
    if (step.dot(change) > 1e-12 * change.squaredNorm()) {
      memory.emplace_back(std::move(step), std::move(change));
      if (memory.size() > kMemory) memory.pop_front();
    }
    const bool stalled = loss - next_loss < 1e-9 * std::max(1.0, std::abs(loss));
    parameters = next;
    gradient = next_gradient;
    loss = next_loss;
    if (stalled) break;
  }
  LogisticModel model;
  for (std::size_t c = 0; c < problem.classes; ++c) {
    for (std::size_t d = 0; d < problem.dim; ++d)
      model.weight.push_back(static_cast<float>(parameters[c * (problem.dim + 1) + d]));
    model.bias.push_back(static_cast<float>(parameters[c * (problem.dim + 1) + problem.dim]));
  }
  return model;
}

std::vector<double> balanced_weights(std::span<const std::uint32_t> labels, std::size_t classes) {
  std::vector<std::size_t> counts(classes, 0);
  for (std::uint32_t label : labels) ++counts[label];
  const auto present =
      classes - static_cast<std::size_t>(std::count(counts.begin(), counts.end(), std::size_t{0}));
  std::vector<double> weights;
  for (std::uint32_t label : labels)
    weights.push_back(static_cast<double>(labels.size()) /
                      (static_cast<double>(present) * static_cast<double>(counts[label])));
  return weights;
}

}  // namespace collegium::router
