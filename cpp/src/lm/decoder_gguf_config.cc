#include <array>
#include <cmath>

#include "io/in_quotes.h"
#include "lm/decoder_gguf.h"

namespace collegium::core {
namespace {

constexpr std::array<GgufArchitecture, 12> kArchitectures = {{
    {.name = "llama", .rope = RopeLayout::kPairs, .normalize = true},
    {.name = "qwen2"},
    {.name = "qwen3", .qk_norm_by_head = true, .qk_norm = true},
    {.name = "gemma2", .gemma = true, .full_every = 2, .layers_27b = 46},
    {.name = "gemma3",
     .gemma = true,
     .qk_norm_by_head = true,
     .qk_norm = true,
     .full_every = 6,
     .layers_27b = 62},
    {.name = "olmo2", .norms_behind = true, .qk_norm = true},
    {.name = "olmoe", .qk_norm = true},
    {.name = "qwen2moe", .shared_expert = true},
    {.name = "qwen3moe", .qk_norm_by_head = true, .qk_norm = true, .normalize = true},
    {.name = "granite", .rope = RopeLayout::kPairs},
    {.name = "granitemoe",
     .rope = RopeLayout::kPairs,
     .normalize = true,
     .scoring = ExpertScoring::kSoftmaxOfTopK},
    {.name = "deepseek2", .rope = RopeLayout::kPairs, .deepseek = true},
}};

}  // namespace

Result<const GgufArchitecture*> find_gguf_architecture(const GgufFile& file) {
  const auto name = file.get_string("general.architecture");
  if (!name.ok()) return Status::corruption(name.status().message());
  std::string allowed;
  for (const GgufArchitecture& known : kArchitectures) {
    if (known.name == *name) return &known;
    allowed += (allowed.empty() ? "" : ", ") + std::string(known.name);
  }
  return Status::not_supported(file.path() + ": architecture " + in_quotes(*name) +
                               " is not run here; allowed: " + allowed);
}

Status GgufDecoderReader::read_head_dimensions(DecoderConfig& config) const {
  config.kv_heads = config.heads;
  COLLEGIUM_RETURN_IF_ERROR(
      read_count_if_there("attention.head_count_kv", config.heads, config.kv_heads));
  if (has("attention.key_length")) {
    COLLEGIUM_RETURN_IF_ERROR(read_count("attention.key_length", 1, kMaxWidth, config.head_dim));
  } else if (config.width % config.heads == 0) {
    config.head_dim = config.width / config.heads;
  } else {
    return damage("width " + std::to_string(config.width) + " is no multiple of " +
                  std::to_string(config.heads) + " heads");
  }
  if (config.head_dim % 2 != 0)
    return damage("heads of " + std::to_string(config.head_dim) +
                  " numbers cannot be rotated in pairs");
  config.value_dim = config.head_dim;
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless_each({"attention.value_length", "rope.dimension_count"},
                                               static_cast<double>(config.head_dim)));
  return {};
}

// Newer files also say how wide keys and values are where heads look at the narrow vector itself.
Status GgufDecoderReader::read_latent_dimensions(DecoderConfig& config) const {
  DecoderLatentConfig& latent = config.latent;
  COLLEGIUM_RETURN_IF_ERROR(read_count("attention.kv_lora_rank", 1, kMaxWidth, latent.kv_rank));
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("attention.q_lora_rank", kMaxWidth, latent.q_rank));
  COLLEGIUM_RETURN_IF_ERROR(read_count("rope.dimension_count", 2, kMaxWidth, latent.rope_dim));
  const bool absorbed = has("attention.key_length_mla");
  const char* suffix = absorbed ? "_mla" : "";
  COLLEGIUM_RETURN_IF_ERROR(read_count(std::string("attention.key_length") + suffix,
                                       latent.rope_dim, kMaxWidth, config.head_dim));
  COLLEGIUM_RETURN_IF_ERROR(
      read_count(std::string("attention.value_length") + suffix, 1, kMaxWidth, config.value_dim));
  if (absorbed) {
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("attention.key_length",
                                            static_cast<double>(latent.kv_rank + latent.rope_dim)));
    COLLEGIUM_RETURN_IF_ERROR(
        refuse_unless("attention.value_length", static_cast<double>(latent.kv_rank)));
  }
  if (latent.rope_dim % 2 != 0)
    return damage(std::to_string(latent.rope_dim) + " numbers cannot be rotated in pairs");
  latent.nope_dim = config.head_dim - latent.rope_dim;
  config.kv_heads = config.heads;
  std::size_t stated = config.heads;
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("attention.head_count_kv", config.heads, stated));
  if (stated != config.heads && stated != 1)
    return damage(key("attention.head_count_kv") + " is " + std::to_string(stated) +
                  ", must be 1 or " + std::to_string(config.heads));
  return {};
}

Status GgufDecoderReader::read_dimensions(DecoderConfig& config) const {
  std::size_t layers = 0;
  COLLEGIUM_RETURN_IF_ERROR(read_count("block_count", 1, kMaxLayers, layers));
  config.layers.resize(layers);
  COLLEGIUM_RETURN_IF_ERROR(read_count("context_length", 1, kMaxContext, config.context));
  COLLEGIUM_RETURN_IF_ERROR(read_count("embedding_length", 1, kMaxWidth, config.width));
  COLLEGIUM_RETURN_IF_ERROR(read_count("attention.head_count", 1, kMaxHeads, config.heads));
  // Mixtures without dense layers may leave it out.
  if (has("feed_forward_length") || !has("expert_count"))
    COLLEGIUM_RETURN_IF_ERROR(read_count("feed_forward_length", 1, kMaxWidth, config.hidden));
  COLLEGIUM_RETURN_IF_ERROR(architecture_.deepseek ? read_latent_dimensions(config)
                                                   : read_head_dimensions(config));

  const auto embeddings = file_.find("token_embd.weight");
  if (!embeddings.ok()) return Status::corruption(embeddings.status().message());
  if (embeddings->shape.size() != 2 || embeddings->shape[0] == 0)
    return damage("token_embd.weight is not a matrix with rows");
  config.vocab = embeddings->shape[0];
  std::size_t stated = config.vocab;
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("vocab_size", kMaxVocab, stated));
  if (stated != config.vocab)
    return damage(key("vocab_size") + " is " + std::to_string(stated) + ", token_embd.weight has " +
                  std::to_string(config.vocab) + " rows");
  return {};
}

Status GgufDecoderReader::read_scales(DecoderConfig& config) const {
  COLLEGIUM_RETURN_IF_ERROR(read_positive("attention.layer_norm_rms_epsilon", config.norm_eps));
  float per_head = static_cast<float>(config.head_dim);
  if (architecture_.layers_27b != 0 && config.layers.size() == architecture_.layers_27b)
    per_head = static_cast<float>(config.width) / static_cast<float>(config.heads);
  config.attention_scale = 1.0f / std::sqrt(per_head);
  COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("attention.scale", config.attention_scale));
  if (architecture_.gemma) {
    config.activation = DecoderActivation::kGeluTanh;
    config.embedding_scale = std::sqrt(static_cast<float>(config.width));
  }
  if (architecture_.name == "gemma2") {
    COLLEGIUM_RETURN_IF_ERROR(read_positive("attn_logit_softcapping", config.attention_cap));
    COLLEGIUM_RETURN_IF_ERROR(read_positive("final_logit_softcapping", config.logit_cap));
  } else if (architecture_.gemma) {
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("final_logit_softcapping", config.logit_cap));
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("attn_logit_softcapping", 0.0));
  } else {
    COLLEGIUM_RETURN_IF_ERROR(
        refuse_unless_each({"attn_logit_softcapping", "final_logit_softcapping"}, 0.0));
  }
  if (is_granite()) {
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("embedding_scale", config.embedding_scale));
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("residual_scale", config.residual_scale));
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("logit_scale", config.logit_divisor));
  } else {
    COLLEGIUM_RETURN_IF_ERROR(
        refuse_unless_each({"embedding_scale", "residual_scale", "logit_scale"}, 1.0));
  }
  if (architecture_.name == "olmoe")
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("attention.clamp_kqv", config.qkv_clip));
  else
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("attention.clamp_kqv", 0.0));
  config.qk_norm_by_head = architecture_.qk_norm_by_head;
  if (!architecture_.deepseek)
    COLLEGIUM_RETURN_IF_ERROR(
        refuse_unless_each({"attention.kv_lora_rank", "attention.q_lora_rank"}, 0.0));
  return refuse_unless_each(
      {"attention.max_alibi_bias", "nextn_predict_layers", "attention.temperature_length",
       "attention.temperature_scale", "attention.shared_kv_layers", "use_parallel_residual",
       "router_logit_softcapping"},
      0.0);
}

// What stretches the rotation of layers that see all positions.
Status GgufDecoderReader::scale_rope(float base, DecoderConfig& config, Rope& rope) const {
  std::string kind = "none";
  if (has("rope.scaling.type")) {
    const auto type = file_.get_string(key("rope.scaling.type"));
    if (!type.ok()) return Status::corruption(type.status().message());
    kind = *type;
  }
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless("rope.scale_linear", 1.0));
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless_each(
      {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor"},
      1.0));
  if (!architecture_.deepseek)
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("rope.scaling.yarn_log_multiplier", 0.0));
  if (kind == "none") return refuse_unless("rope.scaling.factor", 1.0);
  float factor = 1.0f;
  if (kind == "linear" || kind == "yarn")
    COLLEGIUM_RETURN_IF_ERROR(read_positive("rope.scaling.factor", factor));
  if (kind == "linear") {
    scale_rope_linear(factor, rope.frequencies);
    return {};
  }
  if (kind == "yarn") {
    YarnRopeScaling yarn{.factor = factor, .original_context = 0};
    COLLEGIUM_RETURN_IF_ERROR(
        read_count("rope.scaling.original_context_length", 1, kMaxContext, yarn.original_context));
    float fast = 32.0f;
    float slow = 1.0f;
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("rope.scaling.yarn_beta_fast", fast));
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("rope.scaling.yarn_beta_slow", slow));
    yarn.beta_fast = fast;
    yarn.beta_slow = slow;
    scale_rope_yarn(yarn, base, rope.frequencies);
    if (!architecture_.deepseek) {
      rope.factor = factor <= 1.0f ? 1.0f : 0.1f * std::log(factor) + 1.0f;
      return {};
    }
    // mscale_all_dim / 10 in the checkpoint's configuration, where mscale is the same number: the
    // rotation keeps its length, the scale of attention changes. Without it programs differ.
    float slope = 0.0f;
    COLLEGIUM_RETURN_IF_ERROR(read_positive("rope.scaling.yarn_log_multiplier", slope));
    const float stretch = factor <= 1.0f ? 1.0f : slope * std::log(factor) + 1.0f;
    config.attention_scale *= stretch * stretch;
    return {};
  }
  return Status::not_supported(file_.path() + ": rotary scaling " + in_quotes(kind) +
                               " is not run here; allowed: none, linear, yarn");
}

Status GgufDecoderReader::read_ropes(DecoderConfig& config) {
  float base = 10000.0f;
  COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("rope.freq_base", base));
  const std::size_t rotated = architecture_.deepseek ? config.latent.rope_dim : config.head_dim;
  Rope rope{.layout = architecture_.rope, .frequencies = rope_frequencies(base, rotated)};
  COLLEGIUM_RETURN_IF_ERROR(scale_rope(base, config, rope));
  // Llama 3.1's scaling, worked out by whoever wrote the file.
  if (is_there("rope_freqs.weight")) {
    std::vector<float> factors;
    COLLEGIUM_RETURN_IF_ERROR(read_vector("rope_freqs.weight", rope.frequencies.size(), factors));
    for (std::size_t i = 0; i < factors.size(); ++i) {
      if (!(factors[i] > 0.0f) || !std::isfinite(factors[i]))
        return damage("rope_freqs.weight has " + std::to_string(factors[i]) +
                      ", must be positive and finite");
      rope.frequencies[i] /= factors[i];
    }
  }
  config.ropes = {rope};
  if (architecture_.name == "gemma3") {  // The layers with a window have a rotation of their own.
    float local = 10000.0f;
    COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("rope.freq_base_swa", local));
    config.ropes.push_back(
        {.layout = architecture_.rope, .frequencies = rope_frequencies(local, config.head_dim)});
  } else {
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("rope.freq_base_swa", base));
  }
  return {};
}

Status GgufDecoderReader::read_layers(DecoderConfig& config) const {
  if (architecture_.full_every == 0) {
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("attention.sliding_window", 0.0));
  } else {
    std::size_t window = 0;
    std::size_t every = architecture_.full_every;
    COLLEGIUM_RETURN_IF_ERROR(read_count("attention.sliding_window", 1, kMaxContext, window));
    COLLEGIUM_RETURN_IF_ERROR(
        read_count_if_there("attention.sliding_window_pattern", kMaxLayers, every));
    for (std::size_t l = 0; l < config.layers.size(); ++l) {
      if ((l + 1) % every == 0) continue;
      config.layers[l].window = window;
      config.layers[l].rope = config.ropes.size() - 1;
    }
  }
  for (std::size_t l = 0; l < config.layers.size(); ++l)
    config.layers[l].moe = is_there("blk." + std::to_string(l) + ".ffn_gate_inp.weight");
  return {};
}

Status GgufDecoderReader::read_moe(DecoderConfig& config) const {
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless_each(
      {"moe_every_n_layers", "interleave_moe_layer_step", "moe_latent_size"}, 0.0));
  if (!architecture_.deepseek)
    COLLEGIUM_RETURN_IF_ERROR(
        refuse_unless_each({"expert_group_count", "expert_group_used_count",
                            "leading_dense_block_count", "expert_shared_count"},
                           0.0));
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless("expert_group_scale", 1.0));
  std::size_t stated = 0;
  if (has("expert_count"))
    COLLEGIUM_RETURN_IF_ERROR(read_count("expert_count", 0, kMaxExperts, stated));
  const bool wanted = stated != 0;
  bool any = false;
  for (const DecoderLayerConfig& layer : config.layers) any = any || layer.moe;
  if (!wanted && !any) return {};
  if (architecture_.gemma || architecture_.norms_behind)
    return Status::not_supported(file_.path() + ": " + std::string(architecture_.name) +
                                 " with experts is not run here");
  DecoderMoeConfig& moe = config.moe;
  COLLEGIUM_RETURN_IF_ERROR(read_count("expert_count", 1, kMaxExperts, moe.experts));
  COLLEGIUM_RETURN_IF_ERROR(read_count("expert_used_count", 1, moe.experts, moe.top_k));
  std::size_t dense = 0;  // so many layers at the beginning
  if (architecture_.deepseek)
    COLLEGIUM_RETURN_IF_ERROR(read_count("leading_dense_block_count", 0, kMaxLayers, dense));
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const bool there = config.layers[l].moe;
    if (there != (l >= dense))
      return damage("tensor 'blk." + std::to_string(l) + ".ffn_gate_inp.weight' is " +
                    (there ? "" : "not ") + "there, but " +
                    (there ? key("leading_dense_block_count") + " is " + std::to_string(dense)
                           : key("expert_count") + " is " + std::to_string(moe.experts)));
  }
  moe.hidden = config.hidden;
  COLLEGIUM_RETURN_IF_ERROR(
      read_count_if_there("expert_feed_forward_length", kMaxWidth, moe.hidden));
  if (moe.hidden == 0)
    COLLEGIUM_RETURN_IF_ERROR(read_count("feed_forward_length", 1, kMaxWidth, moe.hidden));
  if (architecture_.shared_expert) {
    moe.shared_hidden = config.hidden;
    COLLEGIUM_RETURN_IF_ERROR(
        read_count_if_there("expert_shared_feed_forward_length", kMaxWidth, moe.shared_hidden));
  } else {
    COLLEGIUM_RETURN_IF_ERROR(refuse_unless("expert_shared_feed_forward_length", 0.0));
  }
  moe.scoring = architecture_.scoring;
  moe.normalize = architecture_.normalize;
  if (has("expert_weights_norm")) {
    const auto normalize = file_.get_bool(key("expert_weights_norm"));
    if (!normalize.ok()) return Status::corruption(normalize.status().message());
    moe.normalize = *normalize;
  }
  COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("expert_weights_scale", moe.scale));
  return architecture_.deepseek ? read_deepseek_routing(config)
                                : refuse_unless("expert_gating_func", 1.0);  // softmax
}

// What DeepSeek's routing has beside that of other mixtures.
Status GgufDecoderReader::read_deepseek_routing(DecoderConfig& config) const {
  DecoderMoeConfig& moe = config.moe;
  std::size_t shared = 0;
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("expert_shared_count", kMaxExperts, shared));
  moe.shared_hidden = shared * moe.hidden;
  std::size_t gating = 1;
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("expert_gating_func", 1000, gating));
  if (gating != 1 && gating != 2)
    return Status::not_supported(file_.path() + ": " + key("expert_gating_func") + " is " +
                                 std::to_string(gating) +
                                 ", only 1 (softmax) and 2 (sigmoid) are run here");
  const bool sigmoid = gating == 2;
  if (sigmoid) moe.scoring = ExpertScoring::kSigmoid;
  if (!sigmoid && moe.normalize)
    return Status::not_supported(file_.path() + ": " + key("expert_weights_norm") +
                                 " with softmax: the makers' code and others disagree about what "
                                 "it does");
  COLLEGIUM_RETURN_IF_ERROR(read_count_if_there("expert_group_count", kMaxExperts, moe.groups));
  COLLEGIUM_RETURN_IF_ERROR(
      read_count_if_there("expert_group_used_count", kMaxExperts, moe.group_top_k));
  moe.group_by_best_two = sigmoid;
  return {};
}

Result<DecoderConfig> GgufDecoderReader::read_config() {
  DecoderConfig config;
  config.architecture = architecture_.name;
  COLLEGIUM_RETURN_IF_ERROR(read_dimensions(config));
  COLLEGIUM_RETURN_IF_ERROR(read_scales(config));
  COLLEGIUM_RETURN_IF_ERROR(read_ropes(config));
  COLLEGIUM_RETURN_IF_ERROR(read_layers(config));
  COLLEGIUM_RETURN_IF_ERROR(read_moe(config));
  config.tied_embeddings = !is_there("output.weight");
  COLLEGIUM_RETURN_IF_ERROR(config.validate(file_.path()));
  return config;
}

}  // namespace collegium::core
