// Mixture-of-experts layers of DecoderRun. Rows are grouped by the expert they go to, so that an
// expert's weights are read once however many rows it has; what the experts give a row is summed by
// ascending expert, so that no other row matters.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>

#include "collegium/core/thread_pool.h"
#include "lm/decoder_run.h"

namespace collegium::core {
namespace {

// Buffers grow and are used again by the next layers.
void ensure(AlignedBuffer<float>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = AlignedBuffer<float>(size);
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

Status DecoderRun::mix_experts(std::size_t layer, const float* in, float* out) {
  const MoeWeights& moe = decoder_.weights_.layers[layer].moe;
  const std::size_t width = config_.width;
  COLLEGIUM_RETURN_IF_ERROR(route(layer, in));
  run_experts(layer, in);

  const bool shared = !moe.shared.gate.empty();
  if (shared) {
    ensure(shared_out_, rows_ * width);
    feed_forward(moe.shared, std::nullopt, in, shared_out_.data());
    if (!moe.shared_gate.empty()) {
      ensure(logits_, rows_);
      moe.shared_gate.apply(in, rows_, logits_.data());
      for (std::size_t r = 0; r < rows_; ++r) {
        const float weight = sigmoid(logits_[r]);
        float* row = shared_out_.data() + r * width;
        for (std::size_t i = 0; i < width; ++i) row[i] *= weight;
      }
    }
  }

  std::fill(out, out + rows_ * width, 0.0f);
  struct Part {
    std::int32_t expert;
    std::size_t pair;
    float weight;
  };
  std::vector<Part> parts;
  std::size_t first = 0;  // of the piece's ids among all
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    const Routing& routing = routings_[k];
    for (std::size_t t = 0; t < routing.tokens(); ++t) {
      parts.clear();
      for (std::size_t i = routing.offsets[t]; i < routing.offsets[t + 1]; ++i)
        parts.push_back({routing.ids[i], pair_of_[first + i], routing.weights[i]});
      std::sort(parts.begin(), parts.end(),
                [](const Part& a, const Part& b) { return a.expert < b.expert; });
      float* row = out + (pieces_[k].row + t) * width;
      for (const Part& part : parts)
        kernels_.axpy(part.weight, pair_out_.data() + part.pair * width, width, row);
    }
    first += routing.ids.size();
  }
  if (shared)
    for (std::size_t i = 0; i < rows_ * width; ++i) out[i] += shared_out_[i];

  first = 0;
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    const std::size_t ids = routings_[k].ids.size();
    if (pieces_[k].trace != nullptr && pieces_[k].trace->parts().output_norms) {
      std::vector<float> norms(ids);
      for (std::size_t i = 0; i < ids; ++i) {
        const float* output = pair_out_.data() + pair_of_[first + i] * width;
        norms[i] = std::sqrt(kernels_.dot(output, output, width));
      }
      pieces_[k].trace->record_output_norms(layer, norms);
    }
    first += ids;
  }
  return {};
}

Status DecoderRun::route(std::size_t layer, const float* in) {
  const MoeWeights& moe = decoder_.weights_.layers[layer].moe;
  const std::size_t experts = moe.experts.size();
  const std::size_t gate_rows = moe.router.outputs();
  if (gate_rows != 0) {
    ensure(logits_, rows_ * gate_rows);
    moe.router.apply(in, rows_, logits_.data());
  }
  const bool activations = std::any_of(pieces_.begin(), pieces_.end(), [&](const Piece& piece) {
    return piece.plan->needs_activations(layer);
  });
  if (activations) measure_activations(layer, in);

  if (routings_.size() < pieces_.size()) routings_.resize(pieces_.size());
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    const Piece& piece = pieces_[k];
    RouterInput input;
    input.layer = layer;
    input.position = piece.position;
    input.tokens = piece.rows;
    input.width = config_.width;
    input.experts = experts;
    input.gate_rows = gate_rows;
    input.hidden = in + piece.row * config_.width;
    if (gate_rows != 0) input.logits = logits_.data() + piece.row * gate_rows;
    if (piece.plan->needs_activations(layer))
      input.activation_norms = activation_norms_.data() + piece.row * experts;
    COLLEGIUM_RETURN_IF_ERROR(
        piece.plan->route(input, piece.cache->router_states_, routings_[k], piece.trace));
  }
  return {};
}

void DecoderRun::measure_activations(std::size_t layer, const float* in) {
  const std::vector<GatedWeights>& experts = decoder_.weights_.layers[layer].moe.experts;
  ensure(activation_norms_, rows_ * experts.size());
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const std::size_t hidden = experts[e].hidden();
    ensure(pair_gate_, rows_ * hidden);
    experts[e].gate.apply(in, rows_, pair_gate_.data());
    for (std::size_t r = 0; r < rows_; ++r) {
      const float* row = pair_gate_.data() + r * hidden;
      activation_norms_[r * experts.size() + e] = std::sqrt(kernels_.dot(row, row, hidden));
    }
  }
}

void DecoderRun::run_experts(std::size_t layer, const float* in) {
  const std::vector<GatedWeights>& experts = decoder_.weights_.layers[layer].moe.experts;
  const std::size_t width = config_.width;
  expert_begin_.assign(experts.size() + 1, 0);
  std::size_t pairs = 0;
  for (std::size_t k = 0; k < pieces_.size(); ++k)
    for (const std::int32_t id : routings_[k].ids) {
      ++expert_begin_[static_cast<std::size_t>(id) + 1];
      ++pairs;
    }
  for (std::size_t e = 0; e < experts.size(); ++e) expert_begin_[e + 1] += expert_begin_[e];
  std::vector<std::size_t> used;
  for (std::size_t e = 0; e < experts.size(); ++e)
    if (expert_begin_[e + 1] != expert_begin_[e]) used.push_back(e);
  if (used.empty()) return;
  read_experts_ahead(layer, in, used);
  std::vector<std::size_t> hidden_begin(experts.size() + 1, 0);  // in pair_gate_ and pair_up_
  for (std::size_t e = 0; e < experts.size(); ++e)
    hidden_begin[e + 1] =
        hidden_begin[e] + (expert_begin_[e + 1] - expert_begin_[e]) * experts[e].hidden();
  ensure(pair_in_, pairs * width);
  ensure(pair_out_, pairs * width);
  ensure(pair_gate_, hidden_begin.back());
  ensure(pair_up_, hidden_begin.back());

  pair_of_.clear();
  std::vector<std::size_t> next(expert_begin_.begin(), expert_begin_.end() - 1);
  for (std::size_t k = 0; k < pieces_.size(); ++k) {
    const Routing& routing = routings_[k];
    for (std::size_t t = 0; t < routing.tokens(); ++t)
      for (std::size_t i = routing.offsets[t]; i < routing.offsets[t + 1]; ++i) {
        const std::size_t pair = next[static_cast<std::size_t>(routing.ids[i])]++;
        pair_of_.push_back(pair);
        std::memcpy(pair_in_.data() + pair * width, in + (pieces_[k].row + t) * width,
                    width * sizeof(float));
      }
  }

  std::vector<QuantizedLinear::Product> gated, down;
  for (const std::size_t e : used) {
    const std::size_t count = expert_begin_[e + 1] - expert_begin_[e];
    const float* x = pair_in_.data() + expert_begin_[e] * width;
    float* gate = pair_gate_.data() + hidden_begin[e];
    gated.push_back({&experts[e].gate, x, count, gate});
    gated.push_back({&experts[e].up, x, count, pair_up_.data() + hidden_begin[e]});
    down.push_back({&experts[e].down, gate, count, pair_out_.data() + expert_begin_[e] * width});
  }
  QuantizedLinear::apply_all(gated);
  for_each_row(used.size(), [&](std::size_t u) {
    const std::size_t e = used[u];
    const std::size_t hidden = experts[e].hidden();
    for (std::size_t at = hidden_begin[e]; at < hidden_begin[e + 1]; at += hidden)
      activate(pair_gate_.data() + at, pair_up_.data() + at, hidden);
  });
  QuantizedLinear::apply_all(down);
}

// What the next layer's router says of this layer's rows is a good guess at what it will say of
// its own, since a layer changes them little (arXiv 2312.17238).
void DecoderRun::read_experts_ahead(std::size_t layer, const float* in,
                                    std::span<const std::size_t> used) {
  ExpertPages* const pages = decoder_.expert_pages_.get();
  if (pages == nullptr) return;
  if (guessed_layer_ == layer && !guessed_.empty()) {
    std::vector<std::size_t> right;
    std::ranges::set_intersection(guessed_, used, std::back_inserter(right));
    pages->judge(right.size(), guessed_.size());
  }
  guessed_.clear();
  const std::vector<DecoderLayerWeights>& layers = decoder_.weights_.layers;
  if (!pages->want(layers[layer].moe, layer, used)) return;
  std::size_t next = layer + 1;
  while (next < layers.size() && !config_.layers[next].moe) ++next;
  if (next >= layers.size()) return;
  const MoeWeights& moe = layers[next].moe;
  if (moe.router.outputs() != moe.experts.size()) return;
  guessed_ = likely_experts(moe, in);
  guessed_layer_ = next;
  if (pages->guesses_well()) pages->want(moe, next, guessed_);
}

std::vector<std::size_t> DecoderRun::likely_experts(const MoeWeights& moe, const float* in) {
  const std::size_t experts = moe.experts.size();
  ensure(logits_, rows_ * experts);
  moe.router.apply(in, rows_, logits_.data());
  std::vector<std::size_t> order(experts);
  std::vector<bool> likely(experts);
  const std::size_t top_k = std::min(config_.moe.top_k, experts);
  for (std::size_t r = 0; r < rows_; ++r) {
    float* logits = logits_.data() + r * experts;
    for (std::size_t e = 0; e < experts; ++e)  // what is no number orders nothing
      if (std::isnan(logits[e])) logits[e] = -std::numeric_limits<float>::infinity();
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top_k) - 1,
                     order.end(), [&](std::size_t a, std::size_t b) {
                       return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
                     });
    for (std::size_t i = 0; i < top_k; ++i) likely[order[i]] = true;
  }
  order.clear();
  for (std::size_t e = 0; e < experts; ++e)
    if (likely[e]) order.push_back(e);
  return order;
}

}  // namespace collegium::core
