#include "lm/llama.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "collegium/core/thread_pool.h"
#include "kernels/flush_denormals.h"

namespace collegium::core {
namespace {

// Tokens that go through the layers together: enough to use the widened weights many times, few
// enough that their activations stay small.
constexpr std::size_t kChunk = 256;
constexpr std::size_t kRowsPerTask = 16;

void for_rows(std::size_t rows, const std::function<void(std::size_t)>& task) {
  if (rows == 1)
    task(0);
  else
    default_pool().parallel_for(rows, task);
}

}  // namespace

KvCache::KvCache(const LlamaConfig& config)
    : kv_width_(config.kv_width()),
      context_(config.context),
      keys_(config.layers),
      values_(config.layers) {}

void KvCache::reserve(std::size_t positions) {
  if (positions <= capacity_) return;
  const std::size_t capacity =
      std::max(positions, std::min(context_, std::max<std::size_t>(64, 2 * capacity_)));
  for (auto* buffers : {&keys_, &values_})
    for (auto& buffer : *buffers) {
      AlignedBuffer<float> larger(capacity * kv_width_);
      if (length_ != 0)
        std::memcpy(larger.data(), buffer.data(), length_ * kv_width_ * sizeof(float));
      buffer = std::move(larger);
    }
  capacity_ = capacity;
}

// cos and sin of each token's angles, (tokens, head_dim / 2), computed as the reference does: the
// frequencies and the angles rounded to fp32.
struct LlamaModel::Rotation {
  std::size_t tokens;
  std::size_t pairs;
  std::vector<float> cosines;
  std::vector<float> sines;

  Rotation(const LlamaConfig& config, std::size_t begin, std::size_t count)
      : tokens(count), pairs(config.head_dim / 2), cosines(count * pairs), sines(count * pairs) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
      const float frequency =
          1.0f / static_cast<float>(std::pow(static_cast<double>(config.rope_base), exponent));
      for (std::size_t t = 0; t < tokens; ++t) {
        const double angle = static_cast<float>(begin + t) * frequency;
        cosines[t * pairs + i] = static_cast<float>(std::cos(angle));
        sines[t * pairs + i] = static_cast<float>(std::sin(angle));
      }
    }
  }
};

void LlamaModel::rotate(float* x, std::size_t heads, const Rotation& rotation) const {
  const std::size_t pairs = rotation.pairs;
  for (std::size_t t = 0; t < rotation.tokens; ++t)
    for (std::size_t head = 0; head < heads; ++head, x += 2 * pairs)
      for (std::size_t i = 0; i < pairs; ++i) {
        const float c = rotation.cosines[t * pairs + i];
        const float s = rotation.sines[t * pairs + i];
        const float even = x[2 * i];
        const float odd = x[2 * i + 1];
        x[2 * i] = even * c - odd * s;
        x[2 * i + 1] = odd * c + even * s;
      }
}

// out (tokens, q_width): each head's mean of the values up to its own position, weighted by
// softmax(q . k / sqrt(head_dim)). The last `tokens` positions of the cache are those of q.
void LlamaModel::attend(const float* q, std::size_t tokens, const KvCache& cache, std::size_t layer,
                        float* out) const {
  const std::size_t dim = config_.head_dim;
  const std::size_t begin = cache.length_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const float* keys = cache.keys_[layer].data();
  const float* values = cache.values_[layer].data();
  const std::size_t kv_width = config_.kv_width();
  const std::size_t row_blocks = (tokens + kRowsPerTask - 1) / kRowsPerTask;
  const auto run = [&](std::size_t task) {
    const std::size_t head = task % config_.heads;
    const std::size_t kv_offset = head / (config_.heads / config_.kv_heads) * dim;
    const std::size_t first = task / config_.heads * kRowsPerTask;
    const std::size_t last = std::min(tokens, first + kRowsPerTask);
    std::vector<float> weights(begin + last);
    for (std::size_t t = first; t < last; ++t) {
      const std::size_t seen = begin + t + 1;
      const float* query = q + t * config_.q_width() + head * dim;
      float* result = out + t * config_.q_width() + head * dim;
      for (std::size_t p = 0; p < seen; ++p)
        weights[p] = kernels_->dot(query, keys + p * kv_width + kv_offset, dim) * scale;
      kernels_->softmax(weights.data(), seen);
      std::fill(result, result + dim, 0.0f);
      for (std::size_t p = 0; p < seen; ++p)
        kernels_->axpy(weights[p], values + p * kv_width + kv_offset, dim, result);
    }
  };
  const std::size_t tasks = config_.heads * row_blocks;
  // A few positions are quicker read than given to another thread.
  if (tokens * (begin + tokens) * config_.q_width() < (std::size_t{1} << 16)) {
    for (std::size_t task = 0; task < tasks; ++task) run(task);
  } else {
    default_pool().parallel_for(tasks, run);
  }
}

void LlamaModel::forward(std::span<const std::int32_t> ids, KvCache& cache, float* hidden) const {
  const FlushDenormals flush;
  const std::size_t width = config_.width;
  const std::size_t kv_width = config_.kv_width();
  const std::size_t most = std::min(ids.size(), kChunk);
  AlignedBuffer<float> normed(most * width);
  AlignedBuffer<float> q(most * config_.q_width());
  AlignedBuffer<float> attended(most * config_.q_width());
  AlignedBuffer<float> delta(most * width);
  AlignedBuffer<float> gate(most * config_.hidden);
  AlignedBuffer<float> up(most * config_.hidden);

  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t tokens = std::min(kChunk, ids.size() - done);
    float* x = hidden + done * width;
    for (std::size_t t = 0; t < tokens; ++t)
      dequantize(embeddings_.type, embeddings_.row(static_cast<std::size_t>(ids[done + t])).data(),
                 width, x + t * width);
    const std::size_t begin = cache.length_;
    cache.reserve(begin + tokens);
    const Rotation rotation(config_, begin, tokens);

    const auto norm_rows = [&](const std::vector<float>& gamma) {
      for (std::size_t t = 0; t < tokens; ++t)
        kernels_->rms_norm(x + t * width, gamma.data(), config_.rms_eps, width,
                           normed.data() + t * width);
    };
    const auto add_delta = [&] {
      for (std::size_t i = 0; i < tokens * width; ++i) x[i] += delta[i];
    };
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      float* keys = cache.keys_[l].data() + begin * kv_width;
      float* values = cache.values_[l].data() + begin * kv_width;
      norm_rows(layer.attention_norm);
      const QuantizedLinear::Output projections[] = {
          {&layer.q, q.data()}, {&layer.k, keys}, {&layer.v, values}};
      QuantizedLinear::apply_all(normed.data(), tokens, projections);
      rotate(q.data(), config_.heads, rotation);
      rotate(keys, config_.kv_heads, rotation);
      attend(q.data(), tokens, cache, l, attended.data());
      layer.attention_output.apply(attended.data(), tokens, delta.data());
      add_delta();

      norm_rows(layer.hidden_norm);
      const QuantizedLinear::Output gated[] = {{&layer.gate, gate.data()}, {&layer.up, up.data()}};
      QuantizedLinear::apply_all(normed.data(), tokens, gated);
      for_rows(tokens, [&](std::size_t t) {
        kernels_->silu_mul(gate.data() + t * config_.hidden, up.data() + t * config_.hidden,
                           config_.hidden);
      });
      layer.down.apply(gate.data(), tokens, delta.data());
      add_delta();
    }
    for (std::size_t t = 0; t < tokens; ++t)
      kernels_->rms_norm(x + t * width, output_norm_.data(), config_.rms_eps, width, x + t * width);
    cache.length_ += tokens;
    done += tokens;
  }
}

void LlamaModel::logits(const float* hidden, std::size_t rows, float* out) const {
  const FlushDenormals flush;
  output_.apply(hidden, rows, out);
}

double LlamaModel::forward_flops(std::size_t begin, std::size_t tokens) const noexcept {
  const auto product = [](std::size_t a, std::size_t b) {
    return static_cast<double>(a) * static_cast<double>(b);
  };
  const double weights = product(config_.width, 2 * config_.q_width() + 2 * config_.kv_width()) +
                         3 * product(config_.width, config_.hidden);
  // Positions looked at: begin + 1, begin + 2, ..., begin + tokens.
  const double seen = product(tokens, begin) + product(tokens, tokens + 1) / 2;
  return static_cast<double>(config_.layers) * (2 * weights * static_cast<double>(tokens) +
                                                4 * static_cast<double>(config_.q_width()) * seen);
}

double LlamaModel::logits_flops(std::size_t rows) const noexcept {
  return 2 * static_cast<double>(rows) * static_cast<double>(config_.vocab) *
         static_cast<double>(config_.width);
}

}  // namespace collegium::core
