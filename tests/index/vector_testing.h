// What tests of vectors share: numbers, products in double precision to hold scores against, and
// blocks.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "vector_block.h"

namespace collegium::index {

inline std::vector<float> normal_numbers(std::size_t n, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

inline double product(const float* a, const float* b, std::size_t dim) {
  double sum = 0.0;
  for (std::size_t d = 0; d < dim; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

inline double length(const float* a, std::size_t dim) { return std::sqrt(product(a, a, dim)); }

inline std::unique_ptr<VectorBlock> exact_block(std::span<const float> rows, std::size_t dim) {
  auto block = VectorBlock::create_exact(dim);
  EXPECT_TRUE(block.ok() && (*block)->append(rows).ok());
  return std::move(*block);
}

}  // namespace collegium::index
