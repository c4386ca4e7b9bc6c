#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/gguf.h"
#include "collegium/core/lm/language_model.h"
#include "kernels/kernels.h"
#include "lm/packed_kernels.h"
#include "lm/panel_kernels.h"

namespace collegium::core {

// y = x W^T + b of weights that stay as they are in the mapped file, quantised or not. One row of x
// multiplies the blocks as they are read; several rows widen one panel of 16 outputs at a time into
// scratch that stays in cache. Both give the same bits, whatever the number of rows and of threads.
// Borrows the file's bytes. Immutable but for pack(); any number of threads may use it.
//
// Once packed, it has weights of its own, laid out for the kernels: quantised ones as they were,
// and others made so (quantize.h) if that is asked for, multiply rows rounded to bytes
// (packed_kernels.h); else others are rounded to bf16 and multiply rows rounded to bf16
// (kernels_bf16.h). Of these too a row is the same bits in any company.
class QuantizedLinear {
 public:
  QuantizedLinear() = default;  // empty: not to be applied
  // `weight` is (outputs, inputs), of a type that can be dequantised; bias (outputs,) or empty.
  QuantizedLinear(const GgufTensor& weight, Isa isa, std::vector<float> bias = {});

  bool empty() const noexcept { return outputs_ == 0; }
  std::size_t inputs() const noexcept { return inputs_; }
  std::size_t outputs() const noexcept { return outputs_; }
  bool has_bias() const noexcept { return !bias_.empty(); }

  // Lays the weights out for compute="fast". In default_pool(). Those of F32, F16 and BF16 are made
  // bytes or half bytes for kInt8 and kInt4 if they are blocks of 32 of numbers that have scales,
  // see quantize.h; else they are bf16. Throws std::bad_alloc.
  void pack(LmWeights weights = LmWeights::kStored);
  // Packed weights; none: they are the file's. All levels have the same.
  std::span<const std::byte> packed() const noexcept { return packed_; }
  // The weights that products read, packed or the file's.
  std::span<const std::byte> weight_bytes() const noexcept {
    return packed_.empty() ? std::span(bytes_, outputs_ * row_bytes_) : packed_;
  }
  GgmlType type() const noexcept { return type_; }  // in the file
  // What the packed weights are of: the file's type, or what its numbers were made.
  GgmlType packed_type() const noexcept { return packed_type_; }
  // Whether pack() may have that type.
  bool may_pack_as(GgmlType type) const noexcept;
  // What pack() would make, from elsewhere: `bytes` of packed_size(type), 64-byte aligned, of
  // `owner`. Pre: may_pack_as(type).
  void use_packed(GgmlType type, std::span<const std::byte> bytes,
                  std::shared_ptr<const void> owner);
  std::size_t packed_size(GgmlType type) const noexcept;

  // y[r, j] = sum_k x[r, k] * W[j, k], then + b[j]. x (rows, inputs) and y (rows, outputs), both
  // dense. Splits the outputs over default_pool(). Throws std::bad_alloc.
  void apply(const float* x, std::size_t rows, float* y) const;

  struct Product {
    const QuantizedLinear* layer;
    const float* x;  // (rows, layer->inputs())
    std::size_t rows;
    float* y;  // (rows, layer->outputs())
  };
  // Several at once: threads meet once instead of once a product.
  static void apply_all(std::span<const Product> products);

  struct Output {
    const QuantizedLinear* layer;
    float* y;  // (rows, layer->outputs())
  };
  // Of the same x.
  static void apply_all(const float* x, std::size_t rows, std::span<const Output> outputs);

 private:
  // Of packed weights: x rounded for them, once for all products that read it.
  class RoundedRows;
  // The panels [begin, end) of y. `rounded`: x, if the weights are packed.
  void apply_panels(const float* x, const RoundedRows* rounded, std::size_t rows, std::size_t begin,
                    std::size_t end, float* y) const;
  // The same without the bias, from packed weights and from those of the file.
  void apply_mapped(const float* x, std::size_t rows, std::size_t begin, std::size_t end,
                    float* y) const;
  void apply_packed(const RoundedRows& rounded, std::size_t rows, std::size_t begin,
                    std::size_t end, float* y) const;
  // Widens the panel into scratch (inputs, 16) and multiplies all rows by it.
  void apply_panel(const float* x, std::size_t rows, std::size_t panel, float* scratch,
                   float* y) const noexcept;

  GgmlType type_ = GgmlType::kF32;
  const std::byte* bytes_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::size_t inputs_ = 0;
  std::size_t outputs_ = 0;
  std::vector<float> bias_;
  const Kernels* kernels_ = nullptr;
  const PanelKernels* panel_kernels_ = nullptr;
  const PackedKernels* packed_kernels_ = nullptr;
  std::size_t panel_bytes(GgmlType type) const noexcept;  // of a packed panel
  // pack() as one type; false, and nothing is packed, if its blocks cannot have all the numbers.
  bool pack_as(GgmlType type);

  GgmlType packed_type_ = GgmlType::kF32;
  std::span<const std::byte> packed_;  // panels; none: as in the file
  std::shared_ptr<const void> packed_owner_;
};

}  // namespace collegium::core
