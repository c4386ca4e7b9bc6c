#pragma once

#include <cstddef>
#include <span>

#include "collegium/core/gguf.h"
#include "kernels/kernels.h"
#include "lm/panel_kernels.h"

namespace collegium::core {

// y = x W^T of weights that stay quantised in the mapped file. One row of x multiplies the blocks
// as they are read; several rows widen one panel of 16 outputs at a time into scratch that stays
// in cache. Both give the same bits, whatever the number of rows and of threads.
// Borrows the file's bytes. Immutable; any number of threads may use it.
class QuantizedLinear {
 public:
  QuantizedLinear() = default;
  // `weight` is (outputs, inputs), of a type that can be dequantised.
  QuantizedLinear(const GgufTensor& weight, Isa isa);

  std::size_t inputs() const noexcept { return inputs_; }
  std::size_t outputs() const noexcept { return outputs_; }

  // y[r, j] = sum_k x[r, k] * W[j, k]. x (rows, inputs) and y (rows, outputs), both dense.
  // Splits the outputs over default_pool(). Throws std::bad_alloc.
  void apply(const float* x, std::size_t rows, float* y) const;

  // Several layers of the same x at once: threads meet once instead of once a layer.
  struct Output {
    const QuantizedLinear* layer;
    float* y;  // (rows, layer->outputs())
  };
  static void apply_all(const float* x, std::size_t rows, std::span<const Output> outputs);

 private:
  // The panels [begin, end) of y.
  void apply_panels(const float* x, std::size_t rows, std::size_t begin, std::size_t end,
                    float* y) const;
  // Widens the panel into scratch (inputs, 16) and multiplies all rows by it.
  void apply_panel(const float* x, std::size_t rows, std::size_t panel, float* scratch,
                   float* y) const noexcept;

  GgmlType type_ = GgmlType::kF32;
  const std::byte* bytes_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::size_t inputs_ = 0;
  std::size_t outputs_ = 0;
  const Kernels* kernels_ = nullptr;
  const PanelKernels* panel_kernels_ = nullptr;
};

}  // namespace collegium::core
