#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/safetensors.h"
#include "collegium/core/status.h"
#include "experts/encoder_config.h"
#include "kernels/kernels.h"

namespace collegium::core {

class ModelDigest;

// y = W x + b, W packed for the kernels.
struct Linear {
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  AlignedBuffer<float> panels;
  std::vector<float> bias;  // (outputs,)
};

struct LayerNorm {
  std::vector<float> gamma, beta;  // (hidden,)
};

struct BertLayer {
  Linear query_key_value;  // one product: outputs are queries, keys, values, heads in order
  Linear attention_output;
  LayerNorm attention_norm;
  Linear up;
  Linear down;
  LayerNorm output_norm;
};

// Token ids of several sequences one after another: sequence s is [starts[s], starts[s + 1]).
struct PackedSequences {
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> starts = {0};
  std::size_t size() const noexcept { return starts.size() - 1; }
};

// Activations of one forward pass; kept and reused, since fresh pages cost more than a query.
struct BertScratch {
  AlignedBuffer<float> hidden;           // (tokens, hidden): in and out of every layer
  AlignedBuffer<float> query_key_value;  // (tokens, 3 hidden)
  AlignedBuffer<float> context;          // (tokens, hidden)
  AlignedBuffer<float> projected;        // (tokens, hidden)
  AlignedBuffer<float> intermediate;     // (tokens, intermediate)
};

// Of one head of one sequence.
struct AttentionScratch {
  AlignedBuffer<float> keys;    // panels, over the head's dimensions
  AlignedBuffer<float> values;  // panels, over the tokens
  AlignedBuffer<float> scores;  // (a block of queries, tokens rounded up to a panel)
};

// Scratch that is handed out and taken back; there are as many as were ever used at once.
template <typename T>
class ScratchList {
 public:
  std::unique_ptr<T> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<T>();
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<T> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

// The BERT trunk (arXiv 1810.04805): embeddings, then layers of self-attention and feed-forward,
// each followed by a residual sum and a layer norm. Immutable but for its scratch; any number of
// threads may run it at once.
class Bert {
 public:
  // Tensors with or without the prefix "bert."; a tensor missing, of another shape, not finite or
  // of no known use is an error that names it. Adds every weight used to `digest`.
  static Result<std::unique_ptr<Bert>> load(const SafeTensors& file, const std::string& path,
                                            const EncoderConfig& config, const Kernels& kernels,
                                            ModelDigest& digest);

  // Fills scratch.hidden with the last layer's states, (tokens, hidden). Every id must be in the
  // vocabulary and every sequence within the positions. `parallel`: split each product over
  // default_pool(); the bits are the same.
  void forward(const PackedSequences& sequences, bool parallel, BertScratch& scratch) const;

  // Multiply-adds x 2 for one sequence.
  double flops(std::size_t tokens) const noexcept;

 private:
  Bert(const EncoderConfig& config, const Kernels& kernels) : config_(config), kernels_(kernels) {}
  void embed(const PackedSequences& sequences, float* hidden) const;
  void attend(const PackedSequences& sequences, bool parallel, BertScratch& scratch) const;
  void attend_head(const float* query_key_value, std::size_t tokens, float* context) const;
  void add_and_norm(const float* addend, const LayerNorm& norm, std::size_t tokens,
                    float* hidden) const;

  const EncoderConfig config_;
  const Kernels& kernels_;
  std::vector<float> words_;      // (vocabulary, hidden)
  std::vector<float> positions_;  // (positions, hidden)
  std::vector<float> type_;       // (hidden,): segment 0, the only one in use
  LayerNorm embedding_norm_;
  std::vector<BertLayer> layers_;
  mutable ScratchList<AttentionScratch> attention_scratch_;
};

}  // namespace collegium::core
