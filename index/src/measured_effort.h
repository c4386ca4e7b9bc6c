#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/index/index_settings.h"
#include "vector_block.h"

namespace collegium::index {

// The effort that a search of a collection has when it does not say one, and what was measured of
// it when the index was built.
struct MeasuredEffort {
  std::uint32_t effort = 0;   // 0: nothing was measured
  std::uint32_t queries = 0;  // 0: the effort was set, not measured
  float recall = 0.0f;
  float target = 0.0f;
};

// What is measured with, and for.
struct EffortQuestion {
  std::span<const float> queries;  // (n, dim); empty: samples
  std::size_t num_samples = 200;
  std::uint64_t seed = 1;
  std::size_t k = 10;
  double target = 0.99;
  bool timed = false;
};

struct EffortAnswer {
  MeasuredEffort measured;
  std::vector<TuneTrial> trials;  // by ascending effort, up to the one that is chosen
  double exact_query_us = 0.0;
};

// Passages that a search for `k` documents begins with.
inline std::size_t passages_for(std::size_t k) { return 2 * k + 32; }

// Rows (n, dim) drawn from those of `block`, with noise in every direction: a sample's product with
// the row it came from is about 0.8 of that row's with itself. A function of (rows, n, seed).
std::vector<float> sample_queries(const VectorBlock& block, std::size_t n, std::uint64_t seed);

// The least effort whose recall@k against exact search, the mean over the queries, reaches the
// target; the largest there is if none does. On a block with a structure; a function of its
// arguments but for the times.
Result<EffortAnswer> measure_effort(const VectorBlock& block, const EffortQuestion& question);

}  // namespace collegium::index
