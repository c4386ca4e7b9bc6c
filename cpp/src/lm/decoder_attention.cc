// Attention of DecoderRun: causal, by groups of heads (arXiv 2305.13245), within a window or not,
// from projected or from latent keys and values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "collegium/core/thread_pool.h"
#include "lm/decoder_run.h"

namespace collegium::core {
namespace {

constexpr std::size_t kRowsPerTask = 16;
// Of one task: they stay in the L2 cache.
constexpr std::size_t kScoresPerTask = std::size_t{1} << 16;
// Fewer numbers than this are quicker read than given to another thread.
constexpr std::size_t kNumbersPerTask = std::size_t{1} << 16;

}  // namespace

void DecoderRun::look_up(std::size_t layer, const float* in) {
  if (config_.latent.kv_rank != 0)
    project_latent(layer, in);
  else
    project(layer, in);
  store_keys_and_values(layer);
}

void DecoderRun::attend(std::size_t layer, float* out) {
  mix_values(layer);
  decoder_.weights_.layers[layer].attention_output.apply(attended_.data(), rows_, out);
  add_lora(layer, LoraTarget::kAttentionOutput, attended_.data(), out);
}

void DecoderRun::rotate(float* x, std::size_t stride, std::size_t heads, std::size_t head_stride,
                        const Rope& rope, const Rotation& rotation) const noexcept {
  const std::size_t pairs = rotation.pairs;
  const bool halves = rope.layout == RopeLayout::kHalves;
  const std::size_t step = halves ? 1 : 2;
  const std::size_t other = halves ? pairs : 1;
  for (std::size_t r = 0; r < rows_; ++r) {
    const float* cosines = rotation.cosines.data() + r * pairs;
    const float* sines = rotation.sines.data() + r * pairs;
    for (std::size_t head = 0; head < heads; ++head) {
      float* at = x + r * stride + head * head_stride;
      for (std::size_t i = 0; i < pairs; ++i) {
        const float first = at[step * i];
        const float second = at[step * i + other];
        at[step * i] = first * cosines[i] - second * sines[i];
        at[step * i + other] = second * cosines[i] + first * sines[i];
      }
    }
  }
}

void DecoderRun::project(std::size_t layer, const float* in) {
  const DecoderLayerWeights& weights = decoder_.weights_.layers[layer];
  const QuantizedLinear::Product products[] = {{&weights.q, in, rows_, q_.data()},
                                               {&weights.k, in, rows_, keys_.data()},
                                               {&weights.v, in, rows_, values_.data()}};
  QuantizedLinear::apply_all(products);
  add_lora(layer, LoraTarget::kQ, in, q_.data());
  add_lora(layer, LoraTarget::kK, in, keys_.data());
  add_lora(layer, LoraTarget::kV, in, values_.data());
  const std::size_t q_width = config_.q_width();
  const std::size_t key_width = config_.key_width();
  const bool by_head = config_.qk_norm_by_head;
  if (!weights.q_norm.empty())
    norm_parts(weights.q_norm, config_.norm_eps, q_.data(), q_width, by_head ? config_.heads : 1);
  if (!weights.k_norm.empty())
    norm_parts(weights.k_norm, config_.norm_eps, keys_.data(), key_width,
               by_head ? config_.kv_heads : 1);
  if (config_.qkv_clip != 0.0f) {
    const auto clip = [&](float* x, std::size_t n) {
      for (std::size_t i = 0; i < n; ++i)
        x[i] = std::clamp(x[i], -config_.qkv_clip, config_.qkv_clip);
    };
    clip(q_.data(), rows_ * q_width);
    clip(keys_.data(), rows_ * key_width);
    clip(values_.data(), rows_ * config_.value_width());
  }
  const std::size_t rope = config_.layers[layer].rope;
  if (rope == kNoRope) return;
  rotate(q_.data(), q_width, config_.heads, config_.head_dim, config_.ropes[rope],
         rotations_[rope]);
  rotate(keys_.data(), key_width, config_.kv_heads, config_.head_dim, config_.ropes[rope],
         rotations_[rope]);
}

void DecoderRun::project_latent(std::size_t layer, const float* in) {
  const DecoderLayerWeights& weights = decoder_.weights_.layers[layer];
  const DecoderLatentConfig& latent = config_.latent;
  const std::size_t narrow = latent.kv_rank + latent.rope_dim;
  const bool narrow_q = latent.q_rank != 0;
  const QuantizedLinear::Product down[] = {
      {&weights.kv_down, in, rows_, narrow_kv_.data()},
      {narrow_q ? &weights.q_down : &weights.q, in, rows_, narrow_q ? narrow_q_.data() : q_.data()},
  };
  QuantizedLinear::apply_all(down);
  add_lora(layer, LoraTarget::kKvDown, in, narrow_kv_.data());
  if (narrow_q) {
    add_lora(layer, LoraTarget::kQDown, in, narrow_q_.data());
    norm_parts(weights.q_down_norm, latent.norm_eps, narrow_q_.data(), latent.q_rank, 1);
    weights.q_up.apply(narrow_q_.data(), rows_, q_.data());
    add_lora(layer, LoraTarget::kQUp, narrow_q_.data(), q_.data());
  } else {
    add_lora(layer, LoraTarget::kQ, in, q_.data());
  }
  norm_parts(weights.kv_down_norm, latent.norm_eps, narrow_kv_.data(), narrow, 1);
  const std::size_t rope = config_.layers[layer].rope;
  if (rope != kNoRope) {
    rotate(narrow_kv_.data() + latent.kv_rank, narrow, 1, latent.rope_dim, config_.ropes[rope],
           rotations_[rope]);
    rotate(q_.data() + latent.nope_dim, config_.q_width(), config_.heads, config_.head_dim,
           config_.ropes[rope], rotations_[rope]);
  }
  for (std::size_t r = 0; r < rows_; ++r)  // without their rotated keys
    std::memcpy(latent_rows_.data() + r * latent.kv_rank, narrow_kv_.data() + r * narrow,
                latent.kv_rank * sizeof(float));
  weights.kv_up.apply(latent_rows_.data(), rows_, wide_kv_.data());
  add_lora(layer, LoraTarget::kKvUp, latent_rows_.data(), wide_kv_.data());
  const std::size_t wide = latent.nope_dim + config_.value_dim;
  for (std::size_t r = 0; r < rows_; ++r)
    for (std::size_t head = 0; head < config_.heads; ++head) {
      const float* from = wide_kv_.data() + (r * config_.heads + head) * wide;
      float* key = keys_.data() + r * config_.key_width() + head * config_.head_dim;
      float* value = values_.data() + r * config_.value_width() + head * config_.value_dim;
      std::copy_n(from, latent.nope_dim, key);
      std::copy_n(narrow_kv_.data() + r * narrow + latent.kv_rank, latent.rope_dim,
                  key + latent.nope_dim);
      std::copy_n(from + latent.nope_dim, config_.value_dim, value);
    }
}

void DecoderRun::store_keys_and_values(std::size_t layer) {
  for (const Piece& piece : pieces_)
    piece.cache->store(layer, piece.position, piece.rows,
                       keys_.data() + piece.row * config_.key_width(),
                       values_.data() + piece.row * config_.value_width());
}

// Each head's mean of the values it may see, weighted by softmax(scale * q . k). Heads that share
// keys and values, and neighbouring tokens, are the rows of one product with each page. A score is
// one chain over the dimensions, a mixed value one over the positions, where those a row does not
// see have the weight zero: so no row depends on the others.
void DecoderRun::mix_values(std::size_t layer) {
  const std::size_t group = config_.heads / config_.kv_heads;
  struct Task {
    const Piece* piece;
    std::size_t begin, end;         // rows of the piece
    std::size_t first_head, heads;  // which share keys and values
  };
  std::vector<Task> tasks;
  std::size_t numbers = 0;
  const bool split_groups = pieces_.size() * config_.kv_heads < 2 * default_pool().num_threads();
  const std::size_t heads = split_groups ? 1 : group;
  for (const Piece& piece : pieces_) {
    const std::size_t positions = piece.position + piece.rows;
    numbers += piece.rows * positions * config_.q_width();
    const std::size_t rows =
        std::clamp<std::size_t>(kScoresPerTask / (positions * heads), 1, kRowsPerTask);
    for (std::size_t t = 0; t < piece.rows; t += rows)
      for (std::size_t head = 0; head < config_.heads; head += heads)
        tasks.push_back({&piece, t, std::min(piece.rows, t + rows), head, heads});
  }
  const auto run = [&](std::size_t i) {
    const Task& task = tasks[i];
    mix_values_of(layer, *task.piece, task.begin, task.end, task.first_head, task.heads);
  };
  if (numbers < kNumbersPerTask) {
    for (std::size_t i = 0; i < tasks.size(); ++i) run(i);
  } else {
    default_pool().parallel_for(tasks.size(), run);
  }
}

void DecoderRun::mix_values_of(std::size_t layer, const Piece& piece, std::size_t begin,
                               std::size_t end, std::size_t first_head, std::size_t heads) {
  constexpr std::size_t kPage = KvCache::kPagePositions;
  const std::size_t window = config_.layers[layer].window;
  const std::size_t dim = config_.head_dim, value_dim = config_.value_dim;
  const std::size_t kv_head = first_head / (config_.heads / config_.kv_heads);
  const float cap = config_.attention_cap;
  const auto first_seen = [window](std::size_t position) {
    return window != 0 && window < position + 1 ? position + 1 - window : 0;
  };
  // Positions of the pages that any of the rows looks at.
  const std::size_t low = first_seen(piece.position + begin) / kPage * kPage;
  const std::size_t high = (piece.position + end + kPage - 1) / kPage * kPage;
  const std::size_t rows = (end - begin) * heads;
  const std::size_t seen = high - low;
  const std::size_t opened_size = piece.cache->opened_size();
  AlignedBuffer<float> scratch(opened_size + rows * (dim + seen + value_dim));
  float* opened = scratch.data();
  float* queries = opened + opened_size;  // (rows, dim): token by token
  float* scores = queries + rows * dim;
  float* mixed = scores + rows * seen;
  for (std::size_t t = begin; t < end; ++t)
    std::copy_n(q_.data() + (piece.row + t) * config_.q_width() + first_head * dim, heads * dim,
                queries + (t - begin) * heads * dim);
  for (std::size_t p = low; p < high; p += kPage)
    kernels_.gemm_panels(queries, dim, rows,
                         piece.cache->keys(p / kPage, layer, kv_head, kv_kernels_, opened), kPage,
                         dim, nullptr, scores + (p - low), seen);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t position = piece.position + begin + r / heads;
    const std::size_t from = first_seen(position) - low, to = position + 1 - low;
    float* row = scores + r * seen;
    for (std::size_t p = from; p < to; ++p) row[p] *= config_.attention_scale;
    if (cap != 0.0f)
      for (std::size_t p = from; p < to; ++p) row[p] = std::tanh(row[p] / cap) * cap;
    kernels_.softmax(row + from, to - from);
    std::fill(row, row + from, 0.0f);
    std::fill(row + to, row + seen, 0.0f);
  }
  for (std::size_t p = low; p < high; p += kPage)
    kernels_.gemm_panels_add(scores + (p - low), seen, rows,
                             piece.cache->values(p / kPage, layer, kv_head, kv_kernels_, opened),
                             value_dim, kPage, mixed, value_dim);
  for (std::size_t t = begin; t < end; ++t)
    std::copy_n(mixed + (t - begin) * heads * value_dim, heads * value_dim,
                attended_.data() + ((piece.row + t) * config_.heads + first_head) * value_dim);
}

}  // namespace collegium::core
