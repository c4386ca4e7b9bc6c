#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/isa.h"
#include "lm/decoder_config.h"
#include "lm/linear.h"

namespace collegium::core {

// Of a row of numbers; empty gamma: there is no such norm.
struct NormWeights {
  std::vector<float> gamma;
  std::vector<float> beta;  // DecoderNorm::kLayer alone
  bool empty() const noexcept { return gamma.empty(); }
};

// down(act(gate x) * up x)
struct GatedWeights {
  QuantizedLinear gate, up;  // (hidden, width)
  QuantizedLinear down;      // (width, hidden)
  std::size_t hidden() const noexcept { return gate.outputs(); }
};

struct MoeWeights {
  QuantizedLinear router;  // (experts, width)
  // (experts,), added to scores where experts are chosen; or empty.
  std::vector<float> selection_bias;
  // (experts,). Their hidden widths may differ.
  std::vector<GatedWeights> experts;
  GatedWeights shared;          // where DecoderMoeConfig::shared_hidden
  QuantizedLinear shared_gate;  // (1, width), a sigmoid weighs the shared expert; or empty
};

struct DecoderLayerWeights {
  // x += attention_post_norm(attention(attention_norm(x))), and so for the feed-forward part;
  // either norm may be absent.
  NormWeights attention_norm, attention_post_norm;
  NormWeights hidden_norm, hidden_post_norm;
  NormWeights q_norm, k_norm;  // (head_dim,), or (q_width,) and (key_width,)
  QuantizedLinear q, k, v;     // not of latent attention, but q where its q_rank is 0
  QuantizedLinear attention_output;
  // Latent attention.
  QuantizedLinear q_down, q_up;  // (q_rank, width), (q_width, q_rank)
  NormWeights q_down_norm;       // (q_rank,)
  QuantizedLinear kv_down;       // (kv_rank + rope_dim, width)
  NormWeights kv_down_norm;      // (kv_rank,)
  // (heads * (nope_dim + value_dim), kv_rank): by head, its key and then its value.
  QuantizedLinear kv_up;
  GatedWeights mlp;  // of a dense layer
  MoeWeights moe;    // of another
};

// What a reader fills in; the decoder checks it. Linears and embeddings borrow `owner`'s bytes.
struct DecoderWeights {
  std::shared_ptr<const void> owner;  // the mapped files
  GgufTensor embeddings;              // (vocab, width)
  std::vector<DecoderLayerWeights> layers;
  NormWeights output_norm;
  QuantizedLinear output;  // (vocab, width); the embeddings where they are tied

  // All that there are but the mixtures' routers and gates, each once, in one order.
  std::vector<QuantizedLinear*> packed_linears();
  std::vector<const QuantizedLinear*> packed_linears() const;
  // QuantizedLinear::pack() of those; with kInt4 the output stays in bytes, which costs little.
  void pack(LmWeights weights = LmWeights::kStored);
  std::size_t packed_bytes = 0;  // of what is packed
};

// Every weight that `config` needs is there, with its shape, and none that it has no place for.
// corruption; `where` begins the message.
Status check_decoder_weights(const DecoderConfig& config, const DecoderWeights& weights,
                             const std::string& where);

}  // namespace collegium::core
