#include "collegium/core/lm/token_router.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace collegium::core {
namespace {

std::string in_layer(const std::string& router, std::size_t layer) {
  return "token router " + router + ", layer " + std::to_string(layer) + ": ";
}

}  // namespace

TokenRouter::State::~State() = default;
TokenRouter::~TokenRouter() = default;

std::unique_ptr<TokenRouter::State> TokenRouter::make_state(std::size_t) const { return nullptr; }
bool TokenRouter::needs_whole_prompt() const { return false; }
bool TokenRouter::needs_activations() const { return false; }
bool TokenRouter::needs_logits() const { return false; }
bool TokenRouter::takes_top_k() const { return false; }
Status TokenRouter::check(std::size_t, std::size_t, std::size_t) const { return {}; }

Status validate_routing(const Routing& routing, const RouterInput& input,
                        const std::string& router) {
  const auto refuse = [&](const std::string& what) {
    return Status::invalid_argument(in_layer(router, input.layer) + what);
  };
  const std::vector<std::uint32_t>& offsets = routing.offsets;
  if (offsets.size() != input.tokens + 1)
    return refuse("experts for " + std::to_string(routing.tokens()) + " tokens, expected " +
                  std::to_string(input.tokens));
  if (routing.ids.size() != routing.weights.size())
    return refuse(std::to_string(routing.ids.size()) + " expert ids and " +
                  std::to_string(routing.weights.size()) + " weights, expected as many");
  if (offsets.front() != 0)
    return refuse("offsets begin with " + std::to_string(offsets.front()) + ", expected 0");
  if (offsets.back() != routing.ids.size())
    return refuse("offsets end with " + std::to_string(offsets.back()) + ", expected the " +
                  std::to_string(routing.ids.size()) + " expert ids");
  for (std::size_t t = 0; t < input.tokens; ++t)
    if (offsets[t] > offsets[t + 1])
      return refuse("offsets go down from " + std::to_string(offsets[t]) + " to " +
                    std::to_string(offsets[t + 1]) + " at position " +
                    std::to_string(input.position + t));

  std::vector<std::size_t> last_token(input.experts, input.tokens);  // that had the expert
  for (std::size_t t = 0; t < input.tokens; ++t)
    for (std::size_t p = offsets[t]; p < offsets[t + 1]; ++p) {
      const std::int32_t id = routing.ids[p];
      const auto refuse_pair = [&](const std::string& what) {
        return refuse("position " + std::to_string(input.position + t) + ": " + what);
      };
      if (id < 0 || static_cast<std::size_t>(id) >= input.experts)
        return refuse_pair("expert id " + std::to_string(id) + ", allowed are 0 to " +
                           std::to_string(input.experts - 1));
      const auto expert = static_cast<std::size_t>(id);
      if (last_token[expert] == t)
        return refuse_pair("expert id " + std::to_string(id) + " twice in one token");
      last_token[expert] = t;
      if (!input.is_allowed(expert))
        return refuse_pair("expert id " + std::to_string(id) + ", which the request switched off");
      if (!std::isfinite(routing.weights[p]))
        return refuse_pair("weight " + std::to_string(routing.weights[p]) + " of expert id " +
                           std::to_string(id) + ", must be finite");
    }
  return {};
}

struct RouterStates::Entry {
  std::shared_ptr<const TokenRouter> router;  // kept, so that its address means it alone
  std::unique_ptr<TokenRouter::State> state;
};

RouterStates::RouterStates() = default;
RouterStates::RouterStates(RouterStates&&) noexcept = default;
RouterStates& RouterStates::operator=(RouterStates&&) noexcept = default;
RouterStates::~RouterStates() = default;

TokenRouter::State* RouterStates::of(const std::shared_ptr<const TokenRouter>& router,
                                     std::size_t layer) {
  if (entries_.size() <= layer) entries_.resize(layer + 1);
  Entry& entry = entries_[layer];
  if (entry.router != router) {
    std::unique_ptr<TokenRouter::State> state = router->make_state(layer);
    entry.router = router;
    entry.state = std::move(state);
  }
  return entry.state.get();
}

Result<RouterStates> RouterStates::fork() const {
  RouterStates copy;
  copy.entries_.resize(entries_.size());
  for (std::size_t layer = 0; layer < entries_.size(); ++layer) {
    const Entry& entry = entries_[layer];
    copy.entries_[layer].router = entry.router;
    if (!entry.state) continue;
    copy.entries_[layer].state = entry.state->clone();
    if (!copy.entries_[layer].state)
      return Status::not_supported(in_layer(entry.router->name(), layer) +
                                   "what it remembers of a sequence cannot be copied");
  }
  return copy;
}

void RouterStates::clear() { entries_.clear(); }

bool RouterStates::empty() const noexcept {
  return std::none_of(entries_.begin(), entries_.end(),
                      [](const Entry& entry) { return entry.state != nullptr; });
}

}  // namespace collegium::core
