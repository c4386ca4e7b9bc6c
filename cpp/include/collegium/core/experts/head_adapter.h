#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"

namespace collegium::core {

// The head adapter, what most embedding experts are: q -> normalise(W q + b) on the pooled query
// vector. Document vectors stay the plain encoder's (as in RouterRetriever, arXiv 2409.02685).
// A value type; const methods are thread-safe.
class COLLEGIUM_API HeadAdapter {
 public:
  static constexpr std::size_t kMaxDim = 16384;  // 1 GB of weights: more is damage

  // Pre: dim in [1, kMaxDim].
  static HeadAdapter identity(std::size_t dim);
  // `weight` (dim, dim) row-major, `bias` (dim,). invalid_argument on a dim outside [1, kMaxDim],
  // other sizes, or non-finite values.
  static Result<HeadAdapter> create(std::size_t dim, std::vector<float> weight,
                                    std::vector<float> bias);

  // The same with W = I + up down, kept as its factors: down (rank, dim), up (dim, rank),
  // row-major; rank in [1, dim]. Smaller, and faster to apply where rank < dim / 2.
  static Result<HeadAdapter> create_low_rank(std::size_t dim, std::size_t rank,
                                             std::vector<float> down, std::vector<float> up,
                                             std::vector<float> bias);

  std::size_t dim() const noexcept { return dim_; }
  std::size_t rank() const noexcept { return rank_; }  // of the factors; 0: W is kept whole
  // (dim, dim); multiplied out of the factors, if those are what is kept.
  std::vector<float> weight() const;
  const std::vector<float>& bias() const noexcept { return bias_; }

  // The map whose W and b are the sums of weights[i] times those of adapters[i], what the weights
  // lack to one being the identity's: one adapter for a query whose route is uncertain (as MEO
  // merges experts, He et al., EMNLP 2023). Equal to mixing what map() gives. Of low rank if all
  // are and their ranks add up to at most dim / 2. invalid_argument: no adapters, dims that differ,
  // a count of weights that is not theirs, a weight that is negative or not finite, or a sum
  // above 1.
  static Result<HeadAdapter> merge(std::span<const HeadAdapter* const> adapters,
                                   std::span<const float> weights);

  // out (dim,) = W query + b, in a fixed order. `out` must not be `query`.
  void map(const float* query, float* out) const;
  // out (dim,) = normalise(W query + b); a zero result gives the query itself. `out` as above.
  void apply(const float* query, float* out) const;
  // strength 0: identity; 1: this map; between: linear in W and b. Of low rank if this is.
  HeadAdapter interpolated(float strength) const;

  // Frobenius norm of W - I: how far the map is from doing nothing.
  double distance_from_identity() const;

  // File kind "adapter" in the envelope, version 2: u32 dim, f32 weight[dim][dim], f32 bias[dim];
  // of low rank u32 0, u32 dim, u32 rank, f32 down[rank][dim], f32 up[dim][rank], f32 bias[dim].
  // Version 1 had the first form alone.
  // save: io_error, resource_exhausted. load: not_found; corruption on damage, a payload whose size
  // is not what its dim says, a non-finite number; not_supported if the file is newer.
  Status save(const std::string& path) const;
  static Result<HeadAdapter> load(const std::string& path);
  // The payload alone, for those who keep it elsewhere.
  std::vector<std::byte> serialize() const;
  static Result<HeadAdapter> deserialize(std::span<const std::byte> payload);
  std::string digest() const;  // digest_hex of the payload

 private:
  HeadAdapter() = default;
  HeadAdapter(std::size_t dim, std::vector<float> weight, std::vector<float> bias);
  std::size_t dim_ = 0;
  std::size_t rank_ = 0;
  std::vector<float> weight_;     // (dim, dim) of full rank
  std::vector<float> down_, up_;  // (rank, dim) and (dim, rank) of low rank
  std::vector<float> bias_;
};

// Queries with their judged rows, for training or for measuring. Borrowed, not owned.
struct JudgedQueries {
  std::span<const float> vectors;  // (n, dim), the plain encoder's
  // For each query the documents (values of row_document) that are relevant. Never empty.
  std::span<const std::vector<std::uint32_t>> positives;
  // Parallel to `positives`, > 0; empty: all 1. Only nDCG and the listwise loss read them.
  std::span<const std::vector<float>> gains = {};
  // For training alone, (n,) or empty: documents that are easily taken for the query's own (BM25's
  // best, say), each once; relevant ones are passed over. What kMined and kMarginMse push from.
  std::span<const std::vector<std::uint32_t>> hard = {};
  // For kMarginMse, (n,) or empty: a teacher's scores of the query's positives, then of its `hard`
  // documents. In any unit: margins are scaled to those that the plain encoder has.
  std::span<const std::vector<float>> teacher = {};
  std::size_t size() const noexcept { return positives.size(); }
};

// Which documents a query is pushed away from in training. With the whole collection the documents
// that nobody asked about in training become permanent losers; with those that have pairs alone
// nothing keeps the others back.
enum class NegativePool : std::uint8_t {
  kWhole = 0,
  kPaired = 1,   // relevant to some training query
  kMixture = 2,  // all, those without a training query at a quarter of the weight
  // Of every training query the best `mined_negatives` passages of the plain encoder, its `hard`
  // documents and those of kPaired. A mined passage whose score is above that of the query's best
  // relevant one less `false_negative_margin` is likely relevant, if unjudged, and no negative of
  // that query (TopK-MarginPos of NV-Retriever, arXiv 2407.15831).
  kMined = 3,
};
// "whole", "paired", "mixture", "mined"
COLLEGIUM_API std::string_view negative_pool_name(NegativePool pool) noexcept;
COLLEGIUM_API Result<NegativePool> parse_negative_pool(std::string_view name);

enum class TrainingLoss : std::uint8_t {
  kInfoNce = 0,   // each (query, relevant document) by itself (arXiv 1807.03748)
  kListwise = 1,  // all relevant documents of a query at once, by their gains (ListNet's top one)
  // The margins between relevant and hard documents are to be the teacher's (arXiv 2010.02666).
  // Needs `hard` and `teacher`; there is one pool of negatives, called kMined.
  kMarginMse = 2,
};
// "infonce", "listwise", "margin-mse"
COLLEGIUM_API std::string_view training_loss_name(TrainingLoss loss) noexcept;
COLLEGIUM_API Result<TrainingLoss> parse_training_loss(std::string_view name);

struct COLLEGIUM_API HeadAdapterOptions {
  float temperature = 0.05f;  // of the softmax
  std::size_t max_negatives =
      50000;  // all rows up to here; beyond, an epoch's sample, corrected for
  std::size_t batch_size = 128;
  std::size_t max_epochs = 8;
  float learning_rate = 2e-3f;  // Adam (arXiv 1412.6980)
  float identity_decay = 0.0f;  // pull of W toward the identity, relative to the loss
  std::uint64_t seed = 1;
  TrainingLoss loss = TrainingLoss::kInfoNce;
  // Each rank (0: W whole; at most dim) with each pool is one more training run; dev chooses.
  std::vector<std::size_t> ranks = {0};
  std::vector<NegativePool> pools = {NegativePool::kWhole, NegativePool::kPaired};
  std::size_t mined_negatives = 50;    // of a query, of kMined
  float false_negative_margin = 0.0f;  // in cosines, [-2, 2]; below 0 fewer are left out
  // With fewer dev queries than this, training queries held out in turn (folds that share no
  // relevant document) help to choose. 0: dev alone chooses.
  std::size_t enough_dev = 150;
  // Training ends after so many epochs without a better choice on dev; 0: never before max_epochs.
  std::size_t patience = 3;
  Status validate() const;
};

// Some queries before and after.
struct NdcgGain {
  std::size_t queries = 0;
  double plain = 0.0;    // mean nDCG@10 without an adapter
  double adapted = 0.0;  // and with the chosen one
};

// On fewer queries nothing is chosen: no adapter.
inline constexpr std::size_t kLeastChoiceQueries = 10;

struct TrainedHeadAdapter {
  HeadAdapter adapter;
  // What was chosen. strength 0 means "no adapter": `adapter` is then the identity.
  float strength = 0.0f;
  std::size_t epochs = 0;
  double dev_ndcg_plain = 0.0;  // nDCG@10 on dev without an adapter
  double dev_ndcg = 0.0;        // and with the chosen one
  std::vector<double> loss{};   // mean training loss, by epoch, of the chosen run
  std::size_t rank = 0;         // of the chosen run, as is pool
  NegativePool pool = NegativePool::kWhole;
  // Mean nDCG@10 of all queries that took part in choosing, by epoch, of the chosen run at the
  // chosen strength (at full strength where none was chosen).
  std::vector<double> curve{};
  NdcgGain chosen_on{};         // dev and the training queries held out
  double standard_error = 0.0;  // of the gain in `chosen_on`, paired by query
  // Dev queries apart: with a relevant document that some training query has too, and without.
  NdcgGain dev_paired{}, dev_unpaired{};
};

// Trains on `train` against `passages` (rows, dim) and chooses strength, epochs, rank, pool of
// negatives and "no adapter" by nDCG@10 on `dev`, helped by held-out training queries where dev is
// small: the best of those that gain more than one standard error of the paired difference by query
// and do not lose as much on dev by itself; none where there is none, or fewer than
// kLeastChoiceQueries. All judged positives of a query are masked among
// its negatives. Deterministic for a seed, whatever the number of threads. `row_document` (rows,)
// maps a row to its document: a document scores by its best passage. cancelled; invalid_argument
// on shapes, on numbers that are not finite, and if a dev query is a training query too.
COLLEGIUM_API Result<TrainedHeadAdapter> train_head_adapter(
    std::span<const float> passages, std::span<const std::uint32_t> row_document, std::size_t dim,
    const JudgedQueries& train, const JudgedQueries& dev, const HeadAdapterOptions& options = {},
    const ProgressCallback& progress = {});

}  // namespace collegium::core
