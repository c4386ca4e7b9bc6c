#include "experts/trunk_lora.h"

#include <algorithm>
#include <array>
#include <utility>

#include "experts/tensor_names.h"
#include "experts/trunk.h"
#include "io/in_quotes.h"

namespace collegium::core {
namespace {

struct Product {
  Linear TrunkLayer::*linear;
  std::vector<LoraTerm> LoraLayer::*terms;
};
constexpr std::array<Product, 5> kProducts = {
    {{&TrunkLayer::query_key_value, &LoraLayer::query_key_value},
     {&TrunkLayer::attention_output, &LoraLayer::attention_output},
     {&TrunkLayer::up, &LoraLayer::up},
     {&TrunkLayer::gate, &LoraLayer::gate},
     {&TrunkLayer::down, &LoraLayer::down}}};

}  // namespace

Result<TrunkLora> Trunk::bind_lora(const LoraModules& modules, const std::string& path) const {
  TrunkLora lora;
  lora.layers.resize(layers_.size());
  lora.first_layer = layers_.size();
  std::size_t bound = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    for (const Product& product : kProducts) {
      const Linear& linear = layers_[i].*product.linear;
      for (const LinearPart& part : linear.parts) {
        const auto at = modules.find(part.module);
        if (at == modules.end()) continue;
        const LoraMatrices& m = at->second;
        if (m.inputs != linear.inputs || m.outputs != part.module_outputs) {
          return Status::corruption(path + ": module " + in_quotes(part.module) +
                                    " is adapted from " + std::to_string(m.inputs) + " to " +
                                    std::to_string(m.outputs) + " numbers, but goes from " +
                                    std::to_string(linear.inputs) + " to " +
                                    std::to_string(part.module_outputs) + " in this encoder");
        }
        // A module that is in two products (ModernBERT's Wi) counts once.
        if (part.module_first == 0) ++bound;
        LoraTerm term{part.first, part.outputs, m.rank,
                      AlignedBuffer<float>(num_panels(m.rank) * m.inputs * kPanelWidth),
                      AlignedBuffer<float>(num_panels(part.outputs) * m.rank * kPanelWidth)};
        kernels_.pack_panels(m.a.data(), m.inputs, m.rank, m.inputs, term.a.data());
        const auto begin = m.b.begin() + static_cast<std::ptrdiff_t>(part.module_first * m.rank);
        std::vector<float> b(begin, begin + static_cast<std::ptrdiff_t>(part.outputs * m.rank));
        for (float& value : b) value *= m.scale * part.scale;
        kernels_.pack_panels(b.data(), m.rank, part.outputs, m.rank, term.b.data());
        (lora.layers[i].*product.terms).push_back(std::move(term));
        lora.first_layer = std::min(lora.first_layer, i);
      }
    }
  }
  if (bound == modules.size()) return lora;
  const auto& unused = tensor_names(config_.architecture, false).unused;
  for (const auto& [name, matrices] : modules) {
    const bool known = std::any_of(layers_.begin(), layers_.end(), [&](const TrunkLayer& layer) {
      return std::any_of(kProducts.begin(), kProducts.end(), [&](const Product& product) {
        const auto& parts = (layer.*product.linear).parts;
        return std::any_of(parts.begin(), parts.end(),
                           [&](const LinearPart& part) { return part.module == name; });
      });
    });
    // "pooler.dense" and other heads, which play no part here.
    const std::string as_tensor = name + ".";
    const bool headless = std::any_of(unused.begin(), unused.end(), [&](std::string_view head) {
      return !head.empty() && as_tensor.compare(0, head.size(), head) == 0;
    });
    if (!known && !headless) {
      return Status::corruption(path + ": module " + in_quotes(name) +
                                " is no linear module of this encoder");
    }
  }
  return lora;
}

bool Trunk::has_lora(const PackedSequences& sequences, std::size_t layer,
                     std::vector<LoraTerm> LoraLayer::*terms) {
  return std::any_of(sequences.loras.begin(), sequences.loras.end(), [&](const TrunkLora* lora) {
    return lora != nullptr && !(lora->layers[layer].*terms).empty();
  });
}

void Trunk::add_lora(const PackedSequences& sequences, std::size_t layer,
                     std::vector<LoraTerm> LoraLayer::*terms, const Linear& linear, const float* in,
                     float* out, TrunkScratch& scratch) const {
  // Neighbours under the same LoRA go together; a row's sums do not depend on it.
  for (std::size_t s = 0, end = 0; s < sequences.loras.size(); s = end) {
    const TrunkLora* lora = sequences.loras[s];
    for (end = s + 1; end < sequences.loras.size() && sequences.loras[end] == lora;) ++end;
    if (lora == nullptr) continue;
    const std::size_t first_row = sequences.starts[s];
    const std::size_t rows = sequences.starts[end] - first_row;
    for (const LoraTerm& term : lora->layers[layer].*terms) {
      grow(scratch.lora_down, rows * term.rank);
      grow(scratch.lora_up, rows * term.outputs);
      kernels_.gemm_panels(in + first_row * linear.inputs, linear.inputs, rows, term.a.data(),
                           term.rank, linear.inputs, nullptr, scratch.lora_down.data(), term.rank);
      kernels_.gemm_panels(scratch.lora_down.data(), term.rank, rows, term.b.data(), term.outputs,
                           term.rank, nullptr, scratch.lora_up.data(), term.outputs);
      for (std::size_t r = 0; r < rows; ++r) {
        kernels_.axpy(1.0f, scratch.lora_up.data() + r * term.outputs, term.outputs,
                      out + (first_row + r) * linear.outputs + term.first);
      }
    }
  }
}

}  // namespace collegium::core
