#include "experts/hard_negatives.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

constexpr std::size_t kQueries = 64;  // of one task: panels, through which the rows go
constexpr std::size_t kRows = 256;    // scored at once

struct Scored {
  float score;
  std::uint32_t row;
  bool operator<(const Scored& other) const {  // better
    return score != other.score ? score > other.score : row < other.row;
  }
};

// The best of what it is shown, which comes in ascending rows.
class Best {
 public:
  explicit Best(std::size_t depth) : depth_(depth) { kept_.reserve(2 * depth); }
  void show(float score, std::uint32_t row) {
    if (score <= least_) return;
    kept_.push_back({score, row});
    if (kept_.size() == 2 * depth_) cut();
  }
  std::vector<Scored> take() {
    if (kept_.size() > depth_) cut();
    return std::move(kept_);
  }

 private:
  void cut() {
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(depth_ - 1);
    std::nth_element(kept_.begin(), last, kept_.end());
    least_ = last->score;
    kept_.resize(depth_);
  }
  std::size_t depth_;
  float least_ = -std::numeric_limits<float>::infinity();  // no score up to it is among the best
  std::vector<Scored> kept_;
};

}  // namespace

HardNegatives mine_hard_negatives(const TrainingPassages& passages, const JudgedQueries& train,
                                  std::size_t depth, float margin) {
  const std::size_t dim = passages.dim, n = train.size();
  const Kernels& kernels = kernels_for(active_isa());
  depth = std::min(depth, passages.rows());
  HardNegatives mined;
  mined.rows.resize(n);
  mined.left_out.resize(n);
  default_pool().parallel_for((n + kQueries - 1) / kQueries, [&](std::size_t task) {
    const std::size_t first = task * kQueries;
    const std::size_t count = std::min(kQueries, n - first);
    std::vector<Best> best(count, Best(depth));
    {
      AlignedBuffer<float> panels(num_panels(count) * kPanelWidth * dim);
      kernels.pack_panels(&train.vectors[first * dim], dim, count, dim, panels.data());
      std::vector<float> scores(kRows * count);
      for (std::size_t row0 = 0; row0 < passages.rows(); row0 += kRows) {
        const std::size_t rows = std::min(kRows, passages.rows() - row0);
        kernels.gemm_panels(&passages.vectors[row0 * dim], dim, rows, panels.data(), count, dim,
                            nullptr, scores.data(), count);
        for (std::size_t row = 0; row < rows; ++row)
          for (std::size_t i = 0; i < count; ++i)
            best[i].show(scores[row * count + i], static_cast<std::uint32_t>(row0 + row));
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t query = first + i;
      const float* vector = &train.vectors[query * dim];
      const auto score = [&](std::uint32_t row) {
        return kernels.dot(vector, &passages.vectors[std::size_t{row} * dim], dim);
      };
      std::vector<std::uint32_t> relevant, found;
      float most = -std::numeric_limits<float>::infinity();
      for (std::uint32_t document : train.positives[query])
        for (std::uint32_t row : passages.document_rows[document]) {
          relevant.push_back(row);
          most = std::max(most, score(row));
        }
      std::sort(relevant.begin(), relevant.end());
      for (const Scored& one : best[i].take()) found.push_back(one.row);
      if (!train.hard.empty())
        for (std::uint32_t document : train.hard[query]) {
          const auto& rows = passages.document_rows[document];
          found.insert(found.end(), rows.begin(), rows.end());
        }
      std::sort(found.begin(), found.end());
      found.erase(std::unique(found.begin(), found.end()), found.end());
      for (std::uint32_t row : found) {
        if (std::binary_search(relevant.begin(), relevant.end(), row)) continue;
        const bool likely = !relevant.empty() && score(row) > most - margin;
        (likely ? mined.left_out : mined.rows)[query].push_back(row);
      }
    }
  });
  return mined;
}

}  // namespace collegium::core
