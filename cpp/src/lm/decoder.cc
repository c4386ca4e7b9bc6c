#include "lm/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "collegium/core/lm/token_routers.h"
#include "kernels/flush_denormals.h"
#include "lm/decoder_run.h"

namespace collegium::core {
namespace {

// Rows that go through the layers together: enough to use the widened weights many times, few
// enough that their activations stay small.
constexpr std::size_t kChunk = 256;

Result<TokenRouterPtr> own_router(const DecoderMoeConfig& moe, const MoeWeights& weights) {
  switch (moe.scoring) {
    case ExpertScoring::kSparseMixer:
      return make_sparse_mixer_router({.jitter_eps = moe.jitter});
    case ExpertScoring::kSoftmaxOfTopK:
      return make_top_k_router(
          {.top_k = moe.top_k, .softmax_after = true, .renormalize = false, .scale = moe.scale});
    case ExpertScoring::kSoftmax:
      if (moe.groups == 1)
        return make_top_k_router({.top_k = moe.top_k,
                                  .softmax_after = false,
                                  .renormalize = moe.normalize,
                                  .scale = moe.scale});
      break;
    case ExpertScoring::kSigmoid:
      if (moe.groups == 1)
        return make_sigmoid_router({.top_k = moe.top_k,
                                    .selection_bias = weights.selection_bias,
                                    .renormalize = moe.normalize,
                                    .scale = moe.scale});
      break;
  }
  using Options = GroupLimitedRouterOptions;
  return make_group_limited_router(
      {.top_k = moe.top_k,
       .groups = moe.groups,
       .top_groups = moe.group_top_k,
       .score = moe.scoring == ExpertScoring::kSigmoid ? Options::Score::kSigmoid
                                                       : Options::Score::kSoftmax,
       .group_score = moe.group_by_best_two ? Options::GroupScore::kSumOfTopTwo
                                            : Options::GroupScore::kMaximum,
       .selection_bias = weights.selection_bias,
       .renormalize = moe.normalize,
       .scale = moe.scale});
}

}  // namespace

Result<Decoder> Decoder::create(DecoderConfig config, DecoderWeights weights, Isa isa,
                                const std::string& where) {
  COLLEGIUM_RETURN_IF_ERROR(config.validate(where));
  COLLEGIUM_RETURN_IF_ERROR(check_decoder_weights(config, weights, where));
  Decoder decoder;
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    if (!config.layers[l].moe) continue;
    const MoeWeights& moe = weights.layers[l].moe;
    auto router = own_router(config.moe, moe);
    if (!router.ok()) return Status::corruption(where + ": " + router.status().message());
    decoder.routing_layers_.push_back(
        {l, config.moe.experts, std::move(router).value(), !moe.router.empty()});
  }
  decoder.config_ = std::move(config);
  decoder.weights_ = std::move(weights);
  decoder.kernels_ = &kernels_for(isa);
  auto plan = decoder.plan({});
  if (!plan.ok()) return Status::corruption(where + ": " + plan.status().message());
  decoder.own_plan_ = std::move(plan).value();
  decoder.expert_pages_ = std::make_shared<ExpertPages>(decoder.weights_);
  return decoder;
}

Result<RoutingPlan> Decoder::plan(const RoutingOptions& options) const {
  return RoutingPlan::make(options, routing_layers_);
}

Status Decoder::forward(std::span<const std::int32_t> ids, KvCache& cache, float* hidden) const {
  const Step step{.cache = &cache, .ids = ids};
  return forward({&step, 1}, hidden);
}

Status Decoder::forward(std::span<const Step> steps, float* hidden) const {
  const FlushDenormals flush;
  std::size_t total = 0;
  bool whole = false;
  for (const Step& step : steps) {
    const RoutingPlan& plan = step.routing != nullptr ? *step.routing : own_plan_;
    COLLEGIUM_RETURN_IF_ERROR(
        plan.check_piece(step.cache->length(), step.more_to_come, steps.size()));
    whole = whole || plan.needs_whole_prompt();
    total += step.ids.size();
  }
  if (total == 0) return {};

  // What a failure puts back.
  struct Saved {
    KvCache* cache;
    std::size_t length;
    Result<RouterStates> states;
  };
  std::vector<Saved> saved;
  for (const Step& step : steps)
    saved.push_back(
        {step.cache, step.cache->length(),
         step.cache->router_states_.empty() ? RouterStates() : step.cache->router_states_.fork()});
  const auto put_back = [&] {
    for (Saved& one : saved) {
      one.cache->length_ = one.states.ok() ? one.length : 0;
      if (one.states.ok())
        one.cache->router_states_ = std::move(one.states).value();
      else
        one.cache->router_states_.clear();
    }
  };

  const auto run_all = [&]() -> Status {
    const std::size_t chunk = whole ? total : std::min(total, kChunk);
    DecoderRun run(*this, chunk);
    std::vector<DecoderRun::Piece> pieces;
    std::size_t rows = 0;
    float* out = hidden;
    const auto run_pieces = [&]() -> Status {
      if (rows == 0) return {};
      COLLEGIUM_RETURN_IF_ERROR(run.run(pieces, out));
      for (const DecoderRun::Piece& piece : pieces) piece.cache->length_ += piece.rows;
      out += rows * config_.width;
      rows = 0;
      pieces.clear();
      return {};
    };
    for (const Step& step : steps) {
      const std::size_t unwanted = step.ids.size() - step.num_wanted();
      for (std::size_t done = 0; done < step.ids.size();) {
        const std::size_t count = std::min(step.ids.size() - done, chunk - rows);
        const auto ids = step.ids.subspan(done, count);
        const std::size_t position = step.cache->length();
        step.cache->reserve(position + count);
        pieces.push_back({step.cache, step.routing != nullptr ? step.routing : &own_plan_,
                          step.trace, step.lora, rows, count,
                          done + count - std::clamp(unwanted, done, done + count), position});
        if (step.trace != nullptr) step.trace->begin_tokens(position, ids);
        for (std::size_t t = 0; t < count; ++t) {
          float* x = out + (rows + t) * config_.width;
          const GgufTensor& table = weights_.embeddings;
          dequantize(table.type, table.row(static_cast<std::size_t>(ids[t])).data(), config_.width,
                     x);
          if (config_.embedding_scale != 1.0f)
            for (std::size_t i = 0; i < config_.width; ++i) x[i] *= config_.embedding_scale;
        }
        rows += count;
        done += count;
        if (rows == chunk) COLLEGIUM_RETURN_IF_ERROR(run_pieces());
      }
    }
    return run_pieces();
  };
  try {
    const Status status = run_all();
    if (!status.ok()) put_back();
    return status;
  } catch (...) {
    put_back();
    throw;
  }
}

void Decoder::logits(const float* hidden, std::size_t rows, float* out) const {
  const FlushDenormals flush;
  weights_.output.apply(hidden, rows, out);
  const std::size_t n = rows * config_.vocab;
  if (config_.logit_divisor != 1.0f)
    for (std::size_t i = 0; i < n; ++i) out[i] /= config_.logit_divisor;
  if (config_.logit_cap != 0.0f)
    for (std::size_t i = 0; i < n; ++i)
      out[i] = std::tanh(out[i] / config_.logit_cap) * config_.logit_cap;
}

double Decoder::forward_flops(std::size_t begin, std::size_t tokens,
                              std::size_t wanted) const noexcept {
  const auto numbers = [](const QuantizedLinear& linear) {
    return static_cast<double>(linear.inputs()) * static_cast<double>(linear.outputs());
  };
  const auto numbers_of = [&](const GatedWeights& weights) {
    return numbers(weights.gate) + numbers(weights.up) + numbers(weights.down);
  };
  double flops = 0.0;
  for (std::size_t l = 0; l < config_.layers.size(); ++l) {
    const DecoderLayerWeights& layer = weights_.layers[l];
    double projections = 0.0;  // of every token
    for (const auto* linear :
         {&layer.q, &layer.k, &layer.v, &layer.q_down, &layer.q_up, &layer.kv_down, &layer.kv_up})
      projections += numbers(*linear);
    double rest = numbers(layer.attention_output);
    if (config_.layers[l].moe) {
      double experts = 0.0;
      for (const GatedWeights& expert : layer.moe.experts) experts += numbers_of(expert);
      rest += experts * static_cast<double>(config_.moe.top_k) /
                  static_cast<double>(config_.moe.experts) +
              numbers(layer.moe.router) + numbers_of(layer.moe.shared) +
              numbers(layer.moe.shared_gate);
    } else {
      rest += numbers_of(layer.mlp);
    }
    // In the last layer those that are not wanted leave their keys and values alone.
    const std::size_t further = l + 1 == config_.layers.size() ? wanted : tokens;
    const std::size_t first = begin + tokens - further;
    const double count = static_cast<double>(further);
    // Positions looked at: first + 1, first + 2, ..., or the window of each.
    double seen = count * static_cast<double>(first) + count * (count + 1) / 2;
    const std::size_t window = config_.layers[l].window;
    if (window != 0 && first + further > window) {
      const std::size_t short_of = window > first ? window - first : 0;  // tokens that see all
      seen = static_cast<double>(short_of) * static_cast<double>(first) +
             static_cast<double>(short_of) * static_cast<double>(short_of + 1) / 2 +
             static_cast<double>(further - short_of) * static_cast<double>(window);
    }
    flops += 2 * projections * static_cast<double>(tokens) + 2 * rest * count +
             2 * static_cast<double>(config_.heads * (config_.head_dim + config_.value_dim)) * seen;
  }
  return flops;
}

double Decoder::logits_flops(std::size_t rows) const noexcept {
  return 2 * static_cast<double>(rows) * static_cast<double>(config_.vocab) *
         static_cast<double>(config_.width);
}

}  // namespace collegium::core
