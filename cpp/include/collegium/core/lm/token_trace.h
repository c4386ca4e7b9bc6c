#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/lm/token_router.h"
#include "collegium/core/status.h"

namespace collegium::core {

// What a token router saw and chose, layer by layer, for one sequence. Recording copies numbers
// that exist already, except the output norms (one dot product of an expert's output with itself),
// and changes no bit of a result. Memory: 4 bytes a logit and 16 a chosen expert, each layer and
// token. Thread-compatible: one sequence, one writer.
class COLLEGIUM_API TokenTrace {
 public:
  // What is recorded beside the chosen experts and their weights.
  struct Parts {
    bool logits = true;
    bool output_norms = true;
  };
  // The columns of one MoE layer. Row r is token r of the trace (token_ids()).
  struct COLLEGIUM_API Layer {
    std::size_t layer = 0;  // number of the decoder layer
    std::size_t experts = 0;
    std::size_t gate_rows = 0;           // columns of logits; 0: not recorded, or no gate
    std::vector<float> logits;           // (rows, gate_rows)
    std::vector<std::uint64_t> offsets;  // (rows + 1,), from 0
    std::vector<std::int32_t> ids;       // (pairs,), best first in each row
    std::vector<float> weights;          // (pairs,)
    // (pairs,): L2 norm of the expert's output before its weight; empty if not recorded.
    std::vector<float> output_norms;

    std::size_t rows() const noexcept { return offsets.empty() ? 0 : offsets.size() - 1; }
  };

  TokenTrace() = default;
  explicit TokenTrace(Parts parts) : parts_(parts) {}

  const Parts& parts() const noexcept { return parts_; }
  const std::vector<Layer>& layers() const noexcept { return layers_; }  // ascending by number
  const Layer* layer(std::size_t number) const noexcept;                 // null if not there
  // Of the tokens that went through the model, in order, from position first_position() on.
  const std::vector<std::int32_t>& token_ids() const noexcept { return token_ids_; }
  std::size_t first_position() const noexcept { return first_position_; }
  // RoutingOptions::describe() of the request, and the model's digest.
  const std::string& routing() const noexcept { return routing_; }
  const std::string& model() const noexcept { return model_; }

  // The decoder's side. Once, before the first token:
  void describe(std::string model, std::string routing);
  // Before every piece of the sequence goes through the layers:
  void begin_tokens(std::size_t position, std::span<const std::int32_t> ids);
  // RoutingPlan::route() calls this:
  void record(const RouterInput& input, const Routing& routing);
  // The layer, after its experts ran: (pairs,) norms in the order of the routing recorded last.
  // Nothing happens unless parts().output_norms.
  void record_output_norms(std::size_t layer, std::span<const float> norms);

  // A trace file (docs/formats.md, kind "moetrace"). Errors of write_file_envelope();
  // failed_precondition if a layer has other rows than token_ids() (a forward pass that failed) or
  // lacks norms.
  Status save(const std::string& path) const;
  // Errors of read_file_envelope(); corruption if the columns do not fit each other.
  static Result<TokenTrace> load(const std::string& path);

 private:
  Layer& layer_for(const RouterInput& input);
  Status check() const;

  Parts parts_;
  std::vector<Layer> layers_;
  std::vector<std::int32_t> token_ids_;
  std::size_t first_position_ = 0;
  std::string routing_;
  std::string model_;
};

}  // namespace collegium::core
