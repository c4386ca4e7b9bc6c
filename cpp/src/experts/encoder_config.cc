#include "experts/encoder_config.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "io/in_quotes.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxConfigBytes = 16u << 20;

// Fields of config.json that say nothing about the vectors: training, other tasks' heads,
// bookkeeping. `pad_token_id` is among them because nothing is padded here.
constexpr std::array<std::string_view, 49> kWithoutEffect = {"_attn_implementation_autoset",
                                                             "_commit_hash",
                                                             "_name_or_path",
                                                             "architectures",
                                                             "attention_probs_dropout_prob",
                                                             "bos_token_id",
                                                             "chunk_size_feed_forward",
                                                             "classifier_dropout",
                                                             "cls_token_id",
                                                             "directionality",
                                                             "dtype",
                                                             "eos_token_id",
                                                             "finetuning_task",
                                                             "gradient_checkpointing",
                                                             "hidden_dropout_prob",
                                                             "id2label",
                                                             "initializer_range",
                                                             "label2id",
                                                             "language",
                                                             "mask_token_id",
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
                                                             "problem_type",
                                                             "return_dict",
                                                             "sep_token_id",
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
                                                             "initializer_factor",
                                                             "decoder_start_token_id",
                                                             "prefix"};

Status not_run(const JsonValue& value, std::string_view what, std::string_view allowed) {
  return Status::not_supported(value.where() + " is " + std::string(what) + "; here only " +
                               std::string(allowed) + " is run");
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

Status require_string(const JsonValue& value, std::initializer_list<std::string_view> allowed) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string seen, value.as_string());
  if (std::find(allowed.begin(), allowed.end(), seen) != allowed.end()) return {};
  return not_run(value, in_quotes(seen), in_quotes(*allowed.begin()));
}

Status require_false(const JsonValue& value) {
  if (value.is_null()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const bool seen, value.as_bool());
  return seen ? not_run(value, "true", "false") : Status();
}

// Refuses whatever config.json asks for beyond a plain BERT encoder.
Status check_trunk_field(std::string_view key, const JsonValue& value) {
  constexpr std::array<std::string_view, 8> kSizes = {
      "vocab_size",          "hidden_size",       "num_hidden_layers",
      "num_attention_heads", "intermediate_size", "max_position_embeddings",
      "type_vocab_size",     "layer_norm_eps"};
  if (std::find(kSizes.begin(), kSizes.end(), key) != kSizes.end()) return {};
  if (std::find(kWithoutEffect.begin(), kWithoutEffect.end(), key) != kWithoutEffect.end()) {
    return {};
  }
  if (key == "model_type") return require_string(value, {"bert"});
  if (key == "hidden_act") return require_string(value, {"gelu", "gelu_python"});
  if (key == "position_embedding_type") return require_string(value, {"absolute"});
  if (key == "is_decoder" || key == "add_cross_attention" || key == "is_encoder_decoder" ||
      key == "cross_attention_hidden_size") {
    return require_false(value);
  }
  if (key == "pruned_heads" && value.is_object()) {
    return value.for_each_field([&](std::string_view, const JsonValue&) {
      return not_run(value, "not empty", "an empty one");
    });
  }
  return Status::not_supported(value.where() + " is a field this build does not know");
}

Status read_trunk(const std::string& folder, EncoderConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(
      const JsonDocument file,
      JsonDocument::open(folder + "/" + config.trunk + "config.json", kMaxConfigBytes));
  config.files.push_back(config.trunk + "config.json");
  const JsonValue root = file.root();
  // Of another architecture every field would look odd: its name comes first.
  if (!root.has("model_type")) {
    return Status::corruption(root.where() + ": has no 'model_type'");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue type, root.get("model_type"));
  COLLEGIUM_RETURN_IF_ERROR(check_trunk_field("model_type", type));
  COLLEGIUM_RETURN_IF_ERROR(root.for_each_field(check_trunk_field));

  COLLEGIUM_ASSIGN_OR_RETURN(config.vocab_size, size_field(root, "vocab_size", 1u << 24));
  COLLEGIUM_ASSIGN_OR_RETURN(config.hidden_size, size_field(root, "hidden_size", 1u << 16));
  COLLEGIUM_ASSIGN_OR_RETURN(config.num_layers, size_field(root, "num_hidden_layers", 1u << 10));
  COLLEGIUM_ASSIGN_OR_RETURN(config.num_heads, size_field(root, "num_attention_heads", 1u << 16));
  COLLEGIUM_ASSIGN_OR_RETURN(config.intermediate_size,
                             size_field(root, "intermediate_size", 1u << 18));
  COLLEGIUM_ASSIGN_OR_RETURN(config.max_positions,
                             size_field(root, "max_position_embeddings", 1u << 20));
  COLLEGIUM_ASSIGN_OR_RETURN(config.type_vocab_size, size_field(root, "type_vocab_size", 1u << 16));
  COLLEGIUM_ASSIGN_OR_RETURN(const double eps, root.number_or("layer_norm_eps", 1e-12));
  if (!(eps > 0.0 && eps < 1.0)) {
    return Status::corruption(root.where() + ": layer_norm_eps is " + std::to_string(eps) +
                              ", must be in (0, 1)");
  }
  config.layer_norm_eps = static_cast<float>(eps);
  if (config.hidden_size % config.num_heads != 0) {
    return Status::corruption(root.where() + ": num_attention_heads " +
                              std::to_string(config.num_heads) + " does not divide hidden_size " +
                              std::to_string(config.hidden_size));
  }
  return {};
}

Status read_pooling(const std::string& folder, const std::string& path, EncoderConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonDocument file,
                             JsonDocument::open(folder + "/" + path, kMaxConfigBytes));
  config.files.push_back(path);
  const JsonValue root = file.root();
  std::vector<std::string> modes;
  COLLEGIUM_RETURN_IF_ERROR(
      root.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
        constexpr std::string_view kMode = "pooling_mode_";
        if (key == "word_embedding_dimension" || key == "embedding_dimension") {
          COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t dim, value.as_unsigned());
          if (dim == config.hidden_size) return {};
          return Status::corruption(value.where() + " is " + std::to_string(dim) +
                                    ", but hidden_size is " + std::to_string(config.hidden_size));
        }
        if (key == "include_prompt") {
          COLLEGIUM_ASSIGN_OR_RETURN(const bool include, value.as_bool());
          return include ? Status() : not_run(value, "false", "true");
        }
        if (key == "pooling_mode") {
          COLLEGIUM_ASSIGN_OR_RETURN(const std::string mode, value.as_string());
          modes.push_back(mode);
          return {};
        }
        if (key.substr(0, kMode.size()) == kMode) {
          COLLEGIUM_ASSIGN_OR_RETURN(const bool on, value.as_bool());
          if (on) modes.emplace_back(key.substr(kMode.size()));
          return {};
        }
        return Status::not_supported(value.where() + " is a field this build does not know");
      }));
  if (modes.size() != 1) {
    return Status::not_supported(root.where() + ": " + std::to_string(modes.size()) +
                                 " pooling modes are on; here exactly one is run");
  }
  if (modes[0] == "mean" || modes[0] == "mean_tokens") {
    config.pooling = Pooling::kMean;
  } else if (modes[0] == "cls" || modes[0] == "cls_token") {
    config.pooling = Pooling::kCls;
  } else {
    return Status::not_supported(root.where() + ": pooling mode " + in_quotes(modes[0]) +
                                 "; here only mean and cls are run");
  }
  return {};
}

// A folder inside the model's own: no root, no "..".
Status check_module_path(const JsonValue& value, const std::string& path) {
  const bool inside = path.find("..") == std::string::npos &&
                      path.find('\\') == std::string::npos && (path.empty() || path[0] != '/');
  if (inside) return {};
  return Status::corruption(value.where() + " is " + in_quotes(path) +
                            ", which is not a folder of the model");
}

struct Module {
  std::string kind;  // "Transformer", "Pooling", "Normalize"
  std::string path;
};

// modules.json of sentence-transformers, or nothing.
Result<std::vector<Module>> read_modules(const std::string& folder, EncoderConfig& config) {
  std::vector<Module> modules;
  auto file = JsonDocument::open(folder + "/modules.json", kMaxConfigBytes);
  if (file.status().code() == StatusCode::kNotFound) return modules;
  if (!file.ok()) return file.status();
  config.files.emplace_back("modules.json");
  COLLEGIUM_ASSIGN_OR_RETURN(const auto list, file->root().as_array(100));
  for (const JsonValue& entry : list) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, entry.get_string("type"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string path, entry.get_string("path"));
    COLLEGIUM_RETURN_IF_ERROR(check_module_path(entry, path));
    const std::string kind = type.substr(type.rfind('.') + 1);
    constexpr std::array<std::string_view, 3> kOrder = {"Transformer", "Pooling", "Normalize"};
    const bool ours = type.compare(0, 22, "sentence_transformers.") == 0;
    if (!ours || modules.size() >= kOrder.size() || kind != kOrder[modules.size()]) {
      return Status::not_supported(
          entry.where() + ": module " + in_quotes(type) + " at place " +
          std::to_string(modules.size()) +
          "; here only Transformer, then Pooling, then perhaps Normalize is run");
    }
    modules.push_back({kind, path});
  }
  if (modules.size() < 2) {
    return Status::not_supported(file->root().where() + ": names " +
                                 std::to_string(modules.size()) +
                                 " modules; here a Transformer and a Pooling are needed");
  }
  return modules;
}

// An object whose fields have the one value allowed for each. Any other field is refused.
Status require_fields(
    const JsonValue& object,
    std::initializer_list<std::pair<std::string_view, std::string_view>> allowed) {
  return object.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
    for (const auto& [name, text] : allowed) {
      if (key == name) return require_string(value, {text});
    }
    return Status::not_supported(value.where() + " is a field this build does not know");
  });
}

// What current sentence-transformers write of how the trunk is called and its output named: the
// one way BERT is run here.
Result<bool> is_neutral_transformer_field(std::string_view key, const JsonValue& value) {
  Status status;
  if (key == "transformer_task") {
    status = require_string(value, {"feature-extraction"});
  } else if (key == "module_output_name") {
    status = require_string(value, {"token_embeddings"});
  } else if (key == "processing_kwargs") {
    status = require_fields(value, {});
  } else if (key == "modality_config") {
    status = value.for_each_field([](std::string_view modality, const JsonValue& call) {
      if (modality != "text") return not_run(call, "there", "'text'");
      return require_fields(call,
                            {{"method", "forward"}, {"method_output_name", "last_hidden_state"}});
    });
  } else {
    return false;
  }
  if (!status.ok()) return status;
  return true;
}

// The length limit: sentence_bert_config.json's, else the tokenizer's, never beyond the positions.
Status read_max_tokens(const std::string& folder, EncoderConfig& config) {
  std::uint64_t limit = config.max_positions;
  const std::string name = config.trunk + "sentence_bert_config.json";
  auto file = JsonDocument::open(folder + "/" + name, kMaxConfigBytes);
  bool known = false;
  if (file.ok()) {
    config.files.push_back(name);
    COLLEGIUM_RETURN_IF_ERROR(file->root().for_each_field([&](std::string_view key,
                                                              const JsonValue& value) -> Status {
      if (key == "do_lower_case") return require_false(value);
      if (key != "max_seq_length") {
        COLLEGIUM_ASSIGN_OR_RETURN(const bool neutral, is_neutral_transformer_field(key, value));
        if (neutral) return {};
        return Status::not_supported(value.where() + " is a field this build does not know");
      }
      if (value.is_null()) return {};
      COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t length, value.as_unsigned());
      limit = std::min(limit, length);
      known = true;
      return {};
    }));
  } else if (file.status().code() != StatusCode::kNotFound) {
    return file.status();
  }
  if (!known) {
    auto tokenizer =
        JsonDocument::open(folder + "/" + config.trunk + "tokenizer_config.json", kMaxConfigBytes);
    if (tokenizer.ok()) {
      // "No limit" is written as a number of 31 digits, hence a float.
      COLLEGIUM_ASSIGN_OR_RETURN(const double length,
                                 tokenizer->root().number_or("model_max_length", 1e30));
      if (length < static_cast<double>(limit)) {
        limit = length < 0.0 ? 0 : static_cast<std::uint64_t>(length);
      }
    } else if (tokenizer.status().code() != StatusCode::kNotFound) {
      return tokenizer.status();
    }
  }
  if (limit < 2) {
    return Status::corruption(folder + ": a length limit of " + std::to_string(limit) +
                              " tokens leaves no room for [CLS] and [SEP]");
  }
  config.max_tokens = static_cast<std::size_t>(limit);
  return {};
}

// The prompts sentence-transformers puts before queries and documents.
Status read_prompts(const std::string& folder, EncoderConfig& config) {
  constexpr std::string_view kName = "config_sentence_transformers.json";
  auto file = JsonDocument::open(folder + "/" + std::string(kName), kMaxConfigBytes);
  if (file.status().code() == StatusCode::kNotFound) return {};
  if (!file.ok()) return file.status();
  config.files.emplace_back(kName);
  const JsonValue root = file->root();
  COLLEGIUM_RETURN_IF_ERROR(
      root.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
        // similarity_fn_name says how to compare vectors, not what they are.
        for (std::string_view known : {"__version__", "model_type", "prompts",
                                       "default_prompt_name", "similarity_fn_name"}) {
          if (key == known) return {};
        }
        return Status::not_supported(value.where() + " is a field this build does not know");
      }));
  if (!root.has("prompts")) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue prompts, root.get("prompts"));
  if (prompts.is_null()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string by_default,
                             root.string_or("default_prompt_name", ""));
  const auto prompt = [&](std::initializer_list<std::string> names) -> Result<std::string> {
    for (const std::string& name : names) {
      if (!name.empty() && prompts.has(name)) return prompts.get_string(name);
    }
    return std::string();
  };
  if (!by_default.empty() && !prompts.has(by_default)) {
    return Status::corruption(root.where() + ": default_prompt_name " + in_quotes(by_default) +
                              " is not among the prompts");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(config.query_prompt, prompt({"query", by_default}));
  COLLEGIUM_ASSIGN_OR_RETURN(config.document_prompt,
                             prompt({"document", "passage", "corpus", by_default}));
  return {};
}

}  // namespace

Result<EncoderConfig> read_encoder_config(const std::string& folder) {
  EncoderConfig config;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto modules, read_modules(folder, config));
  if (!modules.empty() && !modules[0].path.empty()) config.trunk = modules[0].path + "/";
  COLLEGIUM_RETURN_IF_ERROR(read_trunk(folder, config));
  if (modules.size() >= 2) {
    const std::string path = modules[1].path.empty() ? "" : modules[1].path + "/";
    COLLEGIUM_RETURN_IF_ERROR(read_pooling(folder, path + "config.json", config));
  }
  config.normalize = modules.size() == 3;
  COLLEGIUM_RETURN_IF_ERROR(read_max_tokens(folder, config));
  COLLEGIUM_RETURN_IF_ERROR(read_prompts(folder, config));
  return config;
}

}  // namespace collegium::core
