#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/gguf.h"
#include "lm/linear.h"

namespace collegium::core {

struct LlamaConfig {
  std::size_t layers = 0;
  std::size_t context = 0;  // positions
  std::size_t width = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  // divides heads
  std::size_t head_dim = 0;  // even
  std::size_t hidden = 0;    // of the feed-forward layers
  std::size_t vocab = 0;
  float rms_eps = 0.0f;
  float rope_base = 0.0f;

  std::size_t q_width() const noexcept { return heads * head_dim; }
  std::size_t kv_width() const noexcept { return kv_heads * head_dim; }
};

// The keys and values of the positions seen so far, fp32: (position, kv_width) a layer. Grows with
// what is put in, up to the context.
class KvCache {
 public:
  explicit KvCache(const LlamaConfig& config);
  std::size_t length() const noexcept { return length_; }

 private:
  friend class LlamaModel;
  void reserve(std::size_t positions);

  std::size_t kv_width_;
  std::size_t context_;
  std::size_t length_ = 0;
  std::size_t capacity_ = 0;
  std::vector<AlignedBuffer<float>> keys_;  // by layer
  std::vector<AlignedBuffer<float>> values_;
};

// A decoder of the Llama architecture (arXiv 2302.13971): RMSNorm, rotary positions over
// neighbouring pairs (the layout GGUF files have), grouped-query attention (arXiv 2305.13245),
// SwiGLU. fp32 on the dequantised weights; a row of any result is the same bits whether tokens
// come one by one or together, and for any number of threads.
// Borrows the file's bytes. Immutable; any number of threads may use it, each with its own cache.
class LlamaModel {
 public:
  // corruption: missing or misshapen tensors, impossible dimensions. not_supported: another
  // architecture, rotary scaling, experts, or a tensor that is not used here, by name.
  static Result<LlamaModel> read(const GgufFile& file, Isa isa);

  const LlamaConfig& config() const noexcept { return config_; }

  // Appends `ids` to what `cache` holds. hidden (ids.size(), width): the last layer's output,
  // normalised, of each. Pre: ids within the vocabulary; they fit the context. Throws
  // std::bad_alloc.
  void forward(std::span<const std::int32_t> ids, KvCache& cache, float* hidden) const;
  // out (rows, vocab) from hidden (rows, width).
  void logits(const float* hidden, std::size_t rows, float* out) const;

  // Multiplications and additions of forward() for `tokens` from position `begin` on, and of
  // logits() for `rows`.
  double forward_flops(std::size_t begin, std::size_t tokens) const noexcept;
  double logits_flops(std::size_t rows) const noexcept;

 private:
  struct Layer {
    std::vector<float> attention_norm, hidden_norm;  // (width,)
    QuantizedLinear q, k, v, attention_output, gate, up, down;
  };
  struct Rotation;

  LlamaModel() = default;
  void attend(const float* q, std::size_t tokens, const KvCache& cache, std::size_t layer,
              float* out) const;
  void rotate(float* x, std::size_t heads, const Rotation& rotation) const;

  LlamaConfig config_;
  const Kernels* kernels_ = nullptr;
  GgufTensor embeddings_;  // (vocab, width)
  std::vector<Layer> layers_;
  std::vector<float> output_norm_;
  QuantizedLinear output_;  // the embeddings where the file ties them
};

}  // namespace collegium::core
