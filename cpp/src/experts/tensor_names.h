#pragma once

#include <array>
#include <string_view>

#include "experts/trunk_config.h"

namespace collegium::core {

// How a checkpoint names its tensors; "" for what an architecture has not. Names of a layer stand
// behind "<layers><number>.".
struct TensorNames {
  std::string_view prefix = {};  // stands before all names or before none
  std::string_view words = {}, positions = {}, types = {}, embedding_norm = {};
  std::string_view layers = {};
  std::string_view query = {}, key = {}, value = {}, query_key_value = {};  // three modules, or one
  std::string_view attention_output = {}, attention_norm = {};
  std::string_view up = {}, gate = {}, up_gate = {};  // of a gated trunk two modules, or one
  std::string_view down = {}, output_norm = {};
  std::string_view final_norm = {}, relative_bias = {};
  // Beginnings of the names of what plays no part in the trunk's output: other heads, buffers.
  std::array<std::string_view, 6> unused = {};
};

inline constexpr TensorNames kBertNames = {
    .prefix = "bert.",
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layers = "encoder.layer.",
    .query = "attention.self.query",
    .key = "attention.self.key",
    .value = "attention.self.value",
    .attention_output = "attention.output.dense",
    .attention_norm = "attention.output.LayerNorm",
    .up = "intermediate.dense",
    .down = "output.dense",
    .output_norm = "output.LayerNorm",
    .unused = {"embeddings.position_ids", "embeddings.token_type_ids", "pooler.dense.", "cls."}};

constexpr TensorNames roberta_names() {
  TensorNames names = kBertNames;
  names.prefix = "roberta.";
  names.unused[3] = "lm_head.";
  return names;
}
inline constexpr TensorNames kRobertaNames = roberta_names();

inline constexpr TensorNames kDistilBertNames = {
    .prefix = "distilbert.",
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layers = "transformer.layer.",
    .query = "attention.q_lin",
    .key = "attention.k_lin",
    .value = "attention.v_lin",
    .attention_output = "attention.out_lin",
    .attention_norm = "sa_layer_norm",
    .up = "ffn.lin1",
    .down = "ffn.lin2",
    .output_norm = "output_layer_norm",
    .unused = {"embeddings.position_ids", "vocab_transform.", "vocab_layer_norm.",
               "vocab_projector."}};

inline constexpr TensorNames kMpnetNames = {
    .prefix = "mpnet.",
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layers = "encoder.layer.",
    .query = "attention.attn.q",
    .key = "attention.attn.k",
    .value = "attention.attn.v",
    .attention_output = "attention.attn.o",
    .attention_norm = "attention.LayerNorm",
    .up = "intermediate.dense",
    .down = "output.dense",
    .output_norm = "output.LayerNorm",
    .relative_bias = "encoder.relative_attention_bias",
    .unused = {"embeddings.position_ids", "pooler.dense.", "lm_head."}};

inline constexpr TensorNames kModernBertNames = {.prefix = "model.",
                                                 .words = "embeddings.tok_embeddings",
                                                 .embedding_norm = "embeddings.norm",
                                                 .layers = "layers.",
                                                 .query_key_value = "attn.Wqkv",
                                                 .attention_output = "attn.Wo",
                                                 .attention_norm = "attn_norm",
                                                 .up_gate = "mlp.Wi",
                                                 .down = "mlp.Wo",
                                                 .output_norm = "mlp_norm",
                                                 .final_norm = "final_norm",
                                                 .unused = {"head.", "decoder."}};

inline constexpr TensorNames kNomicNames = {
    .prefix = "nomic_bert.",
    .words = "embeddings.word_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layers = "layers.",
    .query = "self_attn.q_proj",
    .key = "self_attn.k_proj",
    .value = "self_attn.v_proj",
    .attention_output = "self_attn.o_proj",
    .attention_norm = "post_attention_layernorm",
    .up = "mlp.gate_proj",
    .gate = "mlp.up_proj",
    .down = "mlp.down_proj",
    .output_norm = "post_mlp_layernorm",
    .unused = {"embeddings.position_ids", "embeddings.token_type_ids", "pooler.dense.", "cls.",
               "lm_head."}};

// As its makers publish it.
inline constexpr TensorNames kNomicPublishedNames = {.words = "embeddings.word_embeddings",
                                                     .types = "embeddings.token_type_embeddings",
                                                     .embedding_norm = "emb_ln",
                                                     .layers = "encoder.layers.",
                                                     .query_key_value = "attn.Wqkv",
                                                     .attention_output = "attn.out_proj",
                                                     .attention_norm = "norm1",
                                                     .up = "mlp.fc12",
                                                     .gate = "mlp.fc11",
                                                     .down = "mlp.fc2",
                                                     .output_norm = "norm2",
                                                     .unused = {"pooler.dense.", "cls."}};

// `published`: the checkpoint has NomicBERT's tensor "emb_ln.weight".
inline const TensorNames& tensor_names(Architecture architecture, bool published) {
  switch (architecture) {
    case Architecture::kBert:
      break;
    case Architecture::kDistilBert:
      return kDistilBertNames;
    case Architecture::kRoberta:
      return kRobertaNames;
    case Architecture::kMpnet:
      return kMpnetNames;
    case Architecture::kModernBert:
      return kModernBertNames;
    case Architecture::kNomicBert:
      return published ? kNomicPublishedNames : kNomicNames;
  }
  return kBertNames;
}

}  // namespace collegium::core
