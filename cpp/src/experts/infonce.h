#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/aligned_buffer.h"

// InfoNCE (arXiv 1807.03748) of mapped queries against frozen rows, and its listwise form with
// several positives (ListNet's top one, Cao et al., ICML 2007), with their gradient: the inner loop
// of training a head adapter. One pass over the rows, a chunk at a time, as in flash attention
// (arXiv 2205.14135): a chunk's scores never leave the cache, and chunks are the unit of
// parallel work, so that sums do not depend on the number of threads.
namespace collegium::core {

struct InfoNcePositive {
  const float* row = nullptr;  // (dim,)
  float share = 1.0f;          // > 0; those of a target sum to 1
};

// What one row of a batch is drawn to, and what it must not be pushed from.
struct InfoNceTarget {
  std::span<const InfoNcePositive> positives;  // one: InfoNCE
  std::span<const std::uint32_t> masked;       // candidates left out, ascending; the positives too
};

class InfoNce {
 public:
  // Candidates are copied from `rows`, (n, dim) row-major with n > 0: all of it, or the rows in
  // `selected` (then candidate i is row selected[i]). log_weights (candidates,), empty for zeros:
  // how much each counts among the negatives, which makes up for others that were not sampled.
  InfoNce(std::span<const float> rows, std::size_t dim,
          std::span<const std::uint32_t> selected = {}, std::span<const float> log_weights = {});

  std::size_t size() const noexcept { return size_; }

  // The mean over i of -sum_p share_p log(exp(s_ip) / (sum_p exp(s_ip) + sum_j w_j exp(s_ij)))
  // with s = q_i . row / temperature, p over the target's positives and j over the candidates not
  // masked. gradient (n, dim) = d mean / d queries. queries (n, dim).
  double loss_and_gradient(const float* queries, std::span<const InfoNceTarget> targets,
                           float temperature, float* gradient);

 private:
  static constexpr std::size_t kChunk = 512;  // candidates: their panels fit the L2 cache

  std::size_t size_ = 0;
  std::size_t dim_ = 0;
  AlignedBuffer<float> rows_;       // panels of each chunk's candidates: outputs are candidates
  AlignedBuffer<float> columns_;    // panels of each chunk's transpose: outputs are dimensions
  std::vector<float> log_weights_;  // (size,) or empty
  std::vector<float> pulls_;        // (chunks, n, dim) softmax-weighted means of each chunk
  std::vector<double> log_sums_;    // (chunks, n)
  std::vector<float> scaled_;       // (n, dim) queries / temperature
};

}  // namespace collegium::core
