#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"

namespace collegium::core {

// The two matrices of one module, as PEFT has them, and what their product is multiplied with.
struct LoraMatrices {
  std::size_t rank = 0;
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  std::vector<float> a;  // (rank, inputs)
  std::vector<float> b;  // (outputs, rank)
  float scale = 1.0f;
};
using LoraModules = std::map<std::string, LoraMatrices>;

// What a LoRA adds to some outputs of a product: y[first + j] += (B A x)[j].
struct LoraTerm {
  std::size_t first = 0;
  std::size_t outputs = 0;
  std::size_t rank = 0;
  AlignedBuffer<float> a;  // panels
  AlignedBuffer<float> b;  // panels, scaled
};

// The terms of a layer's products, by the names TrunkLayer has for them.
struct LoraLayer {
  std::vector<LoraTerm> query_key_value, attention_output, up, gate, down;
};

struct TrunkLora {
  std::vector<LoraLayer> layers;
  std::size_t first_layer = 0;  // below, nothing is added
};

}  // namespace collegium::core
