#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/lm/token_router.h"
#include "collegium/core/status.h"

namespace collegium::core {

// The routers that come with the library. Ties go to the lower id. Softmax and sums are computed in
// double and rounded once. invalid_argument for an option out of its range; whether a router fits a
// layer is checked by TokenRouter::check(). Where fewer than top_k experts are switched on, all of
// them are chosen.

using TokenRouterPtr = std::shared_ptr<const TokenRouter>;

// The k experts with the largest logits. Switch and Mixtral (arXiv 2101.03961, 2401.04088).
struct TopKRouterOptions {
  std::size_t top_k = 2;  // at least 1
  // false: weights are the softmax over all experts; true: over the chosen ones (Granite).
  bool softmax_after = false;
  bool renormalize = false;  // Divide the weights of a token by their sum (norm_topk_prob).
  float scale = 1.0f;        // Multiplies every weight (routed_scaling_factor). Finite.
};
COLLEGIUM_API Result<TokenRouterPtr> make_top_k_router(const TopKRouterOptions& options);

// The k experts with the largest sigmoid(logit) + selection_bias; the weights are the sigmoids
// alone. Auxiliary-loss-free load balancing (arXiv 2408.15664).
struct SigmoidRouterOptions {
  std::size_t top_k = 2;
  std::vector<float> selection_bias = {};  // (experts,), finite; empty: zeros
  bool renormalize = true;                 // Divide by the sum of the chosen sigmoids + 1e-20.
  float scale = 1.0f;
};
COLLEGIUM_API Result<TokenRouterPtr> make_sigmoid_router(const SigmoidRouterOptions& options);

// One step of that paper's balancing: bias[i] goes up by `rate` where an expert had fewer tokens
// than the mean, down where it had more. loads (experts,): tokens each expert got.
COLLEGIUM_API void balance_selection_bias(std::span<const std::uint64_t> loads, float rate,
                                          std::span<float> bias) noexcept;

// Experts lie in `groups` groups of neighbouring ids; the top_k best experts of the best top_groups
// groups are chosen. DeepSeek-V2 (arXiv 2405.04434): softmax, a group is worth its best expert.
// DeepSeek-V3 (arXiv 2412.19437): sigmoid with selection bias, a group is worth the sum of its best
// two. Weights are the scores without the bias.
struct GroupLimitedRouterOptions {
  enum class Score : std::uint8_t { kSoftmax = 0, kSigmoid = 1 };
  enum class GroupScore : std::uint8_t { kMaximum = 0, kSumOfTopTwo = 1 };
  std::size_t top_k = 2;
  std::size_t groups = 1;      // divides the number of experts
  std::size_t top_groups = 1;  // 1 to groups; they must hold top_k experts
  Score score = Score::kSoftmax;
  GroupScore group_score = GroupScore::kMaximum;
  std::vector<float> selection_bias = {};  // (experts,), finite; empty: zeros
  bool renormalize = false;
  float scale = 1.0f;
};
COLLEGIUM_API Result<TokenRouterPtr> make_group_limited_router(
    const GroupLimitedRouterOptions& options);

// The two-step choice of Phi-3.5-MoE (SparseMixer-v2, arXiv 2409.12136) at inference: the best
// expert, then the best of the others; each weight is the softmax over those experts whose logit is
// near the best of its step: (best - logit) / max(|logit|, best) <= 2 * jitter_eps.
struct SparseMixerRouterOptions {
  float jitter_eps = 0.01f;  // finite, not negative (router_jitter_noise)
};
COLLEGIUM_API Result<TokenRouterPtr> make_sparse_mixer_router(
    const SparseMixerRouterOptions& options);

// The fewest most likely experts whose softmax probabilities reach top_p, weighted by these: more
// experts where the router is less sure (arXiv 2403.07652).
struct TopPRouterOptions {
  float top_p = 0.4f;           // in (0, 1]
  std::size_t max_experts = 0;  // At most so many. 0: no limit; a request's top_k sets it.
  bool renormalize = false;
};
COLLEGIUM_API Result<TokenRouterPtr> make_top_p_router(const TopPRouterOptions& options);

// Null experts, which compute nothing, compete for the k places, so that a token has 0 to k true
// experts (AdaMoE, arXiv 2406.13233). Their logits are the gate's rows after the true experts'; a
// gate without such rows gives each null_logit. On a tie a true expert wins.
struct NullExpertRouterOptions {
  std::size_t top_k = 2;
  std::size_t null_experts = 1;  // counted where the gate has no rows for them
  float null_logit = 0.0f;       // finite
  // true: weights are the softmax over the chosen true experts; false: over all, nulls included.
  bool renormalize = true;
};
COLLEGIUM_API Result<TokenRouterPtr> make_null_expert_router(
    const NullExpertRouterOptions& options);

// Experts of different widths (HMoE, arXiv 2408.10681): softmax, then the top_k best, or with
// top_p > 0 the fewest that reach top_p. The paper trains with a loss that makes wide experts
// dearer; for a model that was not, `width_penalty` takes that much from a logit for a width of the
// mean. Weights are the softmax of the logits as given.
struct WidthRouterOptions {
  std::vector<std::size_t> widths = {};  // (experts,): inner width of each, at least 1
  std::size_t top_k = 2;
  float top_p = 0.0f;          // in [0, 1]; 0: by top_k
  float width_penalty = 0.0f;  // finite, not negative; 0: the paper's inference
  bool renormalize = false;
};
COLLEGIUM_API Result<TokenRouterPtr> make_width_router(const WidthRouterOptions& options);

// No gate: every expert begins, and the top_k with the largest activation norms go on (autonomy of
// experts, arXiv 2501.13074). Weights are the softmax of the norms over the chosen ones, or with
// softmax_after false over all. Costs every expert's gate projection.
struct AutonomyRouterOptions {
  std::size_t top_k = 2;
  bool softmax_after = true;
};
COLLEGIUM_API Result<TokenRouterPtr> make_autonomy_router(const AutonomyRouterOptions& options);

// Experts choose tokens: each takes the ceil(tokens * experts_per_token / experts) with the largest
// softmax probability of it, so that all have the same load and a token has 0 to all experts
// (arXiv 2202.09368). Of equal tokens the earlier is taken. Within one sequence, over its whole
// prompt (needs_whole_prompt()).
struct ExpertChoiceRouterOptions {
  float experts_per_token = 2.0f;  // on average; finite, above 0. A request's top_k replaces it.
};
COLLEGIUM_API Result<TokenRouterPtr> make_expert_choice_router(
    const ExpertChoiceRouterOptions& options);

// Every expert that is on, weighted by softmax, equally where there is no gate.
COLLEGIUM_API TokenRouterPtr make_dense_router();

// top_k different experts drawn evenly, each weighted 1 / (their number). Depends on seed, layer
// and the token's position alone.
struct RandomRouterOptions {
  std::size_t top_k = 2;
  std::uint64_t seed = 1;
};
COLLEGIUM_API Result<TokenRouterPtr> make_random_router(const RandomRouterOptions& options);

// A function as a router. It must be as thread-safe and repeatable as TokenRouter::route().
using RouteFunction = std::function<Status(const RouterInput& input, Routing& routing)>;
COLLEGIUM_API TokenRouterPtr make_function_router(std::string name, RouteFunction function);

}  // namespace collegium::core
