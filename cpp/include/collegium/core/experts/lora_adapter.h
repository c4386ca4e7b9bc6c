#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

class Encoder;

// A LoRA (arXiv 2106.09685; rank-stabilised: arXiv 2312.03732) on the linear modules of one
// encoder's trunk, as PEFT writes it. Immutable; belongs to the encoder it was loaded for, and to
// any other with the same digest.
class COLLEGIUM_API LoraAdapter {
 public:
  static constexpr std::size_t kMaxRank = 1024;

  // Reads adapter_config.json and adapter_model.safetensors. What is asked for there and not run
  // here (DoRA, a trained bias, patterns of ranks, modules saved whole, weights initialised from
  // the base's own, ...) is not_supported by name. not_found says which file; corruption for
  // tensors that do not fit the rank, the encoder or each other, or are not finite.
  static Result<std::shared_ptr<const LoraAdapter>> load(const std::string& folder,
                                                         const Encoder& encoder);
  ~LoraAdapter();

  std::size_t rank() const noexcept;
  // The adapted modules, as the checkpoint of the encoder names them, in order.
  const std::vector<std::string>& modules() const noexcept;
  // The first of the trunk's layers it changes: below, all experts of an encoder are alike.
  std::size_t first_layer() const noexcept;
  const std::string& encoder_digest() const noexcept;
  // 32 hex digits over the encoder's digest and every weight.
  const std::string& digest() const noexcept;

 private:
  friend class Encoder;
  struct Impl;
  explicit LoraAdapter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
