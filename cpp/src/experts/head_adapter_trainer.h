#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "experts/hard_negatives.h"
#include "experts/head_adapter_parameters.h"
#include "experts/infonce.h"
#include "experts/margin_mse.h"
#include "kernels/kernels.h"

namespace collegium::core {

// What one training run is, besides HeadAdapterOptions.
struct TrainingRecipe {
  std::size_t rank = 0;
  NegativePool pool = NegativePool::kWhole;
};

// One run of training, an epoch at a time. Deterministic for options.seed, whatever the number of
// threads.
class HeadAdapterTrainer {
 public:
  // Learns from `queries`, positions in `train`. Everything is borrowed and was checked before.
  // `hard`, of all of `train`: for kMined, null otherwise.
  HeadAdapterTrainer(const TrainingPassages& passages, const JudgedQueries& train,
                     const HardNegatives* hard, std::span<const std::uint32_t> queries,
                     TrainingRecipe recipe, const HeadAdapterOptions& options);

  // 0 if there is nothing to learn from: no relevant document has rows, or (kMarginMse) none of a
  // query with hard ones.
  std::size_t num_batches() const;
  // invalid_argument if training ran away to numbers that are not finite.
  Result<HeadAdapter> adapter() const { return parameters_.adapter(); }

  // The mean loss. Calls `go_on` after each batch; false ends the epoch early.
  template <typename GoOn>
  double run_epoch(std::size_t epoch, GoOn&& go_on) {
    begin_epoch(epoch);
    double sum = 0.0;
    for (std::size_t batch = 0; batch < num_batches(); ++batch) {
      sum += run_batch(batch);
      if (!go_on()) break;
    }
    return sum / static_cast<double>(examples_.size());
  }

 private:
  // A query with one relevant document, or (listwise) with all of them.
  struct Example {
    std::uint32_t query = 0;
    std::uint32_t first = 0, count = 0;  // in positives_
  };
  struct Positive {
    std::uint32_t document = 0;
    float share = 1.0f;
    float teacher = 0.0f;
  };
  struct Hard {
    std::uint32_t document = 0;
    float teacher = 0.0f;
  };

  // Of derive_seed(): an epoch e has 2 e and 2 e + 1.
  static constexpr std::uint64_t kInitialStream = ~std::uint64_t{0};

  bool margins() const noexcept { return options_.loss == TrainingLoss::kMarginMse; }
  void add_examples(std::uint32_t query);
  void choose_pool(NegativePool pool);
  std::vector<Hard> hard_documents(std::uint32_t query) const;
  float plain_margin_scale() const;
  // Of a batch's mapped queries, into gradient_; the mean.
  double softmax_loss(std::span<const Example> examples);
  double margin_loss(std::span<const Example> examples);
  MarginTarget margin_target(const Example& example, const float* query) const;
  void begin_epoch(std::size_t epoch);
  void prepare_candidates();
  double run_batch(std::size_t batch);  // the sum of its losses
  void update(std::size_t n, float learning_rate);
  const float* best_row(std::uint32_t document, const float* query) const;

  const TrainingPassages& passages_;
  std::size_t dim_;
  const JudgedQueries& train_;
  const HardNegatives* hard_;
  std::vector<std::uint32_t> queries_;
  const HeadAdapterOptions& options_;
  const Kernels& kernels_;

  std::vector<Example> examples_;
  std::vector<Positive> positives_;
  std::vector<std::vector<Hard>> taught_;           // kMarginMse: by position in `train`
  float margin_scale_ = 1.0f;                       // from the teacher's unit to cosines
  std::vector<std::uint32_t> pool_;                 // rows that may be negatives, ascending
  std::vector<float> pool_log_weights_;             // parallel, or empty
  std::optional<InfoNce> candidates_;               // all of the pool, or this epoch's sample of it
  std::vector<std::vector<std::uint32_t>> masked_;  // by position in `train`, among candidates_

  HeadAdapterParameters parameters_;
  std::size_t epoch_ = 0;
  std::vector<float> inputs_, mapped_, gradient_, norms_;
  std::vector<float> transposed_gradient_, transposed_inputs_, weight_gradient_, bias_gradient_;
  std::vector<float> weight_panels_, input_panels_;
};

}  // namespace collegium::core
