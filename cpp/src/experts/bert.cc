#include "experts/bert.h"

#include <algorithm>
#include <cstring>

#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

// A product below so many multiply-adds is not worth waking a thread for.
constexpr std::size_t kMinParallelWork = 1u << 20;
// Panels of the feed-forward's first product done at once: their outputs are still in the L2 cache
// when the GELU goes over them.
constexpr std::size_t kGeluPanels = 16;
// Queries of a head whose scores are held at once.
constexpr std::size_t kQueryBlock = 48;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

void grow(AlignedBuffer<float>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = AlignedBuffer<float>(size);
}

// Calls f(first panel, end) over [0, panels), in steps of `step`; at most, when parallel, in as
// many steps as keep the threads busy.
template <typename F>
void for_panels(std::size_t panels, std::size_t step, bool parallel, const F& f) {
  if (!parallel) {
    for (std::size_t p = 0; p < panels; p += step) f(p, std::min(panels, p + step));
    return;
  }
  ThreadPool& pool = default_pool();
  step =
      std::min(step, round_up((panels + 2 * pool.num_threads() - 1) / (2 * pool.num_threads()), 2));
  const std::size_t count = (panels + step - 1) / step;
  pool.parallel_for(count, [&](std::size_t i) { f(i * step, std::min(panels, (i + 1) * step)); });
}

void multiply(const Kernels& kernels, const Linear& linear, const float* in, std::size_t rows,
              std::size_t first_panel, std::size_t end_panel, float* out) {
  const std::size_t first = first_panel * kPanelWidth;
  const std::size_t end = std::min(linear.outputs, end_panel * kPanelWidth);
  kernels.gemm_panels(in, linear.inputs, rows, linear.panels.data() + first * linear.inputs,
                      end - first, linear.inputs, linear.bias.data() + first, out + first,
                      linear.outputs);
}

// out (rows, outputs) = linear(in)
void multiply(const Kernels& kernels, const Linear& linear, const float* in, std::size_t rows,
              bool parallel, float* out) {
  const std::size_t panels = num_panels(linear.outputs);
  parallel = parallel && rows * linear.inputs * linear.outputs >= kMinParallelWork;
  for_panels(panels, panels, parallel, [&](std::size_t first, std::size_t end) {
    multiply(kernels, linear, in, rows, first, end, out);
  });
}

}  // namespace

double Bert::flops(std::size_t tokens) const noexcept {
  const auto t = static_cast<double>(tokens);
  const auto hidden = static_cast<double>(config_.hidden_size);
  const auto intermediate = static_cast<double>(config_.intermediate_size);
  const double products = t * (4.0 * hidden * hidden + 2.0 * hidden * intermediate);
  const double attention = 2.0 * t * t * hidden;
  return 2.0 * static_cast<double>(config_.num_layers) * (products + attention);
}

// (word + segment) + position, then the norm: the reference's order of sums.
void Bert::embed(const PackedSequences& sequences, float* hidden) const {
  const std::size_t dim = config_.hidden_size;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    for (std::size_t t = sequences.starts[s]; t < sequences.starts[s + 1]; ++t) {
      float* row = hidden + t * dim;
      const float* word = words_.data() + static_cast<std::size_t>(sequences.ids[t]) * dim;
      const float* position = positions_.data() + (t - sequences.starts[s]) * dim;
      for (std::size_t i = 0; i < dim; ++i) row[i] = word[i] + type_[i] + position[i];
      kernels_.layer_norm(row, embedding_norm_.gamma.data(), embedding_norm_.beta.data(),
                          config_.layer_norm_eps, dim, row);
    }
  }
}

void Bert::add_and_norm(const float* addend, const LayerNorm& norm, std::size_t tokens,
                        float* hidden) const {
  const std::size_t dim = config_.hidden_size;
  for (std::size_t t = 0; t < tokens; ++t) {
    float* row = hidden + t * dim;
    kernels_.axpy(1.0f, addend + t * dim, dim, row);
    kernels_.layer_norm(row, norm.gamma.data(), norm.beta.data(), config_.layer_norm_eps, dim, row);
  }
}

// One head of one sequence: query_key_value and context point at the head's first column in the
// sequence's first row. Keys and values are packed into panels, so that both products are
// gemm_panels: scores are chains over the head's dimensions, contexts chains over the tokens.
void Bert::attend_head(const float* query_key_value, std::size_t tokens, float* context) const {
  const std::size_t hidden = config_.hidden_size;
  const std::size_t stride = 3 * hidden;
  const std::size_t dim = hidden / config_.num_heads;
  const std::size_t width = round_up(tokens, kPanelWidth);
  auto scratch = attention_scratch_.take();
  grow(scratch->keys, width * dim);
  grow(scratch->values, num_panels(dim) * tokens * kPanelWidth);
  grow(scratch->scores, std::min(tokens, kQueryBlock) * width);
  float* keys = scratch->keys.data();
  float* values = scratch->values.data();
  float* scores = scratch->scores.data();

  kernels_.pack_panels(query_key_value + hidden, stride, tokens, dim, keys);
  for (std::size_t p = 0; p < num_panels(dim); ++p) {
    const std::size_t first = p * kPanelWidth;
    const std::size_t columns = std::min(kPanelWidth, dim - first);
    float* panel = values + p * tokens * kPanelWidth;
    for (std::size_t t = 0; t < tokens; ++t) {
      const float* row = query_key_value + t * stride + 2 * hidden + first;
      std::copy_n(row, columns, panel + t * kPanelWidth);
      std::fill_n(panel + t * kPanelWidth + columns, kPanelWidth - columns, 0.0f);
    }
  }
  for (std::size_t first = 0; first < tokens; first += kQueryBlock) {
    const std::size_t rows = std::min(kQueryBlock, tokens - first);
    // Over whole panels: the columns beyond the last token are not looked at.
    kernels_.gemm_panels(query_key_value + first * stride, stride, rows, keys, width, dim, nullptr,
                         scores, width);
    for (std::size_t r = 0; r < rows; ++r) kernels_.softmax(scores + r * width, tokens);
    kernels_.gemm_panels(scores, width, rows, values, dim, tokens, nullptr,
                         context + first * hidden, hidden);
  }
  attention_scratch_.give_back(std::move(scratch));
}

void Bert::attend(const PackedSequences& sequences, bool parallel, BertScratch& scratch) const {
  const std::size_t hidden = config_.hidden_size;
  const std::size_t heads = config_.num_heads;
  const auto one = [&](std::size_t i) {
    const std::size_t start = sequences.starts[i / heads];
    const std::size_t column = i % heads * (hidden / heads);
    attend_head(scratch.query_key_value.data() + start * 3 * hidden + column,
                sequences.starts[i / heads + 1] - start,
                scratch.context.data() + start * hidden + column);
  };
  const std::size_t count = sequences.size() * heads;
  std::size_t work = 0;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const std::size_t tokens = sequences.starts[s + 1] - sequences.starts[s];
    work += 2 * tokens * tokens * hidden;
  }
  if (parallel && work >= kMinParallelWork) {
    default_pool().parallel_for(count, one);
  } else {
    for (std::size_t i = 0; i < count; ++i) one(i);
  }
}

void Bert::forward(const PackedSequences& sequences, bool parallel, BertScratch& scratch) const {
  const std::size_t tokens = sequences.ids.size();
  const std::size_t hidden = config_.hidden_size;
  parallel = parallel && default_pool().num_threads() > 1;
  grow(scratch.hidden, tokens * hidden);
  grow(scratch.query_key_value, tokens * 3 * hidden);
  grow(scratch.context, tokens * hidden);
  grow(scratch.projected, tokens * hidden);
  grow(scratch.intermediate, tokens * config_.intermediate_size);
  float* const states = scratch.hidden.data();
  float* const projected = scratch.projected.data();
  float* const intermediate = scratch.intermediate.data();

  embed(sequences, states);
  for (const BertLayer& layer : layers_) {
    multiply(kernels_, layer.query_key_value, states, tokens, parallel,
             scratch.query_key_value.data());
    attend(sequences, parallel, scratch);
    multiply(kernels_, layer.attention_output, scratch.context.data(), tokens, parallel, projected);
    add_and_norm(projected, layer.attention_norm, tokens, states);

    const std::size_t width = layer.up.outputs;
    const bool split = parallel && tokens * hidden * width >= kMinParallelWork;
    for_panels(num_panels(width), kGeluPanels, split, [&](std::size_t first, std::size_t end) {
      multiply(kernels_, layer.up, states, tokens, first, end, intermediate);
      const std::size_t column = first * kPanelWidth;
      const std::size_t columns = std::min(width, end * kPanelWidth) - column;
      for (std::size_t t = 0; t < tokens; ++t) {
        kernels_.gelu(intermediate + t * width + column, columns);
      }
    });
    multiply(kernels_, layer.down, intermediate, tokens, parallel, projected);
    add_and_norm(projected, layer.output_norm, tokens, states);
  }
}

}  // namespace collegium::core
