#include "lm/decoder_gguf.h"

#include "io/in_quotes.h"

namespace collegium::core {

Status GgufDecoderReader::read_attention(const DecoderConfig& c, const std::string& prefix,
                                         DecoderLayerWeights& layer) {
  if (architecture_.qk_norm) {
    const bool by_head = c.qk_norm_by_head;
    COLLEGIUM_RETURN_IF_ERROR(read_vector(prefix + "attn_q_norm.weight",
                                          by_head ? c.head_dim : c.q_width(), layer.q_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(read_vector(
        prefix + "attn_k_norm.weight", by_head ? c.head_dim : c.key_width(), layer.k_norm.gamma));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_q", c.q_width(), c.width, layer.q));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_k", c.key_width(), c.width, layer.k));
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_v", c.value_width(), c.width, layer.v));
  return read_linear(prefix + "attn_output", c.width, c.heads * c.value_dim,
                     layer.attention_output);
}

Status GgufDecoderReader::read_latent(const DecoderConfig& c, const std::string& prefix,
                                      DecoderLayerWeights& layer) {
  const DecoderLatentConfig& latent = c.latent;
  if (latent.q_rank == 0) {
    COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_q", c.q_width(), c.width, layer.q));
  } else {
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear(prefix + "attn_q_a", latent.q_rank, c.width, layer.q_down));
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "attn_q_a_norm.weight", latent.q_rank, layer.q_down_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(
        read_linear(prefix + "attn_q_b", c.q_width(), latent.q_rank, layer.q_up));
  }
  COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_kv_a_mqa", latent.kv_rank + latent.rope_dim,
                                        c.width, layer.kv_down));
  COLLEGIUM_RETURN_IF_ERROR(
      read_vector(prefix + "attn_kv_a_norm.weight", latent.kv_rank, layer.kv_down_norm.gamma));
  if (is_there(prefix + "attn_kv_b.weight"))
    COLLEGIUM_RETURN_IF_ERROR(read_linear(prefix + "attn_kv_b",
                                          c.heads * (latent.nope_dim + c.value_dim), latent.kv_rank,
                                          layer.kv_up));
  else
    COLLEGIUM_RETURN_IF_ERROR(join_kv_up(c, prefix, layer.kv_up));
  return read_linear(prefix + "attn_output", c.width, c.heads * c.value_dim,
                     layer.attention_output);
}

// Keys' rows are columns in the file, so that its blocks are no blocks of rows: they are widened.
Status GgufDecoderReader::join_kv_up(const DecoderConfig& c, const std::string& prefix,
                                     QuantizedLinear& kv_up) {
  const std::size_t rank = c.latent.kv_rank;
  const std::size_t nope = c.latent.nope_dim;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto keys,
                             find(prefix + "attn_k_b.weight", {c.heads, rank, nope}));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto values,
                             find(prefix + "attn_v_b.weight", {c.heads, c.value_dim, rank}));
  const std::size_t rows = nope + c.value_dim;  // of a head
  AlignedBuffer<float> joined(c.heads * rows * rank);
  std::vector<float> widened(rank * nope);
  const std::size_t key_bytes = keys.bytes.size() / c.heads;
  const std::size_t value_bytes = values.bytes.size() / c.heads;
  for (std::size_t h = 0; h < c.heads; ++h) {
    float* const head = joined.data() + h * rows * rank;
    dequantize(keys.type, keys.bytes.data() + h * key_bytes, widened.size(), widened.data());
    for (std::size_t r = 0; r < rank; ++r)
      for (std::size_t i = 0; i < nope; ++i) head[i * rank + r] = widened[r * nope + i];
    dequantize(values.type, values.bytes.data() + h * value_bytes, c.value_dim * rank,
               head + nope * rank);
  }
  const GgufTensor tensor{.type = GgmlType::kF32,
                          .shape = {c.heads * rows, rank},
                          .bytes = std::as_bytes(std::span(joined.data(), joined.size()))};
  kv_up = QuantizedLinear(tensor, isa_);
  joined_.push_back(std::move(joined));  // its numbers stay where they are
  return {};
}

// Experts lie one behind another in three tensors: (experts, hidden, width) and, of the last,
// (experts, width, hidden).
Status GgufDecoderReader::read_experts(const DecoderConfig& c, const std::string& prefix,
                                       MoeWeights& moe) {
  COLLEGIUM_RETURN_IF_ERROR(
      read_linear(prefix + "ffn_gate_inp", c.moe.experts, c.width, moe.router));
  const std::size_t hidden = c.moe.hidden;
  struct Part {
    const char* name;
    std::size_t outputs, inputs;
    QuantizedLinear GatedWeights::*linear;
  };
  std::vector<GatedWeights> experts;
  for (const Part& part : {Part{"ffn_gate_exps.weight", hidden, c.width, &GatedWeights::gate},
                           Part{"ffn_up_exps.weight", hidden, c.width, &GatedWeights::up},
                           Part{"ffn_down_exps.weight", c.width, hidden, &GatedWeights::down}}) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto all, find(prefix + part.name, {c.moe.experts, part.outputs, part.inputs}));
    experts.resize(c.moe.experts);
    const std::size_t bytes = all.bytes.size() / c.moe.experts;
    for (std::size_t e = 0; e < c.moe.experts; ++e) {
      const GgufTensor one{.type = all.type,
                           .shape = {part.outputs, part.inputs},
                           .bytes = all.bytes.subspan(e * bytes, bytes)};
      experts[e].*part.linear = QuantizedLinear(one, isa_);
    }
  }
  moe.experts = std::move(experts);
  if (architecture_.deepseek && is_there(prefix + "exp_probs_b.bias"))
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "exp_probs_b.bias", c.moe.experts, moe.selection_bias));
  if (c.moe.shared_hidden == 0) return {};
  COLLEGIUM_RETURN_IF_ERROR(read_gated(prefix, "_shexp", c.moe.shared_hidden, c.width, moe.shared));
  if (architecture_.deepseek) return {};
  // A vector in the file.
  COLLEGIUM_ASSIGN_OR_RETURN(auto gate, find(prefix + "ffn_gate_inp_shexp.weight", {c.width}));
  gate.shape = {1, c.width};
  moe.shared_gate = QuantizedLinear(gate, isa_);
  return {};
}

Status GgufDecoderReader::read_layer(const DecoderConfig& c, std::size_t number,
                                     DecoderLayerWeights& layer) {
  const std::string prefix = "blk." + std::to_string(number) + ".";
  if (!architecture_.norms_behind) {
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "attn_norm.weight", c.width, layer.attention_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "ffn_norm.weight", c.width, layer.hidden_norm.gamma));
  }
  if (architecture_.norms_behind || architecture_.gemma) {
    COLLEGIUM_RETURN_IF_ERROR(read_vector(prefix + "post_attention_norm.weight", c.width,
                                          layer.attention_post_norm.gamma));
    COLLEGIUM_RETURN_IF_ERROR(
        read_vector(prefix + "post_ffw_norm.weight", c.width, layer.hidden_post_norm.gamma));
  }
  COLLEGIUM_RETURN_IF_ERROR(architecture_.deepseek ? read_latent(c, prefix, layer)
                                                   : read_attention(c, prefix, layer));
  return c.layers[number].moe ? read_experts(c, prefix, layer.moe)
                              : read_gated(prefix, "", c.hidden, c.width, layer.mlp);
}

Result<DecoderWeights> GgufDecoderReader::read_weights(DecoderConfig& config) {
  DecoderWeights weights;
  COLLEGIUM_ASSIGN_OR_RETURN(weights.embeddings,
                             find("token_embd.weight", {config.vocab, config.width}));
  COLLEGIUM_RETURN_IF_ERROR(
      read_vector("output_norm.weight", config.width, weights.output_norm.gamma));
  for (std::size_t l = 0; l < config.layers.size(); ++l)
    // One of these is missing long before a false number of layers costs memory.
    COLLEGIUM_RETURN_IF_ERROR(read_layer(config, l, weights.layers.emplace_back()));
  if (config.tied_embeddings)
    weights.output = QuantizedLinear(weights.embeddings, isa_);
  else
    COLLEGIUM_RETURN_IF_ERROR(read_linear("output", config.vocab, config.width, weights.output));
  weights.owner = std::make_shared<const std::vector<AlignedBuffer<float>>>(std::move(joined_));
  // A tensor nobody asked for would change the result if it were known.
  for (const auto& [name, tensor] : file_.tensors())
    if (!used_.contains(name))
      return Status::not_supported(file_.path() + ": tensor " + in_quotes(name) +
                                   " is no part of the architecture " +
                                   in_quotes(architecture_.name) + " as it is run here");
  return weights;
}

Result<Decoder> read_decoder_gguf(const GgufFile& file, Isa isa) {
  COLLEGIUM_ASSIGN_OR_RETURN(const GgufArchitecture* architecture, find_gguf_architecture(file));
  GgufDecoderReader reader(file, *architecture, isa);
  COLLEGIUM_ASSIGN_OR_RETURN(auto config, reader.read_config());
  COLLEGIUM_ASSIGN_OR_RETURN(auto weights, reader.read_weights(config));
  return Decoder::create(std::move(config), std::move(weights), isa, file.path());
}

}  // namespace collegium::core
