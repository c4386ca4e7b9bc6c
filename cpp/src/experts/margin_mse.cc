#include "experts/margin_mse.h"

#include <algorithm>

#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "kernels/kernels.h"

namespace collegium::core {

double margin_mse(const float* queries, std::span<const MarginTarget> targets, std::size_t dim,
                  float* gradient) {
  const Kernels& kernels = kernels_for(active_isa());
  const std::size_t n = targets.size();
  std::vector<double> losses(n);
  default_pool().parallel_for(n, [&](std::size_t i) {
    const MarginTarget& target = targets[i];
    const float* query = queries + i * dim;
    float* out = gradient + i * dim;
    std::fill_n(out, dim, 0.0f);
    const double each = 1.0 / (static_cast<double>(n) * static_cast<double>(target.others.size()));
    const float score = kernels.dot(query, target.positive, dim);
    double pull = 0.0;
    for (std::size_t j = 0; j < target.others.size(); ++j) {
      const float error = score - kernels.dot(query, target.others[j], dim) - target.margins[j];
      losses[i] += each * double{error} * double{error};
      const double slope = 2.0 * each * double{error};
      pull += slope;
      kernels.axpy(static_cast<float>(-slope), target.others[j], dim, out);
    }
    kernels.axpy(static_cast<float>(pull), target.positive, dim, out);
  });
  double loss = 0.0;
  for (double value : losses) loss += value;
  return loss;
}

}  // namespace collegium::core
