#include "lm/decoder_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace collegium::core {
namespace {

// Checks one field after the other; the first that fails is told.
class Checker {
 public:
  explicit Checker(const std::string& where) : where_(where) {}

  void count(const char* name, std::size_t value, std::size_t least, std::size_t most) {
    if (value >= least && value <= most) return;
    fail(std::string(name) + " is " + std::to_string(value) + ", must be in [" +
         std::to_string(least) + ", " + std::to_string(most) + "]");
  }
  void positive(const char* name, float value) {
    if (value > 0.0f && std::isfinite(value)) return;
    fail(std::string(name) + " is " + std::to_string(value) + ", must be positive and finite");
  }
  void not_negative(const char* name, float value) {
    if (value >= 0.0f && std::isfinite(value)) return;
    fail(std::string(name) + " is " + std::to_string(value) + ", must be finite and not negative");
  }
  void require(bool holds, const std::string& message) {
    if (!holds) fail(message);
  }
  bool ok() const { return status_.ok(); }
  Status status() const { return status_; }

 private:
  void fail(const std::string& message) {
    if (status_.ok()) status_ = Status::corruption(where_ + ": " + message);
  }
  const std::string& where_;
  Status status_;
};

void check_latent(const DecoderConfig& config, Checker& check) {
  const DecoderLatentConfig& latent = config.latent;
  if (latent.kv_rank == 0) return;
  check.count("the rank of keys and values", latent.kv_rank, 1, kMaxWidth);
  check.count("the rank of queries", latent.q_rank, 0, kMaxWidth);
  check.count("the part of a head that is not rotated", latent.nope_dim, 0, kMaxWidth);
  check.count("the part of a head that is rotated", latent.rope_dim, 2, kMaxWidth);
  check.positive("the epsilon of the narrow vectors' norms", latent.norm_eps);
  check.require(latent.nope_dim + latent.rope_dim == config.head_dim,
                "a head's parts of " + std::to_string(latent.nope_dim) + " and " +
                    std::to_string(latent.rope_dim) + " numbers are not its " +
                    std::to_string(config.head_dim));
  check.require(config.kv_heads == config.heads,
                "latent attention has as many key-value heads as heads, " +
                    std::to_string(config.heads) + ", not " + std::to_string(config.kv_heads));
}

void check_moe(const DecoderConfig& config, Checker& check) {
  const DecoderMoeConfig& moe = config.moe;
  const bool any = std::any_of(config.layers.begin(), config.layers.end(),
                               [](const DecoderLayerConfig& layer) { return layer.moe; });
  if (!any) return;
  check.count("the number of experts", moe.experts, 1, kMaxExperts);
  check.count("the number of experts a token", moe.top_k, 1, moe.experts);
  check.count("an expert's width", moe.hidden, 1, kMaxWidth);
  check.count("the shared expert's width", moe.shared_hidden, 0, kMaxWidth);
  check.require(std::isfinite(moe.scale), "the scale of experts' weights is not finite");
  check.not_negative("the router's jitter", moe.jitter);
  check.count("the number of expert groups", moe.groups, 1, moe.experts);
  check.count("the number of expert groups a token", moe.group_top_k, 1, moe.groups);
  if (!check.ok()) return;
  check.require(moe.experts % moe.groups == 0, std::to_string(moe.experts) +
                                                   " experts are no multiple of " +
                                                   std::to_string(moe.groups) + " groups");
  check.require(moe.experts / moe.groups * moe.group_top_k >= moe.top_k,
                std::to_string(moe.group_top_k) + " of " + std::to_string(moe.groups) +
                    " groups hold fewer than " + std::to_string(moe.top_k) + " experts");
}

}  // namespace

std::vector<float> rope_frequencies(double base, std::size_t dims) {
  std::vector<float> frequencies(dims / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(base, static_cast<double>(exponent)));
  }
  return frequencies;
}

void scale_rope_linear(double factor, std::vector<float>& frequencies) {
  for (float& frequency : frequencies) frequency /= static_cast<float>(factor);
}

void scale_rope_llama3(const Llama3RopeScaling& scaling, std::vector<float>& frequencies) {
  const double original = static_cast<double>(scaling.original_context);
  const double long_wave = original / scaling.low_freq_factor;
  const double short_wave = original / scaling.high_freq_factor;
  const auto factor = static_cast<float>(scaling.factor);
  for (float& frequency : frequencies) {
    const float wave = 2.0f * std::numbers::pi_v<float> / frequency;
    if (wave > long_wave) {
      frequency /= factor;
    } else if (wave >= short_wave) {
      const float smooth =
          (static_cast<float>(original) / wave - static_cast<float>(scaling.low_freq_factor)) /
          static_cast<float>(scaling.high_freq_factor - scaling.low_freq_factor);
      frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

void scale_rope_yarn(const YarnRopeScaling& scaling, double base, std::vector<float>& frequencies) {
  const double dims = 2.0 * static_cast<double>(frequencies.size());
  const auto pair_of = [&](double rotations) {
    return dims *
           std::log(static_cast<double>(scaling.original_context) /
                    (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(base));
  };
  double low = pair_of(scaling.beta_fast);
  double high = pair_of(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float wave = 1.0f / frequencies[i];
    const float stretched = 1.0f / (static_cast<float>(scaling.factor) * wave);
    frequencies[i] = stretched * ramp + frequencies[i] * (1.0f - ramp);
  }
}

Status DecoderConfig::validate(const std::string& where) const {
  Checker check(where);
  check.count("the vocabulary", vocab, 1, kMaxVocab);
  check.count("the context", context, 1, kMaxContext);
  check.count("the width", width, 1, kMaxWidth);
  check.count("the number of layers", layers.size(), 1, kMaxLayers);
  check.count("the number of heads", heads, 1, kMaxHeads);
  check.count("the number of key-value heads", kv_heads, 1, heads);
  check.count("a head's width", head_dim, 1, kMaxWidth);
  check.count("the width of a head's values", value_dim, 1, kMaxWidth);
  if (!check.ok()) return check.status();
  check.count("the width of all heads", q_width(), 1, kMaxWidth);
  check.count("the width of all heads' values", heads * value_dim, 1, kMaxWidth);
  check.require(heads % kv_heads == 0, std::to_string(heads) + " heads are no multiple of " +
                                           std::to_string(kv_heads) + " key-value heads");
  check.positive("the norms' epsilon", norm_eps);
  check.positive("the scale of attention", attention_scale);
  check.positive("the scale of embeddings", embedding_scale);
  check.positive("the scale of residuals", residual_scale);
  check.positive("the divisor of logits", logit_divisor);
  check.not_negative("the cap of attention", attention_cap);
  check.not_negative("the cap of logits", logit_cap);
  check.not_negative("the limit of queries, keys and values", qkv_clip);
  check_latent(*this, check);
  check_moe(*this, check);

  const std::size_t rotated = latent.kv_rank != 0 ? latent.rope_dim : head_dim;
  for (const Rope& rope : ropes) {
    check.count("the number of rotated pairs", rope.frequencies.size(), 1, rotated / 2);
    check.positive("the factor of rotations", rope.factor);
    for (const float frequency : rope.frequencies) check.positive("a rotary frequency", frequency);
  }
  bool dense = false;
  for (const DecoderLayerConfig& layer : layers) {
    dense = dense || !layer.moe;
    if (layer.rope != kNoRope)
      check.require(layer.rope < ropes.size(), "a layer names rotation " +
                                                   std::to_string(layer.rope) + " of " +
                                                   std::to_string(ropes.size()));
  }
  if (dense) check.count("the width of the feed-forward layers", hidden, 1, kMaxWidth);
  return check.status();
}

}  // namespace collegium::core
