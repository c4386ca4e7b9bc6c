// read_decoder_hf(): from a folder's config.json and tensors, trusting neither.
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "collegium/core/safetensors.h"
#include "experts/finite_tensors.h"
#include "io/in_quotes.h"
#include "io/json_file.h"
#include "lm/decoder.h"
#include "lm/decoder_hf_config.h"

namespace collegium::core {
namespace {

std::optional<GgmlType> stored_type(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return GgmlType::kF32;
    case TensorType::kF16:
      return GgmlType::kF16;
    case TensorType::kBF16:
      return GgmlType::kBF16;
    default:
      return std::nullopt;
  }
}

// Rows [begin, begin + rows) of a tensor whose last dimension is a row, as a matrix.
GgufTensor row_range(const GgufTensor& tensor, std::size_t begin, std::size_t rows) {
  const std::size_t row_bytes = tensor.row_numbers() * ggml_block_bytes(tensor.type);
  return {tensor.type,
          {rows, tensor.row_numbers()},
          tensor.bytes.subspan(begin * row_bytes, rows * row_bytes)};
}

// Hands out the tensors of one folder and remembers which.
class Reader {
 public:
  Reader(const HfDecoder& model, const SafeTensors& file, std::string path, Isa isa)
      : model_(model), config_(model.config), file_(file), path_(std::move(path)), isa_(isa) {}

  Result<DecoderWeights> read();

 private:
  bool has(const std::string& name) const { return file_.tensors().contains(name); }
  Result<GgufTensor> find(const std::string& name, const std::vector<std::size_t>& shape);
  Status read_vector(const std::string& name, std::size_t size, std::vector<float>& out);
  Status read_norm(const std::string& name, std::size_t size, NormWeights& out,
                   bool of_rows = true);
  // `name`.weight and, where `bias` says so, `name`.bias.
  Status read_linear(const std::string& name, std::size_t outputs, std::size_t inputs, bool bias,
                     QuantizedLinear& out);
  Status read_gated(const std::string& prefix, std::size_t hidden, bool bias, GatedWeights& out);
  Status read_layer(std::size_t number, DecoderLayerWeights& layer);
  Status read_norms(const std::string& prefix, DecoderLayerWeights& layer);
  Status read_attention(const std::string& prefix, DecoderLayerWeights& layer);
  Status read_latent(const std::string& prefix, DecoderLayerWeights& layer);
  Status read_experts(const std::string& prefix, MoeWeights& moe);
  // All experts' in two tensors: (experts, 2 hidden, width), gates first, (experts, width, hidden).
  Status read_fused(const std::string& gate_up, const std::string& down, MoeWeights& moe);
  Status refuse_unused() const;

  const HfDecoder& model_;
  const DecoderConfig& config_;
  const SafeTensors& file_;
  std::string path_;
  Isa isa_;
  std::set<std::string, std::less<>> used_;
};

Result<GgufTensor> Reader::find(const std::string& name, const std::vector<std::size_t>& shape) {
  const auto view = file_.find(name);
  if (!view.ok()) return as_damage(view.status());
  if (view->shape != shape) {
    const auto text = [](const std::vector<std::size_t>& sizes) {
      std::string list;
      for (const std::size_t size : sizes)
        list += (list.empty() ? "" : ", ") + std::to_string(size);
      return "(" + list + ")";
    };
    return Status::corruption(path_ + ": tensor " + in_quotes(name) + " has shape " +
                              text(view->shape) + ", must have " + text(shape));
  }
  const auto type = stored_type(view->type);
  if (!type)
    return Status::not_supported(path_ + ": tensor " + in_quotes(name) + " is " +
                                 std::string(tensor_type_name(view->type)) +
                                 "; here only F32, F16 and BF16 are run");
  used_.insert(name);
  return GgufTensor{*type, shape, view->bytes};
}

Status Reader::read_vector(const std::string& name, std::size_t size, std::vector<float>& out) {
  COLLEGIUM_ASSIGN_OR_RETURN(const GgufTensor tensor, find(name, {size}));
  out.resize(size);
  dequantize(tensor.type, tensor.bytes.data(), size, out.data());
  return {};
}

Status Reader::read_norm(const std::string& name, std::size_t size, NormWeights& out,
                         bool of_rows) {
  COLLEGIUM_RETURN_IF_ERROR(read_vector(name + ".weight", size, out.gamma));
  if (model_.norm_adds_one)
    for (float& number : out.gamma) number += 1.0f;
  if (of_rows && config_.norm == DecoderNorm::kLayer)
    return read_vector(name + ".bias", size, out.beta);
  return {};
}

Status Reader::read_linear(const std::string& name, std::size_t outputs, std::size_t inputs,
                           bool bias, QuantizedLinear& out) {
  COLLEGIUM_ASSIGN_OR_RETURN(const GgufTensor tensor, find(name + ".weight", {outputs, inputs}));
  std::vector<float> shifts;
  if (bias) COLLEGIUM_RETURN_IF_ERROR(read_vector(name + ".bias", outputs, shifts));
  out = QuantizedLinear(tensor, isa_, std::move(shifts));
  return {};
}

Status Reader::read_gated(const std::string& prefix, std::size_t hidden, bool bias,
                          GatedWeights& out) {
  const std::size_t width = config_.width;
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "gate_proj", hidden, width, bias, out.gate));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "up_proj", hidden, width, bias, out.up));
  return read_linear(prefix + "down_proj", width, hidden, bias, out.down);
}

Status Reader::read_norms(const std::string& prefix, DecoderLayerWeights& layer) {
  struct Named {
    const char* name;
    NormWeights* norm;
  };
  std::vector<Named> named;
  switch (model_.norms) {
    case HfDecoder::Norms::kPre:
      named = {{"input_layernorm", &layer.attention_norm},
               {"post_attention_layernorm", &layer.hidden_norm}};
      break;
    case HfDecoder::Norms::kPost:
      named = {{"post_attention_layernorm", &layer.attention_post_norm},
               {"post_feedforward_layernorm", &layer.hidden_post_norm}};
      break;
    case HfDecoder::Norms::kSandwich:
      named = {{"input_layernorm", &layer.attention_norm},
               {"post_attention_layernorm", &layer.attention_post_norm},
               {"pre_feedforward_layernorm", &layer.hidden_norm},
               {"post_feedforward_layernorm", &layer.hidden_post_norm}};
      break;
  }
  for (const Named& one : named)
    COLLEGIUM_RETURN_IF_ERROR(read_norm(prefix + one.name, config_.width, *one.norm));
  return {};
}

Status Reader::read_attention(const std::string& prefix, DecoderLayerWeights& layer) {
  const DecoderConfig& c = config_;
  const bool bias = model_.qkv_bias;
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "q_proj", c.q_width(), c.width, bias, layer.q));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "k_proj", c.key_width(), c.width, bias, layer.k));
  COLLEGIUM_RETURN_IF_ERROR(
      read_linear(prefix + "v_proj", c.value_width(), c.width, bias, layer.v));
  if (!model_.qk_norm) return {};
  const bool by_head = c.qk_norm_by_head;
  COLLEGIUM_RETURN_IF_ERROR(
      read_norm(prefix + "q_norm", by_head ? c.head_dim : c.q_width(), layer.q_norm, false));
  return read_norm(prefix + "k_norm", by_head ? c.head_dim : c.key_width(), layer.k_norm, false);
}

Status Reader::read_latent(const std::string& prefix, DecoderLayerWeights& layer) {
  const DecoderConfig& c = config_;
  const DecoderLatentConfig& latent = c.latent;
  if (latent.q_rank == 0) {
    COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "q_proj", c.q_width(), c.width, false, layer.q));
  } else {
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear(prefix + "q_a_proj", latent.q_rank, c.width, model_.output_bias, layer.q_down));
    COLLEGIUM_RETURN_IF_ERROR(
        read_norm(prefix + "q_a_layernorm", latent.q_rank, layer.q_down_norm, false));
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear(prefix + "q_b_proj", c.q_width(), latent.q_rank, false, layer.q_up));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "kv_a_proj_with_mqa",
                                        latent.kv_rank + latent.rope_dim, c.width,
                                        model_.output_bias, layer.kv_down));
  COLLEGIUM_RETURN_IF_ERROR(
      read_norm(prefix + "kv_a_layernorm", latent.kv_rank, layer.kv_down_norm, false));
  return read_linear(prefix + "kv_b_proj", c.heads * (latent.nope_dim + c.value_dim),
                     latent.kv_rank, false, layer.kv_up);
}

Status Reader::read_fused(const std::string& gate_up, const std::string& down, MoeWeights& moe) {
  const std::size_t hidden = config_.moe.hidden;
  const std::size_t width = config_.width;
  const std::size_t experts = config_.moe.experts;
  COLLEGIUM_ASSIGN_OR_RETURN(const GgufTensor wide, find(gate_up, {experts, 2 * hidden, width}));
  COLLEGIUM_ASSIGN_OR_RETURN(const GgufTensor narrow, find(down, {experts, width, hidden}));
  for (std::size_t e = 0; e < experts; ++e) {
    GatedWeights& expert = moe.experts.emplace_back();
    expert.gate = QuantizedLinear(row_range(wide, 2 * e * hidden, hidden), isa_);
    expert.up = QuantizedLinear(row_range(wide, (2 * e + 1) * hidden, hidden), isa_);
    expert.down = QuantizedLinear(row_range(narrow, e * width, width), isa_);
  }
  return {};
}

// The names transformers' releases and the hub's checkpoints have had.
Status Reader::read_experts(const std::string& prefix, MoeWeights& moe) {
  const DecoderConfig& c = config_;
  const bool sparse_block = has(prefix + "block_sparse_moe.gate.weight") ||
                            has(prefix + "block_sparse_moe.router.layer.weight");
  const std::string block = prefix + (sparse_block ? "block_sparse_moe." : "mlp.");
  const std::string router = has(block + "router.layer.weight") ? "router.layer" : "gate";
  COLLEGIUM_RETURN_IF_ERROR(read_linear(block + router, c.moe.experts, c.width, false, moe.router));
  if (model_.selection_bias)
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(block + "gate.e_score_correction_bias", c.moe.experts, moe.selection_bias));
  if (has(block + "input_linear.weight")) {
    COLLEGIUM_RETURN_IF_ERROR(
        read_fused(block + "input_linear.weight", block + "output_linear.weight", moe));
  } else if (has(block + "experts.gate_up_proj")) {
    COLLEGIUM_RETURN_IF_ERROR(
        read_fused(block + "experts.gate_up_proj", block + "experts.down_proj", moe));
  } else {
    const bool numbered = has(block + "experts.0.w1.weight");
    for (std::size_t e = 0; e < c.moe.experts; ++e) {
      // One of these is missing long before a false number of experts costs memory.
      GatedWeights& expert = moe.experts.emplace_back();
      const std::string name = block + "experts." + std::to_string(e) + ".";
      if (!numbered) {
        COLLEGIUM_RETURN_IF_ERROR(read_gated(name, c.moe.hidden, false, expert));
        continue;
      }
      COLLEGIUM_RETURN_IF_ERROR(
          read_linear(name + "w1", c.moe.hidden, c.width, false, expert.gate));
      COLLEGIUM_RETURN_IF_ERROR(read_linear(name + "w3", c.moe.hidden, c.width, false, expert.up));
      COLLEGIUM_RETURN_IF_ERROR(
          read_linear(name + "w2", c.width, c.moe.hidden, false, expert.down));
    }
  }
  if (c.moe.shared_hidden == 0) return {};
  const std::string shared = model_.shared_gate ? "shared_expert." : "shared_experts.";
  COLLEGIUM_RETURN_IF_ERROR(
      read_gated(block + shared, c.moe.shared_hidden, model_.mlp_bias, moe.shared));
  if (!model_.shared_gate) return {};
  return read_linear(block + "shared_expert_gate", 1, c.width, false, moe.shared_gate);
}

Status Reader::read_layer(std::size_t number, DecoderLayerWeights& layer) {
  const DecoderConfig& c = config_;
  const std::string prefix = "model.layers." + std::to_string(number) + ".";
  COLLEGIUM_RETURN_IF_ERROR(read_norms(prefix, layer));
  const std::string attention = prefix + "self_attn.";
  COLLEGIUM_RETURN_IF_ERROR(c.latent.kv_rank != 0 ? read_latent(attention, layer)
                                                  : read_attention(attention, layer));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(attention + "o_proj", c.width, c.heads * c.value_dim,
                                        model_.output_bias, layer.attention_output));
  return c.layers[number].moe ? read_experts(prefix, layer.moe)
                              : read_gated(prefix + "mlp.", c.hidden, model_.mlp_bias, layer.mlp);
}

// A tensor nobody asked for would change the result if it were known.
Status Reader::refuse_unused() const {
  const auto is_extra = [&](const std::string& name) {
    for (std::size_t i = 0; i < model_.extra_layers; ++i)
      if (name.starts_with("model.layers." + std::to_string(config_.layers.size() + i) + "."))
        return true;
    return false;
  };
  for (const auto& [name, tensor] : file_.tensors()) {
    if (used_.contains(name) || is_extra(name)) continue;
    if (name.ends_with(".rotary_emb.inv_freq")) continue;  // computed from the configuration
    if (config_.tied_embeddings && name == "lm_head.weight") continue;
    return Status::not_supported(path_ + ": tensor " + in_quotes(name) +
                                 " is no part of the architecture " +
                                 in_quotes(config_.architecture) + " as it is run here");
  }
  return {};
}

Result<DecoderWeights> Reader::read() {
  const DecoderConfig& c = config_;
  DecoderWeights weights;
  COLLEGIUM_ASSIGN_OR_RETURN(weights.embeddings,
                             find("model.embed_tokens.weight", {c.vocab, c.width}));
  COLLEGIUM_RETURN_IF_ERROR(read_norm("model.norm", c.width, weights.output_norm));
  for (std::size_t l = 0; l < c.layers.size(); ++l)
    COLLEGIUM_RETURN_IF_ERROR(read_layer(l, weights.layers.emplace_back()));
  if (c.tied_embeddings)
    weights.output = QuantizedLinear(weights.embeddings, isa_);
  else
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear("lm_head", c.vocab, c.width, model_.head_bias, weights.output));
  COLLEGIUM_RETURN_IF_ERROR(refuse_unused());
  return weights;
}

}  // namespace

Result<Decoder> read_decoder_hf(const std::string& folder, Isa isa) {
  const std::filesystem::path path(folder);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto document,
                             JsonDocument::open((path / "config.json").string()));
  COLLEGIUM_ASSIGN_OR_RETURN(HfDecoder model, read_hf_decoder_config(document.root()));
  const std::string single = (path / "model.safetensors").string();
  const std::string sharded = (path / "model.safetensors.index.json").string();
  std::error_code ignored;
  const bool shards =
      !std::filesystem::exists(single, ignored) && std::filesystem::exists(sharded, ignored);
  COLLEGIUM_ASSIGN_OR_RETURN(
      auto opened, shards ? SafeTensors::open_sharded(sharded) : SafeTensors::open(single));
  auto file = std::make_shared<const SafeTensors>(std::move(opened));
  Reader reader(model, *file, folder, isa);
  COLLEGIUM_ASSIGN_OR_RETURN(DecoderWeights weights, reader.read());
  weights.owner = std::move(file);
  return Decoder::create(std::move(model.config), std::move(weights), isa, folder);
}

}  // namespace collegium::core
