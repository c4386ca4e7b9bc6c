#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "lm/linear.h"

namespace collegium::core {

class Decoder;

// The linear modules of a layer that a LoRA can adapt.
enum class LoraTarget : std::uint8_t {
  kQ,
  kK,
  kV,
  kAttentionOutput,
  kQDown,  // latent attention's
  kQUp,
  kKvDown,
  kKvUp,
  kGate,  // of a dense feed-forward part
  kUp,
  kDown,
};
inline constexpr std::size_t kLoraTargets = 11;

// y += up(down(x)), the scale in `up` already. Both borrow the two vectors.
struct DecoderLoraTerm {
  std::vector<float> a, b;  // (rank, inputs), (outputs, rank)
  QuantizedLinear down, up;
  bool empty() const noexcept { return down.empty(); }
};

// A LoRA (arXiv 2106.09685) on a decoder it was read for. Not copied: its linears borrow its
// numbers. Immutable; any number of threads may use it.
struct DecoderLora {
  DecoderLora() = default;
  DecoderLora(const DecoderLora&) = delete;
  DecoderLora& operator=(const DecoderLora&) = delete;

  std::size_t rank = 0;
  std::vector<std::string> modules;  // ascending: "layers.0.self_attn.q_proj"
  std::vector<std::array<DecoderLoraTerm, kLoraTargets>> layers;
};

// Of a folder as PEFT saves it, for `base`. not_found; corruption where a module's shape does not
// fit or a layer is not there; not_supported for a module that is not adapted here (embeddings,
// output, experts, norms) or a field of the configuration, by name.
Result<std::shared_ptr<const DecoderLora>> read_decoder_lora(const std::string& folder,
                                                             const Decoder& base);

}  // namespace collegium::core
