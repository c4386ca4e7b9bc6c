#include "experts/peft_folder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "collegium/core/experts/lora_adapter.h"
#include "collegium/core/safetensors.h"
#include "experts/finite_tensors.h"
#include "experts/trunk_config.h"
#include "io/in_quotes.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxConfigBytes = 1u << 20;
constexpr std::string_view kRoot = "base_model.model.";

struct LoraConfig {
  std::size_t rank = 0;
  float scale = 1.0f;
};

// Fields that say nothing about the result: how it was trained, where it came from. The modules are
// those whose tensors are there.
constexpr std::string_view kWithoutEffect[] = {
    "auto_mapping",   "base_model_name_or_path", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform",     "lora_dropout",    "megatron_core",
    "peft_version",   "qalora_group_size",       "revision",        "target_modules",
    "task_type",      "ensure_weight_tying",     "eva_config"};

// Whether a field asks for nothing, so that it may be one that is not known here.
bool is_off(const JsonValue& value) {
  if (value.is_null()) return true;
  if (value.is_object()) {
    bool empty = true;
    (void)value.for_each_field([&](std::string_view, const JsonValue&) {
      empty = false;
      return Status();
    });
    return empty;
  }
  if (value.is_array()) {
    const auto elements = value.as_array(1);
    return elements.ok() && elements->empty();
  }
  const auto flag = value.as_bool();
  return flag.ok() && !*flag;
}

Status check_field(std::string_view key, const JsonValue& value) {
  if (key == "r" || key == "lora_alpha" || key == "use_rslora") return {};
  if (std::find(std::begin(kWithoutEffect), std::end(kWithoutEffect), key) !=
      std::end(kWithoutEffect)) {
    return {};
  }
  if (key == "peft_type") {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, value.as_string());
    return type == "LORA" ? Status() : not_run(value, in_quotes(type), "'LORA'");
  }
  if (key == "bias") {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string bias, value.as_string());
    return bias == "none" ? Status() : not_run(value, in_quotes(bias), "'none'");
  }
  if (key == "init_lora_weights") {
    // Other ways to begin change the base's weights too, and the adapter fits those alone.
    if (!value.is_string()) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string how, value.as_string());
    if (how == "gaussian" || how == "eva" || how == "orthogonal") return {};
    return not_run(value, in_quotes(how), "true, false, 'gaussian', 'orthogonal' and 'eva'");
  }
  if (is_off(value)) return {};
  return Status::not_supported(value.where() + " is set, which is not run here");
}

Result<LoraConfig> read_config(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonDocument file, JsonDocument::open(path, kMaxConfigBytes));
  const JsonValue root = file.root();
  if (!root.has("peft_type")) {
    return Status::corruption(root.where() + ": has no 'peft_type'");
  }
  COLLEGIUM_RETURN_IF_ERROR(root.for_each_field(check_field));
  LoraConfig config;
  if (!root.has("r")) return Status::corruption(root.where() + ": has no 'r'");
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t rank, root.get_unsigned("r"));
  if (rank == 0 || rank > LoraAdapter::kMaxRank) {
    return Status::corruption(root.where() + ": r is " + std::to_string(rank) +
                              ", must be in [1, " + std::to_string(LoraAdapter::kMaxRank) + "]");
  }
  config.rank = static_cast<std::size_t>(rank);
  COLLEGIUM_ASSIGN_OR_RETURN(const double alpha, root.number_or("lora_alpha", 8.0));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool stabilised, root.bool_or("use_rslora", false));
  const auto r = static_cast<double>(rank);
  config.scale = static_cast<float>(alpha / (stabilised ? std::sqrt(r) : r));
  if (!std::isfinite(config.scale)) {
    return Status::corruption(root.where() + ": lora_alpha is " + std::to_string(alpha));
  }
  return config;
}

// "base_model.model.<module>.lora_A.weight": module and which of the two.
Result<std::pair<std::string, bool>> parse_name(const std::string& name, const std::string& path) {
  constexpr std::array<std::string_view, 2> kEnds = {".lora_A.weight", ".lora_B.weight"};
  for (std::size_t i = 0; i < kEnds.size(); ++i) {
    const std::size_t around = kRoot.size() + kEnds[i].size();
    if (name.size() <= around || name.compare(0, kRoot.size(), kRoot) != 0 ||
        name.compare(name.size() - kEnds[i].size(), std::string::npos, kEnds[i]) != 0) {
      continue;
    }
    return std::pair(name.substr(kRoot.size(), name.size() - around), i == 0);
  }
  return Status::not_supported(path + ": tensor " + in_quotes(name) +
                               " is no lora_A or lora_B of a linear module");
}

Result<LoraModules> read_modules(const std::string& path, const LoraConfig& config,
                                 std::string_view prefix) {
  COLLEGIUM_ASSIGN_OR_RETURN(const SafeTensors file, SafeTensors::open(path));
  LoraModules modules;
  for (const auto& [name, tensor] : file.tensors()) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto parsed, parse_name(name, path));
    auto& [module, is_a] = parsed;
    if (module.compare(0, prefix.size(), prefix) == 0) module.erase(0, prefix.size());
    const bool fits = tensor.shape.size() == 2 && tensor.shape[is_a ? 0 : 1] == config.rank;
    if (!fits) {
      std::string shape;
      for (std::size_t n : tensor.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(n);
      return Status::corruption(path + ": tensor " + in_quotes(name) + " has the shape (" + shape +
                                "), which does not fit r = " + std::to_string(config.rank));
    }
    LoraMatrices& m = modules[module];
    m.rank = config.rank;
    m.scale = config.scale;
    COLLEGIUM_ASSIGN_OR_RETURN((is_a ? m.a : m.b), read_finite(file, path, name, tensor.shape));
    (is_a ? m.inputs : m.outputs) = tensor.shape[is_a ? 1 : 0];
  }
  for (const auto& [module, m] : modules) {
    if (!m.a.empty() && !m.b.empty()) continue;
    return Status::corruption(path + ": module " + in_quotes(module) + " has no " +
                              (m.a.empty() ? "lora_A" : "lora_B"));
  }
  if (modules.empty()) return Status::corruption(path + ": adapts no module");
  return modules;
}

}  // namespace

Result<PeftLora> read_peft_lora(const std::string& folder, std::string_view prefix) {
  COLLEGIUM_ASSIGN_OR_RETURN(const LoraConfig config, read_config(folder + "/adapter_config.json"));
  PeftLora lora;
  lora.path = folder + "/adapter_model.safetensors";
  lora.rank = config.rank;
  lora.scale = config.scale;
  COLLEGIUM_ASSIGN_OR_RETURN(lora.modules, read_modules(lora.path, config, prefix));
  return lora;
}

}  // namespace collegium::core
