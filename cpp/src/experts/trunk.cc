#include "experts/trunk.h"

#include <algorithm>

#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

// A product below so many multiply-adds is not worth waking a thread for.
constexpr std::size_t kMinParallelWork = 1u << 20;
// Panels of the feed-forward's first product done at once: their outputs are still in the L2 cache
// when the GELU goes over them.
constexpr std::size_t kGeluPanels = 16;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// Calls f(first panel, end) over [0, panels), in steps of `step`; at most, when parallel, in as
// many steps as keep the threads busy.
template <typename F>
void for_panels(std::size_t panels, std::size_t step, bool parallel, const F& f) {
  if (!parallel) {
    for (std::size_t p = 0; p < panels; p += step) f(p, std::min(panels, p + step));
    return;
  }
  ThreadPool& pool = default_pool();
  const std::size_t tasks = 2 * pool.num_threads();  // read once: it may change meanwhile
  step = std::min(step, round_up((panels + tasks - 1) / tasks, 2));
  const std::size_t count = (panels + step - 1) / step;
  pool.parallel_for(count, [&](std::size_t i) { f(i * step, std::min(panels, (i + 1) * step)); });
}

// out (count, outputs) = linear(in)
void multiply(const Kernels& kernels, const Linear& linear, const ProductInput& in, bool parallel,
              float* out) {
  const std::size_t panels = num_panels(linear.outputs);
  parallel = parallel && in.count * linear.inputs * linear.outputs >= kMinParallelWork;
  for_panels(panels, panels, parallel, [&](std::size_t first, std::size_t end) {
    multiply(kernels, linear, in, first, end, out);
  });
}

}  // namespace

Trunk::Trunk(const TrunkConfig& config, const Kernels& kernels)
    : config_(config), kernels_(kernels), activation_([&] {
        switch (config.activation) {
          case Activation::kGeluTanh:
            return &Kernels::gelu_tanh;
          case Activation::kSilu:
            return &Kernels::silu;
          case Activation::kRelu:
            return &Kernels::relu;
          case Activation::kGelu:
            break;
        }
        return &Kernels::gelu;
      }()) {}

double Trunk::flops(std::size_t tokens) const noexcept {
  const auto t = static_cast<double>(tokens);
  const auto hidden = static_cast<double>(config_.hidden_size);
  const auto intermediate = static_cast<double>(config_.intermediate_size);
  const double matrices = config_.gated ? 3.0 : 2.0;
  double total = 0.0;
  for (const AttentionSpan& span : config_.spans) {
    const double seen =
        span.window == 0 ? t : std::min(t, 2.0 * static_cast<double>(span.window) + 1.0);
    total +=
        t * (4.0 * hidden * hidden + matrices * hidden * intermediate) + 2.0 * t * seen * hidden;
  }
  return 2.0 * total;
}

// (word + segment) + position, then the norm: the reference's order of sums.
void Trunk::embed(const PackedSequences& sequences, float* hidden) const {
  const std::size_t dim = config_.hidden_size;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    std::size_t next = config_.first_position;
    for (std::size_t t = sequences.starts[s]; t < sequences.starts[s + 1]; ++t) {
      const std::int32_t id = sequences.ids[t];
      const std::size_t position = id == config_.pad_id ? config_.first_position - 1 : next++;
      float* row = hidden + t * dim;
      std::copy_n(words_.data() + static_cast<std::size_t>(id) * dim, dim, row);
      if (!type_.empty()) kernels_.axpy(1.0f, type_.data(), dim, row);
      if (!positions_.empty()) kernels_.axpy(1.0f, positions_.data() + position * dim, dim, row);
    }
  }
  norm(hidden, embedding_norm_, sequences.ids.size(), hidden);
}

void Trunk::norm(const float* in, const LayerNorm& norm, std::size_t tokens, float* out) const {
  const std::size_t dim = config_.hidden_size;
  for (std::size_t t = 0; t < tokens; ++t) {
    kernels_.layer_norm(in + t * dim, norm.gamma.data(), norm.beta.data(), config_.layer_norm_eps,
                        dim, out + t * dim);
  }
}

void Trunk::add(const float* addend, std::size_t tokens, float* hidden) const {
  kernels_.axpy(1.0f, addend, tokens * config_.hidden_size, hidden);
}

// scratch.projected = down(act(up(in)) * gate(in))
void Trunk::feed_forward(std::size_t index, const PackedSequences& sequences, const float* in,
                         bool parallel, TrunkScratch& scratch) const {
  const TrunkLayer& layer = layers_[index];
  const std::size_t tokens = sequences.ids.size();
  const std::size_t width = layer.up.outputs;
  float* const up = scratch.intermediate.data();
  float* const gate = scratch.gate.data();
  const ProductInput input = product_input(kernels_, layer.up, in, tokens, scratch.product);
  const bool gated = layer.gate.outputs != 0;
  // In place over columns [column, column + columns) of up.
  const auto activate = [&](std::size_t column, std::size_t columns) {
    for (std::size_t at = column; at < tokens * width; at += width) {
      (kernels_.*activation_)(up + at, columns);
      if (gated) kernels_.mul(up + at, gate + at, columns);
    }
  };
  if (has_lora(sequences, index, &LoraLayer::up) || has_lora(sequences, index, &LoraLayer::gate)) {
    multiply(kernels_, layer.up, input, parallel, up);
    add_lora(sequences, index, &LoraLayer::up, layer.up, in, up, scratch);
    if (gated) {
      multiply(kernels_, layer.gate, input, parallel, gate);
      add_lora(sequences, index, &LoraLayer::gate, layer.gate, in, gate, scratch);
    }
    activate(0, width);
  } else {
    const bool split = parallel && tokens * layer.up.inputs * width >= kMinParallelWork;
    for_panels(num_panels(width), kGeluPanels, split, [&](std::size_t first, std::size_t end) {
      multiply(kernels_, layer.up, input, first, end, up);
      if (gated) multiply(kernels_, layer.gate, input, first, end, gate);
      const std::size_t column = first * kPanelWidth;
      activate(column, std::min(width, end * kPanelWidth) - column);
    });
  }
  multiply(kernels_, layer.down, product_input(kernels_, layer.down, up, tokens, scratch.product),
           parallel, scratch.projected.data());
  add_lora(sequences, index, &LoraLayer::down, layer.down, up, scratch.projected.data(), scratch);
}

void Trunk::run_layer(std::size_t index, const PackedSequences& sequences, bool parallel,
                      TrunkScratch& scratch) const {
  const TrunkLayer& layer = layers_[index];
  const std::size_t tokens = sequences.ids.size();
  float* const states = scratch.hidden.data();
  float* const projected = scratch.projected.data();
  // What goes into attention and feed-forward: the states, or the states normed.
  const auto input = [&](const LayerNorm& before) -> const float* {
    if (!config_.pre_norm || before.gamma.empty()) return states;
    norm(states, before, tokens, scratch.normed.data());
    return scratch.normed.data();
  };
  const auto product = [&](const Linear& linear, std::vector<LoraTerm> LoraLayer::*terms,
                           const float* in, float* out) {
    multiply(kernels_, linear, product_input(kernels_, linear, in, tokens, scratch.product),
             parallel, out);
    add_lora(sequences, index, terms, linear, in, out, scratch);
  };
  const auto add_to_states = [&](const LayerNorm& behind) {
    add(projected, tokens, states);
    if (!config_.pre_norm) norm(states, behind, tokens, states);
  };
  product(layer.query_key_value, &LoraLayer::query_key_value, input(layer.attention_norm),
          scratch.query_key_value.data());
  attend(index, sequences, parallel, scratch);
  product(layer.attention_output, &LoraLayer::attention_output, scratch.context.data(), projected);
  add_to_states(layer.attention_norm);
  feed_forward(index, sequences, input(layer.output_norm), parallel, scratch);
  add_to_states(layer.output_norm);
}

void Trunk::begin(const PackedSequences& sequences, TrunkScratch& scratch) const {
  grow(scratch.hidden, sequences.ids.size() * config_.hidden_size);
  embed(sequences, scratch.hidden.data());
}

void Trunk::run(const PackedSequences& sequences, std::size_t first, std::size_t end, bool parallel,
                TrunkScratch& scratch) const {
  const std::size_t tokens = sequences.ids.size();
  const std::size_t hidden = config_.hidden_size;
  parallel = parallel && default_pool().num_threads() > 1;
  grow(scratch.query_key_value, tokens * 3 * hidden);
  grow(scratch.context, tokens * hidden);
  grow(scratch.projected, tokens * hidden);
  grow(scratch.intermediate, tokens * config_.intermediate_size);
  if (config_.pre_norm) grow(scratch.normed, tokens * hidden);
  if (config_.gated) grow(scratch.gate, tokens * config_.intermediate_size);
  for (std::size_t i = first; i < end; ++i) run_layer(i, sequences, parallel, scratch);
}

void Trunk::finish(const PackedSequences& sequences, TrunkScratch& scratch) const {
  if (!config_.pre_norm) return;
  norm(scratch.hidden.data(), final_norm_, sequences.ids.size(), scratch.hidden.data());
}

void Trunk::forward(const PackedSequences& sequences, bool parallel, TrunkScratch& scratch) const {
  begin(sequences, scratch);
  run(sequences, 0, layers_.size(), parallel, scratch);
  finish(sequences, scratch);
}

}  // namespace collegium::core
