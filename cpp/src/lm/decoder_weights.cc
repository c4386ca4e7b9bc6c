#include "lm/decoder_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

namespace collegium::core {
namespace {

class Checker {
 public:
  Checker(const DecoderConfig& config, const std::string& where) : config_(config), where_(where) {}

  const Status& status() const { return status_; }
  void begin_layer(std::size_t layer) { prefix_ = "layer " + std::to_string(layer) + ": "; }
  void end_layers() { prefix_.clear(); }

  // A norm of whole rows, of the kind the configuration says.
  void row_norm(std::string_view name, const NormWeights& norm, bool optional) {
    const std::size_t betas = config_.norm == DecoderNorm::kLayer ? config_.width : 0;
    if (!optional || !norm.empty()) sized_norm(name, norm, config_.width, betas);
  }
  // Of queries, keys and narrow vectors: an RMS norm always.
  void inner_norm(std::string_view name, const NormWeights& norm, std::size_t size,
                  bool optional = false) {
    if (!optional || !norm.empty()) sized_norm(name, norm, size, 0);
  }
  void linear(std::string_view name, const QuantizedLinear& linear, std::size_t outputs,
              std::size_t inputs) {
    if (linear.outputs() == outputs && linear.inputs() == inputs) return;
    fail(name, "shape (" + std::to_string(linear.outputs()) + ", " +
                   std::to_string(linear.inputs()) + "), must be (" + std::to_string(outputs) +
                   ", " + std::to_string(inputs) + ")");
  }
  void absent(std::string_view name, bool is_absent) {
    if (!is_absent) fail(name, "is there, but the configuration has no place for it");
  }
  void gated(std::string_view name, const GatedWeights& weights, std::size_t hidden) {
    const std::string prefix(name);
    linear(prefix + " gate", weights.gate, hidden, config_.width);
    linear(prefix + " up", weights.up, hidden, config_.width);
    linear(prefix + " down", weights.down, config_.width, hidden);
  }
  void count(std::string_view name, std::size_t seen, std::size_t wanted) {
    if (seen != wanted)
      fail(name, std::to_string(seen) + " of them, must be " + std::to_string(wanted));
  }

 private:
  void sized_norm(std::string_view name, const NormWeights& norm, std::size_t gammas,
                  std::size_t betas) {
    if (norm.gamma.size() != gammas || norm.beta.size() != betas)
      fail(name, std::to_string(norm.gamma.size()) + " factors and " +
                     std::to_string(norm.beta.size()) + " shifts, must be " +
                     std::to_string(gammas) + " and " + std::to_string(betas));
    for (const auto* numbers : {&norm.gamma, &norm.beta})
      for (const float number : *numbers)
        if (!std::isfinite(number)) return fail(name, "a number that is not finite");
  }
  void fail(std::string_view name, const std::string& what) {
    if (status_.ok())
      status_ = Status::corruption(where_ + ": " + prefix_ + std::string(name) + ": " + what);
  }

  const DecoderConfig& config_;
  const std::string& where_;
  std::string prefix_;
  Status status_;
};

void check_attention(const DecoderConfig& c, const DecoderLayerWeights& layer, Checker& check) {
  const bool latent = c.latent.kv_rank != 0;
  const bool narrow_q = latent && c.latent.q_rank != 0;
  if (narrow_q) {
    check.absent("queries", layer.q.empty());
    check.linear("queries, down", layer.q_down, c.latent.q_rank, c.width);
    check.inner_norm("queries, norm", layer.q_down_norm, c.latent.q_rank);
    check.linear("queries, up", layer.q_up, c.q_width(), c.latent.q_rank);
  } else {
    check.linear("queries", layer.q, c.q_width(), c.width);
    check.absent("queries, down", layer.q_down.empty() && layer.q_up.empty());
  }
  if (latent) {
    check.absent("keys and values", layer.k.empty() && layer.v.empty());
    check.absent("norms of queries and keys", layer.q_norm.empty() && layer.k_norm.empty());
    check.linear("keys and values, down", layer.kv_down, c.latent.kv_rank + c.latent.rope_dim,
                 c.width);
    check.inner_norm("keys and values, norm", layer.kv_down_norm, c.latent.kv_rank);
    check.linear("keys and values, up", layer.kv_up, c.heads * (c.latent.nope_dim + c.value_dim),
                 c.latent.kv_rank);
  } else {
    check.linear("keys", layer.k, c.key_width(), c.width);
    check.linear("values", layer.v, c.value_width(), c.width);
    check.absent("latent keys and values", layer.kv_down.empty() && layer.kv_up.empty());
    check.inner_norm("norm of queries", layer.q_norm, c.qk_norm_by_head ? c.head_dim : c.q_width(),
                     true);
    check.inner_norm("norm of keys", layer.k_norm, c.qk_norm_by_head ? c.head_dim : c.key_width(),
                     true);
  }
  check.linear("attention output", layer.attention_output, c.width, c.heads * c.value_dim);
}

void check_moe(const DecoderConfig& c, const MoeWeights& moe, Checker& check) {
  check.count("experts", moe.experts.size(), c.moe.experts);
  if (!check.status().ok()) return;
  if (!moe.router.empty())  // It may have rows for experts that compute nothing.
    check.linear("router", moe.router, std::max(moe.router.outputs(), c.moe.experts), c.width);
  if (!moe.selection_bias.empty())
    check.count("numbers of the selection bias", moe.selection_bias.size(), c.moe.experts);
  for (std::size_t e = 0; e < moe.experts.size(); ++e) {
    check.gated("expert " + std::to_string(e), moe.experts[e],
                std::max<std::size_t>(1, moe.experts[e].hidden()));
    if (!check.status().ok()) return;
  }
  if (c.moe.shared_hidden != 0)
    check.gated("shared expert", moe.shared, c.moe.shared_hidden);
  else
    check.absent("shared expert", moe.shared.gate.empty() && moe.shared_gate.empty());
  if (!moe.shared_gate.empty()) check.linear("shared expert's gate", moe.shared_gate, 1, c.width);
}

}  // namespace

std::vector<QuantizedLinear*> DecoderWeights::packed_linears() {
  std::vector<QuantizedLinear*> linears;
  const auto add = [&](std::initializer_list<QuantizedLinear*> some) {
    for (QuantizedLinear* linear : some)
      if (!linear->empty()) linears.push_back(linear);
  };
  const auto add_gated = [&](GatedWeights& gated) { add({&gated.gate, &gated.up, &gated.down}); };
  for (DecoderLayerWeights& layer : layers) {
    add({&layer.q, &layer.k, &layer.v, &layer.attention_output, &layer.q_down, &layer.q_up,
         &layer.kv_down, &layer.kv_up});
    add_gated(layer.mlp);
    add_gated(layer.moe.shared);
    for (GatedWeights& expert : layer.moe.experts) add_gated(expert);
  }
  add({&output});
  return linears;
}

std::vector<const QuantizedLinear*> DecoderWeights::packed_linears() const {
  const auto linears = const_cast<DecoderWeights*>(this)->packed_linears();
  return {linears.begin(), linears.end()};
}

namespace {

// Moves products whose weights are too few for huge pages of their own into blocks of such, one
// behind the other, so that reading them is not held up at every small page.
void gather_small(const std::vector<QuantizedLinear*>& linears) {
  constexpr std::size_t kBlock = std::size_t{32} << 20;
  constexpr std::size_t kAlignment = AlignedBuffer<std::byte>::kAlignment;
  const auto is_small = [](const QuantizedLinear& linear) {
    return !linear.packed().empty() && !internal::is_large(linear.packed().size());
  };
  const auto room = [](const QuantizedLinear& linear) {
    return (linear.packed().size() + kAlignment - 1) / kAlignment * kAlignment;
  };
  std::size_t left = 0;
  for (const QuantizedLinear* linear : linears)
    if (is_small(*linear)) left += room(*linear);
  if (!internal::is_large(left)) return;
  std::shared_ptr<AlignedBuffer<std::byte>> block;
  std::size_t used = 0;
  for (QuantizedLinear* linear : linears) {
    if (!is_small(*linear)) continue;
    const std::size_t size = room(*linear);
    if (block == nullptr || used + size > block->size()) {
      block = std::make_shared<AlignedBuffer<std::byte>>(std::min(kBlock, left));
      used = 0;
    }
    const std::span<const std::byte> bytes = linear->packed();
    std::byte* const to = block->data() + used;
    std::memcpy(to, bytes.data(), bytes.size());
    linear->use_packed(linear->packed_type(), {to, bytes.size()}, block);
    used += size;
    left -= size;
  }
}

}  // namespace

void DecoderWeights::pack(LmWeights weights) {
  packed_bytes = 0;
  const std::vector<QuantizedLinear*> linears = packed_linears();
  for (QuantizedLinear* linear : linears) {
    const bool bytes = weights == LmWeights::kInt4 && linear == &output;
    linear->pack(bytes ? LmWeights::kInt8 : weights);
    packed_bytes += linear->packed().size();
  }
  gather_small(linears);
}

Status check_decoder_weights(const DecoderConfig& config, const DecoderWeights& weights,
                             const std::string& where) {
  Checker check(config, where);
  const std::vector<std::size_t> table = {config.vocab, config.width};
  if (weights.embeddings.shape != table || !can_dequantize(weights.embeddings.type))
    return Status::corruption(where + ": the embeddings are not (" + std::to_string(config.vocab) +
                              ", " + std::to_string(config.width) + ") numbers");
  check.row_norm("last norm", weights.output_norm, false);
  check.linear("output", weights.output, config.vocab, config.width);
  check.count("layers", weights.layers.size(), config.layers.size());
  if (!check.status().ok()) return check.status();
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const DecoderLayerWeights& layer = weights.layers[l];
    check.begin_layer(l);
    check.row_norm("norm before attention", layer.attention_norm, true);
    check.row_norm("norm behind attention", layer.attention_post_norm, true);
    check.row_norm("norm before the feed-forward part", layer.hidden_norm, true);
    check.row_norm("norm behind the feed-forward part", layer.hidden_post_norm, true);
    check_attention(config, layer, check);
    if (config.layers[l].moe) {
      check_moe(config, layer.moe, check);
      check.absent("dense feed-forward part", layer.mlp.gate.empty());
    } else {
      check.gated("feed-forward part", layer.mlp, config.hidden);
      check.absent("experts", layer.moe.experts.empty() && layer.moe.router.empty());
    }
    if (!check.status().ok()) return check.status();
  }
  return {};
}

}  // namespace collegium::core
