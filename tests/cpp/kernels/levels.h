#pragma once

#include <cstddef>
#include <random>
#include <vector>

#include "collegium/core/isa.h"
#include "kernels/kernels.h"

namespace collegium::core {

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(generator);
  return out;
}

// Levels with a unit of their own that this machine can run.
inline std::vector<const Kernels*> levels() {
  std::vector<const Kernels*> out;
  for (Isa isa : available_isas()) {
    const Kernels* kernels = &kernels_for(isa);
    if (out.empty() || out.back() != kernels) out.push_back(kernels);
  }
  return out;
}

}  // namespace collegium::core
