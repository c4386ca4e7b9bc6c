#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "lm/decoder.h"
#include "lm/decoder_lora.h"

namespace collegium::core {

// Some rows on their way through the layers: what Decoder::forward() runs on.
struct DecoderRun {
  // Neighbouring rows of one sequence.
  struct Piece {
    KvCache* cache;
    const RoutingPlan* plan;
    TokenTrace* trace;
    const DecoderLora* lora;
    std::size_t row;       // first
    std::size_t rows;      // at least 1
    std::size_t wanted;    // the last ones, which are of use behind the last layer
    std::size_t position;  // of the first row: what the cache holds before
  };
  // Cosines and sines of each row's angles, (rows, pairs).
  struct Rotation {
    std::size_t pairs = 0;
    std::vector<float> cosines;
    std::vector<float> sines;
  };

  // Memory for at most `rows` rows.
  DecoderRun(const Decoder& decoder, std::size_t rows);

  // Takes rows `x` (rows, width) of the embeddings to the layers' output, normalised, and appends
  // their keys and values behind each cache's length, which stays. `pieces` cover the rows in
  // order. Rows that are not wanted may hold anything then.
  Status run(std::span<const Piece> pieces, float* x);

 private:
  void make_rotations();
  // Queries of `in` (rows, width) to q_, keys and values to the caches.
  void look_up(std::size_t layer, const float* in);
  // out (rows, width) = the layer's attention of those.
  void attend(std::size_t layer, float* out);
  // Leaves the wanted rows alone in q_ and x and makes pieces_ theirs.
  void keep_wanted(float* x);
  // Queries to q_, keys and values to keys_ and values_.
  void project(std::size_t layer, const float* in);
  void project_latent(std::size_t layer, const float* in);
  void store_keys_and_values(std::size_t layer);
  // attended_ from q_ and the caches.
  void mix_values(std::size_t layer);
  // Of the rows [begin, end) of a piece and of heads that share keys and values.
  void mix_values_of(std::size_t layer, const Piece& piece, std::size_t begin, std::size_t end,
                     std::size_t first_head, std::size_t heads);
  // With the LoRAs of `layer`, if there is one.
  void feed_forward(const GatedWeights& weights, std::optional<std::size_t> layer, const float* in,
                    float* out);
  // Adds what the pieces' LoRAs say of one product: in (rows, inputs), out (rows, outputs).
  void add_lora(std::size_t layer, LoraTarget target, const float* in, float* out);
  Status mix_experts(std::size_t layer, const float* in, float* out);
  Status route(std::size_t layer, const float* in);
  void measure_activations(std::size_t layer, const float* in);
  void run_experts(std::size_t layer, const float* in);
  // The experts `used` of this layer, and if some are not in memory those the next one will likely
  // choose, are read from the disk from now on.
  void read_experts_ahead(std::size_t layer, const float* in, std::span<const std::size_t> used);
  // Those, ascending, by the next mixture's own router.
  std::vector<std::size_t> likely_experts(const MoeWeights& moe, const float* in);

  void norm_row(const NormWeights& norm, const float* in, float* out) const noexcept;
  // Each of `heads` neighbours by itself: x (rows, stride), of which the first heads * size.
  void norm_parts(const NormWeights& norm, float eps, float* x, std::size_t stride,
                  std::size_t heads) const noexcept;
  void rotate(float* x, std::size_t stride, std::size_t heads, std::size_t head_stride,
              const Rope& rope, const Rotation& rotation) const noexcept;
  void activate(float* gate, const float* up, std::size_t n) const noexcept;

  const Decoder& decoder_;
  const DecoderConfig& config_;
  const Kernels& kernels_;
  const KvKernels& kv_kernels_;
  std::span<const Piece> pieces_;
  std::vector<Piece> wanted_pieces_;
  std::size_t rows_ = 0;
  std::vector<Rotation> rotations_;  // by rope

  AlignedBuffer<float> normed_, delta_;                                // (rows, width)
  AlignedBuffer<float> q_, keys_, values_, attended_;                  // (rows, ...)
  AlignedBuffer<float> narrow_q_, narrow_kv_, latent_rows_, wide_kv_;  // latent attention's
  AlignedBuffer<float> gate_, up_;                                     // (rows, hidden)

  // Experts: a pair is a row and an expert it goes to. Pairs are sorted by expert, then by row.
  AlignedBuffer<float> logits_;            // (rows, gate rows)
  AlignedBuffer<float> activation_norms_;  // (rows, experts)
  std::vector<Routing> routings_;          // by piece
  std::vector<std::size_t> pair_of_;       // of each routed id, all pieces' one after the other
  std::vector<std::size_t> expert_begin_;  // (experts + 1,): first pair
  std::vector<std::size_t> guessed_;       // of guessed_layer_, which comes next
  std::size_t guessed_layer_ = 0;
  AlignedBuffer<float> pair_in_, pair_out_;   // (pairs, width)
  AlignedBuffer<float> pair_gate_, pair_up_;  // each pair's expert's hidden width
  AlignedBuffer<float> shared_out_;           // (rows, width)

  AlignedBuffer<float> lora_down_, lora_up_;
};

// task(i) for each i below `count`, in the pool unless there is one alone.
void for_each_row(std::size_t count, const std::function<void(std::size_t)>& task);

}  // namespace collegium::core
