#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

class TokenTrace;

// Which experts of a mixture-of-experts layer each token goes to, and with what weight. The part of
// a decoder that one can see (token_trace.h), replace and constrain (RoutingOptions). Built-in
// routers: token_routers.h. There is no capacity limit: a token gets the experts its router names,
// whatever the other tokens got.

// What a router sees: one layer of one sequence. Borrowed for the length of the call.
struct RouterInput {
  std::size_t layer = 0;      // number of the decoder layer, from 0
  std::size_t position = 0;   // of the first token in its sequence
  std::size_t tokens = 0;     // n; at least 1
  std::size_t width = 0;      // d
  std::size_t experts = 0;    // that exist in this layer: ids are 0 to experts - 1
  std::size_t gate_rows = 0;  // columns of logits: experts, more if the gate scores null experts
  const float* hidden = nullptr;  // (tokens, width): what the experts will read
  // (tokens, gate_rows), finite, biases of the request added; -inf where an expert is switched off.
  // Null if the layer has no gate weights.
  const float* logits = nullptr;
  // (tokens, experts): L2 norm of each expert's gate projection of `hidden` before its activation
  // function. Null unless needs_activations().
  const float* activation_norms = nullptr;
  // (experts,): 0 where the request switched an expert off. Null: all are on.
  const std::uint8_t* allowed = nullptr;
  std::size_t top_k = 0;  // the request's, 0: the router's own

  bool is_allowed(std::size_t expert) const noexcept {
    return allowed == nullptr || allowed[expert] != 0;
  }
  const float* logits_of(std::size_t token) const noexcept { return logits + token * gate_rows; }
};

// The experts of each token: those of token t are ids[offsets[t]] to ids[offsets[t + 1] - 1], best
// first; a token may have none. A layer sums them by ascending id, so their order is only told.
struct Routing {
  std::vector<std::uint32_t> offsets;  // (tokens + 1,), from 0, ascending
  std::vector<std::int32_t> ids;       // (pairs,)
  std::vector<float> weights;          // (pairs,), finite

  std::size_t tokens() const noexcept { return offsets.empty() ? 0 : offsets.size() - 1; }
  // An empty routing of no token, its memory kept.
  void clear() {
    offsets.assign(1, 0);
    ids.clear();
    weights.clear();
  }
  void add(std::int32_t id, float weight) {
    ids.push_back(id);
    weights.push_back(weight);
  }
  void end_token() { offsets.push_back(static_cast<std::uint32_t>(ids.size())); }
};

// invalid_argument if `routing` is no answer to `input`: offsets that are not (tokens + 1,) from 0
// and ascending to the number of ids and of weights, an id outside the layer's experts, one twice
// in a token, one that is switched off, a weight that is not finite. Names the router, the layer,
// the token's position and the value.
COLLEGIUM_API Status validate_routing(const Routing& routing, const RouterInput& input,
                                      const std::string& router);

// A rule. Const and thread-safe: one router serves any number of sequences at once, and what it
// must remember of one is in a State. To write one: derive, override name() and route().
class COLLEGIUM_API TokenRouter {
 public:
  // What a router remembers of one sequence in one layer. Made by the router, owned by the
  // sequence's cache (RouterStates), used by one thread at a time.
  class COLLEGIUM_API State {
   public:
    virtual ~State();
    // A copy, for a sequence that continues another; null if it cannot be copied.
    virtual std::unique_ptr<State> clone() const = 0;
  };

  virtual ~TokenRouter();

  // "top_k(2), softmax before": shown in errors and results.
  virtual std::string name() const = 0;

  // Fills `routing`, which is clear. Same input and state, same bits; unless needs_whole_prompt(),
  // a token's experts depend on its own row, position and the state alone, so that chunks and
  // batches do not matter. `state` is what make_state() gave, null if it gave none.
  // A failure ends the request; a nonsense result is caught by validate_routing().
  virtual Status route(const RouterInput& input, State* state, Routing& routing) const = 0;

  // Null (the default) if nothing is remembered.
  virtual std::unique_ptr<State> make_state(std::size_t layer) const;

  // true: looks at all tokens of a prompt at once, so the prompt must come in one piece and no
  // token may follow it (expert choice).
  virtual bool needs_whole_prompt() const;
  // true: wants RouterInput::activation_norms, for which every expert's gate projection is computed
  // (autonomy of experts).
  virtual bool needs_activations() const;
  // true: RouterInput::logits must be there.
  virtual bool needs_logits() const;
  // false: RoutingOptions::top_k with this router is refused.
  virtual bool takes_top_k() const;
  // invalid_argument if this router cannot route a layer of so many experts, or not with a
  // request's `top_k` (0: its own).
  virtual Status check(std::size_t layer, std::size_t experts, std::size_t top_k) const;
};

// The states of one sequence, by layer: a part of its KV cache. Movable, not copyable (fork()).
// Used by one thread at a time.
class COLLEGIUM_API RouterStates {
 public:
  RouterStates();
  RouterStates(RouterStates&&) noexcept;
  RouterStates& operator=(RouterStates&&) noexcept;
  ~RouterStates();

  // The state of `router` in `layer`, made at its first use; another router than last time starts
  // anew. Null if the router has none.
  TokenRouter::State* of(const std::shared_ptr<const TokenRouter>& router, std::size_t layer);
  // States for a copy of the sequence. not_supported if a state cannot be copied.
  Result<RouterStates> fork() const;
  // Forgets everything: the sequence starts again.
  void clear();
  bool empty() const noexcept;  // no router remembers anything

 private:
  struct Entry;
  std::vector<Entry> entries_;
};

// What a request changes of a model's routing. Part of a result, so that it is seen.
struct COLLEGIUM_API RoutingOptions {
  struct Mask {
    std::optional<std::size_t> layer;   // none: every MoE layer
    std::vector<std::int32_t> experts;  // by id
    bool keep = false;  // false: these are switched off; true: all others of the layer are
  };
  struct Bias {
    std::optional<std::size_t> layer;  // none: every MoE layer
    std::vector<float> values;         // (experts,), finite; added to the router's logits
  };
  std::vector<Mask> masks;   // an expert is on if no mask switches it off
  std::vector<Bias> biases;  // added up
  std::size_t top_k = 0;     // experts per token. 0: the router's own. A router picks fewer where
                             // fewer are on.
  std::shared_ptr<const TokenRouter> router;  // null: the model's own
  std::vector<std::size_t> router_layers;     // where `router` replaces it; empty: everywhere

  // true: nothing is changed.
  bool empty() const noexcept;
  // One line: "router top_k(1) in layers 0, 2; top_k 1; off in layer 3: 1, 5; bias in all layers".
  // Empty if empty().
  std::string describe() const;
};

// RoutingOptions applied to one model: what an MoE layer calls. Immutable; any number of threads.
class COLLEGIUM_API RoutingPlan {
 public:
  struct Layer {
    std::size_t layer = 0;  // number of the decoder layer; ascending
    std::size_t experts = 0;
    std::shared_ptr<const TokenRouter> router;  // the model's own
    bool has_gate = true;                       // false: RouterInput::logits will be null
  };
  // invalid_argument, naming option, layer and value: a layer that is no MoE layer, an expert
  // outside it, a layer with every expert off, a bias of another length or not finite, a top_k that
  // is more than the layer's experts or that the router does not take, a router that cannot route
  // the layer.
  static Result<RoutingPlan> make(const RoutingOptions& options, std::span<const Layer> layers);

  bool needs_whole_prompt() const noexcept;
  bool needs_activations(std::size_t layer) const noexcept;
  // not_supported if a router needs the whole prompt and this piece of a sequence is not it:
  // tokens before it (position != 0), tokens of the prompt still to come, or other sequences in
  // the same batch.
  Status check_piece(std::size_t position, bool more_to_come, std::size_t sequences) const;

  // The experts of one sequence's tokens in `input.layer`, which is one of make()'s. Set in `input`
  // what the layer knows; logits are those of the gate, and allowed and top_k are set here. Then
  // validates and, unless `trace` is null, records (logits as the router saw them). corruption if a
  // logit is not finite; what the router returns; a std::exception out of a router becomes
  // internal. `routing` keeps its memory between calls.
  Status route(RouterInput input, RouterStates& states, Routing& routing,
               TokenTrace* trace = nullptr) const;

 private:
  struct LayerPlan {
    Layer layer;
    std::vector<std::uint8_t> allowed;  // empty: all
    std::vector<float> bias;            // empty: none
  };
  const LayerPlan* find(std::size_t layer) const noexcept;
  std::vector<LayerPlan> layers_;
  std::size_t top_k_ = 0;
};

}  // namespace collegium::core
