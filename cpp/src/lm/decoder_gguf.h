#pragma once

#include <cmath>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "lm/decoder.h"

// What read_decoder_gguf() does: decoder_gguf_config.cc reads the metadata, decoder_gguf.cc the
// tensors, neither trusted. Names and meanings are llama.cpp's; metadata that changes the
// arithmetic and is not run is refused by name.
namespace collegium::core {

// What an architecture's name stands for beside its metadata.
struct GgufArchitecture {
  std::string_view name;
  RopeLayout rope = RopeLayout::kHalves;
  bool gemma = false;            // tanh-GELU, embeddings times sqrt(width), norms behind parts
  bool norms_behind = false;     // OLMo 2: none before a part
  bool qk_norm_by_head = false;  // where there are norms of queries and keys
  bool qk_norm = false;
  // Mixtures: llama.cpp's value where expert_weights_norm is absent.
  bool normalize = false;
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  bool shared_expert = false;  // weighed by a gate
  bool deepseek = false;       // latent attention; shared experts without a gate
  // Every `full_every`-th layer sees all positions, the others a window; 0: all layers see all.
  std::size_t full_every = 0;
  std::size_t layers_27b = 0;  // so many layers: queries are scaled by width / heads instead
};

// not_supported, by name, for one that is not run here.
Result<const GgufArchitecture*> find_gguf_architecture(const GgufFile& file);

// Reads metadata and tensors of one file and remembers which tensors were used.
class GgufDecoderReader {
 public:
  GgufDecoderReader(const GgufFile& file, const GgufArchitecture& architecture, Isa isa)
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
  Status read_head_dimensions(DecoderConfig& config) const;
  Status read_latent_dimensions(DecoderConfig& config) const;
  Status read_scales(DecoderConfig& config) const;
  Status read_ropes(DecoderConfig& config);
  Status scale_rope(float base, DecoderConfig& config, Rope& rope) const;
  Status read_layers(DecoderConfig& config) const;
  Status read_moe(DecoderConfig& config) const;
  Status read_deepseek_routing(DecoderConfig& config) const;
  Status read_layer(const DecoderConfig& config, std::size_t number, DecoderLayerWeights& layer);
  Status read_attention(const DecoderConfig& config, const std::string& prefix,
                        DecoderLayerWeights& layer);
  Status read_latent(const DecoderConfig& config, const std::string& prefix,
                     DecoderLayerWeights& layer);
  // kv_up out of the two tensors that newer files have in its place.
  Status join_kv_up(const DecoderConfig& config, const std::string& prefix, QuantizedLinear& kv_up);
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
  const GgufArchitecture& architecture_;
  Isa isa_;
  std::set<std::string, std::less<>> used_;
  std::vector<AlignedBuffer<float>> joined_;  // weights that are no part of the file as such
};

}  // namespace collegium::core
