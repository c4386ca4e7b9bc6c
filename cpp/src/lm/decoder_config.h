#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/status.h"

// One description of a decoder, which the architectures configure: whatever a config.json or a
// GGUF file's metadata says about the arithmetic is here, and nothing else is. What a layer has no
// use for is absent from its weights (decoder_weights.h) instead: a norm before or behind a part,
// a bias, a norm of queries and keys.
namespace collegium::core {

// Beyond any model; products of two stay far from overflow, and positions are exact in fp32.
// Readers tell a false number by its key, DecoderConfig::validate() tells the rest.
inline constexpr std::size_t kMaxContext = std::size_t{1} << 24;
inline constexpr std::size_t kMaxWidth = std::size_t{1} << 20;
inline constexpr std::size_t kMaxHeads = std::size_t{1} << 12;
inline constexpr std::size_t kMaxLayers = std::size_t{1} << 12;
inline constexpr std::size_t kMaxExperts = std::size_t{1} << 14;
inline constexpr std::size_t kMaxVocab = std::size_t{1} << 31;

enum class DecoderNorm : std::uint8_t {
  kRms,    // x / sqrt(mean(x^2) + eps) * gamma. Gemma's 1 + w is in gamma already
  kLayer,  // (x - mean) / sqrt(var + eps) * gamma + beta
};

enum class DecoderActivation : std::uint8_t { kSilu, kGeluTanh, kGelu, kRelu };

// Which two numbers of a head are turned together: (2i, 2i + 1), or (i, i + dims / 2). Hugging
// Face's checkpoints have halves (DeepSeek's have pairs); GGUF files of the "llama" architecture
// have pairs, of most others halves.
enum class RopeLayout : std::uint8_t { kPairs, kHalves };

// Rotary positions (arXiv 2104.09864) of one kind of layer. The scaling variants differ in the
// frequencies alone, so those are what is kept. Numbers of a head behind the first
// 2 * frequencies.size() are not turned.
struct Rope {
  RopeLayout layout = RopeLayout::kHalves;
  std::vector<float> frequencies;  // radians a position, of each pair
  float factor = 1.0f;             // of cosines and sines: YaRN's attention factor
};

// base^(-2i / dims) for i < dims / 2, rounded as the reference rounds it.
std::vector<float> rope_frequencies(double base, std::size_t dims);
// Position interpolation (arXiv 2306.15595): frequencies / factor.
void scale_rope_linear(double factor, std::vector<float>& frequencies);
// Llama 3's: long waves are stretched by `factor`, short ones are not, between them smoothly.
struct Llama3RopeScaling {
  double factor, low_freq_factor, high_freq_factor;
  std::size_t original_context;
};
void scale_rope_llama3(const Llama3RopeScaling& scaling, std::vector<float>& frequencies);
// YaRN (arXiv 2309.00071).
struct YarnRopeScaling {
  double factor;
  double beta_fast = 32.0, beta_slow = 1.0;
  std::size_t original_context;
  bool truncate = true;  // the corrected range to whole pairs
};
void scale_rope_yarn(const YarnRopeScaling& scaling, double base, std::vector<float>& frequencies);

// What one layer's attention looks at, and what its feed-forward part is.
struct DecoderLayerConfig {
  std::size_t window = 0;  // so many positions, its own the last of them; 0: all
  std::size_t rope = 0;    // of DecoderConfig::ropes; kNoRope: positions are not marked
  bool moe = false;
};
inline constexpr std::size_t kNoRope = static_cast<std::size_t>(-1);

// How the architecture's own router scores experts.
enum class ExpertScoring : std::uint8_t {
  kSoftmax,        // over all experts; the chosen ones' weights are normalised or not
  kSigmoid,        // of each logit (DeepSeek-V3)
  kSoftmaxOfTopK,  // over the chosen ones' logits (Mixtral, Granite)
  kSparseMixer,    // Phi-MoE's two choices with a threshold (arXiv 2310.00811)
};

struct DecoderMoeConfig {
  std::size_t experts = 0;  // 0: the decoder is dense
  std::size_t top_k = 0;
  std::size_t hidden = 0;         // of an expert
  std::size_t shared_hidden = 0;  // of the expert every token goes through; 0: none
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  bool normalize = false;  // the chosen weights are divided by their sum (norm_topk_prob)
  float scale = 1.0f;      // of the weights, behind that (routed_scaling_factor)
  // Experts are in so many groups of neighbours, of which the best group_top_k are looked at: by
  // their best score, or by the sum of their best two (DeepSeek-V3). 1: no groups.
  std::size_t groups = 1;
  std::size_t group_top_k = 1;
  bool group_by_best_two = false;
  float jitter = 0.0f;  // Phi-MoE's threshold
};

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values come out of one
// narrow vector a position, and one rotated key is shared by all heads.
struct DecoderLatentConfig {
  std::size_t kv_rank = 0;   // 0: attention is not latent
  std::size_t q_rank = 0;    // 0: queries are projected directly
  std::size_t nope_dim = 0;  // of a head's key, not rotated; goes before the rotated part
  std::size_t rope_dim = 0;
  float norm_eps = 1e-6f;  // of the norms of the narrow vectors
};

struct DecoderConfig {
  std::string architecture;  // as the file names it
  std::size_t vocab = 0;
  std::size_t context = 0;  // positions
  std::size_t width = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;   // divides heads; latent attention: heads
  std::size_t head_dim = 0;   // of a query and a key
  std::size_t value_dim = 0;  // of a value
  std::size_t hidden = 0;     // of the dense feed-forward layers
  std::vector<DecoderLayerConfig> layers;
  std::vector<Rope> ropes;
  DecoderNorm norm = DecoderNorm::kRms;
  float norm_eps = 0.0f;
  // Queries and keys are normalised by head (Qwen3, Gemma 3) or over all heads (OLMo2), where the
  // weights have such norms.
  bool qk_norm_by_head = true;
  float qkv_clip = 0.0f;  // queries, keys and values are kept within [-clip, clip]; 0: no (OLMoE)
  DecoderActivation activation = DecoderActivation::kSilu;
  float embedding_scale = 1.0f;
  float attention_scale = 0.0f;  // of q . k
  float attention_cap = 0.0f;    // cap * tanh(score / cap); 0: none (Gemma 2)
  float residual_scale = 1.0f;   // of what a part adds (Granite)
  float logit_divisor = 1.0f;    // (Granite)
  float logit_cap = 0.0f;        // 0: none
  bool tied_embeddings = false;
  DecoderLatentConfig latent;
  DecoderMoeConfig moe;

  std::size_t q_width() const noexcept { return heads * head_dim; }
  std::size_t key_width() const noexcept { return kv_heads * head_dim; }
  std::size_t value_width() const noexcept { return kv_heads * value_dim; }
  // Every dimension in range and consistent with the others, every number finite. `where` begins
  // the message. corruption.
  Status validate(const std::string& where) const;
};

}  // namespace collegium::core
