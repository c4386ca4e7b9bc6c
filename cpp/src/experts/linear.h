#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "experts/weight_array.h"
#include "kernels/kernels.h"

namespace collegium::core {

// Which outputs of a module of the checkpoint a Linear holds: what a LoRA, which names modules,
// has to know.
struct LinearPart {
  std::string module;            // "encoder.layer.0.attention.self.query"
  std::size_t module_first = 0;  // its first output that is here
  std::size_t first = 0;         // and where that is in the Linear's outputs
  std::size_t outputs = 0;
  std::size_t module_outputs = 0;  // of the whole module
  float scale = 1.0f;              // what its weights were multiplied with
  bool alias = false;              // another name for outputs that a part before has
};

// 8-bit weights as kernels_int8.h has them.
struct Int8Weights {
  WeightArray<std::int8_t> values;
  WeightArray<float> scales;
  WeightArray<std::int32_t> sums;
};

// How weights are held and products computed.
enum class WeightType : std::uint8_t { kFp32, kInt8, kBf16 };

// y = W x + b, W packed for the kernels in one of three ways.
struct Linear {
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  WeightArray<float> panels;
  Int8Weights int8;
  WeightArray<std::uint16_t> bf16;  // as kernels_bf16.h has them
  WeightArray<float> bias;          // (outputs,), or empty for none
  std::vector<LinearPart> parts;
  WeightType type() const noexcept {
    if (!int8.values.empty()) return WeightType::kInt8;
    return bf16.empty() ? WeightType::kFp32 : WeightType::kBf16;
  }
};

// Makes room for `size` numbers; the contents are lost if there was not.
template <typename T>
void grow(AlignedBuffer<T>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = AlignedBuffer<T>(size);
}

struct ProductScratch {
  AlignedBuffer<std::uint8_t> values;
  AlignedBuffer<float> scales;
  AlignedBuffer<std::int32_t> zeros;
  AlignedBuffer<float> rounded;
};

// Rows (count, inputs) that go into one or several products of one kind.
struct ProductInput {
  const float* rows = nullptr;
  std::size_t count = 0;
  Int8Rows int8 = {};
  Bf16Rows bf16 = {};
};

// Quantises or rounds the rows into `scratch` if `linear` wants them so.
ProductInput product_input(const Kernels& kernels, const Linear& linear, const float* rows,
                           std::size_t count, ProductScratch& scratch);

// Outputs [16 first_panel, 16 end_panel) of out (count, linear.outputs) = linear(in).
void multiply(const Kernels& kernels, const Linear& linear, const ProductInput& in,
              std::size_t first_panel, std::size_t end_panel, float* out);

}  // namespace collegium::core
