#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "experts/digest.h"
#include "experts/tensor_names.h"
#include "experts/trunk.h"
#include "io/in_quotes.h"

namespace collegium::core {
namespace {

std::string joined(std::string_view a, std::string_view b) {
  return std::string(a) + std::string(b);
}

bool begins_with(std::string_view text, std::string_view with) {
  return !with.empty() && text.substr(0, with.size()) == with;
}

// Reads tensors by their names, and remembers which were read.
class WeightReader {
 public:
  WeightReader(const SafeTensors& file, const std::string& path, const TensorNames& names,
               ModelDigest& digest)
      : file_(file), path_(path), names_(names), digest_(digest) {
    const std::string first = joined(joined(names.prefix, names.words), ".weight");
    if (file.tensors().count(first) != 0) prefix_ = names.prefix;
  }

  Result<std::vector<float>> read(const std::string& name, std::vector<std::size_t> shape) {
    const std::string full = prefix_ + name;
    auto values = file_.read_float(full, shape);
    if (!values.ok()) return damaged(values.status());
    for (float value : *values) {
      if (!std::isfinite(value)) {
        return Status::corruption(path_ + ": tensor " + in_quotes(full) +
                                  " holds a value that is not finite");
      }
    }
    used_.insert(full);
    digest_.add(name);
    digest_.add(std::span<const float>(*values));
    return values;
  }

  Status read(const std::string& name, std::size_t hidden, bool bias, LayerNorm& norm) {
    COLLEGIUM_ASSIGN_OR_RETURN(norm.gamma, read(name + ".weight", {hidden}));
    norm.beta.assign(hidden, 0.0f);
    if (!bias) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(norm.beta, read(name + ".bias", {hidden}));
    return {};
  }

  // Everything in the file was read, or is known to play no part in the trunk's output.
  Status check_all_used() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (used_.count(name) != 0) continue;
      const std::string_view bare = begins_with(name, prefix_)
                                        ? std::string_view(name).substr(prefix_.size())
                                        : std::string_view(name);
      const bool known =
          std::any_of(names_.unused.begin(), names_.unused.end(), [&](std::string_view unused) {
            return begins_with(bare, unused) || begins_with(name, unused);
          });
      if (known) continue;
      return Status::not_supported(path_ + ": tensor " + in_quotes(name) +
                                   " is no part of an encoder of this architecture");
    }
    return {};
  }

 private:
  // A model file without one of its tensors, or with one of another shape, is damaged.
  Status damaged(const Status& status) const {
    const bool ours =
        status.code() == StatusCode::kNotFound || status.code() == StatusCode::kInvalidArgument;
    return ours ? Status::corruption(status.message()) : status;
  }

  const SafeTensors& file_;
  const std::string& path_;
  const TensorNames& names_;
  ModelDigest& digest_;
  std::string prefix_;
  std::set<std::string> used_;
};

// The rows of one or several modules, one under another.
struct Rows {
  std::vector<float> weight;  // (outputs, inputs)
  std::vector<float> bias;    // (outputs,), or empty
  std::vector<LinearPart> parts;
};

class LayerReader {
 public:
  LayerReader(WeightReader& reader, const TensorNames& names, const TrunkConfig& config,
              const Kernels& kernels)
      : reader_(reader), names_(names), config_(config), kernels_(kernels) {}

  Status read(std::size_t index, TrunkLayer& layer) {
    const std::string at = joined(names_.layers, std::to_string(index) + ".");
    const std::size_t hidden = config_.hidden_size;
    const std::size_t width = config_.intermediate_size;
    const bool bias = config_.mlp_bias;
    COLLEGIUM_RETURN_IF_ERROR(read_query_key_value(at, layer.query_key_value));
    COLLEGIUM_RETURN_IF_ERROR(read_linear(joined(at, names_.attention_output), hidden, hidden,
                                          config_.attention_bias, layer.attention_output));
    // ModernBERT's first layer has none: the embeddings were normed already.
    if (!config_.pre_norm || index != 0) {
      COLLEGIUM_RETURN_IF_ERROR(reader_.read(joined(at, names_.attention_norm), hidden,
                                             config_.norm_bias, layer.attention_norm));
    }
    if (!names_.up_gate.empty()) {
      Rows rows;
      COLLEGIUM_RETURN_IF_ERROR(
          read_rows(joined(at, names_.up_gate), hidden, 2 * width, bias, rows));
      layer.up = pack(hidden, rows, 0, width);
      layer.gate = pack(hidden, rows, width, width);
    } else {
      COLLEGIUM_RETURN_IF_ERROR(read_linear(joined(at, names_.up), hidden, width, bias, layer.up));
    }
    if (!names_.gate.empty()) {
      COLLEGIUM_RETURN_IF_ERROR(
          read_linear(joined(at, names_.gate), hidden, width, bias, layer.gate));
    }
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear(joined(at, names_.down), width, hidden, bias, layer.down));
    if (&names_ == &kNomicPublishedNames) add_native_names(index, layer);
    return reader_.read(joined(at, names_.output_norm), hidden, config_.norm_bias,
                        layer.output_norm);
  }

 private:
  // transformers loads the published checkpoint into modules of its own naming, which is how a LoRA
  // trained there calls them.
  void add_native_names(std::size_t index, TrunkLayer& layer) const {
    const std::string at = joined(kNomicNames.layers, std::to_string(index) + ".");
    const std::size_t hidden = config_.hidden_size;
    const float scale = layer.query_key_value.parts[0].scale;
    const auto add = [&](Linear& linear, std::string_view name, std::size_t first,
                         std::size_t outputs, float by) {
      linear.parts.push_back({joined(at, name), 0, first, outputs, outputs, by});
    };
    add(layer.query_key_value, kNomicNames.query, 0, hidden, scale);
    add(layer.query_key_value, kNomicNames.key, hidden, hidden, 1.0f);
    add(layer.query_key_value, kNomicNames.value, 2 * hidden, hidden, 1.0f);
    add(layer.attention_output, kNomicNames.attention_output, 0, hidden, 1.0f);
    add(layer.up, kNomicNames.up, 0, config_.intermediate_size, 1.0f);
    add(layer.gate, kNomicNames.gate, 0, config_.intermediate_size, 1.0f);
    add(layer.down, kNomicNames.down, 0, hidden, 1.0f);
  }

  // Appends a module's rows.
  Status read_rows(const std::string& module, std::size_t inputs, std::size_t outputs, bool bias,
                   Rows& rows) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto w, reader_.read(module + ".weight", {outputs, inputs}));
    const std::size_t first = rows.weight.size() / inputs;
    rows.weight.insert(rows.weight.end(), w.begin(), w.end());
    rows.parts.push_back({module, 0, first, outputs, outputs, 1.0f});
    if (!bias) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(const auto b, reader_.read(module + ".bias", {outputs}));
    rows.bias.insert(rows.bias.end(), b.begin(), b.end());
    return {};
  }

  // `outputs` rows from `first` on, as one product.
  Linear pack(std::size_t inputs, const Rows& rows, std::size_t first, std::size_t outputs) const {
    Linear linear;
    linear.inputs = inputs;
    linear.outputs = outputs;
    linear.panels = AlignedBuffer<float>(num_panels(outputs) * inputs * kPanelWidth);
    kernels_.pack_panels(rows.weight.data() + first * inputs, inputs, outputs, inputs,
                         linear.panels.data());
    if (!rows.bias.empty()) {
      const auto begin = rows.bias.begin() + static_cast<std::ptrdiff_t>(first);
      linear.bias.assign(begin, begin + static_cast<std::ptrdiff_t>(outputs));
    }
    for (const LinearPart& part : rows.parts) {
      const std::size_t begin = std::max(first, part.first);
      const std::size_t end = std::min(first + outputs, part.first + part.outputs);
      if (begin >= end) continue;
      linear.parts.push_back({part.module, part.module_first + begin - part.first, begin - first,
                              end - begin, part.module_outputs, part.scale});
    }
    return linear;
  }

  Status read_linear(const std::string& module, std::size_t inputs, std::size_t outputs, bool bias,
                     Linear& linear) {
    Rows rows;
    COLLEGIUM_RETURN_IF_ERROR(read_rows(module, inputs, outputs, bias, rows));
    linear = pack(inputs, rows, 0, outputs);
    return {};
  }

  // Queries, keys and values as one product. The 1 / sqrt(head dimension) of the scores goes into
  // the queries' weights.
  Status read_query_key_value(const std::string& at, Linear& linear) {
    const std::size_t hidden = config_.hidden_size;
    const bool bias = config_.attention_bias;
    Rows rows;
    if (!names_.query_key_value.empty()) {
      const std::string module = joined(at, names_.query_key_value);
      COLLEGIUM_RETURN_IF_ERROR(read_rows(module, hidden, 3 * hidden, bias, rows));
      rows.parts = {{module, 0, 0, hidden, 3 * hidden, 1.0f},
                    {module, hidden, hidden, 2 * hidden, 3 * hidden, 1.0f}};
    } else {
      for (std::string_view name : {names_.query, names_.key, names_.value}) {
        COLLEGIUM_RETURN_IF_ERROR(read_rows(joined(at, name), hidden, hidden, bias, rows));
      }
    }
    const auto head_dim = static_cast<double>(hidden / config_.num_heads);
    const auto scale = static_cast<float>(1.0 / std::sqrt(head_dim));
    for (std::size_t i = 0; i < hidden * hidden; ++i) rows.weight[i] *= scale;
    for (std::size_t i = 0; bias && i < hidden; ++i) rows.bias[i] *= scale;
    rows.parts[0].scale = scale;
    linear = pack(hidden, rows, 0, 3 * hidden);
    return {};
  }

  WeightReader& reader_;
  const TensorNames& names_;
  const TrunkConfig& config_;
  const Kernels& kernels_;
};

}  // namespace

std::string_view Trunk::prefix() const noexcept {
  return tensor_names(config_.architecture, false).prefix;
}

Result<std::unique_ptr<Trunk>> Trunk::load(const SafeTensors& file, const std::string& path,
                                           const TrunkConfig& config, const Kernels& kernels,
                                           ModelDigest& digest) {
  const TensorNames& names =
      tensor_names(config.architecture, file.tensors().count("emb_ln.weight") != 0);
  WeightReader reader(file, path, names, digest);
  std::unique_ptr<Trunk> trunk(new Trunk(config, kernels));
  const std::size_t hidden = config.hidden_size;
  const auto table = [&](std::string_view name, std::size_t rows) {
    return reader.read(joined(name, ".weight"), {rows, hidden});
  };
  COLLEGIUM_ASSIGN_OR_RETURN(trunk->words_, table(names.words, config.vocab_size));
  if (!names.positions.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(trunk->positions_, table(names.positions, config.position_rows));
  }
  if (!names.types.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(trunk->type_, table(names.types, config.type_vocab_size));
    trunk->type_.resize(hidden);
  }
  COLLEGIUM_RETURN_IF_ERROR(reader.read(std::string(names.embedding_norm), hidden, config.norm_bias,
                                        trunk->embedding_norm_));
  LayerReader layer_reader(reader, names, config, kernels);
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    COLLEGIUM_RETURN_IF_ERROR(layer_reader.read(i, trunk->layers_.emplace_back()));
  }
  if (!names.final_norm.empty()) {
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(std::string(names.final_norm), hidden, config.norm_bias, trunk->final_norm_));
  }
  if (!names.relative_bias.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto bias,
                               reader.read(joined(names.relative_bias, ".weight"),
                                           {config.relative_buckets, config.num_heads}));
    trunk->make_position_bias(bias);
  }
  COLLEGIUM_RETURN_IF_ERROR(reader.check_all_used());
  trunk->make_rotary_tables();
  return trunk;
}

}  // namespace collegium::core
