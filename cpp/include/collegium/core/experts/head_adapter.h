#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
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

  // out (dim,) = normalise(W query + b); a zero result gives the query itself. In a fixed order.
  // `out` must not be `query`.
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
  // Parallel to `positives`, > 0; empty: all 1. Only nDCG reads them.
  std::span<const std::vector<float>> gains = {};
  std::size_t size() const noexcept { return positives.size(); }
};

struct COLLEGIUM_API HeadAdapterOptions {
  float temperature = 0.05f;          // of InfoNCE (arXiv 1807.03748)
  std::size_t max_negatives = 50000;  // all rows up to here, sampled beyond
  std::size_t batch_size = 128;
  std::size_t max_epochs = 8;
  float learning_rate = 1e-3f;  // Adam (arXiv 1412.6980)
  float identity_decay = 0.0f;  // pull of W toward the identity, relative to the loss
  std::uint64_t seed = 1;
  Status validate() const;
};

struct TrainedHeadAdapter {
  HeadAdapter adapter;
  // What dev chose. strength 0 means "no adapter": `adapter` is then the identity. On dev that is
  // so unless the gain in mean nDCG@10 is more than two standard errors of the paired difference.
  float strength = 0.0f;
  std::size_t epochs = 0;
  double dev_ndcg_plain = 0.0;  // nDCG@10 on dev without an adapter
  double dev_ndcg = 0.0;        // and with the chosen one
  std::vector<double> loss{};   // mean training loss, by epoch
};

// Trains on `train` against `passages` (rows, dim) and chooses strength, epochs and "no adapter"
// by nDCG@10 on `dev`: the best strength and epoch whose gain over "no adapter" is more than two
// standard errors of the paired difference by query (so two dev queries are the least that can show
// one), else none. Without dev queries a cautious default strength is used; without a relevant
// document that has rows, no adapter. All judged positives of a query are masked among its
// negatives. Deterministic for a seed, whatever the
// number of threads. `row_document` (rows,) maps a row to its document: a document scores by its
// best passage. cancelled; invalid_argument on shapes.
COLLEGIUM_API Result<TrainedHeadAdapter> train_head_adapter(
    std::span<const float> passages, std::span<const std::uint32_t> row_document, std::size_t dim,
    const JudgedQueries& train, const JudgedQueries& dev, const HeadAdapterOptions& options = {},
    const ProgressCallback& progress = {});

}  // namespace collegium::core
