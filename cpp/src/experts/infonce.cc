#include "experts/infonce.h"

#include <algorithm>
#include <cmath>

#include "collegium/core/isa.h"
#include "collegium/core/thread_pool.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

// Far below any score, and still finite: the kernels' softmax need not know about infinities.
constexpr float kMasked = -1e30f;

std::size_t chunk_count(std::size_t size, std::size_t chunk) { return (size + chunk - 1) / chunk; }

float max_of(const float* x, std::size_t n) {
  float lanes[8];
  std::fill(lanes, lanes + 8, x[0]);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t j = 0; j < 8; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], x[i]);
  return *std::max_element(lanes, lanes + 8);
}

}  // namespace

InfoNce::InfoNce(std::span<const float> rows, std::size_t dim,
                 std::span<const std::uint32_t> selected, std::span<const float> log_weights)
    : size_(selected.empty() ? rows.size() / dim : selected.size()),
      dim_(dim),
      log_weights_(log_weights.begin(), log_weights.end()) {
  const std::size_t chunks = chunk_count(size_, kChunk);
  const std::size_t columns_stride = num_panels(dim) * kPanelWidth * kChunk;
  rows_ = AlignedBuffer<float>(chunks * kChunk * dim);
  columns_ = AlignedBuffer<float>(chunks * columns_stride);
  const Kernels& kernels = kernels_for(active_isa());
  default_pool().parallel_for(chunks, [&](std::size_t chunk) {
    const std::size_t first = chunk * kChunk;
    const std::size_t n = std::min(kChunk, size_ - first);
    std::vector<float> gathered;
    const float* source = rows.data() + first * dim;
    if (!selected.empty()) {
      gathered.resize(n * dim);
      for (std::size_t i = 0; i < n; ++i)
        std::copy_n(rows.data() + std::size_t{selected[first + i]} * dim, dim, &gathered[i * dim]);
      source = gathered.data();
    }
    kernels.pack_panels(source, dim, n, dim, rows_.data() + chunk * kChunk * dim);
    std::vector<float> transposed(n * dim);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t d = 0; d < dim; ++d) transposed[d * n + i] = source[i * dim + d];
    kernels.pack_panels(transposed.data(), n, dim, n, columns_.data() + chunk * columns_stride);
  });
}

double InfoNce::loss_and_gradient(const float* queries, std::span<const InfoNceTarget> targets,
                                  float temperature, float* gradient) {
  const std::size_t n = targets.size();
  const std::size_t chunks = chunk_count(size_, kChunk);
  const std::size_t columns_stride = num_panels(dim_) * kPanelWidth * kChunk;
  const Kernels& kernels = kernels_for(active_isa());
  scaled_.resize(n * dim_);
  for (std::size_t i = 0; i < scaled_.size(); ++i) scaled_[i] = queries[i] / temperature;
  pulls_.resize(chunks * n * dim_);
  log_sums_.resize(chunks * n);

  default_pool().parallel_for(chunks, [&](std::size_t chunk) {
    const std::size_t first = chunk * kChunk;
    const std::size_t count = std::min(kChunk, size_ - first);
    thread_local std::vector<float> scores;
    scores.resize(n * count);
    kernels.gemm_panels(scaled_.data(), dim_, n, rows_.data() + chunk * kChunk * dim_, count, dim_,
                        log_weights_.empty() ? nullptr : &log_weights_[first], scores.data(),
                        count);
    for (std::size_t i = 0; i < n; ++i) {
      float* row = &scores[i * count];
      const auto& masked = targets[i].masked;
      for (auto it = std::lower_bound(masked.begin(), masked.end(), first);
           it != masked.end() && *it < first + count; ++it)
        row[*it - first] = kMasked;
      const float top = max_of(row, count);
      const std::size_t argmax = std::find(row, row + count, top) - row;
      kernels.softmax(row, count);
      // The largest score's share is exp(0) / sum.
      log_sums_[chunk * n + i] = top - std::log(static_cast<double>(row[argmax]));
    }
    kernels.gemm_panels(scores.data(), count, n, columns_.data() + chunk * columns_stride, dim_,
                        count, nullptr, &pulls_[chunk * n * dim_], dim_);
  });

  std::vector<double> losses(n);
  default_pool().parallel_for(n, [&](std::size_t i) {
    const auto positives = targets[i].positives;
    thread_local std::vector<double> scores;
    scores.clear();
    double top = log_sums_[i];
    for (std::size_t c = 0; c < chunks; ++c) top = std::max(top, log_sums_[c * n + i]);
    for (const InfoNcePositive& positive : positives) {
      scores.push_back(kernels.dot(&scaled_[i * dim_], positive.row, dim_));
      top = std::max(top, scores.back());
    }
    double sum = 0.0;
    for (double score : scores) sum += std::exp(score - top);
    for (std::size_t c = 0; c < chunks; ++c) sum += std::exp(log_sums_[c * n + i] - top);
    const double log_sum = top + std::log(sum);
    float* out = gradient + i * dim_;
    const double scale = 1.0 / (static_cast<double>(temperature) * static_cast<double>(n));
    std::fill_n(out, dim_, 0.0f);
    for (std::size_t p = 0; p < positives.size(); ++p) {
      losses[i] += positives[p].share * (log_sum - scores[p]);
      const double pull = std::exp(scores[p] - log_sum) - positives[p].share;
      kernels.axpy(static_cast<float>(pull * scale), positives[p].row, dim_, out);
    }
    for (std::size_t c = 0; c < chunks; ++c) {
      const double share = std::exp(log_sums_[c * n + i] - log_sum);
      kernels.axpy(static_cast<float>(share * scale), &pulls_[(c * n + i) * dim_], dim_, out);
    }
  });
  double loss = 0.0;
  for (double value : losses) loss += value;
  return loss / static_cast<double>(n);
}

}  // namespace collegium::core
