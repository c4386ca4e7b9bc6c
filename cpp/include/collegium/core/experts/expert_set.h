#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/experts/lora_adapter.h"
#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"

namespace collegium::core {

// Embedding experts by name: LoRAs and head adapters on one shared encoder, and whole encoders of
// their own. The name "" is the plain shared encoder, and always there. All methods may be called
// from any number of threads at once: a call that encodes works to its end on the experts it began
// with, whatever is set or removed meanwhile.
class COLLEGIUM_API ExpertSet {
 public:
  explicit ExpertSet(std::shared_ptr<const Encoder> encoder);
  ~ExpertSet();

  const Encoder& encoder() const noexcept;
  // Without "", in bytewise order.
  std::vector<std::string> names() const;

  // Each makes an expert of that name, or replaces it. invalid_argument for the name "", for a head
  // adapter or an encoder of another dim, for a LoRA of another encoder.
  Status set_lora(const std::string& name, std::shared_ptr<const LoraAdapter> lora);
  Status set_head(const std::string& name, HeadAdapter head);
  Status set_encoder(const std::string& name, std::shared_ptr<const Encoder> encoder);
  // not_found
  Status remove(const std::string& name);

  // Text i under the expert experts[i]: bit for bit the vector it has alone under it. vectors are
  // (texts, dim). invalid_argument unless there is a name for each text; not_found names an
  // unknown expert; and what Encoder::encode() gives.
  Result<Encoder::Embeddings> encode(std::span<const std::string_view> texts,
                                     std::span<const std::string> experts, TextKind kind,
                                     const ProgressCallback& progress = {}) const;
  // Every text under every expert named: vectors are (texts, experts, dim), num_tokens and
  // truncated (texts,) those of the shared encoder. Experts on the shared encoder share all work
  // up to the first layer in which they differ. A name may come twice.
  Result<Encoder::Embeddings> encode_under(std::span<const std::string_view> texts,
                                           std::span<const std::string> experts, TextKind kind,
                                           const ProgressCallback& progress = {}) const;

 private:
  struct Impl;
  Result<Encoder::Embeddings> encode_by(std::span<const std::string_view> texts,
                                        std::span<const std::string> experts, TextKind kind,
                                        const ProgressCallback& progress) const;
  Result<Encoder::Embeddings> encode_all_under(std::span<const std::string_view> texts,
                                               std::span<const std::string> experts, TextKind kind,
                                               const ProgressCallback& progress) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
