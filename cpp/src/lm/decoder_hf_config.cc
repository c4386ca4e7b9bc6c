#include "lm/decoder_hf_config.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "experts/trunk_config.h"
#include "io/in_quotes.h"

namespace collegium::core {
namespace {

// Fields that say nothing about the arithmetic: training, bookkeeping, and what generation does.
constexpr std::string_view kWithoutEffect[] = {"_attn_implementation_autoset",
                                               "_commit_hash",
                                               "_name_or_path",
                                               "architectures",
                                               "attention_dropout",
                                               "auto_map",
                                               "aux_loss_alpha",
                                               "bos_token_id",
                                               "cache_implementation",
                                               "dtype",
                                               "embedding_dropout",
                                               "eos_token_id",
                                               "ep_size",
                                               "hidden_dropout",
                                               "hidden_dropout_prob",
                                               "id2label",
                                               "initializer_range",
                                               "input_jitter_noise",
                                               "is_llama_config",
                                               "label2id",
                                               "model_type",
                                               "output_router_logits",
                                               "pad_token_id",
                                               "pretraining_tp",
                                               "resid_pdrop",
                                               "router_aux_loss_coef",
                                               "seq_aux",
                                               "torch_dtype",
                                               "transformers.js_config",
                                               "transformers_version",
                                               "unsloth_fixed",
                                               "use_cache"};

using MoeKinds = std::vector<bool>;

DecoderActivation activation_named(JsonFields& fields, std::string_view key,
                                   const std::string& fallback) {
  const std::string name = fields.text_or(key, fallback);
  if (name == "silu" || name == "swish") return DecoderActivation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return DecoderActivation::kGeluTanh;
  if (name == "gelu") return DecoderActivation::kGelu;
  if (name == "relu") return DecoderActivation::kRelu;
  fields.fail(Status::not_supported(fields.root().where() + ": " + std::string(key) + " is " +
                                    in_quotes(name) +
                                    "; here only silu, gelu, gelu_pytorch_tanh and relu are run"));
  return DecoderActivation::kSilu;
}

// Widths and counts every family has.
struct CommonAsk {
  std::string_view activation_key = "hidden_act";
  std::string activation = "silu";
  bool tied = false;
  bool head_dim_required = false;  // the family's own default is no function of other fields
  bool kv_heads_required = false;
};

void read_common(JsonFields& fields, const CommonAsk& ask, HfDecoder& out) {
  DecoderConfig& config = out.config;
  config.vocab = fields.count("vocab_size");
  config.width = fields.count("hidden_size");
  config.context = fields.count("max_position_embeddings");
  config.heads = fields.count("num_attention_heads");
  const std::size_t layers = fields.count("num_hidden_layers");
  config.layers.assign(std::min(layers, kMaxLayers + 1), {});  // too many are refused later
  config.kv_heads = ask.kv_heads_required ? fields.count("num_key_value_heads")
                                          : fields.count_or("num_key_value_heads", config.heads, 1);
  const std::size_t head_dim = config.width / std::max<std::size_t>(1, config.heads);
  config.head_dim =
      ask.head_dim_required ? fields.count("head_dim") : fields.count_or("head_dim", head_dim, 1);
  if (!fields.has("head_dim") && config.width % std::max<std::size_t>(1, config.heads) != 0)
    fields.fail(Status::corruption(fields.root().where() + ": hidden_size " +
                                   std::to_string(config.width) + " is no multiple of " +
                                   std::to_string(config.heads) + " num_attention_heads"));
  config.value_dim = config.head_dim;
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  config.norm_eps = static_cast<float>(fields.number("rms_norm_eps"));
  config.activation = activation_named(fields, ask.activation_key, ask.activation);
  config.tied_embeddings = fields.flag_or("tie_word_embeddings", ask.tied);
}

// rope_parameters, or rope_scaling beside rope_theta: one rotation for all layers.
void read_rope(JsonFields& fields, HfRopeAsk ask, HfDecoder& out) {
  DecoderConfig& config = out.config;
  ask.base = fields.number_or("rope_theta", ask.base);
  ask.partial = fields.number_or("partial_rotary_factor", 1.0);
  ask.original_context = fields.count_or("original_max_position_embeddings", config.context, 1);
  ask.layout = config.latent.kv_rank != 0 ? ask.layout : RopeLayout::kHalves;
  const JsonValue* scaling = fields.object("rope_scaling");
  const JsonValue* parameters = fields.object("rope_parameters");
  if (scaling == nullptr) scaling = parameters;
  if (scaling == nullptr) {
    static const JsonDocument empty =
        *JsonDocument::parse(std::as_bytes(std::span("{}", 2)), "rope_parameters");
    JsonFields none(empty.root());
    config.ropes.push_back(read_hf_rope(none, ask, config.attention_scale, config.context));
    fields.fail(none.finish());
    return;
  }
  JsonFields rope(*scaling);
  config.ropes.push_back(read_hf_rope(rope, ask, config.attention_scale, config.context));
  fields.fail(rope.finish());
}

// sliding_window of every layer; absent or null: none.
void read_window(JsonFields& fields, HfDecoder& out) {
  const std::size_t window = fields.count_or("sliding_window", 0, 1);
  for (DecoderLayerConfig& layer : out.config.layers) layer.window = window;
}

// layer_types, or what the family's rule says of a layer without the field. Layers that slide get
// sliding_window; the function says which they are.
template <typename Rule>
std::vector<bool> read_layer_types(JsonFields& fields, HfDecoder& out, std::size_t window,
                                   Rule slides) {
  std::vector<DecoderLayerConfig>& layers = out.config.layers;
  const std::vector<std::string> types = fields.texts("layer_types");
  if (fields.has("layer_types") && types.size() != layers.size())
    fields.fail(Status::corruption(
        fields.root().where() + ": layer_types names " + std::to_string(types.size()) +
        " layers, but num_hidden_layers is " + std::to_string(layers.size())));
  std::vector<bool> sliding(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    sliding[l] = slides(l);
    if (l < types.size()) {
      sliding[l] = types[l] == "sliding_attention";
      if (!sliding[l] && types[l] != "full_attention")
        fields.fail(Status::not_supported(
            fields.root().where() + ": layer_types has " + in_quotes(types[l]) +
            "; here only full_attention and sliding_attention are run"));
    }
    if (sliding[l] && window == 0)
      fields.fail(Status::corruption(fields.root().where() + ": layer " + std::to_string(l) +
                                     " slides, but there is no sliding_window"));
    if (sliding[l]) layers[l].window = window;
  }
  return sliding;
}

void set_moe(HfDecoder& out, const MoeKinds& kinds) {
  for (std::size_t l = 0; l < out.config.layers.size(); ++l) out.config.layers[l].moe = kinds[l];
}

void read_llama(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {}, out);
  out.config.hidden = fields.count("intermediate_size");
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  out.mlp_bias = fields.flag_or("mlp_bias", false);
  fields.only_flag("rope_interleaved", false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

void read_granite_scales(JsonFields& fields, HfDecoder& out) {
  DecoderConfig& config = out.config;
  config.embedding_scale = static_cast<float>(fields.number_or("embedding_multiplier", 1.0));
  config.logit_divisor = static_cast<float>(fields.number_or("logits_scaling", 1.0));
  config.residual_scale = static_cast<float>(fields.number_or("residual_multiplier", 1.0));
  config.attention_scale = static_cast<float>(fields.number_or("attention_multiplier", 1.0));
}

void read_granite(JsonFields& fields, HfDecoder& out) {
  read_llama(fields, out);
  read_granite_scales(fields, out);
}

void read_mistral(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.kv_heads_required = true}, out);
  out.config.hidden = fields.count("intermediate_size");
  read_window(fields, out);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

// Which layers slide, by the rule of Qwen2 and Qwen3.
void read_qwen_windows(JsonFields& fields, HfDecoder& out, bool every_other) {
  const bool used = fields.flag_or("use_sliding_window", false);
  // The field may say 0 where it is not used.
  const std::size_t window = fields.count_or("sliding_window", 0);
  const std::size_t from = fields.count_or("max_window_layers", 28);
  read_layer_types(fields, out, used ? window : 0, [&](std::size_t l) {
    if (!used || window == 0) return false;
    return every_other ? l % 2 == 0 && l < from : l >= from;
  });
}

void read_qwen2(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {}, out);
  out.config.hidden = fields.count("intermediate_size");
  out.qkv_bias = true;
  fields.only_flag("use_mrope", false);
  read_qwen_windows(fields, out, false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

void read_qwen3(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.head_dim_required = true}, out);
  out.config.hidden = fields.count("intermediate_size");
  out.qk_norm = true;
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  read_qwen_windows(fields, out, false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

void read_gemma(JsonFields& fields, HfDecoder& out, bool third) {
  read_common(fields,
              {.activation_key = "hidden_activation",
               .activation = "gelu_pytorch_tanh",
               .tied = true,
               .head_dim_required = true,
               .kv_heads_required = true},
              out);
  fields.ignore("hidden_act");           // hidden_activation is what counts
  fields.ignore("sliding_window_size");  // and sliding_window
  fields.only_flag("use_bidirectional_attention", false);
  DecoderConfig& config = out.config;
  config.hidden = fields.count("intermediate_size");
  out.norms = HfDecoder::Norms::kSandwich;
  out.norm_adds_one = true;
  out.qk_norm = third;
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.width)));
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(fields.number("query_pre_attn_scalar")));
  // The caps: absent means the family's own, null none.
  const auto cap = [&](const char* key, double fallback) {
    return static_cast<float>(
        fields.number_or(key, third || fields.root().has(key) ? 0.0 : fallback));
  };
  config.attention_cap = cap("attn_logit_softcapping", 50.0);
  config.logit_cap = cap("final_logit_softcapping", 30.0);
  const std::size_t window = fields.count("sliding_window");
  if (!third) {
    read_layer_types(fields, out, window, [](std::size_t l) { return l % 2 == 0; });
    read_rope(fields, {.base = 10'000.0, .dims = config.head_dim}, out);
    return;
  }
  const std::size_t pattern = fields.count_or("sliding_window_pattern",
                                              fields.count_or("_sliding_window_pattern", 6, 1), 1);
  fields.ignore("_sliding_window_pattern");
  const std::vector<bool> sliding =
      read_layer_types(fields, out, window, [&](std::size_t l) { return (l + 1) % pattern != 0; });
  // Rotation 0 is the full layers', 1 the sliding ones'.
  HfRopeAsk ask{.base = fields.number_or("rope_theta", 1'000'000.0),
                .dims = config.head_dim,
                .partial = 1.0,
                .layout = RopeLayout::kHalves,
                .original_context = config.context};
  const double local_base = fields.number_or("rope_local_base_freq", 10'000.0);
  const JsonValue* parameters = fields.object("rope_parameters");
  const JsonValue* scaling = fields.object("rope_scaling");  // of the full layers
  static const JsonDocument empty =
      *JsonDocument::parse(std::as_bytes(std::span("{}", 2)), "rope_parameters");
  JsonFields nested(parameters != nullptr ? *parameters : empty.root());
  for (const bool local : {false, true}) {
    const JsonValue* one = nested.object(local ? "sliding_attention" : "full_attention");
    if (one == nullptr && !local) one = scaling;
    JsonFields rope(one != nullptr ? *one : empty.root());
    if (local) ask.base = local_base;
    config.ropes.push_back(read_hf_rope(rope, ask, config.attention_scale, config.context));
    fields.fail(rope.finish());
  }
  fields.fail(nested.finish());
  for (std::size_t l = 0; l < sliding.size(); ++l) config.layers[l].rope = sliding[l] ? 1 : 0;
}

void read_gemma2(JsonFields& fields, HfDecoder& out) { read_gemma(fields, out, false); }
void read_gemma3(JsonFields& fields, HfDecoder& out) { read_gemma(fields, out, true); }

void read_olmo2(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {}, out);
  out.config.hidden = fields.count("intermediate_size");
  out.norms = HfDecoder::Norms::kPost;
  out.qk_norm = true;
  out.config.qk_norm_by_head = false;
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

// num_local_experts, num_experts_per_tok and intermediate_size, in every layer.
void read_local_experts(JsonFields& fields, HfDecoder& out) {
  DecoderMoeConfig& moe = out.config.moe;
  moe.experts = fields.count(fields.has("num_local_experts") ? "num_local_experts" : "num_experts");
  moe.top_k = fields.count("num_experts_per_tok");
  moe.hidden = fields.count("intermediate_size");
  set_moe(out, MoeKinds(out.config.layers.size(), true));
}

void read_mixtral(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.kv_heads_required = true}, out);
  read_local_experts(fields, out);
  out.config.moe.normalize = true;
  fields.ignore("router_jitter_noise");  // of training
  read_window(fields, out);
  read_rope(fields, {.base = 1'000'000.0, .dims = out.config.head_dim}, out);
}

void read_phimoe(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.kv_heads_required = true}, out);
  out.config.norm = DecoderNorm::kLayer;
  read_local_experts(fields, out);
  DecoderMoeConfig& moe = out.config.moe;
  moe.scoring = ExpertScoring::kSparseMixer;
  moe.jitter = static_cast<float>(fields.number_or("router_jitter_noise", 0.01));
  if (fields.ok() && moe.top_k != 2)
    fields.fail(Status::not_supported(fields.root().where() + ": num_experts_per_tok is " +
                                      std::to_string(moe.top_k) + "; here only 2 is run"));
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  out.head_bias = fields.flag_or("lm_head_bias", false);
  read_window(fields, out);
  read_rope(fields, {.base = 1'000'000.0, .dims = out.config.head_dim, .long_rope = true}, out);
}

void read_granitemoe(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {}, out);
  read_local_experts(fields, out);
  out.config.moe.scoring = ExpertScoring::kSoftmaxOfTopK;
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
  read_granite_scales(fields, out);
}

void read_olmoe(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {}, out);
  read_local_experts(fields, out);
  out.config.moe.normalize = fields.flag_or("norm_topk_prob", false);
  out.qk_norm = true;
  out.config.qk_norm_by_head = false;
  out.config.qkv_clip = static_cast<float>(fields.number_or("clip_qkv", 0.0));
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

// num_experts, moe_intermediate_size; mlp_only_layers and decoder_sparse_step say where.
void read_qwen_experts(JsonFields& fields, HfDecoder& out) {
  DecoderConfig& config = out.config;
  config.hidden = fields.count("intermediate_size");
  config.moe.experts =
      fields.count(fields.has("num_experts") ? "num_experts" : "num_local_experts");
  config.moe.top_k = fields.count("num_experts_per_tok");
  config.moe.hidden = fields.count("moe_intermediate_size");
  config.moe.normalize = fields.flag_or("norm_topk_prob", false);
  const std::size_t step = fields.count_or("decoder_sparse_step", 1, 1);
  MoeKinds kinds(config.layers.size());
  for (std::size_t l = 0; l < kinds.size(); ++l) kinds[l] = (l + 1) % step == 0;
  for (const double number : fields.numbers("mlp_only_layers")) {
    if (number != std::floor(number) || number < 0.0) {
      fields.fail(Status::corruption(fields.root().where() + ": mlp_only_layers has " +
                                     std::to_string(number)));
      return;
    }
    if (number < static_cast<double>(kinds.size())) kinds[static_cast<std::size_t>(number)] = false;
  }
  set_moe(out, kinds);
}

void read_qwen2_moe(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.kv_heads_required = true}, out);
  read_qwen_experts(fields, out);
  out.config.moe.shared_hidden = fields.count("shared_expert_intermediate_size");
  out.shared_gate = true;
  out.qkv_bias = fields.flag_or("qkv_bias", true);
  read_qwen_windows(fields, out, true);
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

void read_qwen3_moe(JsonFields& fields, HfDecoder& out) {
  read_common(fields, {.kv_heads_required = true}, out);
  read_qwen_experts(fields, out);
  out.qk_norm = true;
  out.qkv_bias = out.output_bias = fields.flag_or("attention_bias", false);
  fields.ignore("max_window_layers");  // the reference's layers do not look at it
  if (fields.flag_or("use_sliding_window", false))
    read_window(fields, out);
  else
    fields.ignore("sliding_window");
  read_rope(fields, {.base = 10'000.0, .dims = out.config.head_dim}, out);
}

// Latent attention and fine-grained experts: DeepSeek-V2 (arXiv 2405.04434), V3 (2412.19437).
void read_deepseek(JsonFields& fields, HfDecoder& out, bool third) {
  read_common(fields, {}, out);
  DecoderConfig& config = out.config;
  config.hidden = fields.count("intermediate_size");
  DecoderLatentConfig& latent = config.latent;
  latent.kv_rank = fields.count("kv_lora_rank");
  latent.q_rank = fields.count_or("q_lora_rank", 0, 1);
  latent.nope_dim = fields.count("qk_nope_head_dim", 0);
  latent.rope_dim = fields.count("qk_rope_head_dim");
  config.value_dim = fields.count("v_head_dim");
  config.head_dim = latent.nope_dim + latent.rope_dim;
  config.kv_heads = config.heads;
  const std::size_t stated = fields.count_or("qk_head_dim", config.head_dim);
  if (stated != config.head_dim)
    fields.fail(Status::corruption(fields.root().where() + ": qk_head_dim is " +
                                   std::to_string(stated) + ", its parts make " +
                                   std::to_string(config.head_dim)));
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  out.output_bias = fields.flag_or("attention_bias", false);  // and of the narrowing projections
  out.mlp_bias = !third && fields.flag_or("mlp_bias", false);
  const bool pairs = third ? fields.flag_or("rope_interleave", true) : true;
  read_rope(fields,
            {.base = 10'000.0,
             .dims = latent.rope_dim,
             .layout = pairs ? RopeLayout::kPairs : RopeLayout::kHalves,
             .latent = true},
            out);

  DecoderMoeConfig& moe = config.moe;
  moe.experts = fields.count("n_routed_experts");
  moe.top_k = fields.count("num_experts_per_tok");
  moe.hidden = fields.count("moe_intermediate_size");
  moe.shared_hidden = fields.count_or("n_shared_experts", 0) * moe.hidden;
  moe.scale = static_cast<float>(fields.number_or("routed_scaling_factor", third ? 2.5 : 1.0));
  fields.only_text("scoring_func", third ? "sigmoid" : "softmax");
  if (fields.count_or("moe_layer_freq", 1) != 1)
    fields.fail(
        Status::not_supported(fields.root().where() + ": moe_layer_freq; here only 1 is run"));
  const std::size_t groups = fields.count_or("n_group", 1, 1);
  const std::size_t group_top_k = fields.count_or("topk_group", 1, 1);
  if (third) {
    fields.only_text("topk_method", "noaux_tc");
    moe.scoring = ExpertScoring::kSigmoid;
    moe.normalize = fields.flag_or("norm_topk_prob", true);
    moe.group_by_best_two = true;
    moe.groups = groups;
    moe.group_top_k = group_top_k;
    out.selection_bias = true;
    out.extra_layers = std::min(fields.count_or("num_nextn_predict_layers", 0), kMaxLayers);
  } else {
    // The makers' code and transformers disagree about what it does here.
    fields.only_flag("norm_topk_prob", false);
    const std::string method = fields.text_or("topk_method", "greedy");
    if (method == "group_limited_greedy") {
      moe.groups = groups;
      moe.group_top_k = group_top_k;
    } else if (method != "greedy") {
      fields.fail(Status::not_supported(fields.root().where() + ": topk_method is " +
                                        in_quotes(method) +
                                        "; here only greedy and group_limited_greedy are run"));
    }
  }
  const std::size_t dense = fields.count_or("first_k_dense_replace", third ? 3 : 0);
  MoeKinds kinds(config.layers.size());
  for (std::size_t l = 0; l < kinds.size(); ++l) kinds[l] = l >= dense;
  set_moe(out, kinds);
}

void read_deepseek_v2(JsonFields& fields, HfDecoder& out) { read_deepseek(fields, out, false); }
void read_deepseek_v3(JsonFields& fields, HfDecoder& out) { read_deepseek(fields, out, true); }

struct Family {
  std::string_view name;
  void (*read)(JsonFields& fields, HfDecoder& out);
};
constexpr Family kFamilies[] = {
    {"llama", read_llama},
    {"mistral", read_mistral},
    {"qwen2", read_qwen2},
    {"qwen3", read_qwen3},
    {"gemma2", read_gemma2},
    {"gemma3_text", read_gemma3},
    {"olmo2", read_olmo2},
    {"granite", read_granite},
    {"mixtral", read_mixtral},
    {"qwen2_moe", read_qwen2_moe},
    {"qwen3_moe", read_qwen3_moe},
    {"olmoe", read_olmoe},
    {"phimoe", read_phimoe},
    {"granitemoe", read_granitemoe},
    {"deepseek_v2", read_deepseek_v2},
    {"deepseek_v3", read_deepseek_v3},
};

}  // namespace

Result<HfDecoder> read_hf_decoder_config(const JsonValue& root) {
  // Of another architecture every field would look odd: its name comes first.
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, root.string_or("model_type", ""));
  if (name.empty()) return Status::corruption(root.where() + ": has no 'model_type'");
  const auto* family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                    [&](const Family& one) { return one.name == name; });
  if (family == std::end(kFamilies)) {
    std::string allowed;
    for (const Family& one : kFamilies)
      allowed += (allowed.empty() ? "" : ", ") + std::string(one.name);
    return Status::not_supported(root.where() + ": model_type is " + in_quotes(name) +
                                 "; here only " + allowed + " are run");
  }
  HfDecoder out;
  out.config.architecture = name;
  JsonFields fields(root);
  for (const std::string_view key : kWithoutEffect) fields.ignore(key);
  family->read(fields, out);
  COLLEGIUM_RETURN_IF_ERROR(fields.finish());
  COLLEGIUM_RETURN_IF_ERROR(out.config.validate(root.where()));
  return out;
}

}  // namespace collegium::core
