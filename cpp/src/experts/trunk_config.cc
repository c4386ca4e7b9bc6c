#include "experts/trunk_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <span>
#include <utility>

#include "io/in_quotes.h"

namespace collegium::core {

Status not_run(const JsonValue& value, std::string_view what, std::string_view allowed) {
  return Status::not_supported(value.where() + " is " + std::string(what) + "; here only " +
                               std::string(allowed) + " is run");
}

Status unknown_field(const JsonValue& value) {
  return Status::not_supported(value.where() + " is a field this build does not know");
}

namespace {

using Keys = std::initializer_list<std::string_view>;

// Fields that say nothing about the vectors: training, other tasks' heads, bookkeeping.
// `pad_token_id` is among them because nothing is padded here (RoBERTa's is read apart).
constexpr std::string_view kWithoutEffect[] = {"_attn_implementation_autoset",
                                               "_commit_hash",
                                               "_name_or_path",
                                               "architectures",
                                               "attention_dropout",
                                               "attention_probs_dropout_prob",
                                               "auto_map",
                                               "bos_token_id",
                                               "chunk_size_feed_forward",
                                               "classifier_activation",
                                               "classifier_bias",
                                               "classifier_dropout",
                                               "classifier_pooling",
                                               "cls_token_id",
                                               "decoder_bias",
                                               "decoder_start_token_id",
                                               "deterministic_flash_attn",
                                               "directionality",
                                               "dropout",
                                               "dtype",
                                               "embedding_dropout",
                                               "eos_token_id",
                                               "finetuning_task",
                                               "gradient_checkpointing",
                                               "hidden_dropout_prob",
                                               "id2label",
                                               "initializer_cutoff_factor",
                                               "initializer_factor",
                                               "initializer_range",
                                               "label2id",
                                               "language",
                                               "mask_token_id",
                                               "mlp_dropout",
                                               "model_max_length",
                                               "name",
                                               "num_labels",
                                               "output_attentions",
                                               "output_hidden_states",
                                               "output_past",
                                               "pad_token_id",
                                               "pooler_fc_size",
                                               "pooler_num_attention_heads",
                                               "pooler_num_fc_layers",
                                               "pooler_size_per_head",
                                               "pooler_type",
                                               "prefix",
                                               "problem_type",
                                               "qa_dropout",
                                               "reference_compile",
                                               "repad_logits_with_grad",
                                               "return_dict",
                                               "sep_token_id",
                                               "seq_classif_dropout",
                                               "sinusoidal_pos_embds",
                                               "sparse_pred_ignore_index",
                                               "sparse_prediction",
                                               "task_specific_params",
                                               "tie_word_embeddings",
                                               "tokenizer_class",
                                               "torch_dtype",
                                               "torchscript",
                                               "transformers_version",
                                               "unk_token_id",
                                               "use_bfloat16",
                                               "use_cache",
                                               "use_return_dict",
                                               "xla_device",
                                               "tie_weights_",
                                               "cell",
                                               "structure",
                                               "pre_trained",
                                               "emb_size",
                                               "training"};

bool contains(std::span<const std::string_view> keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}
bool contains(Keys keys, std::string_view key) {
  return contains(std::span(keys.begin(), keys.size()), key);
}

Status require_bool(const JsonValue& value, bool wanted) {
  if (value.is_null() && !wanted) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const bool seen, value.as_bool());
  if (seen == wanted) return {};
  return not_run(value, seen ? "true" : "false", wanted ? "true" : "false");
}

Status require_number(const JsonValue& value, double wanted, std::string_view text) {
  COLLEGIUM_ASSIGN_OR_RETURN(const double seen, value.as_number());
  return seen == wanted ? Status() : not_run(value, std::to_string(seen), text);
}

Status require_null(const JsonValue& value) {
  return value.is_null() ? Status() : not_run(value, "set", "null");
}

Status require_string(const JsonValue& value, std::string_view wanted) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string seen, value.as_string());
  return seen == wanted ? Status() : not_run(value, in_quotes(seen), in_quotes(wanted));
}

// A size in [1, limit]. The limits are far above any model and keep products in 64 bits.
Result<std::size_t> size_field(const JsonValue& root, std::string_view key, std::uint64_t limit) {
  if (!root.has(key)) {
    return Status::corruption(root.where() + ": has no " + in_quotes(key));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t value, root.get_unsigned(key));
  if (value == 0 || value > limit) {
    return Status::corruption(root.where() + ": " + std::string(key) + " is " +
                              std::to_string(value) + ", must be in [1, " + std::to_string(limit) +
                              "]");
  }
  return static_cast<std::size_t>(value);
}

Result<float> number_in(const JsonValue& root, std::string_view key, double fallback, double above,
                        double below) {
  COLLEGIUM_ASSIGN_OR_RETURN(const double value, root.number_or(key, fallback));
  if (value > above && value < below) return static_cast<float>(value);
  return Status::corruption(root.where() + ": " + std::string(key) + " is " +
                            std::to_string(value) + ", must be in (" + std::to_string(above) +
                            ", " + std::to_string(below) + ")");
}

Result<float> rotary_base(const JsonValue& root, std::string_view key, double fallback) {
  return number_in(root, key, fallback, 1.0, 1e12);
}

Result<Activation> activation_field(const JsonValue& root, std::string_view key,
                                    std::string_view fallback) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, root.string_or(key, std::string(fallback)));
  if (name == "gelu" || name == "gelu_python") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "relu") return Activation::kRelu;
  return Status::not_supported(
      root.where() + ": " + std::string(key) + " is " + in_quotes(name) +
      "; here only gelu, gelu_new, gelu_pytorch_tanh, silu and relu are run");
}

// What an architecture calls its sizes; "" for what it has not.
struct SizeKeys {
  std::string_view hidden = "hidden_size";
  std::string_view layers = "num_hidden_layers";
  std::string_view heads = "num_attention_heads";
  std::string_view intermediate = "intermediate_size";
  std::string_view positions = "max_position_embeddings";
  std::string_view types = "type_vocab_size";
  std::string_view eps = "layer_norm_eps";
  std::string_view activation = "hidden_act";
  double eps_fallback = 1e-12;
};

Status read_sizes(const JsonValue& root, const SizeKeys& keys, TrunkConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(config.vocab_size, size_field(root, "vocab_size", 1u << 24));
  COLLEGIUM_ASSIGN_OR_RETURN(config.hidden_size, size_field(root, keys.hidden, 1u << 16));
  COLLEGIUM_ASSIGN_OR_RETURN(config.num_layers, size_field(root, keys.layers, 1u << 10));
  COLLEGIUM_ASSIGN_OR_RETURN(config.num_heads, size_field(root, keys.heads, 1u << 16));
  COLLEGIUM_ASSIGN_OR_RETURN(config.intermediate_size,
                             size_field(root, keys.intermediate, 1u << 18));
  COLLEGIUM_ASSIGN_OR_RETURN(config.max_positions, size_field(root, keys.positions, 1u << 20));
  if (!keys.types.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(config.type_vocab_size, size_field(root, keys.types, 1u << 16));
  }
  config.layer_norm_eps = static_cast<float>(keys.eps_fallback);
  if (!keys.eps.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(config.layer_norm_eps,
                               number_in(root, keys.eps, keys.eps_fallback, 0.0, 1.0));
  }
  if (config.hidden_size % config.num_heads != 0) {
    return Status::corruption(root.where() + ": " + std::string(keys.heads) + " " +
                              std::to_string(config.num_heads) + " does not divide " +
                              std::string(keys.hidden) + " " + std::to_string(config.hidden_size));
  }
  config.spans.resize(config.num_layers);
  return {};
}

// Calls check(key, value) for the fields that are neither sizes, nor read elsewhere, nor without
// effect. It refuses what would change vectors, and says false for what it does not know.
template <typename Check>
Status check_fields(const JsonValue& root, Keys read, const Check& check) {
  return root.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
    if (key == "model_type" || key == "vocab_size" || contains(read, key) ||
        contains(kWithoutEffect, key)) {
      return {};
    }
    // Common to all: nothing here decodes.
    if (contains({"is_decoder", "add_cross_attention", "is_encoder_decoder",
                  "cross_attention_hidden_size"},
                 key)) {
      return require_bool(value, false);
    }
    if (key == "pruned_heads" && value.is_object()) {
      return value.for_each_field([&](std::string_view, const JsonValue&) {
        return not_run(value, "not empty", "an empty one");
      });
    }
    COLLEGIUM_ASSIGN_OR_RETURN(const bool known, check(key, value));
    return known ? Status() : unknown_field(value);
  });
}

// A status that is ok stands for "known".
Result<bool> known(Status status) {
  if (!status.ok()) return status;
  return true;
}

Status read_bert(const JsonValue& root, TrunkConfig& config) {
  const bool roberta = config.architecture == Architecture::kRoberta;
  const bool mpnet = config.architecture == Architecture::kMpnet;
  SizeKeys keys;
  if (mpnet) keys.types = "";
  COLLEGIUM_RETURN_IF_ERROR(
      check_fields(root,
                   {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                    "max_position_embeddings", "layer_norm_eps", "hidden_act"},
                   [&](std::string_view key, const JsonValue& value) -> Result<bool> {
                     if (key == "type_vocab_size") return !mpnet;
                     if (key == "position_embedding_type")
                       return known(require_string(value, "absolute"));
                     // MPNet's own code takes 32, whatever the field says.
                     if (mpnet && key == "relative_attention_num_buckets") {
                       return known(require_number(value, 32, "32"));
                     }
                     return false;
                   }));
  COLLEGIUM_RETURN_IF_ERROR(read_sizes(root, keys, config));
  COLLEGIUM_ASSIGN_OR_RETURN(config.activation, activation_field(root, keys.activation, "gelu"));
  config.position_rows = config.max_positions;
  if (mpnet) config.relative_buckets = 32;
  if (!roberta && !mpnet) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t pad, root.unsigned_or("pad_token_id", 1));
  if (mpnet && pad != 1) {
    return Status::not_supported(root.where() + ": pad_token_id is " + std::to_string(pad) +
                                 "; here only 1 is run");
  }
  if (pad + 1 >= config.position_rows) {
    return Status::corruption(root.where() + ": pad_token_id " + std::to_string(pad) +
                              " leaves none of the max_position_embeddings " +
                              std::to_string(config.position_rows));
  }
  config.pad_id = static_cast<std::int32_t>(pad);
  config.first_position = static_cast<std::size_t>(pad) + 1;
  config.max_positions = config.position_rows - config.first_position;
  return {};
}

Status read_distilbert(const JsonValue& root, TrunkConfig& config) {
  const SizeKeys keys = {.hidden = "dim",
                         .layers = "n_layers",
                         .heads = "n_heads",
                         .intermediate = "hidden_dim",
                         .types = "",
                         .eps = "",
                         .activation = "activation"};
  COLLEGIUM_RETURN_IF_ERROR(check_fields(
      root, {"dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings", "activation"},
      [](std::string_view, const JsonValue&) -> Result<bool> { return false; }));
  COLLEGIUM_RETURN_IF_ERROR(read_sizes(root, keys, config));
  COLLEGIUM_ASSIGN_OR_RETURN(config.activation, activation_field(root, keys.activation, "gelu"));
  config.position_rows = config.max_positions;
  return {};
}

// {"rope_type": "default", "rope_theta": 10000.0}
Result<float> read_rope(const JsonValue& rope, double fallback) {
  COLLEGIUM_RETURN_IF_ERROR(
      rope.for_each_field([](std::string_view key, const JsonValue& value) -> Status {
        if (key == "rope_theta") return {};
        if (key == "rope_type" || key == "type") return require_string(value, "default");
        return unknown_field(value);
      }));
  return rotary_base(rope, "rope_theta", fallback);
}

Status read_modernbert(const JsonValue& root, TrunkConfig& config) {
  const SizeKeys keys = {
      .types = "", .eps = "norm_eps", .activation = "hidden_activation", .eps_fallback = 1e-5};
  COLLEGIUM_RETURN_IF_ERROR(
      check_fields(root,
                   {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                    "max_position_embeddings", "norm_eps", "hidden_activation", "attention_bias",
                    "mlp_bias", "norm_bias", "local_attention", "global_attn_every_n_layers",
                    "global_rope_theta", "local_rope_theta", "layer_types", "rope_parameters"},
                   [](std::string_view key, const JsonValue& value) -> Result<bool> {
                     // Written by its trainers beside norm_eps, and read by nobody.
                     if (key == "layer_norm_eps") return true;
                     if (key == "position_embedding_type") return true;
                     if (key == "rope_scaling") return known(require_null(value));
                     return false;
                   }));
  COLLEGIUM_RETURN_IF_ERROR(read_sizes(root, keys, config));
  COLLEGIUM_ASSIGN_OR_RETURN(config.activation, activation_field(root, keys.activation, "gelu"));
  COLLEGIUM_ASSIGN_OR_RETURN(config.attention_bias, root.bool_or("attention_bias", false));
  COLLEGIUM_ASSIGN_OR_RETURN(config.mlp_bias, root.bool_or("mlp_bias", false));
  COLLEGIUM_ASSIGN_OR_RETURN(config.norm_bias, root.bool_or("norm_bias", false));
  config.pre_norm = true;
  config.gated = true;

  COLLEGIUM_ASSIGN_OR_RETURN(float global_base, rotary_base(root, "global_rope_theta", 160'000.0));
  COLLEGIUM_ASSIGN_OR_RETURN(float local_base, rotary_base(root, "local_rope_theta", 10'000.0));
  if (root.has("rope_parameters")) {
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue rope, root.get("rope_parameters"));
    if (!rope.is_null())
      COLLEGIUM_RETURN_IF_ERROR(
          rope.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
            const bool global = key == "full_attention";
            if (!global && key != "sliding_attention") return unknown_field(value);
            if (value.is_null()) return {};
            COLLEGIUM_ASSIGN_OR_RETURN((global ? global_base : local_base),
                                       read_rope(value, global ? global_base : local_base));
            return {};
          }));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t local, root.unsigned_or("local_attention", 128));
  if (local < 2 || local > (1u << 20)) {
    return Status::corruption(root.where() + ": local_attention is " + std::to_string(local) +
                              ", must be in [2, " + std::to_string(1u << 20) + "]");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t every,
                             root.unsigned_or("global_attn_every_n_layers", 3));
  if (every == 0) {
    return Status::corruption(root.where() + ": global_attn_every_n_layers is 0, must be above");
  }
  std::vector<bool> global(config.num_layers);
  for (std::size_t i = 0; i < global.size(); ++i) global[i] = i % every == 0;
  if (root.has("layer_types")) {
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, root.get("layer_types"));
    std::vector<JsonValue> types;
    if (!list.is_null()) {
      COLLEGIUM_ASSIGN_OR_RETURN(types, list.as_array(1u << 10));
    }
    if (!list.is_null() && types.size() != config.num_layers) {
      return Status::corruption(list.where() + " names " + std::to_string(types.size()) +
                                " layers, but num_hidden_layers is " +
                                std::to_string(config.num_layers));
    }
    for (std::size_t i = 0; i < types.size(); ++i) {
      COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, types[i].as_string());
      global[i] = type == "full_attention";
      if (!global[i] && type != "sliding_attention") {
        return not_run(types[i], in_quotes(type), "full_attention or sliding_attention");
      }
    }
  }
  for (std::size_t i = 0; i < global.size(); ++i) {
    config.spans[i] = global[i] ? AttentionSpan{0, global_base}
                                : AttentionSpan{static_cast<std::size_t>(local / 2), local_base};
  }
  return {};
}

// In transformers' own naming.
Status read_nomic(const JsonValue& root, TrunkConfig& config) {
  COLLEGIUM_RETURN_IF_ERROR(
      check_fields(root,
                   {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                    "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act",
                    "head_dim", "rope_parameters"},
                   [](std::string_view key, const JsonValue& value) -> Result<bool> {
                     if (key == "rope_scaling") return known(require_null(value));
                     return false;
                   }));
  COLLEGIUM_RETURN_IF_ERROR(read_sizes(root, {}, config));
  COLLEGIUM_ASSIGN_OR_RETURN(config.activation, activation_field(root, "hidden_act", "silu"));
  const std::size_t head_dim = config.hidden_size / config.num_heads;
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t asked, root.unsigned_or("head_dim", head_dim));
  if (asked != head_dim) {
    return Status::not_supported(root.where() + ": head_dim is " + std::to_string(asked) +
                                 "; here only hidden_size / num_attention_heads, " +
                                 std::to_string(head_dim) + ", is run");
  }
  float base = 1000.0f;
  if (root.has("rope_parameters")) {
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue rope, root.get("rope_parameters"));
    if (!rope.is_null()) {
      COLLEGIUM_ASSIGN_OR_RETURN(base, read_rope(rope, base));
    }
  }
  for (AttentionSpan& span : config.spans) span.rotary_base = base;
  return {};
}

// As its makers publish it, named in the manner of GPT-2.
Status read_nomic_published(const JsonValue& root, TrunkConfig& config) {
  const SizeKeys keys = {.hidden = "n_embd",
                         .layers = "n_layer",
                         .heads = "n_head",
                         .intermediate = "n_inner",
                         .positions = "n_positions",
                         .eps = "layer_norm_epsilon"};
  COLLEGIUM_RETURN_IF_ERROR(check_fields(
      root,
      {"n_embd", "n_layer", "n_head", "n_inner", "n_positions", "type_vocab_size",
       "layer_norm_epsilon", "activation_function", "rotary_emb_base", "max_trained_positions"},
      [](std::string_view key, const JsonValue& value) -> Result<bool> {
        if (contains({"attn_pdrop", "embd_pdrop", "resid_pdrop", "dense_seq_output",
                      "fused_bias_fc", "fused_dropout_add_ln", "pad_vocab_size_multiple",
                      "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
                      "summary_type", "summary_use_proj", "use_flash_attn", "use_xentropy"},
                     key)) {
          return true;
        }
        if (contains(
                {"causal", "mlp_fc1_bias", "mlp_fc2_bias", "parallel_block",
                 "parallel_block_tied_norm", "prenorm", "qkv_proj_bias", "reorder_and_upcast_attn",
                 "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx", "use_rms_norm"},
                key)) {
          return known(require_bool(value, false));
        }
        if (key == "scale_attn_weights") return known(require_bool(value, true));
        if (key == "rotary_emb_fraction") return known(require_number(value, 1.0, "1.0"));
        if (key == "rotary_emb_scale_base" || key == "rotary_scaling_factor") {
          return known(require_null(value));
        }
        return false;
      }));
  COLLEGIUM_RETURN_IF_ERROR(read_sizes(root, keys, config));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name,
                             root.string_or("activation_function", "swiglu"));
  if (name == "swiglu") {
    config.activation = Activation::kSilu;
  } else if (name == "geglu") {
    config.activation = Activation::kGelu;
  } else {
    return Status::not_supported(root.where() + ": activation_function is " + in_quotes(name) +
                                 "; here only swiglu and geglu are run");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const float base, rotary_base(root, "rotary_emb_base", 10'000.0));
  for (AttentionSpan& span : config.spans) span.rotary_base = base;
  return {};
}

constexpr std::pair<std::string_view, Architecture> kTypes[] = {
    {"bert", Architecture::kBert},           {"distilbert", Architecture::kDistilBert},
    {"roberta", Architecture::kRoberta},     {"xlm-roberta", Architecture::kRoberta},
    {"mpnet", Architecture::kMpnet},         {"modernbert", Architecture::kModernBert},
    {"nomic_bert", Architecture::kNomicBert}};

}  // namespace

Result<TrunkConfig> read_trunk_config(const JsonValue& root) {
  // Of another architecture every field would look odd: its name comes first.
  if (!root.has("model_type")) {
    return Status::corruption(root.where() + ": has no 'model_type'");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue type, root.get("model_type"));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, type.as_string());
  const auto* at = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [&](const auto& entry) { return entry.first == name; });
  if (at == std::end(kTypes)) {
    return not_run(type, in_quotes(name),
                   "bert, distilbert, roberta, xlm-roberta, mpnet, modernbert or nomic_bert");
  }
  TrunkConfig config;
  config.architecture = at->second;
  switch (config.architecture) {
    case Architecture::kBert:
    case Architecture::kRoberta:
    case Architecture::kMpnet:
      COLLEGIUM_RETURN_IF_ERROR(read_bert(root, config));
      break;
    case Architecture::kDistilBert:
      COLLEGIUM_RETURN_IF_ERROR(read_distilbert(root, config));
      break;
    case Architecture::kModernBert:
      COLLEGIUM_RETURN_IF_ERROR(read_modernbert(root, config));
      break;
    case Architecture::kNomicBert:
      config.gated = true;
      config.attention_bias = false;
      config.mlp_bias = false;
      COLLEGIUM_RETURN_IF_ERROR(root.has("n_embd") ? read_nomic_published(root, config)
                                                   : read_nomic(root, config));
      break;
  }
  const std::size_t head_dim = config.hidden_size / config.num_heads;
  if (config.spans[0].rotary_base != 0.0f && head_dim % 2 != 0) {
    return Status::corruption(root.where() +
                              ": rotary positions need an even head dimension, not " +
                              std::to_string(head_dim));
  }
  // Sines and cosines are held for every position: within what a small file may make us allocate.
  if (config.spans[0].rotary_base != 0.0f && config.max_positions * head_dim > (1u << 23)) {
    return Status::not_supported(root.where() + ": " + std::to_string(config.max_positions) +
                                 " rotary positions of " + std::to_string(head_dim) +
                                 " dimensions are more than the 2^23 numbers run here");
  }
  return config;
}

}  // namespace collegium::core
