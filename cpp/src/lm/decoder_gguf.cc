// read_decoder_gguf(): from a file's metadata and tensors, trusting neither. Names and meanings are
// llama.cpp's; metadata that changes the arithmetic and is not run is refused by name.
#include <array>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/in_quotes.h"
#include "lm/decoder.h"

namespace collegium::core {
namespace {

// What an architecture's name stands for beside its metadata.
struct Architecture {
  std::string_view name;
  RopeLayout rope = RopeLayout::kHalves;
  bool gemma = false;            // tanh-GELU, embeddings times sqrt(width), norms behind parts
  bool norms_behind = false;     // OLMo 2: none before a part
  bool qk_norm_by_head = false;  // where there are norms of queries and keys
  bool qk_norm = false;
  // Mixtures: llama.cpp's value where expert_weights_norm is absent.
  bool normalize = false;
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  bool shared_expert = false;
  // Every `full_every`-th layer sees all positions, the others a window; 0: all layers see all.
  std::size_t full_every = 0;
  std::size_t layers_27b = 0;  // so many layers: queries are scaled by width / heads instead
};

constexpr std::array<Architecture, 11> kArchitectures = {{
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
}};

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures)
    if (architecture.name == name) return &architecture;
  return nullptr;
}

// Reads metadata and tensors of one file and remembers which tensors were used.
class Reader {
 public:
  Reader(const GgufFile& file, const Architecture& architecture, Isa isa)
      : file_(file), architecture_(architecture), isa_(isa) {}

  Result<DecoderConfig> read_config();
  Result<DecoderWeights> read_weights(DecoderConfig& config);

 private:
  std::string key(std::string_view name) const {
    return std::string(architecture_.name) + "." + std::string(name);
  }
  bool has(std::string_view name) const { return file_.has(key(name)); }
  bool is_granite() const { return architecture_.name.starts_with("granite"); }
  Status damage(const std::string& message) const {
    return Status::corruption(file_.path() + ": " + message);
  }

  Status read_count(std::string_view name, std::size_t least, std::size_t most,
                    std::size_t& out) const {
    const std::string full = key(name);
    if (file_.has(full) && file_.value(full)->type == GgufValueType::kArray)
      return Status::not_supported(file_.path() + ": " + full +
                                   " differs from layer to layer, which is not run here");
    const auto value = file_.get_unsigned(full);
    if (!value.ok()) return Status::corruption(value.status().message());
    if (*value < least || *value > most)
      return damage(full + " is " + std::to_string(*value) + ", must be in [" +
                    std::to_string(least) + ", " + std::to_string(most) + "]");
    out = static_cast<std::size_t>(*value);
    return {};
  }
  Status read_count_if_there(std::string_view name, std::size_t most, std::size_t& out) const {
    return has(name) ? read_count(name, 1, most, out) : Status();
  }
  Status read_positive(std::string_view name, float& out) const {
    const auto value = file_.get_number(key(name));
    if (!value.ok()) return Status::corruption(value.status().message());
    out = static_cast<float>(*value);
    if (!(out > 0.0f) || !std::isfinite(out))
      return damage(key(name) + " is " + std::to_string(*value) + ", must be positive and finite");
    return {};
  }
  Status read_positive_if_there(std::string_view name, float& out) const {
    return has(name) ? read_positive(name, out) : Status();
  }

  // Metadata that changes the arithmetic is refused unless it says what we compute anyway.
  Status refuse_unless(std::string_view name, double neutral) const {
    if (!has(name)) return {};
    const auto value = file_.get_number(key(name));
    if (!value.ok()) return Status::corruption(value.status().message());
    if (*value == neutral) return {};
    return Status::not_supported(file_.path() + ": " + key(name) + " is " + std::to_string(*value) +
                                 ", only " + std::to_string(neutral) + " is run here");
  }
  Status refuse_unless_each(std::initializer_list<std::string_view> names, double neutral) const {
    for (const std::string_view name : names)
      COLLEGIUM_RETURN_IF_ERROR(refuse_unless(name, neutral));
    return {};
  }

  Status read_dimensions(DecoderConfig& config) const;
  Status read_scales(DecoderConfig& config) const;
  Status read_ropes(DecoderConfig& config);
  Status scale_rope(float base, Rope& rope) const;
  Status read_layers(DecoderConfig& config) const;
  Status read_moe(DecoderConfig& config) const;
  Status read_layer(const DecoderConfig& config, std::size_t number, DecoderLayerWeights& layer);
  Status read_attention(const DecoderConfig& config, const std::string& prefix,
                        DecoderLayerWeights& layer);
  Status read_experts(const DecoderConfig& config, const std::string& prefix, MoeWeights& moe);

  bool is_there(const std::string& name) const { return file_.tensors().contains(name); }
  Result<GgufTensor> find(const std::string& name, const std::vector<std::size_t>& shape) {
    auto tensor = file_.find(name, shape);
    if (!tensor.ok()) {
      if (tensor.status().code() == StatusCode::kNotSupported) return tensor.status();
      return Status::corruption(tensor.status().message());
    }
    used_.insert(name);
    return tensor;
  }
  Status read_vector(const std::string& name, std::size_t size, std::vector<float>& out) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name, {size}));
    out.resize(size);
    dequantize(tensor.type, tensor.bytes.data(), size, out.data());
    return {};
  }
  Status read_linear(const std::string& name, std::size_t outputs, std::size_t inputs,
                     QuantizedLinear& out) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name + ".weight", {outputs, inputs}));
    std::vector<float> bias;
    if (is_there(name + ".bias"))
      COLLEGIUM_RETURN_IF_ERROR(read_vector(name + ".bias", outputs, bias));
    out = QuantizedLinear(tensor, isa_, std::move(bias));
    return {};
  }
  Status read_gated(const std::string& prefix, const char* suffix, std::size_t hidden,
                    std::size_t width, GatedWeights& out) {
    COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "ffn_gate" + suffix, hidden, width, out.gate));
    COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "ffn_up" + suffix, hidden, width, out.up));
    return read_linear(prefix + "ffn_down" + suffix, width, hidden, out.down);
  }

  const GgufFile& file_;
  const Architecture& architecture_;
  Isa isa_;
  std::set<std::string, std::less<>> used_;
};

Status Reader::read_dimensions(DecoderConfig& config) const {
  std::size_t layers = 0;
  COLLEGIUM_RETURN_IF_ERROR(read_count("block_count", 1, kMaxLayers, layers));
  config.layers.resize(layers);
  COLLEGIUM_RETURN_IF_ERROR(read_count("context_length", 1, kMaxContext, config.context));
  COLLEGIUM_RETURN_IF_ERROR(read_count("embedding_length", 1, kMaxWidth, config.width));
  COLLEGIUM_RETURN_IF_ERROR(read_count("attention.head_count", 1, kMaxHeads, config.heads));
  config.kv_heads = config.heads;
  COLLEGIUM_RETURN_IF_ERROR(
      read_count_if_there("attention.head_count_kv", config.heads, config.kv_heads));
  // Mixtures without dense layers may leave it out.
  if (has("feed_forward_length") || !has("expert_count"))
    COLLEGIUM_RETURN_IF_ERROR(read_count("feed_forward_length", 1, kMaxWidth, config.hidden));
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

Status Reader::read_scales(DecoderConfig& config) const {
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
  return refuse_unless_each(
      {"attention.max_alibi_bias", "attention.kv_lora_rank", "attention.q_lora_rank",
       "attention.temperature_length", "attention.temperature_scale", "attention.shared_kv_layers",
       "use_parallel_residual", "router_logit_softcapping"},
      0.0);
}

// What stretches the rotation of layers that see all positions.
Status Reader::scale_rope(float base, Rope& rope) const {
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
    rope.factor = factor <= 1.0f ? 1.0f : 0.1f * std::log(factor) + 1.0f;
    return {};
  }
  return Status::not_supported(file_.path() + ": rotary scaling " + in_quotes(kind) +
                               " is not run here; allowed: none, linear, yarn");
}

Status Reader::read_ropes(DecoderConfig& config) {
  float base = 10000.0f;
  COLLEGIUM_RETURN_IF_ERROR(read_positive_if_there("rope.freq_base", base));
  Rope rope{.layout = architecture_.rope, .frequencies = rope_frequencies(base, config.head_dim)};
  COLLEGIUM_RETURN_IF_ERROR(scale_rope(base, rope));
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

Status Reader::read_layers(DecoderConfig& config) const {
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

Status Reader::read_moe(DecoderConfig& config) const {
  COLLEGIUM_RETURN_IF_ERROR(refuse_unless_each(
      {"expert_group_count", "expert_group_used_count", "leading_dense_block_count",
       "expert_shared_count", "moe_every_n_layers", "interleave_moe_layer_step", "moe_latent_size"},
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
  for (std::size_t l = 0; l < config.layers.size(); ++l)
    if (!config.layers[l].moe)
      return damage("tensor 'blk." + std::to_string(l) + ".ffn_gate_inp.weight' is not there, " +
                    "but " + key("expert_count") + " is " + std::to_string(moe.experts));
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
  return refuse_unless("expert_gating_func", 1.0);  // softmax
}

Result<DecoderConfig> Reader::read_config() {
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

Status Reader::read_attention(const DecoderConfig& c, const std::string& prefix,
                              DecoderLayerWeights& layer) {
  if (architecture_.qk_norm) {
    const bool by_head = c.qk_norm_by_head;
    COLLEGIUM_RETURN_IF_ERROR(read_vector(prefix + "attn_q_norm.weight",
                                          by_head ? c.head_dim : c.q_width(), layer.q_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(read_vector(
        prefix + "attn_k_norm.weight", by_head ? c.head_dim : c.key_width(), layer.k_norm.gamma));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_q", c.q_width(), c.width, layer.q));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_k", c.key_width(), c.width, layer.k));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_v", c.value_width(), c.width, layer.v));
  return read_linear(prefix + "attn_output", c.width, c.heads * c.value_dim,
                     layer.attention_output);
}

// Experts lie one behind another in three tensors: (experts, hidden, width) and, of the last,
// (experts, width, hidden).
Status Reader::read_experts(const DecoderConfig& c, const std::string& prefix, MoeWeights& moe) {
  COLLEGIUM_RETURN_IF_ERROR(
      read_linear(prefix + "ffn_gate_inp", c.moe.experts, c.width, moe.router));
  const std::size_t hidden = c.moe.hidden;
  struct Part {
    const char* name;
    std::size_t outputs, inputs;
    QuantizedLinear GatedWeights::*linear;
  };
  std::vector<GatedWeights> experts;
  for (const Part& part : {Part{"ffn_gate_exps.weight", hidden, c.width, &GatedWeights::gate},
                           Part{"ffn_up_exps.weight", hidden, c.width, &GatedWeights::up},
                           Part{"ffn_down_exps.weight", c.width, hidden, &GatedWeights::down}}) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto all, find(prefix + part.name, {c.moe.experts, part.outputs, part.inputs}));
    experts.resize(c.moe.experts);
    const std::size_t bytes = all.bytes.size() / c.moe.experts;
    for (std::size_t e = 0; e < c.moe.experts; ++e) {
      const GgufTensor one{.type = all.type,
                           .shape = {part.outputs, part.inputs},
                           .bytes = all.bytes.subspan(e * bytes, bytes)};
      experts[e].*part.linear = QuantizedLinear(one, isa_);
    }
  }
  moe.experts = std::move(experts);
  if (c.moe.shared_hidden == 0) return {};
  COLLEGIUM_RETURN_IF_ERROR(read_gated(prefix, "_shexp", c.moe.shared_hidden, c.width, moe.shared));
  // A vector in the file.
  COLLEGIUM_ASSIGN_OR_RETURN(auto gate, find(prefix + "ffn_gate_inp_shexp.weight", {c.width}));
  gate.shape = {1, c.width};
  moe.shared_gate = QuantizedLinear(gate, isa_);
  return {};
}

Status Reader::read_layer(const DecoderConfig& c, std::size_t number, DecoderLayerWeights& layer) {
  const std::string prefix = "blk." + std::to_string(number) + ".";
  if (!architecture_.norms_behind) {
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "attn_norm.weight", c.width, layer.attention_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "ffn_norm.weight", c.width, layer.hidden_norm.gamma));
  }
  if (architecture_.norms_behind || architecture_.gemma) {
    COLLEGIUM_RETURN_IF_ERROR(read_vector(prefix + "post_attention_norm.weight", c.width,
                                          layer.attention_post_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "post_ffw_norm.weight", c.width, layer.hidden_post_norm.gamma));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_attention(c, prefix, layer));
  return c.layers[number].moe ? read_experts(c, prefix, layer.moe)
                              : read_gated(prefix, "", c.hidden, c.width, layer.mlp);
}

Result<DecoderWeights> Reader::read_weights(DecoderConfig& config) {
  DecoderWeights weights;
  COLLEGIUM_ASSIGN_OR_RETURN(weights.embeddings,
                             find("token_embd.weight", {config.vocab, config.width}));
  COLLEGIUM_RETURN_IF_ERROR(
      read_vector("output_norm.weight", config.width, weights.output_norm.gamma));
  for (std::size_t l = 0; l < config.layers.size(); ++l)
    // One of these is missing long before a false number of layers costs memory.
    COLLEGIUM_RETURN_IF_ERROR(read_layer(config, l, weights.layers.emplace_back()));
  if (config.tied_embeddings)
    weights.output = QuantizedLinear(weights.embeddings, isa_);
  else
    COLLEGIUM_RETURN_IF_ERROR(read_linear("output", config.vocab, config.width, weights.output));
  // A tensor nobody asked for would change the result if it were known.
  for (const auto& [name, tensor] : file_.tensors())
    if (!used_.contains(name))
      return Status::not_supported(file_.path() + ": tensor " + in_quotes(name) +
                                   " is no part of the architecture " +
                                   in_quotes(architecture_.name) + " as it is run here");
  return weights;
}

}  // namespace

Result<Decoder> read_decoder_gguf(const GgufFile& file, Isa isa) {
  const auto name = file.get_string("general.architecture");
  if (!name.ok()) return Status::corruption(name.status().message());
  const Architecture* architecture = find_architecture(*name);
  if (architecture == nullptr) {
    std::string allowed;
    for (const Architecture& known : kArchitectures)
      allowed += (allowed.empty() ? "" : ", ") + std::string(known.name);
    return Status::not_supported(file.path() + ": architecture " + in_quotes(*name) +
                                 " is not run here; allowed: " + allowed);
  }
  Reader reader(file, *architecture, isa);
  COLLEGIUM_ASSIGN_OR_RETURN(auto config, reader.read_config());
  COLLEGIUM_ASSIGN_OR_RETURN(auto weights, reader.read_weights(config));
  return Decoder::create(std::move(config), std::move(weights), isa, file.path());
}

}  // namespace collegium::core
