#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/lm/token_routers.h"
#include "collegium/core/random.h"

namespace collegium::core {

// Logits (tokens, gate_rows) of one layer.
struct GateLogits {
  std::vector<float> values;
  std::size_t tokens = 0;
  std::size_t experts = 0;
  std::size_t gate_rows = 0;

  GateLogits(std::vector<float> numbers, std::size_t num_experts, std::size_t rows = 0)
      : values(std::move(numbers)), experts(num_experts), gate_rows(rows == 0 ? experts : rows) {
    tokens = values.size() / gate_rows;
  }
  RouterInput input(std::size_t position = 0, std::size_t layer = 0) const {
    RouterInput input;
    input.layer = layer;
    input.position = position;
    input.tokens = tokens;
    input.width = gate_rows;
    input.experts = experts;
    input.gate_rows = gate_rows;
    input.hidden = values.data();
    input.logits = values.data();
    return input;
  }
};

// Standard normal, times `scale`.
inline GateLogits random_logits(std::size_t tokens, std::size_t experts, std::uint64_t seed,
                                double scale = 1.0) {
  Random random(seed);
  std::vector<float> values(tokens * experts);
  for (float& x : values) x = static_cast<float>(random.normal() * scale);
  return {std::move(values), experts};
}

// What `router` says, validated.
inline Routing routed(const TokenRouter& router, const RouterInput& input) {
  Routing routing;
  routing.clear();
  const Status status = router.route(input, nullptr, routing);
  EXPECT_TRUE(status.ok()) << status.to_string();
  const Status valid = validate_routing(routing, input, router.name());
  EXPECT_TRUE(valid.ok()) << valid.to_string();
  return routing;
}

struct ExpertWeight {
  std::int32_t id = 0;
  float weight = 0.0f;
  friend bool operator==(const ExpertWeight&, const ExpertWeight&) = default;
};

// Of each token, in the order of the routing.
inline std::vector<std::vector<ExpertWeight>> by_token(const Routing& routing) {
  std::vector<std::vector<ExpertWeight>> tokens(routing.tokens());
  for (std::size_t t = 0; t < tokens.size(); ++t)
    for (std::size_t p = routing.offsets[t]; p < routing.offsets[t + 1]; ++p)
      tokens[t].push_back({routing.ids[p], routing.weights[p]});
  return tokens;
}

// Tokens each expert got.
inline std::vector<std::uint64_t> loads_of(const Routing& routing, std::size_t experts) {
  std::vector<std::uint64_t> loads(experts, 0);
  for (const std::int32_t id : routing.ids) ++loads[static_cast<std::size_t>(id)];
  return loads;
}

// The value, or a failure of the test.
template <typename T>
T made(Result<T> result) {
  if (!result.ok()) ADD_FAILURE() << result.status().to_string();
  return result.ok() ? std::move(result).value() : T{};
}

inline void expect_refused(const Status& status, const std::string& part,
                           StatusCode code = StatusCode::kInvalidArgument) {
  EXPECT_EQ(status.code(), code) << status.to_string();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

}  // namespace collegium::core
