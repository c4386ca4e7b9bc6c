#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "experts/digest.h"
#include "experts/finite_tensors.h"
#include "experts/packed_weights.h"
#include "experts/tensor_names.h"
#include "experts/trunk.h"
#include "io/in_quotes.h"
#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

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
    COLLEGIUM_ASSIGN_OR_RETURN(auto values, read_finite(file_, path_, full, shape));
    used_.insert(full);
    digest_.add(name);
    digest_.add(std::span<const float>(values));
    return values;
  }

  Status read(const std::string& name, std::vector<std::size_t> shape, WeightArray<float>& array) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto values, read(name, std::move(shape)));
    array = WeightArray<float>(std::span<const float>(values));
    return {};
  }

  Status read(std::string_view name, std::size_t hidden, bool bias, LayerNorm& norm) {
    // As TensorFlow's checkpoints had them; transformers renames them while it reads.
    const bool older = file_.tensors().count(prefix_ + joined(name, ".gamma")) != 0;
    COLLEGIUM_RETURN_IF_ERROR(
        read(joined(name, older ? ".gamma" : ".weight"), {hidden}, norm.gamma));
    if (bias) return read(joined(name, older ? ".beta" : ".bias"), {hidden}, norm.beta);
    norm.beta = WeightArray<float>(AlignedBuffer<float>(hidden));
    return {};
  }

  // The rows of a product, module by module, packed.
  Status read(bool bias, WeightType type, const Kernels& kernels, Linear& linear) {
    // Before anything is allocated that the file has not the bytes for.
    for (const LinearPart& part : linear.parts) {
      if (part.alias) continue;
      COLLEGIUM_RETURN_IF_ERROR(
          check_shape(part.module + ".weight", {part.module_outputs, linear.inputs}));
    }
    std::vector<float> rows(linear.outputs * linear.inputs);
    std::vector<float> biases(bias ? linear.outputs : 0);
    for (const LinearPart& part : linear.parts) {
      if (part.alias) continue;
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto w, read(part.module + ".weight", {part.module_outputs, linear.inputs}));
      const float* from = w.data() + part.module_first * linear.inputs;
      for (std::size_t i = 0; i < part.outputs * linear.inputs; ++i) {
        rows[part.first * linear.inputs + i] = from[i] * part.scale;
      }
      if (!bias) continue;
      COLLEGIUM_ASSIGN_OR_RETURN(const auto b, read(part.module + ".bias", {part.module_outputs}));
      for (std::size_t i = 0; i < part.outputs; ++i) {
        biases[part.first + i] = b[part.module_first + i] * part.scale;
      }
    }
    linear.bias = WeightArray<float>(std::span<const float>(biases));
    if (type == WeightType::kInt8) return quantize(rows, linear);
    if (type == WeightType::kBf16) return round(rows, linear);
    AlignedBuffer<float> panels(num_panels(linear.outputs) * linear.inputs * kPanelWidth);
    kernels.pack_panels(rows.data(), linear.inputs, linear.outputs, linear.inputs, panels.data());
    linear.panels = WeightArray<float>(std::move(panels));
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
  Status check_shape(const std::string& name, const std::vector<std::size_t>& shape) const {
    const std::string full = prefix_ + name;
    const auto tensor = file_.find(full);
    if (!tensor.ok()) return as_damage(tensor.status());
    if (tensor->shape == shape) return {};
    const auto spelled = [](const std::vector<std::size_t>& sizes) {
      std::string text;
      for (std::size_t n : sizes) text += (text.empty() ? "" : ", ") + std::to_string(n);
      return "(" + text + ")";
    };
    return Status::corruption(path_ + ": tensor " + in_quotes(full) + " has the shape " +
                              spelled(tensor->shape) + ", must have " + spelled(shape));
  }

  Status quantize(const std::vector<float>& rows, Linear& linear) const {
    if (linear.inputs > kMaxInt8Inputs) {
      return Status::not_supported(path_ + ": a product of " + std::to_string(linear.inputs) +
                                   " inputs; in int8 at most " + std::to_string(kMaxInt8Inputs) +
                                   " are run");
    }
    AlignedBuffer<std::int8_t> values(int8_panel_bytes(linear.outputs, linear.inputs));
    AlignedBuffer<float> scales(int8_outputs(linear.outputs));
    AlignedBuffer<std::int32_t> sums(int8_outputs(linear.outputs));
    pack_panels_int8(rows.data(), linear.inputs, linear.outputs, linear.inputs, values.data(),
                     scales.data(), sums.data());
    linear.int8 = {WeightArray<std::int8_t>(std::move(values)),
                   WeightArray<float>(std::move(scales)),
                   WeightArray<std::int32_t>(std::move(sums))};
    return {};
  }

  Status round(const std::vector<float>& rows, Linear& linear) const {
    AlignedBuffer<std::uint16_t> panels(bf16_panel_size(linear.outputs, linear.inputs));
    pack_panels_bf16(rows.data(), linear.inputs, linear.outputs, linear.inputs, panels.data());
    if (!all_finite_bf16(panels.data(), panels.size())) {
      return Status::not_supported(path_ + ": " + in_quotes(linear.parts[0].module) +
                                   " has weights above 3.39e38, which bf16 does not hold");
    }
    linear.bf16 = WeightArray<std::uint16_t>(std::move(panels));
    return {};
  }

  const SafeTensors& file_;
  const std::string& path_;
  const TensorNames& names_;
  ModelDigest& digest_;
  std::string prefix_;
  std::set<std::string> used_;
};

}  // namespace

std::string_view Trunk::prefix() const noexcept {
  return tensor_names(config_.architecture, false).prefix;
}

void Trunk::describe(bool published) {
  published_ = published;
  const TensorNames& names = tensor_names(config_.architecture, published);
  const std::size_t hidden = config_.hidden_size;
  const std::size_t width = config_.intermediate_size;
  // The 1 / sqrt(head dimension) of the scores goes into the queries' weights.
  const auto head_dim = static_cast<double>(hidden / config_.num_heads);
  const auto scale = static_cast<float>(1.0 / std::sqrt(head_dim));
  layers_.resize(config_.num_layers);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    TrunkLayer& layer = layers_[i];
    const auto whole = [&](std::string_view layers, std::string_view name, std::size_t first,
                           std::size_t outputs, float by) {
      return LinearPart{joined(layers, std::to_string(i) + ".") + std::string(name),
                        0,
                        first,
                        outputs,
                        outputs,
                        by,
                        false};
    };
    const auto set = [&](Linear& linear, std::size_t inputs, std::size_t outputs,
                         std::string_view name) {
      linear.inputs = inputs;
      linear.outputs = outputs;
      if (!name.empty()) linear.parts = {whole(names.layers, name, 0, outputs, 1.0f)};
    };
    set(layer.query_key_value, hidden, 3 * hidden, names.query_key_value);
    std::vector<LinearPart>& parts = layer.query_key_value.parts;
    if (parts.empty()) {
      parts = {whole(names.layers, names.query, 0, hidden, scale),
               whole(names.layers, names.key, hidden, hidden, 1.0f),
               whole(names.layers, names.value, 2 * hidden, hidden, 1.0f)};
    } else {  // one module, its queries scaled
      parts.push_back(parts[0]);
      parts[0].outputs = hidden;
      parts[0].scale = scale;
      parts[1].module_first = parts[1].first = hidden;
      parts[1].outputs = 2 * hidden;
    }
    set(layer.attention_output, hidden, hidden, names.attention_output);
    set(layer.up, hidden, width, names.up.empty() ? names.up_gate : names.up);
    if (config_.gated)
      set(layer.gate, hidden, width, names.up.empty() ? names.up_gate : names.gate);
    if (!names.up_gate.empty()) {  // one module of both
      layer.up.parts[0].module_outputs = layer.gate.parts[0].module_outputs = 2 * width;
      layer.gate.parts[0].module_first = width;
    }
    set(layer.down, width, hidden, names.down);
    if (!published) continue;
    // transformers loads the published checkpoint into modules of its own naming, which is how a
    // LoRA trained there calls them.
    const auto alias = [&](Linear& linear, std::string_view name, std::size_t first,
                           std::size_t outputs, float by) {
      linear.parts.push_back(whole(kNomicNames.layers, name, first, outputs, by));
      linear.parts.back().alias = true;
    };
    alias(layer.query_key_value, kNomicNames.query, 0, hidden, scale);
    alias(layer.query_key_value, kNomicNames.key, hidden, hidden, 1.0f);
    alias(layer.query_key_value, kNomicNames.value, 2 * hidden, hidden, 1.0f);
    alias(layer.attention_output, kNomicNames.attention_output, 0, hidden, 1.0f);
    alias(layer.up, kNomicNames.up, 0, width, 1.0f);
    alias(layer.gate, kNomicNames.gate, 0, width, 1.0f);
    alias(layer.down, kNomicNames.down, 0, hidden, 1.0f);
  }
}

Result<std::unique_ptr<Trunk>> Trunk::load(const SafeTensors& file, const std::string& path,
                                           const TrunkConfig& config, const TrunkCompute& compute,
                                           const Kernels& kernels) {
  std::unique_ptr<Trunk> trunk(new Trunk(config, kernels));
  trunk->describe(config.architecture == Architecture::kNomicBert &&
                  file.tensors().count("emb_ln.weight") != 0);
  const TensorNames& names = tensor_names(config.architecture, trunk->published_);
  ModelDigest digest;
  WeightReader reader(file, path, names, digest);
  const std::size_t hidden = config.hidden_size;
  const auto table = [&](std::string_view name, std::size_t rows, WeightArray<float>& array) {
    return reader.read(joined(name, ".weight"), {rows, hidden}, array);
  };
  COLLEGIUM_RETURN_IF_ERROR(table(names.words, config.vocab_size, trunk->words_));
  if (!names.positions.empty()) {
    COLLEGIUM_RETURN_IF_ERROR(table(names.positions, config.position_rows, trunk->positions_));
  }
  if (!names.types.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto types, reader.read(joined(names.types, ".weight"),
                                                             {config.type_vocab_size, hidden}));
    trunk->type_ = WeightArray<float>(std::span<const float>(types).first(hidden));
  }
  COLLEGIUM_RETURN_IF_ERROR(
      reader.read(names.embedding_norm, hidden, config.norm_bias, trunk->embedding_norm_));
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    const std::string at = joined(names.layers, std::to_string(i) + ".");
    TrunkLayer& layer = trunk->layers_[i];
    const bool fp32 = std::find(compute.fp32_layers.begin(), compute.fp32_layers.end(), i) !=
                      compute.fp32_layers.end();
    const WeightType type = fp32 ? WeightType::kFp32 : compute.type;
    digest.add(static_cast<std::uint64_t>(type));
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(config.attention_bias, type, kernels, layer.query_key_value));
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(config.attention_bias, type, kernels, layer.attention_output));
    // ModernBERT's first layer has none: the embeddings were normed already.
    if (!config.pre_norm || i != 0) {
      COLLEGIUM_RETURN_IF_ERROR(reader.read(joined(at, names.attention_norm), hidden,
                                            config.norm_bias, layer.attention_norm));
    }
    COLLEGIUM_RETURN_IF_ERROR(reader.read(config.mlp_bias, type, kernels, layer.up));
    if (config.gated)
      COLLEGIUM_RETURN_IF_ERROR(reader.read(config.mlp_bias, type, kernels, layer.gate));
    COLLEGIUM_RETURN_IF_ERROR(reader.read(config.mlp_bias, type, kernels, layer.down));
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(joined(at, names.output_norm), hidden, config.norm_bias, layer.output_norm));
  }
  if (config.pre_norm) {
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(names.final_norm, hidden, config.norm_bias, trunk->final_norm_));
  }
  if (config.relative_buckets != 0) {
    COLLEGIUM_RETURN_IF_ERROR(reader.read(joined(names.relative_bias, ".weight"),
                                          {config.relative_buckets, config.num_heads},
                                          trunk->distances_));
  }
  COLLEGIUM_RETURN_IF_ERROR(reader.check_all_used());
  trunk->digest_ = digest.hex();
  trunk->make_tables();
  return trunk;
}

void Trunk::make_tables() {
  make_rotary_tables();
  if (!distances_.empty()) make_position_bias();
}

template <typename Self, typename F>
Status Trunk::visit_arrays(Self& trunk, const F& f) {
  const TrunkConfig& config = trunk.config_;
  const std::size_t hidden = config.hidden_size;
  const auto norm = [&](const std::string& name, auto& layer_norm) -> Status {
    COLLEGIUM_RETURN_IF_ERROR(f(name + ".gamma", layer_norm.gamma, hidden));
    return f(name + ".beta", layer_norm.beta, hidden);
  };
  const auto product = [&](const std::string& name, auto& linear, bool bias) -> Status {
    if (bias) COLLEGIUM_RETURN_IF_ERROR(f(name + ".bias", linear.bias, linear.outputs));
    return f.product(name, linear);
  };
  COLLEGIUM_RETURN_IF_ERROR(f("words", trunk.words_, config.vocab_size * hidden));
  if (config.position_rows != 0) {
    COLLEGIUM_RETURN_IF_ERROR(f("positions", trunk.positions_, config.position_rows * hidden));
  }
  if (config.type_vocab_size != 0) {
    COLLEGIUM_RETURN_IF_ERROR(f("type", trunk.type_, hidden));
  }
  if (config.relative_buckets != 0) {
    COLLEGIUM_RETURN_IF_ERROR(
        f("distances", trunk.distances_, config.relative_buckets * config.num_heads));
  }
  COLLEGIUM_RETURN_IF_ERROR(norm("embedding_norm", trunk.embedding_norm_));
  for (std::size_t i = 0; i < trunk.layers_.size(); ++i) {
    const std::string at = "layers." + std::to_string(i) + ".";
    auto& layer = trunk.layers_[i];
    COLLEGIUM_RETURN_IF_ERROR(
        product(at + "query_key_value", layer.query_key_value, config.attention_bias));
    COLLEGIUM_RETURN_IF_ERROR(
        product(at + "attention_output", layer.attention_output, config.attention_bias));
    if (!config.pre_norm || i != 0) {
      COLLEGIUM_RETURN_IF_ERROR(norm(at + "attention_norm", layer.attention_norm));
    }
    COLLEGIUM_RETURN_IF_ERROR(product(at + "up", layer.up, config.mlp_bias));
    if (config.gated) COLLEGIUM_RETURN_IF_ERROR(product(at + "gate", layer.gate, config.mlp_bias));
    COLLEGIUM_RETURN_IF_ERROR(product(at + "down", layer.down, config.mlp_bias));
    COLLEGIUM_RETURN_IF_ERROR(norm(at + "output_norm", layer.output_norm));
  }
  return config.pre_norm ? norm("final_norm", trunk.final_norm_) : Status();
}

namespace {

struct Save {
  PackedWeightsWriter& writer;
  Status operator()(const std::string& name, const WeightArray<float>& array, std::size_t) const {
    writer.add(name, array.span());
    return {};
  }
  Status product(const std::string& name, const Linear& linear) const {
    if (linear.type() == WeightType::kBf16) {
      writer.add(name + ".bf16", linear.bf16.span());
    } else if (linear.type() == WeightType::kInt8) {
      writer.add(name + ".int8.values", linear.int8.values.span());
      writer.add(name + ".int8.scales", linear.int8.scales.span());
      writer.add(name + ".int8.sums", linear.int8.sums.span());
    } else {
      writer.add(name + ".panels", linear.panels.span());
    }
    return {};
  }
};

struct Load {
  PackedWeights& packed;
  template <typename T>
  Status operator()(const std::string& name, WeightArray<T>& array, std::size_t count) const {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto numbers, packed.take<T>(name, count));
    array = WeightArray<T>::borrowed(numbers);
    return {};
  }
  Status product(const std::string& name, Linear& linear) const {
    if (packed.next() == name + ".bf16") {
      return (*this)(name + ".bf16", linear.bf16, bf16_panel_size(linear.outputs, linear.inputs));
    }
    if (packed.next() != name + ".int8.values") {
      return (*this)(name + ".panels", linear.panels,
                     num_panels(linear.outputs) * linear.inputs * kPanelWidth);
    }
    const std::size_t outputs = int8_outputs(linear.outputs);
    COLLEGIUM_RETURN_IF_ERROR((*this)(name + ".int8.values", linear.int8.values,
                                      int8_panel_bytes(linear.outputs, linear.inputs)));
    COLLEGIUM_RETURN_IF_ERROR((*this)(name + ".int8.scales", linear.int8.scales, outputs));
    COLLEGIUM_RETURN_IF_ERROR((*this)(name + ".int8.sums", linear.int8.sums, outputs));
    const Int8Panels panels = {linear.int8.values.data(), linear.int8.scales.data(),
                               linear.int8.sums.data()};
    if (linear.inputs <= kMaxInt8Inputs &&
        valid_panels_int8(panels, linear.outputs, linear.inputs)) {
      return {};
    }
    return Status::corruption(packed.path() + ": " + name +
                              " holds 8-bit weights that no encoder has");
  }
};

}  // namespace

WeightType Trunk::weight_type() const noexcept {
  for (const TrunkLayer& layer : layers_) {
    if (layer.up.type() != WeightType::kFp32) return layer.up.type();
  }
  return WeightType::kFp32;
}

Status Trunk::save_packed(const std::string& path) const {
  PackedWeightsWriter writer(digest_, published_, config_.num_heads);
  COLLEGIUM_RETURN_IF_ERROR(visit_arrays(*this, Save{writer}));
  return writer.write(path);
}

Result<std::unique_ptr<Trunk>> Trunk::load_packed(const std::string& path,
                                                  const TrunkConfig& config,
                                                  const Kernels& kernels) {
  COLLEGIUM_ASSIGN_OR_RETURN(PackedWeights packed, PackedWeights::open(path));
  std::unique_ptr<Trunk> trunk(new Trunk(config, kernels));
  // The scale of the scores is in the weights, and depends on it.
  if (packed.num_heads() != config.num_heads) {
    return Status::corruption(path + ": was converted with " + std::to_string(packed.num_heads()) +
                              " heads, its config.json says " + std::to_string(config.num_heads));
  }
  trunk->describe(packed.published());
  COLLEGIUM_RETURN_IF_ERROR(visit_arrays(*trunk, Load{packed}));
  COLLEGIUM_RETURN_IF_ERROR(packed.check_all_taken());
  const WeightType reduced = trunk->weight_type();
  for (const TrunkLayer& layer : trunk->layers_) {
    const WeightType type = layer.up.type();
    if (type != WeightType::kFp32 && type != reduced) {
      return Status::corruption(path + ": its layers are partly in int8, partly in bf16");
    }
    for (const Linear* linear :
         {&layer.query_key_value, &layer.attention_output, &layer.gate, &layer.down}) {
      if (linear->outputs == 0 || linear->type() == type) continue;
      const bool bf16 = type == WeightType::kBf16 || linear->type() == WeightType::kBf16;
      return Status::corruption(path + ": one layer's products are partly in " +
                                (bf16 ? "bf16" : "int8"));
    }
  }
  trunk->digest_ = packed.digest();
  trunk->file_ = std::move(packed).file();
  trunk->make_tables();
  return trunk;
}

}  // namespace collegium::core
