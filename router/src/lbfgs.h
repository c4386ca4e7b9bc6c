#pragma once

#include <Eigen/Dense>
#include <cstddef>
#include <functional>

namespace collegium::router {

// The value at `parameters`; writes the gradient, of the same size.
using Objective =
    std::function<double(const Eigen::VectorXd& parameters, Eigen::VectorXd& gradient)>;

// L-BFGS (the two-loop recursion of Nocedal, 1980) from `start` with steps that decrease enough
// (Armijo). Stops where the gradient's largest component is below 1e-5 or nothing is gained.
Eigen::VectorXd minimize(const Objective& objective, Eigen::VectorXd start,
                         std::size_t max_iterations);

}  // namespace collegium::router
