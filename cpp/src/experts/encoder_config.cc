#include "experts/encoder_config.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "io/in_quotes.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxConfigBytes = 16u << 20;
constexpr std::size_t kMaxModules = 20;
constexpr std::size_t kMaxDim = 1u << 16;

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

// config.json of the trunk.
Status read_trunk(const std::string& folder, EncoderConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(
      const JsonDocument file,
      JsonDocument::open(folder + "/" + config.trunk_folder + "config.json", kMaxConfigBytes));
  config.files.push_back(config.trunk_folder + "config.json");
  COLLEGIUM_ASSIGN_OR_RETURN(config.trunk, read_trunk_config(file.root()));
  return {};
}

// The names in 1_Pooling/config.json, current and older, in the order in which several modes'
// vectors follow one another.
struct PoolingName {
  std::string_view name, older;
  PoolingMode mode;
};
constexpr PoolingName kPoolingNames[] = {
    {"cls", "pooling_mode_cls_token", PoolingMode::kCls},
    {"max", "pooling_mode_max_tokens", PoolingMode::kMax},
    {"mean", "pooling_mode_mean_tokens", PoolingMode::kMean},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", PoolingMode::kMeanSqrtLength},
    {"weightedmean", "pooling_mode_weightedmean_tokens", PoolingMode::kWeightedMean},
    {"lasttoken", "pooling_mode_lasttoken", PoolingMode::kLastToken}};

Result<PoolingMode> pooling_mode(const JsonValue& value) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, value.as_string());
  for (const PoolingName& known : kPoolingNames) {
    if (name == known.name) return known.mode;
  }
  return not_run(value, in_quotes(name),
                 "cls, max, mean, mean_sqrt_len_tokens, weightedmean or lasttoken");
}

Status read_pooling(const std::string& folder, const std::string& path, EncoderConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonDocument file,
                             JsonDocument::open(folder + "/" + path, kMaxConfigBytes));
  config.files.push_back(path);
  const JsonValue root = file.root();
  std::vector<PoolingMode> modes;
  std::array<bool, std::size(kPoolingNames)> older{};
  COLLEGIUM_RETURN_IF_ERROR(root.for_each_field([&](std::string_view key,
                                                    const JsonValue& value) -> Status {
    if (key == "word_embedding_dimension" || key == "embedding_dimension") {
      COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t dim, value.as_unsigned());
      if (dim == config.trunk.hidden_size) return {};
      return Status::corruption(value.where() + " is " + std::to_string(dim) +
                                ", but hidden_size is " + std::to_string(config.trunk.hidden_size));
    }
    if (key == "include_prompt") {
      COLLEGIUM_ASSIGN_OR_RETURN(config.include_prompt, value.as_bool());
      return {};
    }
    if (key == "pooling_mode") {
      if (value.is_string()) {
        COLLEGIUM_ASSIGN_OR_RETURN(modes.emplace_back(), pooling_mode(value));
        return {};
      }
      COLLEGIUM_ASSIGN_OR_RETURN(const auto list, value.as_array(std::size(kPoolingNames)));
      for (const JsonValue& entry : list) {
        COLLEGIUM_ASSIGN_OR_RETURN(modes.emplace_back(), pooling_mode(entry));
      }
      return {};
    }
    for (std::size_t i = 0; i < older.size(); ++i) {
      if (key != kPoolingNames[i].older) continue;
      COLLEGIUM_ASSIGN_OR_RETURN(older[i], value.as_bool());
      return {};
    }
    return unknown_field(value);
  }));
  // As sentence-transformers has it, the older fields count only where the current one is not.
  const bool current = !modes.empty();
  for (std::size_t i = 0; !current && i < older.size(); ++i) {
    if (older[i]) modes.push_back(kPoolingNames[i].mode);
  }
  if (modes.empty()) {
    return Status::not_supported(root.where() + ": no pooling mode is on; here one is needed");
  }
  config.pooling = std::move(modes);
  return {};
}

// A Dense's config.json; `inputs` numbers come in.
Result<DenseConfig> read_dense(const std::string& folder, const std::string& path,
                               std::size_t inputs, EncoderConfig& config) {
  COLLEGIUM_ASSIGN_OR_RETURN(
      const JsonDocument file,
      JsonDocument::open(folder + "/" + path + "config.json", kMaxConfigBytes));
  config.files.push_back(path + "config.json");
  config.files.push_back(path + "model.safetensors");
  const JsonValue root = file.root();
  COLLEGIUM_RETURN_IF_ERROR(
      root.for_each_field([](std::string_view key, const JsonValue& value) -> Status {
        if (key == "in_features" || key == "out_features" || key == "bias" ||
            key == "activation_function") {
          return {};
        }
        if (key == "module_input_name" || key == "module_output_name") {
          return value.is_null() ? Status() : require_string(value, {"sentence_embedding"});
        }
        if (key == "use_residual") return require_false(value);
        return unknown_field(value);
      }));
  DenseConfig dense;
  dense.path = path;
  dense.inputs = inputs;
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t in, root.get_unsigned("in_features"));
  if (in != inputs) {
    return Status::corruption(root.where() + ": in_features is " + std::to_string(in) +
                              ", but what comes in has " + std::to_string(inputs) + " numbers");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t out, root.get_unsigned("out_features"));
  if (out == 0 || out > kMaxDim) {
    return Status::corruption(root.where() + ": out_features is " + std::to_string(out) +
                              ", must be in [1, " + std::to_string(kMaxDim) + "]");
  }
  dense.outputs = static_cast<std::size_t>(out);
  COLLEGIUM_ASSIGN_OR_RETURN(dense.bias, root.bool_or("bias", true));
  COLLEGIUM_ASSIGN_OR_RETURN(
      const std::string name,
      root.string_or("activation_function", "torch.nn.modules.activation.Tanh"));
  constexpr std::pair<std::string_view, DenseActivation> kActivations[] = {
      {"Tanh", DenseActivation::kTanh},
      {"Identity", DenseActivation::kIdentity},
      {"ReLU", DenseActivation::kRelu},
      {"GELU", DenseActivation::kGelu},
      {"SiLU", DenseActivation::kSilu}};
  const bool torch = name.compare(0, 9, "torch.nn.") == 0;
  const std::string_view bare = std::string_view(name).substr(name.rfind('.') + 1);
  for (const auto& [known, activation] : kActivations) {
    if (!torch || bare != known) continue;
    dense.activation = activation;
    return dense;
  }
  return Status::not_supported(root.where() + ": activation_function is " + in_quotes(name) +
                               "; here only torch's Tanh, Identity, ReLU, GELU and SiLU are run");
}

// A folder inside the model's own: no root, no "..", and a name that file systems take.
Status check_module_path(const JsonValue& value, const std::string& path) {
  constexpr std::size_t kMaxBytes = 200;
  const bool control =
      std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' '; });
  const bool inside = path.find("..") == std::string::npos &&
                      path.find('\\') == std::string::npos && (path.empty() || path[0] != '/') &&
                      !control && path.size() <= kMaxBytes;
  if (inside) return {};
  return Status::corruption(value.where() + " is " + in_quotes(path) +
                            ", which is not a folder of the model");
}

struct Module {
  std::string kind;  // "Transformer", "Pooling", "Dense", "Normalize"
  std::string path;  // "" or "1_Pooling/"
};

// modules.json of sentence-transformers, or nothing.
Result<std::vector<Module>> read_modules(const std::string& folder, EncoderConfig& config) {
  std::vector<Module> modules;
  auto file = JsonDocument::open(folder + "/modules.json", kMaxConfigBytes);
  if (file.status().code() == StatusCode::kNotFound) return modules;
  if (!file.ok()) return file.status();
  config.files.emplace_back("modules.json");
  COLLEGIUM_ASSIGN_OR_RETURN(const auto list, file->root().as_array(kMaxModules));
  for (const JsonValue& entry : list) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, entry.get_string("type"));
    COLLEGIUM_ASSIGN_OR_RETURN(std::string path, entry.get_string("path"));
    COLLEGIUM_RETURN_IF_ERROR(check_module_path(entry, path));
    const std::string kind = type.substr(type.rfind('.') + 1);
    const std::size_t place = modules.size();
    const bool ours = type.compare(0, 22, "sentence_transformers.") == 0;
    const bool expected = place == 0   ? kind == "Transformer"
                          : place == 1 ? kind == "Pooling"
                                       : kind == "Dense" || kind == "Normalize";
    if (!ours || !expected) {
      return Status::not_supported(
          entry.where() + ": module " + in_quotes(type) + " at place " + std::to_string(place) +
          "; here only Transformer, then Pooling, then Dense and Normalize are run");
    }
    if (!path.empty()) path += "/";
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
  } else if (key == "unpad_inputs") {
    return true;  // how padding is avoided, which here is never there
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
  std::uint64_t limit = config.trunk.max_positions;
  // The first there is of the names sentence-transformers has had for it.
  constexpr std::string_view kKinds[] = {"bert",   "roberta",     "distilbert", "camembert",
                                         "albert", "xlm-roberta", "xlnet"};
  std::string name;
  Result<JsonDocument> file = Status::not_found("");
  for (std::string_view kind : kKinds) {
    name = config.trunk_folder + "sentence_" + std::string(kind) + "_config.json";
    file = JsonDocument::open(folder + "/" + name, kMaxConfigBytes);
    if (file.status().code() != StatusCode::kNotFound) break;
  }
  bool known = false;
  if (file.ok()) {
    config.files.push_back(name);
    COLLEGIUM_RETURN_IF_ERROR(file->root().for_each_field([&](std::string_view key,
                                                              const JsonValue& value) -> Status {
      if (key == "do_lower_case") {
        COLLEGIUM_ASSIGN_OR_RETURN(config.lower_case, value.as_bool());
        return {};
      }
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
    auto tokenizer = JsonDocument::open(
        folder + "/" + config.trunk_folder + "tokenizer_config.json", kMaxConfigBytes);
    if (tokenizer.ok()) {
      config.files.push_back(config.trunk_folder + "tokenizer_config.json");
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
  COLLEGIUM_RETURN_IF_ERROR(root.for_each_field([&](std::string_view key,
                                                    const JsonValue& value) -> Status {
    // similarity_fn_name says how to compare vectors, not what they are.
    for (std::string_view known : {"__version__", "model_type", "prompts", "default_prompt_name",
                                   "similarity_fn_name", "truncate_dim"}) {
      if (key == known) return {};
    }
    return Status::not_supported(value.where() + " is a field this build does not know");
  }));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t truncated, root.unsigned_or("truncate_dim", 0));
  config.truncate_dim = static_cast<std::size_t>(std::min<std::uint64_t>(truncated, config.dim));
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

Status no_weights(const std::string& folder) {
  std::error_code error;
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5",
                           "flax_model.msgpack", "model.onnx"}) {
    if (!std::filesystem::exists(folder + "/" + name, error)) continue;
    return Status::not_supported(folder + "/" + name +
                                 " is not read here; weights must be in model.safetensors");
  }
  return Status::not_found(folder + "/model.safetensors is not there");
}

Result<EncoderConfig> read_encoder_config(const std::string& folder) {
  EncoderConfig config;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto modules, read_modules(folder, config));
  if (!modules.empty()) config.trunk_folder = modules[0].path;
  COLLEGIUM_RETURN_IF_ERROR(read_trunk(folder, config));
  if (!modules.empty()) {
    COLLEGIUM_RETURN_IF_ERROR(read_pooling(folder, modules[1].path + "config.json", config));
  }
  config.dim = config.pooling.size() * config.trunk.hidden_size;
  for (std::size_t i = 2; i < modules.size(); ++i) {
    HeadStep step;
    if (modules[i].kind == "Dense") {
      COLLEGIUM_ASSIGN_OR_RETURN(step.dense,
                                 read_dense(folder, modules[i].path, config.dim, config));
      config.dim = step.dense->outputs;
    }
    config.head.push_back(std::move(step));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_max_tokens(folder, config));
  COLLEGIUM_RETURN_IF_ERROR(read_prompts(folder, config));
  return config;
}

}  // namespace collegium::core
