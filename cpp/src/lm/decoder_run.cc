#include "lm/decoder_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "collegium/core/thread_pool.h"

namespace collegium::core {

void for_each_row(std::size_t count, const std::function<void(std::size_t)>& task) {
  if (count == 1)
    task(0);
  else
    default_pool().parallel_for(count, task);
}

DecoderRun::DecoderRun(const Decoder& decoder, std::size_t rows)
    : decoder_(decoder),
      config_(decoder.config_),
      kernels_(*decoder.kernels_),
      kv_kernels_(kv_kernels_for(decoder.isa())),
      normed_(rows * config_.width),
      delta_(rows * config_.width),
      q_(rows * config_.q_width()),
      keys_(rows * config_.key_width()),
      values_(rows * config_.value_width()),
      attended_(rows * config_.heads * config_.value_dim) {
  const DecoderLatentConfig& latent = config_.latent;
  if (latent.kv_rank != 0) {
    narrow_q_ = AlignedBuffer<float>(rows * latent.q_rank);
    narrow_kv_ = AlignedBuffer<float>(rows * (latent.kv_rank + latent.rope_dim));
    latent_rows_ = AlignedBuffer<float>(rows * latent.kv_rank);
    wide_kv_ = AlignedBuffer<float>(rows * config_.heads * (latent.nope_dim + config_.value_dim));
  }
  std::size_t hidden = 0;
  for (const DecoderLayerWeights& layer : decoder.weights_.layers)
    hidden = std::max({hidden, layer.mlp.hidden(), layer.moe.shared.hidden()});
  gate_ = AlignedBuffer<float>(rows * hidden);
  up_ = AlignedBuffer<float>(rows * hidden);
}

// The frequencies and the angles are rounded to fp32, as the reference has them.
void DecoderRun::make_rotations() {
  rotations_.resize(config_.ropes.size());
  for (std::size_t k = 0; k < rotations_.size(); ++k) {
    const Rope& rope = config_.ropes[k];
    Rotation& rotation = rotations_[k];
    rotation.pairs = rope.frequencies.size();
    rotation.cosines.resize(rows_ * rotation.pairs);
    rotation.sines.resize(rows_ * rotation.pairs);
    for (const Piece& piece : pieces_)
      for (std::size_t t = 0; t < piece.rows; ++t)
        for (std::size_t i = 0; i < rotation.pairs; ++i) {
          const double angle = static_cast<float>(piece.position + t) * rope.frequencies[i];
          const std::size_t at = (piece.row + t) * rotation.pairs + i;
          rotation.cosines[at] = static_cast<float>(std::cos(angle)) * rope.factor;
          rotation.sines[at] = static_cast<float>(std::sin(angle)) * rope.factor;
        }
  }
}

Status DecoderRun::run(std::span<const Piece> pieces, float* x) {
  pieces_ = pieces;
  rows_ = 0;
  for (const Piece& piece : pieces) rows_ += piece.rows;
  const std::size_t width = config_.width;
  make_rotations();

  const auto norm_rows = [&](const NormWeights& norm) -> const float* {
    if (norm.empty()) return x;
    for (std::size_t r = 0; r < rows_; ++r)
      norm_row(norm, x + r * width, normed_.data() + r * width);
    return normed_.data();
  };
  const auto add_delta = [&](const NormWeights& norm) {
    for (std::size_t r = 0; r < rows_; ++r) {
      float* delta = delta_.data() + r * width;
      float* row = x + r * width;
      if (!norm.empty()) norm_row(norm, delta, delta);
      if (config_.residual_scale != 1.0f)
        for (std::size_t i = 0; i < width; ++i) delta[i] *= config_.residual_scale;
      for (std::size_t i = 0; i < width; ++i) row[i] += delta[i];
    }
  };
  for (std::size_t l = 0; l < config_.layers.size(); ++l) {
    const DecoderLayerWeights& layer = decoder_.weights_.layers[l];
    look_up(l, norm_rows(layer.attention_norm));
    if (l + 1 == config_.layers.size()) keep_wanted(x);
    if (rows_ == 0) return {};
    attend(l, delta_.data());
    add_delta(layer.attention_post_norm);
    const float* in = norm_rows(layer.hidden_norm);
    if (config_.layers[l].moe)
      COLLEGIUM_RETURN_IF_ERROR(mix_experts(l, in, delta_.data()));
    else
      feed_forward(layer.mlp, l, in, delta_.data());
    add_delta(layer.hidden_post_norm);
  }
  for (std::size_t r = 0; r < rows_; ++r)
    norm_row(decoder_.weights_.output_norm, x + r * width, x + r * width);

  // Back to where the wanted rows were; they only go up.
  for (std::size_t k = pieces.size(), end = rows_; k-- > 0;) {
    const Piece& piece = pieces[k];
    end -= piece.wanted;
    std::memmove(x + (piece.row + piece.rows - piece.wanted) * width, x + end * width,
                 piece.wanted * width * sizeof(float));
  }
  return {};
}

void DecoderRun::keep_wanted(float* x) {
  const std::size_t width = config_.width, q_width = config_.q_width();
  wanted_pieces_.clear();
  rows_ = 0;
  for (const Piece& piece : pieces_) {
    if (piece.wanted == 0) continue;
    const std::size_t skipped = piece.rows - piece.wanted;
    Piece& wanted = wanted_pieces_.emplace_back(piece);
    wanted.row = rows_;
    wanted.rows = piece.wanted;
    wanted.position += skipped;
    std::memmove(q_.data() + rows_ * q_width, q_.data() + (piece.row + skipped) * q_width,
                 piece.wanted * q_width * sizeof(float));
    std::memmove(x + rows_ * width, x + (piece.row + skipped) * width,
                 piece.wanted * width * sizeof(float));
    rows_ += piece.wanted;
  }
  pieces_ = wanted_pieces_;
}

void DecoderRun::norm_row(const NormWeights& norm, const float* in, float* out) const noexcept {
  if (config_.norm == DecoderNorm::kLayer)
    kernels_.layer_norm(in, norm.gamma.data(), norm.beta.data(), config_.norm_eps, config_.width,
                        out);
  else
    kernels_.rms_norm(in, norm.gamma.data(), config_.norm_eps, config_.width, out);
}

void DecoderRun::norm_parts(const NormWeights& norm, float eps, float* x, std::size_t stride,
                            std::size_t heads) const noexcept {
  const std::size_t size = norm.gamma.size();
  for (std::size_t r = 0; r < rows_; ++r)
    for (std::size_t head = 0; head < heads; ++head) {
      float* part = x + r * stride + head * size;
      kernels_.rms_norm(part, norm.gamma.data(), eps, size, part);
    }
}

void DecoderRun::activate(float* gate, const float* up, std::size_t n) const noexcept {
  switch (config_.activation) {
    case DecoderActivation::kSilu:
      kernels_.silu_mul(gate, up, n);
      return;
    case DecoderActivation::kGeluTanh:
      kernels_.gelu_tanh(gate, n);
      break;
    case DecoderActivation::kGelu:
      kernels_.gelu(gate, n);
      break;
    case DecoderActivation::kRelu:
      kernels_.relu(gate, n);
      break;
  }
  kernels_.mul(gate, up, n);
}

void DecoderRun::feed_forward(const GatedWeights& weights, std::optional<std::size_t> layer,
                              const float* in, float* out) {
  const std::size_t hidden = weights.hidden();
  const QuantizedLinear::Product gated[] = {{&weights.gate, in, rows_, gate_.data()},
                                            {&weights.up, in, rows_, up_.data()}};
  QuantizedLinear::apply_all(gated);
  if (layer) {
    add_lora(*layer, LoraTarget::kGate, in, gate_.data());
    add_lora(*layer, LoraTarget::kUp, in, up_.data());
  }
  for_each_row(rows_, [&](std::size_t r) {
    activate(gate_.data() + r * hidden, up_.data() + r * hidden, hidden);
  });
  weights.down.apply(gate_.data(), rows_, out);
  if (layer) add_lora(*layer, LoraTarget::kDown, gate_.data(), out);
}

// A piece by itself: a row's sums do not depend on its neighbours.
void DecoderRun::add_lora(std::size_t layer, LoraTarget target, const float* in, float* out) {
  for (const Piece& piece : pieces_) {
    if (piece.lora == nullptr) continue;
    const DecoderLoraTerm& term = piece.lora->layers[layer][static_cast<std::size_t>(target)];
    if (term.empty()) continue;
    const std::size_t outputs = term.up.outputs();
    if (lora_down_.size() < piece.rows * term.down.outputs())
      lora_down_ = AlignedBuffer<float>(piece.rows * term.down.outputs());
    if (lora_up_.size() < piece.rows * outputs)
      lora_up_ = AlignedBuffer<float>(piece.rows * outputs);
    term.down.apply(in + piece.row * term.down.inputs(), piece.rows, lora_down_.data());
    term.up.apply(lora_down_.data(), piece.rows, lora_up_.data());
    float* rows = out + piece.row * outputs;
    for (std::size_t i = 0; i < piece.rows * outputs; ++i) rows[i] += lora_up_[i];
  }
}

}  // namespace collegium::core
