#include "lm/linear.h"

#include <algorithm>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

// Weights below which another thread costs more than it brings.
constexpr std::size_t kWeightsPerTask = std::size_t{1} << 16;

}  // namespace

QuantizedLinear::QuantizedLinear(const GgufTensor& weight, Isa isa)
    : type_(weight.type),
      bytes_(weight.bytes.data()),
      row_bytes_(weight.row_numbers() / ggml_block_numbers(weight.type) *
                 ggml_block_bytes(weight.type)),
      inputs_(weight.row_numbers()),
      outputs_(weight.num_rows()),
      kernels_(&kernels_for(isa)),
      panel_kernels_(panel_kernels_for(isa, weight.type)) {}

void QuantizedLinear::apply(const float* x, std::size_t rows, float* y) const {
  const Output output{this, y};
  apply_all(x, rows, {&output, 1});
}

void QuantizedLinear::apply_all(const float* x, std::size_t rows, std::span<const Output> outputs) {
  struct Task {
    const Output* output;
    std::size_t begin, end;  // panels
  };
  std::vector<Task> tasks;
  for (const Output& output : outputs) {
    const QuantizedLinear& layer = *output.layer;
    const std::size_t panels = num_panels(layer.outputs_);
    const std::size_t most =
        std::max<std::size_t>(1, layer.outputs_ * layer.inputs_ / kWeightsPerTask);
    const std::size_t count = std::min({panels, most, 4 * default_pool().num_threads()});
    for (std::size_t i = 0; i < count; ++i)
      tasks.push_back({&output, i * panels / count, (i + 1) * panels / count});
  }
  const auto run = [&](std::size_t i) {
    const Task& task = tasks[i];
    task.output->layer->apply_panels(x, rows, task.begin, task.end, task.output->y);
  };
  if (tasks.size() == 1)
    run(0);
  else
    default_pool().parallel_for(tasks.size(), run);
}

void QuantizedLinear::apply_panels(const float* x, std::size_t rows, std::size_t begin,
                                   std::size_t end, float* y) const {
  const std::size_t full = panel_kernels_ != nullptr ? outputs_ / kPanelWidth : 0;
  if (rows == 1 && begin < full) {
    const std::size_t count = std::min(end, full) - begin;
    const std::size_t first = begin * kPanelWidth;
    panel_kernels_->multiply(bytes_ + first * row_bytes_, row_bytes_, count, inputs_, x, y + first);
    begin += count;
  }
  if (begin == end) return;
  AlignedBuffer<float> scratch(inputs_ * kPanelWidth);
  for (; begin < end; ++begin) apply_panel(x, rows, begin, scratch.data(), y);
}

void QuantizedLinear::apply_panel(const float* x, std::size_t rows, std::size_t panel,
                                  float* scratch, float* y) const noexcept {
  const std::size_t first = panel * kPanelWidth;
  const std::size_t width = std::min(kPanelWidth, outputs_ - first);
  const std::byte* weights = bytes_ + first * row_bytes_;
  if (panel_kernels_ != nullptr && width == kPanelWidth) {
    panel_kernels_->dequantize(weights, row_bytes_, inputs_, scratch);
  } else {
    // Types without a kernel, and the last outputs of a width that is no multiple of 16.
    constexpr std::size_t kPiece = 32;  // a block of every quantised type
    for (std::size_t j = 0; j < kPanelWidth; ++j) {
      const std::byte* row = weights + j * row_bytes_;
      const std::size_t block = ggml_block_numbers(type_);
      float piece[kPiece] = {};
      for (std::size_t begin = 0; begin < inputs_; begin += kPiece) {
        const std::size_t count = std::min(kPiece, inputs_ - begin);
        if (j < width)
          dequantize(type_, row + begin / block * ggml_block_bytes(type_), count, piece);
        for (std::size_t i = 0; i < count; ++i) scratch[(begin + i) * kPanelWidth + j] = piece[i];
      }
    }
  }
  kernels_->gemm_panels(x, inputs_, rows, scratch, width, inputs_, nullptr, y + first, outputs_);
}

}  // namespace collegium::core
