#include "lm/linear.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

// Weights below which another thread costs more than it brings.
constexpr std::size_t kWeightsPerTask = std::size_t{1} << 16;

}  // namespace

QuantizedLinear::QuantizedLinear(const GgufTensor& weight, Isa isa, std::vector<float> bias)
    : type_(weight.type),
      bytes_(weight.bytes.data()),
      row_bytes_(weight.row_numbers() / ggml_block_numbers(weight.type) *
                 ggml_block_bytes(weight.type)),
      inputs_(weight.row_numbers()),
      outputs_(weight.num_rows()),
      bias_(std::move(bias)),
      kernels_(&kernels_for(isa)),
      panel_kernels_(panel_kernels_for(isa, weight.type)) {}

void QuantizedLinear::apply(const float* x, std::size_t rows, float* y) const {
  const Product product{this, x, rows, y};
  apply_all({&product, 1});
}

void QuantizedLinear::apply_all(const float* x, std::size_t rows, std::span<const Output> outputs) {
  std::vector<Product> products;
  for (const Output& output : outputs) products.push_back({output.layer, x, rows, output.y});
  apply_all(products);
}

void QuantizedLinear::apply_all(std::span<const Product> products) {
  struct Task {
    const Product* product;
    std::size_t begin, end;  // panels
  };
  std::vector<Task> tasks;
  for (const Product& product : products) {
    const QuantizedLinear& layer = *product.layer;
    if (product.rows == 0) continue;
    const std::size_t panels = num_panels(layer.outputs_);
    const std::size_t most =
        std::max<std::size_t>(1, layer.outputs_ * layer.inputs_ / kWeightsPerTask);
    const std::size_t count = std::min({panels, most, 4 * default_pool().num_threads()});
    for (std::size_t i = 0; i < count; ++i)
      tasks.push_back({&product, i * panels / count, (i + 1) * panels / count});
  }
  const auto run = [&](std::size_t i) {
    const Task& task = tasks[i];
    const Product& product = *task.product;
    product.layer->apply_panels(product.x, product.rows, task.begin, task.end, product.y);
  };
  if (tasks.size() == 1)
    run(0);
  else
    default_pool().parallel_for(tasks.size(), run);
}

void QuantizedLinear::apply_panels(const float* x, std::size_t rows, std::size_t begin,
                                   std::size_t end, float* y) const {
  const std::size_t first_output = begin * kPanelWidth;
  const std::size_t last_output = std::min(outputs_, end * kPanelWidth);
  const std::size_t full = panel_kernels_ != nullptr ? outputs_ / kPanelWidth : 0;
  if (rows == 1 && begin < full) {
    const std::size_t count = std::min(end, full) - begin;
    const std::size_t first = begin * kPanelWidth;
    panel_kernels_->multiply(bytes_ + first * row_bytes_, row_bytes_, count, inputs_, x, y + first);
    begin += count;
  }
  if (begin != end) {
    AlignedBuffer<float> scratch(inputs_ * kPanelWidth);
    for (; begin < end; ++begin) apply_panel(x, rows, begin, scratch.data(), y);
  }
  if (bias_.empty()) return;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = first_output; j < last_output; ++j) y[r * outputs_ + j] += bias_[j];
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
    constexpr std::size_t kPiece = 256;  // a multiple of every type's block
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
