#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/gguf.h"
#include "collegium/core/lm/token_router.h"
#include "collegium/core/lm/token_trace.h"
#include "collegium/core/status.h"
#include "lm/decoder_config.h"
#include "lm/decoder_weights.h"
#include "lm/expert_pages.h"
#include "lm/kv_cache.h"
#include "lm/packed_model.h"

namespace collegium::core {

struct DecoderLora;

// New tokens of one sequence.
struct Step {
  KvCache* cache = nullptr;
  std::span<const std::int32_t> ids;
  const RoutingPlan* routing = nullptr;  // of the request, from Decoder::plan(); null: the model's
  TokenTrace* trace = nullptr;           // null: nothing is recorded
  const DecoderLora* lora = nullptr;     // of this decoder; null: the base alone
  bool more_to_come = false;             // ids are not the last piece of a prompt
  // Of how many of ids, the last ones, the output is of use; more than there are: of all. A trace
  // or a routing of its own takes all.
  std::size_t wanted = SIZE_MAX;
  std::size_t num_wanted() const noexcept {
    return routing != nullptr || trace != nullptr ? ids.size() : std::min(wanted, ids.size());
  }
};

// A decoder-only transformer as DecoderConfig describes it, dense or a mixture of experts, in fp32
// on the weights as they are widened from the file, or as QuantizedLinear::pack() says. A row of
// any result is the same bits alone, in any batch, in one piece or in several, and for any number
// of threads. Immutable but for pack(); any number of threads may use it, each with its own caches.
class Decoder {
 public:
  // corruption where config and weights do not fit each other; `where` (the file) begins messages.
  static Result<Decoder> create(DecoderConfig config, DecoderWeights weights, Isa isa,
                                const std::string& where);

  // Lays the weights out for compute="fast", before any thread uses this. Throws std::bad_alloc.
  void pack(LmWeights weights = LmWeights::kStored) { weights_.pack(weights); }
  // The same from a file that write_packed_model() made of this model: its errors.
  Status use_packed(const std::string& path, const std::string& digest) {
    return use_packed_model(path, digest, weights_);
  }

  // Mapped experts are read from the disk as products touch them, for comparison.
  void leave_expert_pages() { expert_pages_ = nullptr; }

  const DecoderConfig& config() const noexcept { return config_; }
  const DecoderWeights& weights() const noexcept { return weights_; }

  Isa isa() const noexcept { return kernels_->isa; }

  // Its layers that are mixtures, each with the architecture's own router.
  std::span<const RoutingPlan::Layer> routing_layers() const noexcept { return routing_layers_; }
  // A request's routing, checked: the errors of RoutingPlan::make.
  Result<RoutingPlan> plan(const RoutingOptions& options) const;

  // Appends each step's ids to what its cache holds. hidden (all ids, width), in the order of
  // `steps`: the last layer's output, normalised, of those that are wanted, and anything in the
  // others' rows. Pre: ids within the vocabulary; each cache is of this config, comes once, and has
  // room for its ids; plans are this decoder's. Fails only as RoutingPlan::route() and
  // check_piece() do. After that, or std::bad_alloc, each cache is as before; but one whose router
  // keeps a state that cannot be copied is empty.
  Status forward(std::span<const Step> steps, float* hidden) const;
  // The same for one sequence with the model's own routing.
  Status forward(std::span<const std::int32_t> ids, KvCache& cache, float* hidden) const;
  // out (rows, vocab) from hidden (rows, width). Throws std::bad_alloc.
  void logits(const float* hidden, std::size_t rows, float* out) const;

  // Multiplications and additions of forward() for `tokens` from position `begin` on of which the
  // last `wanted` are, with top_k experts a token in the layers that have experts, and of logits()
  // for `rows`. Pre: wanted <= tokens.
  double forward_flops(std::size_t begin, std::size_t tokens, std::size_t wanted) const noexcept;
  double logits_flops(std::size_t rows) const noexcept;

 private:
  friend struct DecoderRun;
  Decoder() = default;

  DecoderConfig config_;
  DecoderWeights weights_;
  std::vector<RoutingPlan::Layer> routing_layers_;
  RoutingPlan own_plan_;
  std::shared_ptr<ExpertPages> expert_pages_;  // none: mapped experts are read as they are touched
  const Kernels* kernels_ = nullptr;
};

// A model of a Hugging Face folder: config.json and model.safetensors or its shards, in F32, F16 or
// BF16, which stay mapped. not_found, corruption; not_supported names the field or tensor that is
// not run here.
Result<Decoder> read_decoder_hf(const std::string& folder, Isa isa);

// A model of a GGUF file. corruption: missing or misshapen tensors, impossible dimensions.
// not_supported: another architecture, or metadata or a tensor that is not run here, by name.
// Borrows the file's bytes: the caller keeps `file`.
Result<Decoder> read_decoder_gguf(const GgufFile& file, Isa isa);

}  // namespace collegium::core
