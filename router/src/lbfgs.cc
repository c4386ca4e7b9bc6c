#define EIGEN_DONT_PARALLELIZE
#include "lbfgs.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

namespace collegium::router {
namespace {

constexpr std::size_t kMemory = 10;
constexpr double kTolerance = 1e-5;

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

Eigen::VectorXd minimize(const Objective& objective, Eigen::VectorXd start,
                         std::size_t max_iterations) {
  Eigen::VectorXd parameters = std::move(start);
  Eigen::VectorXd gradient(parameters.size()), next_gradient(parameters.size());
  double loss = objective(parameters, gradient);
  std::deque<std::pair<Eigen::VectorXd, Eigen::VectorXd>> memory;
  for (std::size_t i = 0; i < max_iterations; ++i) {
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
  return parameters;
}

}  // namespace collegium::router
