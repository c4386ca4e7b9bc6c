#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "collegium/core/lm/token_router.h"
#include "collegium/core/lm/token_trace.h"

namespace collegium::core {
namespace {

template <typename Number>
std::string listed(const std::vector<Number>& numbers) {
  std::string text;
  for (const Number number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

std::string where(const std::optional<std::size_t>& layer) {
  return layer ? "layer " + std::to_string(*layer) : "all layers";
}

bool is_of(const std::optional<std::size_t>& wanted, std::size_t layer) {
  return !wanted || *wanted == layer;
}

Status check_layer(const std::string& what, std::size_t layer,
                   std::span<const RoutingPlan::Layer> layers) {
  for (const RoutingPlan::Layer& one : layers)
    if (one.layer == layer) return {};
  std::vector<std::size_t> numbers;
  for (const RoutingPlan::Layer& one : layers) numbers.push_back(one.layer);
  return Status::invalid_argument(
      what + ": layer " + std::to_string(layer) +
      " has no experts; layers that have: " + (numbers.empty() ? "none" : listed(numbers)));
}

// Switches off in `allowed` (experts,) what `mask` says.
Status apply_mask(const RoutingOptions::Mask& mask, const std::string& what,
                  const RoutingPlan::Layer& layer, std::vector<std::uint8_t>& allowed) {
  std::vector<std::uint8_t> named(layer.experts, 0);
  for (const std::int32_t id : mask.experts) {
    if (id < 0 || static_cast<std::size_t>(id) >= layer.experts)
      return Status::invalid_argument(what + ": expert id " + std::to_string(id) + " in layer " +
                                      std::to_string(layer.layer) + ", allowed are 0 to " +
                                      std::to_string(layer.experts - 1));
    named[static_cast<std::size_t>(id)] = 1;
  }
  if (allowed.empty()) allowed.assign(layer.experts, 1);
  for (std::size_t e = 0; e < layer.experts; ++e)
    if ((named[e] != 0) != mask.keep) allowed[e] = 0;
  return {};
}

Status apply_bias(const RoutingOptions::Bias& add, const std::string& what,
                  const RoutingPlan::Layer& layer, std::vector<float>& bias) {
  if (add.values.size() != layer.experts)
    return Status::invalid_argument(what + ": " + std::to_string(add.values.size()) +
                                    " values, but layer " + std::to_string(layer.layer) + " has " +
                                    std::to_string(layer.experts) + " experts");
  if (!layer.has_gate)
    return Status::invalid_argument(what + ": layer " + std::to_string(layer.layer) +
                                    " has no gate whose logits it could be added to");
  if (bias.empty()) bias.assign(layer.experts, 0.0f);
  for (std::size_t e = 0; e < layer.experts; ++e) {
    bias[e] += add.values[e];
    if (!std::isfinite(bias[e]))
      return Status::invalid_argument(what + ": value " + std::to_string(add.values[e]) +
                                      " of expert id " + std::to_string(e) + ", sum " +
                                      std::to_string(bias[e]) + " must be finite");
  }
  return {};
}

Status check_router(const TokenRouter& router, const RoutingPlan::Layer& layer, std::size_t top_k) {
  const std::string what =
      "token router " + router.name() + ", layer " + std::to_string(layer.layer);
  COLLEGIUM_RETURN_IF_ERROR(router.check(layer.layer, layer.experts, top_k).with_context(what));
  if (router.needs_logits() && !layer.has_gate)
    return Status::invalid_argument(what + ": needs logits, and the layer has no gate");
  if (top_k == 0) return {};
  if (!router.takes_top_k())
    return Status::invalid_argument("top_k: " + std::to_string(top_k) + ", but the " + what +
                                    ", takes none");
  if (top_k > layer.experts)
    return Status::invalid_argument("top_k: " + std::to_string(top_k) + ", but layer " +
                                    std::to_string(layer.layer) + " has " +
                                    std::to_string(layer.experts) + " experts");
  return {};
}

// corruption if one of (tokens, columns) is not finite.
Status check_finite(const float* values, std::size_t columns, const RouterInput& input,
                    const char* what) {
  for (std::size_t i = 0; i < input.tokens * columns; ++i)
    if (!std::isfinite(values[i]))
      return Status::corruption("layer " + std::to_string(input.layer) + ", position " +
                                std::to_string(input.position + i / columns) + ": " + what + " " +
                                std::to_string(values[i]) + " of expert id " +
                                std::to_string(i % columns) + " is not a finite number");
  return {};
}

Status call(const std::shared_ptr<const TokenRouter>& router, const RouterInput& input,
            RouterStates& states, Routing& routing) {
  const auto failed = [&](const char* why) {
    return "token router " + router->name() + ", layer " + std::to_string(input.layer) + ": " + why;
  };
  try {
    return router->route(input, states.of(router, input.layer), routing);
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted(failed("out of memory"));
  } catch (const std::exception& error) {
    return Status::internal(failed(error.what()));
  }
}

}  // namespace

bool RoutingOptions::empty() const noexcept {
  return masks.empty() && biases.empty() && top_k == 0 && router == nullptr;
}

std::string RoutingOptions::describe() const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (router)
    add("router " + router->name() +
        (router_layers.empty() ? "" : " in layers " + listed(router_layers)));
  if (top_k != 0) add("top_k " + std::to_string(top_k));
  for (const Mask& mask : masks)
    add((mask.keep ? "only in " : "off in ") + where(mask.layer) + ": " +
        (mask.experts.empty() ? "none" : listed(mask.experts)));
  for (const Bias& bias : biases) add("bias in " + where(bias.layer));
  return text;
}

Result<RoutingPlan> RoutingPlan::make(const RoutingOptions& options,
                                      std::span<const Layer> layers) {
  if (layers.empty() && !options.empty())
    return Status::invalid_argument("routing: the model has no layer with experts");
  if (!options.router && !options.router_layers.empty())
    return Status::invalid_argument("router_layers: layers " + listed(options.router_layers) +
                                    " are named, but there is no router");
  for (const std::size_t layer : options.router_layers)
    COLLEGIUM_RETURN_IF_ERROR(check_layer("router_layers", layer, layers));

  RoutingPlan plan;
  plan.top_k_ = options.top_k;
  for (const Layer& layer : layers) {
    LayerPlan& one = plan.layers_.emplace_back();
    one.layer = layer;
    const std::vector<std::size_t>& replaced = options.router_layers;
    if (options.router && (replaced.empty() || std::find(replaced.begin(), replaced.end(),
                                                         layer.layer) != replaced.end()))
      one.layer.router = options.router;
    if (!one.layer.router)
      return Status::invalid_argument("layer " + std::to_string(layer.layer) + " has no router");
    COLLEGIUM_RETURN_IF_ERROR(check_router(*one.layer.router, layer, options.top_k));
  }
  for (std::size_t m = 0; m < options.masks.size(); ++m) {
    const RoutingOptions::Mask& mask = options.masks[m];
    const std::string what = "masks[" + std::to_string(m) + "]";
    if (mask.layer) COLLEGIUM_RETURN_IF_ERROR(check_layer(what, *mask.layer, layers));
    for (LayerPlan& one : plan.layers_)
      if (is_of(mask.layer, one.layer.layer))
        COLLEGIUM_RETURN_IF_ERROR(apply_mask(mask, what, one.layer, one.allowed));
  }
  for (std::size_t b = 0; b < options.biases.size(); ++b) {
    const RoutingOptions::Bias& bias = options.biases[b];
    const std::string what = "biases[" + std::to_string(b) + "]";
    if (bias.layer) COLLEGIUM_RETURN_IF_ERROR(check_layer(what, *bias.layer, layers));
    for (LayerPlan& one : plan.layers_)
      if (is_of(bias.layer, one.layer.layer))
        COLLEGIUM_RETURN_IF_ERROR(apply_bias(bias, what, one.layer, one.bias));
  }
  for (const LayerPlan& one : plan.layers_)
    if (!one.allowed.empty() &&
        std::find(one.allowed.begin(), one.allowed.end(), 1) == one.allowed.end())
      return Status::invalid_argument("masks: every one of the " +
                                      std::to_string(one.layer.experts) + " experts of layer " +
                                      std::to_string(one.layer.layer) + " is switched off");
  return plan;
}

const RoutingPlan::LayerPlan* RoutingPlan::find(std::size_t layer) const noexcept {
  for (const LayerPlan& one : layers_)
    if (one.layer.layer == layer) return &one;
  return nullptr;
}

bool RoutingPlan::needs_whole_prompt() const noexcept {
  return std::any_of(layers_.begin(), layers_.end(),
                     [](const LayerPlan& one) { return one.layer.router->needs_whole_prompt(); });
}

bool RoutingPlan::needs_activations(std::size_t layer) const noexcept {
  const LayerPlan* one = find(layer);
  return one != nullptr && one->layer.router->needs_activations();
}

Status RoutingPlan::check_piece(std::size_t position, bool more_to_come,
                                std::size_t sequences) const {
  for (const LayerPlan& one : layers_) {
    const TokenRouter& router = *one.layer.router;
    if (!router.needs_whole_prompt()) continue;
    const std::string what = "token router " + router.name() + ", layer " +
                             std::to_string(one.layer.layer) + " needs a whole prompt at once: ";
    if (position != 0)
      return Status::not_supported(what + "it cannot continue at position " +
                                   std::to_string(position));
    if (more_to_come) return Status::not_supported(what + "this is only the first part of it");
    if (sequences > 1)
      return Status::not_supported(what + std::to_string(sequences) +
                                   " sequences in one batch, allowed is 1");
  }
  return {};
}

Status RoutingPlan::route(RouterInput input, RouterStates& states, Routing& routing,
                          TokenTrace* trace) const {
  const LayerPlan* one = find(input.layer);
  if (one == nullptr)
    return Status::invalid_argument("layer " + std::to_string(input.layer) + " has no experts");
  const TokenRouter& router = *one->layer.router;
  if (input.experts != one->layer.experts)
    return Status::invalid_argument("layer " + std::to_string(input.layer) + ": " +
                                    std::to_string(input.experts) + " experts, the plan has " +
                                    std::to_string(one->layer.experts));
  if (input.logits == nullptr) {
    input.gate_rows = 0;
    if (router.needs_logits() || !one->bias.empty())
      return Status::invalid_argument("layer " + std::to_string(input.layer) +
                                      ": no logits, which its routing needs");
  } else if (input.gate_rows < input.experts) {
    return Status::invalid_argument("layer " + std::to_string(input.layer) + ": " +
                                    std::to_string(input.gate_rows) + " rows of the gate for " +
                                    std::to_string(input.experts) + " experts");
  } else {
    COLLEGIUM_RETURN_IF_ERROR(check_finite(input.logits, input.gate_rows, input, "router logit"));
  }
  if (router.needs_activations()) {
    if (input.activation_norms == nullptr)
      return Status::invalid_argument("layer " + std::to_string(input.layer) +
                                      ": no activation norms, which its router needs");
    COLLEGIUM_RETURN_IF_ERROR(
        check_finite(input.activation_norms, input.experts, input, "activation norm"));
  }

  std::vector<float> changed;  // (tokens, gate_rows)
  if (input.logits != nullptr && !(one->bias.empty() && one->allowed.empty())) {
    changed.assign(input.logits, input.logits + input.tokens * input.gate_rows);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      float* row = changed.data() + t * input.gate_rows;
      for (std::size_t e = 0; e < one->bias.size(); ++e) row[e] += one->bias[e];
    }
    input.logits = changed.data();
    if (!one->bias.empty())
      COLLEGIUM_RETURN_IF_ERROR(
          check_finite(input.logits, input.gate_rows, input, "biased router logit"));
    for (std::size_t t = 0; t < input.tokens; ++t)
      for (std::size_t e = 0; e < one->allowed.size(); ++e)
        if (one->allowed[e] == 0)
          changed[t * input.gate_rows + e] = -std::numeric_limits<float>::infinity();
  }
  input.allowed = one->allowed.empty() ? nullptr : one->allowed.data();
  input.top_k = top_k_;

  routing.clear();
  COLLEGIUM_RETURN_IF_ERROR(call(one->layer.router, input, states, routing));
  COLLEGIUM_RETURN_IF_ERROR(validate_routing(routing, input, router.name()));
  if (trace != nullptr) trace->record(input, routing);
  return {};
}

}  // namespace collegium::core
