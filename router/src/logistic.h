#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace collegium::router {

// Multinomial logistic regression with a ridge penalty, the one learner under router and gate.
struct LogisticProblem {
  std::span<const float> rows;  // (n, dim)
  std::size_t dim = 0;
  std::span<const std::uint32_t> labels;  // (n,), < classes
  std::span<const double> weights;        // (n,) >= 0, of any sum
  std::size_t classes = 0;
  double l2 = 1e-3;  // of |W|^2 / 2, against the weighted mean loss; biases are free
  std::size_t max_iterations = 200;
  double label_smoothing = 0.0;  // [0, 1): of every target, spread evenly over the classes
};

struct LogisticModel {
  std::vector<float> weight;  // (classes, dim)
  std::vector<float> bias;    // (classes,)
};

// L-BFGS from zero. A function of the problem alone, whatever the number of threads.
LogisticModel fit_logistic(const LogisticProblem& problem);

// Weights under which every class that occurs counts the same, with mean 1. Within a class they are
// as `counts` (n,), above 0; empty: the same.
std::vector<double> balanced_weights(std::span<const std::uint32_t> labels, std::size_t classes,
                                     std::span<const double> counts = {});

}  // namespace collegium::router
