#pragma once

#include <cstddef>
#include <span>
#include <vector>

// MarginMSE (arXiv 2010.02666): how much better a query is to find a relevant row than another is
// to be what a teacher says.
namespace collegium::core {

struct MarginTarget {
  const float* positive = nullptr;  // (dim,)
  std::vector<const float*> others{};
  std::vector<float> margins{};  // parallel: the teacher's, in the student's unit
};

// The mean over i, and over the others j of i, of (q_i . p_i - q_i . o_ij - margin_ij)^2.
// gradient (n, dim) = d mean / d queries; queries (n, dim). A target without others counts 0.
double margin_mse(const float* queries, std::span<const MarginTarget> targets, std::size_t dim,
                  float* gradient);

}  // namespace collegium::core
