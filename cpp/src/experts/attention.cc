#include <algorithm>
#include <cmath>

#include "collegium/core/thread_pool.h"
#include "experts/trunk.h"
#include "kernels/kernels_bf16.h"

namespace collegium::core {
namespace {

// Less work than so many multiply-adds is not worth waking a thread for.
constexpr std::size_t kMinParallelWork = 1u << 20;
// The same where products take a fraction of the time.
constexpr std::size_t kMinParallelBf16Work = 1u << 21;
// Queries of a head whose scores are held at once.
constexpr std::size_t kQueryBlock = 48;

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// T5's buckets (arXiv 1910.10683) of a distance, as MPNet uses them: half of them for keys behind
// the query; of each half the first half one distance each, the others logarithmic up to 128.
std::size_t bucket_of(std::ptrdiff_t distance, std::size_t buckets) {
  const std::size_t half = buckets / 2;
  const std::size_t exact = half / 2;
  const auto n = static_cast<std::size_t>(std::abs(distance));
  const std::size_t side = distance > 0 ? half : 0;
  if (n < exact) return side + n;
  // In float, as the reference has it: where a bucket begins is a matter of rounding.
  const float ratio = std::log(static_cast<float>(n) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(128.0 / static_cast<double>(exact)));
  const auto large = exact + static_cast<std::size_t>(ratio * static_cast<float>(half - exact));
  return side + std::min(large, half - 1);
}

}  // namespace

void Trunk::make_position_bias() {
  const std::size_t positions = config_.max_positions;
  const std::size_t width = 2 * positions - 1;
  position_bias_.resize(config_.num_heads * width);
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t bucket =
        bucket_of(static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(positions - 1),
                  config_.relative_buckets);
    for (std::size_t h = 0; h < config_.num_heads; ++h) {
      position_bias_[h * width + i] = distances_.data()[bucket * config_.num_heads + h];
    }
  }
}

// In float, as the reference computes angles, so that long texts get its vectors.
void Trunk::make_rotary_tables() {
  const std::size_t dim = config_.hidden_size / config_.num_heads;
  for (const AttentionSpan& span : config_.spans) {
    const bool there = std::any_of(rotary_.begin(), rotary_.end(), [&](const RotaryTable& table) {
      return table.base == span.rotary_base;
    });
    if (span.rotary_base == 0.0f || there) continue;
    RotaryTable table{span.rotary_base, {}, {}};
    table.cosines.resize(config_.max_positions * (dim / 2));
    table.sines.resize(table.cosines.size());
    for (std::size_t i = 0; i < dim / 2; ++i) {
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
      const float frequency =
          1.0f / static_cast<float>(std::pow(static_cast<double>(table.base), exponent));
      for (std::size_t t = 0; t < config_.max_positions; ++t) {
        const float angle = static_cast<float>(t) * frequency;
        table.cosines[t * (dim / 2) + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
        table.sines[t * (dim / 2) + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
      }
    }
    rotary_.push_back(std::move(table));
  }
}

// Queries and keys, every head: dimension i turns with dimension i + half.
void Trunk::rotate(const PackedSequences& sequences, const AttentionSpan& span,
                   float* query_key_value) const {
  const auto table = std::find_if(rotary_.begin(), rotary_.end(), [&](const RotaryTable& entry) {
    return entry.base == span.rotary_base;
  });
  const std::size_t hidden = config_.hidden_size;
  const std::size_t half = hidden / config_.num_heads / 2;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    for (std::size_t t = sequences.starts[s]; t < sequences.starts[s + 1]; ++t) {
      const float* cosines = table->cosines.data() + (t - sequences.starts[s]) * half;
      const float* sines = table->sines.data() + (t - sequences.starts[s]) * half;
      float* row = query_key_value + t * 3 * hidden;
      for (std::size_t head = 0; head < 2 * config_.num_heads; ++head, row += 2 * half) {
        for (std::size_t i = 0; i < half; ++i) {
          const float x = row[i];
          const float y = row[i + half];
          row[i] = x * cosines[i] - y * sines[i];
          row[i + half] = y * cosines[i] + x * sines[i];
        }
      }
    }
  }
}

// One head of one sequence: query_key_value and context point at the head's first column in the
// sequence's first row. Keys and values are packed into panels, so that both products are
// gemm_panels: scores are chains over the head's dimensions, contexts chains over the tokens.
void Trunk::attend_head(const float* query_key_value, std::size_t tokens, std::size_t head,
                        std::size_t window, float* context) const {
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
  const std::size_t reach = window == 0 ? tokens : window;
  for (std::size_t first = 0; first < tokens; first += kQueryBlock) {
    const std::size_t rows = std::min(kQueryBlock, tokens - first);
    // The keys some query of the block sees, from a whole panel on.
    const std::size_t begin = first > reach ? (first - reach) / kPanelWidth * kPanelWidth : 0;
    const std::size_t end = std::min(tokens, first + rows + reach);
    const std::size_t count = end - begin;
    const std::size_t row_width = round_up(count, kPanelWidth);
    // Over whole panels: the columns beyond the last token are not looked at.
    kernels_.gemm_panels(query_key_value + first * stride, stride, rows, keys + begin * dim,
                         row_width, dim, nullptr, scores, row_width);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t query = first + r;
      float* row = scores + r * row_width;
      if (!position_bias_.empty()) {
        const std::size_t positions = config_.max_positions;
        const float* bias = position_bias_.data() + head * (2 * positions - 1);
        kernels_.axpy(1.0f, bias + (positions - 1 + begin - query), count, row);
      }
      const std::size_t low = query > begin + reach ? query - reach - begin : 0;
      const std::size_t high = std::min(count, query + reach + 1 - begin);
      std::fill(row, row + low, 0.0f);
      kernels_.softmax(row + low, high - low);
      std::fill(row + high, row + count, 0.0f);
    }
    if (count == tokens) {
      kernels_.gemm_panels(scores, row_width, rows, values, dim, tokens, nullptr,
                           context + first * hidden, hidden);
      continue;
    }
    for (std::size_t p = 0; p < num_panels(dim); ++p) {
      const std::size_t column = p * kPanelWidth;
      kernels_.gemm_panels(scores, row_width, rows, values + (p * tokens + begin) * kPanelWidth,
                           std::min(kPanelWidth, dim - column), count, nullptr,
                           context + first * hidden + column, hidden);
    }
  }
  attention_scratch_.give_back(std::move(scratch));
}

// Heads [first, end) of one sequence, in the kernel of their own that a level may have.
void Trunk::attend_heads(const float* query_key_value, std::size_t tokens, std::size_t first,
                         std::size_t end, float* context) const {
  const std::size_t hidden = config_.hidden_size;
  const std::size_t dim = hidden / config_.num_heads;
  auto scratch = attention_scratch_.take();
  grow(scratch->bf16, attention_scratch_size(tokens, dim));
  const HeadsInput in{
      query_key_value + first * dim, hidden, 2 * hidden, 3 * hidden, tokens, dim, hidden};
  kernels_.attend_bf16(in, end - first, scratch->bf16.data(), context + first * dim);
  attention_scratch_.give_back(std::move(scratch));
}

void Trunk::attend(std::size_t layer, const PackedSequences& sequences, bool parallel,
                   TrunkScratch& scratch) const {
  const AttentionSpan& span = config_.spans[layer];
  const std::size_t hidden = config_.hidden_size;
  const std::size_t heads = config_.num_heads;
  if (span.rotary_base != 0.0f) rotate(sequences, span, scratch.query_key_value.data());
  std::size_t work = 0;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const std::size_t tokens = sequences.starts[s + 1] - sequences.starts[s];
    work += 2 * tokens * tokens * hidden;
  }
  // Layers in fp32 and int8 attend in fp32: in int8 every level gives the same bits.
  const bool in_bf16 = kernels_.attend_bf16 != nullptr && span.window == 0 &&
                       position_bias_.empty() &&
                       layers_[layer].query_key_value.type() == WeightType::kBf16;
  parallel = parallel && work >= (in_bf16 ? kMinParallelBf16Work : kMinParallelWork);
  // In bf16 the heads of a sequence go together, or in as many parts as keep the threads busy.
  const std::size_t parts = !in_bf16   ? heads
                            : parallel ? std::min(heads, default_pool().num_threads())
                                       : 1;
  const auto one = [&](std::size_t i) {
    const std::size_t s = i / parts, part = i % parts;
    const std::size_t start = sequences.starts[s];
    const std::size_t tokens = sequences.starts[s + 1] - start;
    const float* const in = scratch.query_key_value.data() + start * 3 * hidden;
    float* const out = scratch.context.data() + start * hidden;
    if (in_bf16) {
      attend_heads(in, tokens, part * heads / parts, (part + 1) * heads / parts, out);
    } else {
      const std::size_t column = part * (hidden / heads);
      attend_head(in + column, tokens, part, span.window, out + column);
    }
  };
  const std::size_t count = sequences.size() * parts;
  if (parallel) {
    default_pool().parallel_for(count, one);
  } else {
    for (std::size_t i = 0; i < count; ++i) one(i);
  }
}

}  // namespace collegium::core
