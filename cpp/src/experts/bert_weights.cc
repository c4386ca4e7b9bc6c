#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "experts/bert.h"
#include "experts/digest.h"
#include "io/in_quotes.h"

namespace collegium::core {
namespace {

// Reads tensors by their name in transformers' BertModel, and remembers which were read.
class WeightReader {
 public:
  WeightReader(const SafeTensors& file, const std::string& path, ModelDigest& digest)
      : file_(file), path_(path), digest_(digest) {
    const auto& tensors = file.tensors();
    if (tensors.find("bert.embeddings.word_embeddings.weight") != tensors.end()) prefix_ = "bert.";
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

  Status read(const std::string& name, std::size_t hidden, LayerNorm& norm) {
    COLLEGIUM_ASSIGN_OR_RETURN(norm.gamma, read(name + ".weight", {hidden}));
    COLLEGIUM_ASSIGN_OR_RETURN(norm.beta, read(name + ".bias", {hidden}));
    return {};
  }

  // Everything in the file was read, or is known to play no part in the trunk's output.
  Status check_all_used() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (used_.count(name) != 0) continue;
      const std::string_view bare = name.compare(0, prefix_.size(), prefix_) == 0
                                        ? std::string_view(name).substr(prefix_.size())
                                        : std::string_view(name);
      constexpr std::array<std::string_view, 4> kUnused = {
          "embeddings.position_ids", "embeddings.token_type_ids", "pooler.dense.weight",
          "pooler.dense.bias"};
      bool known = false;
      for (std::string_view unused : kUnused) known = known || bare == unused;
      // The heads of pre-training.
      if (known || name.compare(0, 4, "cls.") == 0) continue;
      return Status::not_supported(path_ + ": tensor " + in_quotes(name) +
                                   " is no part of a BERT encoder run here");
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
  ModelDigest& digest_;
  std::string prefix_;
  std::set<std::string> used_;
};

Linear pack(const Kernels& kernels, std::size_t inputs, std::size_t outputs,
            const std::vector<float>& weight, std::vector<float> bias) {
  Linear linear{inputs, outputs, AlignedBuffer<float>(num_panels(outputs) * inputs * kPanelWidth),
                std::move(bias)};
  kernels.pack_panels(weight.data(), inputs, outputs, inputs, linear.panels.data());
  return linear;
}

Status read_linear(WeightReader& reader, const Kernels& kernels, const std::string& name,
                   std::size_t inputs, std::size_t outputs, Linear& linear) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto weight, reader.read(name + ".weight", {outputs, inputs}));
  COLLEGIUM_ASSIGN_OR_RETURN(auto bias, reader.read(name + ".bias", {outputs}));
  linear = pack(kernels, inputs, outputs, weight, std::move(bias));
  return {};
}

// Queries, keys and values as one product. The 1 / sqrt(head dimension) of the scores goes into the
// queries' weights.
Status read_query_key_value(WeightReader& reader, const Kernels& kernels, const std::string& name,
                            const EncoderConfig& config, Linear& linear) {
  const std::size_t hidden = config.hidden_size;
  std::vector<float> weight, bias;
  for (const char* part : {"query", "key", "value"}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto w,
                               reader.read(name + part + ".weight", {hidden, hidden}));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto b, reader.read(name + part + ".bias", {hidden}));
    weight.insert(weight.end(), w.begin(), w.end());
    bias.insert(bias.end(), b.begin(), b.end());
  }
  const auto head_dim = static_cast<double>(hidden / config.num_heads);
  const auto scale = static_cast<float>(1.0 / std::sqrt(head_dim));
  for (std::size_t i = 0; i < hidden * hidden; ++i) weight[i] *= scale;
  for (std::size_t i = 0; i < hidden; ++i) bias[i] *= scale;
  linear = pack(kernels, hidden, 3 * hidden, weight, std::move(bias));
  return {};
}

}  // namespace

Result<std::unique_ptr<Bert>> Bert::load(const SafeTensors& file, const std::string& path,
                                         const EncoderConfig& config, const Kernels& kernels,
                                         ModelDigest& digest) {
  WeightReader reader(file, path, digest);
  std::unique_ptr<Bert> bert(new Bert(config, kernels));
  const std::size_t hidden = config.hidden_size;
  COLLEGIUM_ASSIGN_OR_RETURN(
      bert->words_, reader.read("embeddings.word_embeddings.weight", {config.vocab_size, hidden}));
  COLLEGIUM_ASSIGN_OR_RETURN(bert->positions_, reader.read("embeddings.position_embeddings.weight",
                                                           {config.max_positions, hidden}));
  COLLEGIUM_ASSIGN_OR_RETURN(bert->type_, reader.read("embeddings.token_type_embeddings.weight",
                                                      {config.type_vocab_size, hidden}));
  bert->type_.resize(hidden);
  COLLEGIUM_RETURN_IF_ERROR(reader.read("embeddings.LayerNorm", hidden, bert->embedding_norm_));
  for (std::size_t i = 0; i < config.num_layers; ++i) {
    const std::string name = "encoder.layer." + std::to_string(i) + ".";
    BertLayer layer;
    COLLEGIUM_RETURN_IF_ERROR(read_query_key_value(reader, kernels, name + "attention.self.",
                                                   config, layer.query_key_value));
    COLLEGIUM_RETURN_IF_ERROR(read_linear(reader, kernels, name + "attention.output.dense", hidden,
                                          hidden, layer.attention_output));
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read(name + "attention.output.LayerNorm", hidden, layer.attention_norm));
    COLLEGIUM_RETURN_IF_ERROR(read_linear(reader, kernels, name + "intermediate.dense", hidden,
                                          config.intermediate_size, layer.up));
    COLLEGIUM_RETURN_IF_ERROR(read_linear(reader, kernels, name + "output.dense",
                                          config.intermediate_size, hidden, layer.down));
    COLLEGIUM_RETURN_IF_ERROR(reader.read(name + "output.LayerNorm", hidden, layer.output_norm));
    bert->layers_.push_back(std::move(layer));
  }
  COLLEGIUM_RETURN_IF_ERROR(reader.check_all_used());
  return bert;
}

}  // namespace collegium::core
