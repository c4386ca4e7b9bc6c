#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/safetensors.h"
#include "collegium/core/status.h"
#include "experts/linear.h"
#include "experts/trunk_config.h"
#include "experts/trunk_lora.h"
#include "experts/weight_array.h"
#include "io/mapped_file.h"
#include "kernels/kernels.h"

namespace collegium::core {

struct LayerNorm {
  WeightArray<float> gamma, beta;  // (hidden,); empty: no norm
};

struct TrunkLayer {
  Linear query_key_value;  // one product: outputs are queries, keys, values, heads in order
  Linear attention_output;
  LayerNorm attention_norm;
  Linear up;    // its outputs go through the activation
  Linear gate;  // and are multiplied with these, if there are any
  Linear down;
  LayerNorm output_norm;
};

// Token ids of several sequences one after another: sequence s is [starts[s], starts[s + 1]).
struct PackedSequences {
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> starts = {0};
  // What each sequence is encoded under, null for the plain trunk; or empty, all plain.
  std::vector<const TrunkLora*> loras;
  std::size_t size() const noexcept { return starts.size() - 1; }
};

// Activations of one forward pass; kept and reused, since fresh pages cost more than a query.
struct TrunkScratch {
  AlignedBuffer<float> hidden;           // (tokens, hidden): in and out of every layer
  AlignedBuffer<float> normed;           // (tokens, hidden), of a trunk that norms first
  AlignedBuffer<float> query_key_value;  // (tokens, 3 hidden)
  AlignedBuffer<float> context;          // (tokens, hidden)
  AlignedBuffer<float> projected;        // (tokens, hidden)
  AlignedBuffer<float> intermediate;     // (tokens, intermediate)
  AlignedBuffer<float> gate;             // (tokens, intermediate), of a gated trunk
  AlignedBuffer<float> lora_down, lora_up;
  ProductScratch product;
};

// Of one head of one sequence.
struct AttentionScratch {
  AlignedBuffer<float> keys;    // panels, over the head's dimensions
  AlignedBuffer<float> values;  // panels, over the tokens
  AlignedBuffer<float> scores;  // (a block of queries, tokens rounded up to a panel)
  AlignedBuffer<float> bf16;    // all that Kernels::attend_bf16 wants
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

// In what the products of the layers are computed.
struct TrunkCompute {
  WeightType type = WeightType::kFp32;
  std::vector<std::size_t> fp32_layers;  // these are in fp32 all the same
};

// An encoder's trunk: embeddings, then layers of self-attention and feed-forward, as its
// configuration describes them. Immutable but for its scratch; any number of threads may run it at
// once.
class Trunk {
 public:
  // Tensors as transformers names them, with or without the architecture's prefix ("bert."); a
  // tensor missing, of another shape, not finite or of no known use is an error that names it.
  // The layers' products are in `compute`.
  static Result<std::unique_ptr<Trunk>> load(const SafeTensors& file, const std::string& path,
                                             const TrunkConfig& config, const TrunkCompute& compute,
                                             const Kernels& kernels);
  // What save_packed() wrote, mapped: nothing is copied, and the bits are the same. not_found,
  // corruption if it is damaged or does not fit `config`, not_supported if it is newer.
  static Result<std::unique_ptr<Trunk>> load_packed(const std::string& path,
                                                    const TrunkConfig& config,
                                                    const Kernels& kernels);
  Status save_packed(const std::string& path) const;

  // What the products are in, but for layers that stay in fp32.
  WeightType weight_type() const noexcept;
  // 32 hex digits over every weight, as the checkpoint has it, and over what each layer is in.
  const std::string& digest() const noexcept { return digest_; }

  // Fills scratch.hidden with the last layer's states, (tokens, hidden). Every id must be in the
  // vocabulary and every sequence within the positions. `parallel`: split each product over
  // default_pool(); the bits are the same.
  void forward(const PackedSequences& sequences, bool parallel, TrunkScratch& scratch) const;

  // forward() in parts, for experts that share the layers below the first one they differ in:
  // begin() fills scratch.hidden with the embeddings, run() takes it through layers [first, end),
  // finish() does what comes behind the last.
  void begin(const PackedSequences& sequences, TrunkScratch& scratch) const;
  void run(const PackedSequences& sequences, std::size_t first, std::size_t end, bool parallel,
           TrunkScratch& scratch) const;
  void finish(const PackedSequences& sequences, TrunkScratch& scratch) const;
  std::size_t num_layers() const noexcept { return layers_.size(); }
  // What may stand before the names of the architecture's modules: "bert.".
  std::string_view prefix() const noexcept;

  // corruption, naming `path`, for a module that is not here or of another shape.
  Result<TrunkLora> bind_lora(const LoraModules& modules, const std::string& path) const;

  // Multiply-adds x 2 for one sequence.
  double flops(std::size_t tokens) const noexcept;

 private:
  Trunk(const TrunkConfig& config, const Kernels& kernels);
  void embed(const PackedSequences& sequences, float* hidden) const;
  void run_layer(std::size_t layer, const PackedSequences& sequences, bool parallel,
                 TrunkScratch& scratch) const;
  void feed_forward(std::size_t layer, const PackedSequences& sequences, const float* in,
                    bool parallel, TrunkScratch& scratch) const;
  void norm(const float* in, const LayerNorm& norm, std::size_t tokens, float* out) const;
  void add(const float* addend, std::size_t tokens, float* hidden) const;

  // trunk_weights.cc: the layers' products with their sizes and parts, and what is visited of them:
  // f(name, array, count) for every array, in one order.
  void describe(bool published);
  void make_tables();
  template <typename Self, typename F>
  static Status visit_arrays(Self& trunk, const F& f);

  // trunk_lora.cc
  static bool has_lora(const PackedSequences& sequences, std::size_t layer,
                       std::vector<LoraTerm> LoraLayer::*terms);
  // out (tokens, linear.outputs) += what the sequences' LoRAs add to linear(in).
  void add_lora(const PackedSequences& sequences, std::size_t layer,
                std::vector<LoraTerm> LoraLayer::*terms, const Linear& linear, const float* in,
                float* out, TrunkScratch& scratch) const;

  // attention.cc
  void make_rotary_tables();
  void make_position_bias();
  void rotate(const PackedSequences& sequences, const AttentionSpan& span,
              float* query_key_value) const;
  void attend(std::size_t layer, const PackedSequences& sequences, bool parallel,
              TrunkScratch& scratch) const;
  void attend_heads(const float* query_key_value, std::size_t tokens, std::size_t first,
                    std::size_t end, float* context) const;
  void attend_head(const float* query_key_value, std::size_t tokens, std::size_t head,
                   std::size_t window, float* context) const;

  // The cosines and sines of one base: (positions, head dimension / 2) each.
  struct RotaryTable {
    float base;
    std::vector<float> cosines, sines;
  };

  const TrunkConfig config_;
  const Kernels& kernels_;
  void (*const Kernels::*activation_)(float*, std::size_t) noexcept;
  std::optional<MappedFile> file_;  // what the arrays are borrowed from
  std::string digest_;
  bool published_ = false;        // NomicBERT in its makers' naming
  WeightArray<float> words_;      // (vocabulary, hidden)
  WeightArray<float> positions_;  // (position rows, hidden), or empty
  WeightArray<float> type_;       // (hidden,): segment 0, the only one in use; or empty
  WeightArray<float> distances_;  // (buckets, heads), MPNet's; or empty
  LayerNorm embedding_norm_;
  std::vector<TrunkLayer> layers_;
  LayerNorm final_norm_;
  std::vector<RotaryTable> rotary_;
  // (heads, 2 positions - 1): what is added to a score of a key so far behind the query, the
  // middle being the query itself; or empty.
  std::vector<float> position_bias_;
  mutable ScratchList<AttentionScratch> attention_scratch_;
};

}  // namespace collegium::core
