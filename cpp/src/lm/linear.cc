#include "lm/linear.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "kernels/kernels_bf16.h"
#include "lm/quantize.h"

namespace collegium::core {
namespace {

// Weights below which another thread costs more than it brings.
constexpr std::size_t kWeightsPerTask = std::size_t{1} << 16;
// Numbers that are rounded as quickly by one thread.
constexpr std::size_t kNumbersPerRounding = std::size_t{1} << 14;

}  // namespace

// Rows of x as packed weights of one kind take them: bytes with scales, or bf16.
class QuantizedLinear::RoundedRows {
 public:
  RoundedRows(const QuantizedLinear& layer, const float* x, std::size_t rows)
      : x_(x),
        rows_(rows),
        inputs_(layer.inputs_),
        bf16_(!can_pack(layer.packed_type_)),
        shape_(bf16_ ? PackedShape{} : packed_shape(layer.packed_type_)) {
    const std::size_t room = packed_room(rows);
    if (bf16_) {
      floats_ = AlignedBuffer<float>(room * bf16_depth(inputs_));
      return;
    }
    const std::size_t blocks = room * inputs_ / kPackedBlock;
    values_ = AlignedBuffer<std::int8_t>(room * inputs_);
    floats_ = AlignedBuffer<float>(2 * blocks);
    starts_ = AlignedBuffer<std::int32_t>(room * inputs_ / shape_.inputs);
  }

  bool serves(const QuantizedLinear& layer, const float* x, std::size_t rows) const {
    if (x != x_ || rows != rows_ || layer.inputs_ != inputs_) return false;
    const bool bf16 = !can_pack(layer.packed_type_);
    return bf16 == bf16_ && (bf16 || packed_shape(layer.packed_type_) == shape_);
  }
  // Of rows [begin, end), of bf16 all of them.
  void round(const QuantizedLinear& layer, std::size_t begin, std::size_t end) {
    const float* x = x_ + begin * inputs_;
    if (bf16_) {
      layer.kernels_->round_rows_bf16(x, inputs_, end - begin, inputs_, floats_.data());
      return;
    }
    const std::size_t block = begin * inputs_ / kPackedBlock;
    layer.packed_kernels_->round_rows(x, end - begin, inputs_, shape_,
                                      rows_ >= layer.packed_kernels_->tiled_from,
                                      values_.data() + begin * inputs_, floats_.data() + block,
                                      floats_.data() + floats_.size() / 2 + block,
                                      starts_.data() + begin * inputs_ / shape_.inputs);
  }
  Bf16Rows bf16() const { return {floats_.data()}; }
  PackedRows bytes() const {
    return {values_.data(), floats_.data(), floats_.data() + floats_.size() / 2, starts_.data()};
  }

 private:
  const float* x_;
  std::size_t rows_, inputs_;
  bool bf16_;
  PackedShape shape_;
  AlignedBuffer<std::int8_t> values_;
  AlignedBuffer<float> floats_;  // bf16; or scales, then sums
  AlignedBuffer<std::int32_t> starts_;
};

QuantizedLinear::QuantizedLinear(const GgufTensor& weight, Isa isa, std::vector<float> bias)
    : type_(weight.type),
      bytes_(weight.bytes.data()),
      row_bytes_(weight.row_numbers() / ggml_block_numbers(weight.type) *
                 ggml_block_bytes(weight.type)),
      inputs_(weight.row_numbers()),
      outputs_(weight.num_rows()),
      bias_(std::move(bias)),
      kernels_(&kernels_for(isa)),
      panel_kernels_(panel_kernels_for(isa, weight.type)),
      packed_kernels_(&packed_kernels_for(isa)) {}

bool QuantizedLinear::may_pack_as(GgmlType type) const noexcept {
  if (type == type_) return true;
  return !can_pack(type_) && inputs_ % kPackedBlock == 0 &&
         (type == GgmlType::kQ8_0 || type == GgmlType::kQ4_1);
}

void QuantizedLinear::pack(LmWeights weights) {
  if (empty() || !packed_.empty()) return;
  if (weights != LmWeights::kStored) {
    const GgmlType wanted = weights == LmWeights::kInt8 ? GgmlType::kQ8_0 : GgmlType::kQ4_1;
    if (may_pack_as(wanted) && pack_as(wanted)) return;
  }
  pack_as(type_);
}

bool QuantizedLinear::pack_as(GgmlType type) {
  const std::size_t panels = num_panels(outputs_);
  const std::size_t panel_bytes = this->panel_bytes(type);
  AlignedBuffer<std::byte> packed(panels * panel_bytes);
  std::atomic<bool> have_scales = true;
  default_pool().parallel_for(panels, [&](std::size_t p) {
    const std::size_t first = p * kPanelWidth;
    const std::size_t width = std::min(kPanelWidth, outputs_ - first);
    const std::byte* rows = bytes_ + first * row_bytes_;
    std::byte* panel = packed.data() + p * panel_bytes;
    if (can_pack(type_)) return pack_panel(type_, rows, row_bytes_, width, inputs_, panel);
    std::vector<float> wide(width * inputs_);
    dequantize(type_, rows, wide.size(), wide.data());
    if (type == type_)
      return pack_panels_bf16(wide.data(), inputs_, width, inputs_,
                              reinterpret_cast<std::uint16_t*>(panel));
    if (!quantizable(wide)) {
      have_scales = false;
      return;
    }
    const std::size_t row_bytes = inputs_ / kPackedBlock * ggml_block_bytes(type);
    std::vector<std::byte> blocks(width * row_bytes);
    const auto quantize = type == GgmlType::kQ8_0 ? quantize_q8_0 : quantize_q4_1;
    quantize(wide.data(), wide.size(), blocks.data());
    pack_panel(type, blocks.data(), row_bytes, width, inputs_, panel);
  });
  if (!have_scales) return false;
  const auto owner = std::make_shared<const AlignedBuffer<std::byte>>(std::move(packed));
  use_packed(type, {owner->data(), owner->size()}, owner);
  return true;
}

void QuantizedLinear::use_packed(GgmlType type, std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> owner) {
  packed_type_ = type;
  packed_ = bytes;
  packed_owner_ = std::move(owner);
}

std::size_t QuantizedLinear::panel_bytes(GgmlType type) const noexcept {
  return can_pack(type) ? packed_panel_bytes(type, inputs_)
                        : bf16_panel_size(1, inputs_) * sizeof(std::uint16_t);
}

std::size_t QuantizedLinear::packed_size(GgmlType type) const noexcept {
  return num_panels(outputs_) * panel_bytes(type);
}

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
    const RoundedRows* rounded;
    std::size_t begin, end;  // panels
  };
  struct Rounding {
    RoundedRows* rows;
    const QuantizedLinear* layer;
    std::size_t begin, end;
  };
  std::vector<Task> tasks;
  std::vector<std::unique_ptr<RoundedRows>> rounded;
  std::vector<Rounding> roundings;
  std::size_t numbers = 0;
  const auto rounded_for = [&](const Product& product) -> const RoundedRows* {
    const QuantizedLinear& layer = *product.layer;
    if (layer.packed_.empty()) return nullptr;
    for (const auto& one : rounded)
      if (one->serves(layer, product.x, product.rows)) return one.get();
    rounded.push_back(std::make_unique<RoundedRows>(layer, product.x, product.rows));
    // Rows of bf16 lie as the level likes, all of them at once.
    const std::size_t step = can_pack(layer.packed_type_) ? 16 : product.rows;
    for (std::size_t r = 0; r < product.rows; r += step)
      roundings.push_back({rounded.back().get(), &layer, r, std::min(product.rows, r + step)});
    numbers += product.rows * layer.inputs_;
    return rounded.back().get();
  };
  for (const Product& product : products) {
    const QuantizedLinear& layer = *product.layer;
    if (product.rows == 0) continue;
    const RoundedRows* rows = rounded_for(product);
    const std::size_t panels = num_panels(layer.outputs_);
    const std::size_t most =
        std::max<std::size_t>(1, layer.outputs_ * layer.inputs_ / kWeightsPerTask);
    const std::size_t count = std::min({panels, most, 4 * default_pool().num_threads()});
    for (std::size_t i = 0; i < count; ++i)
      tasks.push_back({&product, rows, i * panels / count, (i + 1) * panels / count});
  }
  const auto round = [&](std::size_t i) {
    const Rounding& one = roundings[i];
    one.rows->round(*one.layer, one.begin, one.end);
  };
  if (numbers <= kNumbersPerRounding)
    for (std::size_t i = 0; i < roundings.size(); ++i) round(i);
  else
    default_pool().parallel_for(roundings.size(), round);
  const auto run = [&](std::size_t i) {
    const Task& task = tasks[i];
    const Product& product = *task.product;
    product.layer->apply_panels(product.x, task.rounded, product.rows, task.begin, task.end,
                                product.y);
  };
  if (tasks.size() == 1)
    run(0);
  else
    default_pool().parallel_for(tasks.size(), run);
}

void QuantizedLinear::apply_packed(const RoundedRows& rounded, std::size_t rows, std::size_t begin,
                                   std::size_t end, float* y) const {
  const std::size_t first = begin * kPanelWidth;
  const std::size_t n = std::min(outputs_, end * kPanelWidth) - first;
  const std::byte* panels = packed_.data() + begin * panel_bytes(packed_type_);
  if (!can_pack(packed_type_)) {
    kernels_->gemm_panels_bf16(rounded.bf16(), rows, reinterpret_cast<const std::uint16_t*>(panels),
                               n, inputs_, nullptr, y + first, outputs_);
    return;
  }
  AlignedBuffer<std::byte> scratch(packed_scratch_bytes(rows));
  packed_kernels_->multiply(packed_type_, panels, n, inputs_, rounded.bytes(), rows, scratch.data(),
                            y + first, outputs_);
}

void QuantizedLinear::apply_panels(const float* x, const RoundedRows* rounded, std::size_t rows,
                                   std::size_t begin, std::size_t end, float* y) const {
  const std::size_t first_output = begin * kPanelWidth;
  const std::size_t last_output = std::min(outputs_, end * kPanelWidth);
  if (rounded != nullptr)
    apply_packed(*rounded, rows, begin, end, y);
  else
    apply_mapped(x, rows, begin, end, y);
  if (bias_.empty()) return;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t j = first_output; j < last_output; ++j) y[r * outputs_ + j] += bias_[j];
}

void QuantizedLinear::apply_mapped(const float* x, std::size_t rows, std::size_t begin,
                                   std::size_t end, float* y) const {
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
