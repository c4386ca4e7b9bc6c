#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/isa.h"
#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "experts/infonce.h"
#include "experts/interpolation_ndcg.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

// Without dev queries: far enough to help, near enough to the identity to harm little.
constexpr float kCautiousStrength = 0.5f;
constexpr std::size_t kCautiousEpochs = 3;
// The best of many strengths and epochs gains on dev from luck alone, so a gain counts only beyond
// this many standard errors. (One, the rule of Breiman et al., CART, 1984, is for a single choice:
// with 40 dev queries and nothing to learn it kept 16 adapters of 30; two keep 2.)
constexpr double kMinGain = 2.0;
constexpr std::uint32_t kMaxDocuments = 1u << 28;
constexpr float kStrengths[] = {0.0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1.0f};

Status check_queries(std::string_view name, const JudgedQueries& queries, std::size_t dim,
                     std::uint32_t num_documents) {
  const std::string who(name);
  if (queries.vectors.size() != queries.size() * dim)
    return Status::invalid_argument(who + ": " + std::to_string(queries.vectors.size()) +
                                    " floats for " + std::to_string(queries.size()) +
                                    " queries of dim " + std::to_string(dim));
  if (!queries.gains.empty() && queries.gains.size() != queries.size())
    return Status::invalid_argument(who + ": gains of " + std::to_string(queries.gains.size()) +
                                    " queries, positives of " + std::to_string(queries.size()));
  for (std::size_t i = 0; i < queries.vectors.size(); ++i)
    if (!std::isfinite(queries.vectors[i]))
      return Status::invalid_argument(who + ": query " + std::to_string(i / dim) +
                                      " has a component that is not finite");
  for (std::size_t q = 0; q < queries.size(); ++q) {
    if (queries.positives[q].empty())
      return Status::invalid_argument(who + ": query " + std::to_string(q) +
                                      " has no relevant document");
    for (std::uint32_t document : queries.positives[q])
      if (document >= num_documents)
        return Status::invalid_argument(who + ": query " + std::to_string(q) + " names document " +
                                        std::to_string(document) + " of " +
                                        std::to_string(num_documents));
    if (!queries.gains.empty()) {
      if (queries.gains[q].size() != queries.positives[q].size())
        return Status::invalid_argument(who + ": query " + std::to_string(q) + " has " +
                                        std::to_string(queries.gains[q].size()) + " gains for " +
                                        std::to_string(queries.positives[q].size()) + " documents");
      for (float gain : queries.gains[q])
        if (!(gain > 0.0f) || !std::isfinite(gain))
          return Status::invalid_argument(who + ": query " + std::to_string(q) + " has gain " +
                                          std::to_string(gain) + ", must be > 0");
    }
  }
  return Status();
}

double mean(std::span<const double> values) {
  double sum = 0.0;
  for (double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

// Whether the mean of adapted - plain is more than kMinGain of its standard errors above zero. One
// query says nothing of the spread, so it shows no gain.
bool gains_beyond_noise(std::span<const double> adapted, std::span<const double> plain) {
  const auto n = static_cast<double>(plain.size());
  if (plain.size() < 2) return false;
  const double gain = mean(adapted) - mean(plain);
  double square = 0.0;
  for (std::size_t q = 0; q < plain.size(); ++q) {
    const double difference = adapted[q] - plain[q] - gain;
    square += difference * difference;
  }
  return gain > kMinGain * std::sqrt(square / (n - 1.0) / n);
}

// Adam (arXiv 1412.6980) over one vector of parameters.
class Adam {
 public:
  explicit Adam(std::size_t size) : mean_(size), square_(size) {}

  void step(float learning_rate, std::span<const float> gradient, std::span<float> parameters) {
    ++steps_;
    const float mean_scale = 1.0f / (1.0f - std::pow(kBeta1, static_cast<float>(steps_)));
    const float square_scale = 1.0f / (1.0f - std::pow(kBeta2, static_cast<float>(steps_)));
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const float g = gradient[i];
      mean_[i] += (1.0f - kBeta1) * (g - mean_[i]);
      square_[i] += (1.0f - kBeta2) * (g * g - square_[i]);
      parameters[i] -=
          learning_rate * (mean_[i] * mean_scale) / (std::sqrt(square_[i] * square_scale) + 1e-8f);
    }
  }

 private:
  static constexpr float kBeta1 = 0.9f;
  static constexpr float kBeta2 = 0.999f;
  std::size_t steps_ = 0;
  std::vector<float> mean_, square_;
};

// One (query, relevant document).
struct TrainingPair {
  std::uint32_t query = 0;
  std::uint32_t document = 0;
};

class Trainer {
 public:
  Trainer(std::span<const float> passages, std::span<const std::uint32_t> row_document,
          std::size_t dim, const JudgedQueries& train, const HeadAdapterOptions& options)
      : passages_(passages),
        dim_(dim),
        train_(train),
        options_(options),
        kernels_(kernels_for(active_isa())),
        weight_(HeadAdapter::identity(dim).weight()),
        bias_(dim, 0.0f),
        weight_adam_(dim * dim),
        bias_adam_(dim) {
    for (std::size_t row = 0; row < row_document.size(); ++row) {
      if (row_document[row] >= document_rows_.size()) document_rows_.resize(row_document[row] + 1);
      document_rows_[row_document[row]].push_back(static_cast<std::uint32_t>(row));
    }
    for (std::size_t q = 0; q < train.size(); ++q)
      for (std::uint32_t document : train.positives[q])
        if (!document_rows_[document].empty())
          pairs_.push_back({static_cast<std::uint32_t>(q), document});
    rows_ = row_document.size();
  }

  std::size_t num_batches() const {
    return (pairs_.size() + options_.batch_size - 1) / options_.batch_size;
  }
  HeadAdapter adapter() const {
    return std::move(HeadAdapter::create(dim_, weight_, bias_)).value();
  }

  // Calls `go_on` after each batch; false ends the epoch early. Returns the mean loss.
  template <typename GoOn>
  double run_epoch(std::size_t epoch, GoOn&& go_on) {
    prepare_candidates(epoch);
    Random random(derive_seed(options_.seed, 2 * epoch + 1));
    random.shuffle(std::span<TrainingPair>(pairs_));
    double sum = 0.0;
    for (std::size_t first = 0; first < pairs_.size(); first += options_.batch_size) {
      const std::size_t n = std::min(options_.batch_size, pairs_.size() - first);
      const std::size_t step = epoch * num_batches() + first / options_.batch_size;
      const double progress =
          static_cast<double>(step) / static_cast<double>(options_.max_epochs * num_batches());
      // A cosine down to a tenth: late epochs settle what early ones found.
      const double rate = options_.learning_rate * (0.1 + 0.45 * (1.0 + std::cos(M_PI * progress)));
      sum += run_batch(std::span<const TrainingPair>(pairs_).subspan(first, n),
                       static_cast<float>(rate)) *
             static_cast<double>(n);
      if (!go_on()) break;
    }
    return sum / static_cast<double>(pairs_.size());
  }

 private:
  // All rows, or this epoch's sample of them; and for each query which candidates are masked.
  void prepare_candidates(std::size_t epoch) {
    const bool sampled = rows_ > options_.max_negatives;
    if (!sampled && candidates_.has_value()) return;
    std::vector<std::uint32_t> selected;
    std::vector<std::uint32_t> position(rows_);
    std::iota(position.begin(), position.end(), 0u);
    if (sampled) {
      // The first steps of a shuffle are a sample without replacement.
      std::vector<std::uint32_t> rows = position;
      Random random(derive_seed(options_.seed, 2 * epoch));
      for (std::size_t i = 0; i < options_.max_negatives; ++i)
        std::swap(rows[i], rows[i + random.below(rows_ - i)]);
      rows.resize(options_.max_negatives);
      std::sort(rows.begin(), rows.end());
      selected = std::move(rows);
      std::fill(position.begin(), position.end(), kNotSelected);
      for (std::size_t i = 0; i < selected.size(); ++i)
        position[selected[i]] = static_cast<std::uint32_t>(i);
      weight_of_candidates_ =
          static_cast<float>(rows_) / static_cast<float>(options_.max_negatives);
    }
    candidates_.emplace(passages_, dim_, selected);
    masked_.assign(train_.size(), {});
    for (std::size_t q = 0; q < train_.size(); ++q) {
      for (std::uint32_t document : train_.positives[q])
        for (std::uint32_t row : document_rows_[document])
          if (position[row] != kNotSelected) masked_[q].push_back(position[row]);
      std::sort(masked_[q].begin(), masked_[q].end());
    }
  }

  double run_batch(std::span<const TrainingPair> pairs, float learning_rate) {
    const std::size_t n = pairs.size();
    inputs_.resize(n * dim_);
    mapped_.resize(n * dim_);
    gradient_.resize(n * dim_);
    norms_.resize(n);
    weight_panels_.resize(num_panels(dim_) * kPanelWidth * dim_);
    for (std::size_t i = 0; i < n; ++i)
      std::copy_n(&train_.vectors[pairs[i].query * dim_], dim_, &inputs_[i * dim_]);
    kernels_.pack_panels(weight_.data(), dim_, dim_, dim_, weight_panels_.data());
    in_row_parts(n, [&](std::size_t first, std::size_t count) {
      kernels_.gemm_panels(&inputs_[first * dim_], dim_, count, weight_panels_.data(), dim_, dim_,
                           bias_.data(), &mapped_[first * dim_], dim_);
    });
    std::vector<InfoNceTarget> targets(n);
    for (std::size_t i = 0; i < n; ++i) {
      float* query = &mapped_[i * dim_];
      norms_[i] = std::max(std::sqrt(kernels_.dot(query, query, dim_)), 1e-12f);
      for (std::size_t d = 0; d < dim_; ++d) query[d] /= norms_[i];
      targets[i] = {best_row(pairs[i].document, query), masked_[pairs[i].query]};
    }
    const double loss = candidates_->loss_and_gradient(
        mapped_.data(), targets, options_.temperature, weight_of_candidates_, gradient_.data());

    // Back through the normalisation, to W x + b.
    for (std::size_t i = 0; i < n; ++i) {
      const float* query = &mapped_[i * dim_];
      float* g = &gradient_[i * dim_];
      const float along = kernels_.dot(g, query, dim_);
      for (std::size_t d = 0; d < dim_; ++d) g[d] = (g[d] - along * query[d]) / norms_[i];
    }
    update(n, learning_rate);
    return loss;
  }

  void update(std::size_t n, float learning_rate) {
    // dW = G^T X, a product over the batch: rows are outputs of W, panels its inputs.
    transposed_gradient_.resize(dim_ * n);
    transposed_inputs_.resize(dim_ * n);
    input_panels_.resize(num_panels(dim_) * kPanelWidth * n);
    weight_gradient_.resize(dim_ * dim_);
    bias_gradient_.assign(dim_, 0.0f);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t d = 0; d < dim_; ++d) {
        transposed_gradient_[d * n + i] = gradient_[i * dim_ + d];
        transposed_inputs_[d * n + i] = inputs_[i * dim_ + d];
        bias_gradient_[d] += gradient_[i * dim_ + d];
      }
    kernels_.pack_panels(transposed_inputs_.data(), n, dim_, n, input_panels_.data());
    in_row_parts(dim_, [&](std::size_t first, std::size_t count) {
      kernels_.gemm_panels(&transposed_gradient_[first * n], n, count, input_panels_.data(), dim_,
                           n, nullptr, &weight_gradient_[first * dim_], dim_);
    });
    if (options_.identity_decay > 0.0f)
      for (std::size_t i = 0; i < dim_; ++i)
        for (std::size_t j = 0; j < dim_; ++j)
          weight_gradient_[i * dim_ + j] +=
              options_.identity_decay * (weight_[i * dim_ + j] - (i == j ? 1.0f : 0.0f));
    weight_adam_.step(learning_rate, weight_gradient_, weight_);
    bias_adam_.step(learning_rate, bias_gradient_, bias_);
  }

  // The passage of `document` nearest to `query`: what a document scores by.
  const float* best_row(std::uint32_t document, const float* query) const {
    const float* best = nullptr;
    float best_score = 0.0f;
    for (std::uint32_t row : document_rows_[document]) {
      const float* candidate = &passages_[std::size_t{row} * dim_];
      const float score = kernels_.dot(query, candidate, dim_);
      if (best == nullptr || score > best_score) {
        best = candidate;
        best_score = score;
      }
    }
    return best;
  }

  template <typename Task>
  static void in_row_parts(std::size_t rows, Task&& task) {
    constexpr std::size_t kRows = 48;
    default_pool().parallel_for((rows + kRows - 1) / kRows, [&](std::size_t part) {
      task(part * kRows, std::min(kRows, rows - part * kRows));
    });
  }

  static constexpr std::uint32_t kNotSelected = 0xffffffffu;

  std::span<const float> passages_;
  std::size_t dim_;
  std::size_t rows_ = 0;
  const JudgedQueries& train_;
  const HeadAdapterOptions& options_;
  const Kernels& kernels_;
  std::vector<std::vector<std::uint32_t>> document_rows_;
  std::vector<TrainingPair> pairs_;
  std::optional<InfoNce> candidates_;
  float weight_of_candidates_ = 1.0f;
  std::vector<std::vector<std::uint32_t>> masked_;  // by query, positions among the candidates

  std::vector<float> weight_, bias_;
  Adam weight_adam_, bias_adam_;

  std::vector<float> inputs_, mapped_, gradient_, norms_;
  std::vector<float> transposed_gradient_, transposed_inputs_, weight_gradient_, bias_gradient_;
  std::vector<float> weight_panels_, input_panels_;
};

}  // namespace

Status HeadAdapterOptions::validate() const {
  const auto bad = [](const char* name, const std::string& seen, const char* allowed) {
    return Status::invalid_argument(std::string("HeadAdapterOptions.") + name + " is " + seen +
                                    ", must be " + allowed);
  };
  if (!(temperature >= 0.005f && temperature <= 10.0f))
    return bad("temperature", std::to_string(temperature), "in [0.005, 10]");
  if (max_negatives == 0) return bad("max_negatives", "0", "at least 1");
  if (batch_size == 0 || batch_size > 65536)
    return bad("batch_size", std::to_string(batch_size), "in [1, 65536]");
  if (max_epochs == 0 || max_epochs > 10000)
    return bad("max_epochs", std::to_string(max_epochs), "in [1, 10000]");
  if (!(learning_rate > 0.0f && learning_rate <= 1.0f))
    return bad("learning_rate", std::to_string(learning_rate), "in (0, 1]");
  if (!(identity_decay >= 0.0f && identity_decay <= 1e6f))
    return bad("identity_decay", std::to_string(identity_decay), "in [0, 1e6]");
  return Status();
}

Result<TrainedHeadAdapter> train_head_adapter(std::span<const float> passages,
                                              std::span<const std::uint32_t> row_document,
                                              std::size_t dim, const JudgedQueries& train,
                                              const JudgedQueries& dev,
                                              const HeadAdapterOptions& options,
                                              const ProgressCallback& progress) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (dim == 0 || passages.size() != row_document.size() * dim)
    return Status::invalid_argument("passages: " + std::to_string(passages.size()) +
                                    " floats for " + std::to_string(row_document.size()) +
                                    " rows of dim " + std::to_string(dim));
  std::uint32_t num_documents = 0;
  for (std::uint32_t document : row_document) {
    if (document >= kMaxDocuments)
      return Status::invalid_argument("row_document: document number " + std::to_string(document) +
                                      ", must be below " + std::to_string(kMaxDocuments));
    num_documents = std::max(num_documents, document + 1);
  }
  for (std::size_t i = 0; i < passages.size(); ++i)
    if (!std::isfinite(passages[i]))
      return Status::invalid_argument("passages: row " + std::to_string(i / dim) +
                                      " has a component that is not finite");
  COLLEGIUM_RETURN_IF_ERROR(check_queries("train", train, dim, num_documents));
  COLLEGIUM_RETURN_IF_ERROR(check_queries("dev", dev, dim, num_documents));

  TrainedHeadAdapter best{HeadAdapter::identity(dim)};
  std::optional<InterpolationNdcg> ndcg;
  std::vector<double> plain;  // by dev query
  if (dev.size() > 0) {
    ndcg.emplace(passages, row_document, dim, dev);
    const float none[] = {0.0f};
    plain = ndcg->measure_each(best.adapter, none)[0];
    best.dev_ndcg_plain = best.dev_ndcg = mean(plain);
  }
  if (train.size() == 0) return best;

  Trainer trainer(passages, row_document, dim, train, options);
  if (trainer.num_batches() == 0) return best;  // no relevant document has rows
  const std::size_t epochs =
      dev.size() > 0 ? options.max_epochs : std::min(options.max_epochs, kCautiousEpochs);
  const std::uint64_t total = epochs * trainer.num_batches();
  std::uint64_t done = 0;
  bool cancelled = !report(progress, "train", done, total);
  std::vector<double> losses;
  for (std::size_t epoch = 0; epoch < epochs && !cancelled; ++epoch) {
    losses.push_back(trainer.run_epoch(epoch, [&] {
      cancelled = !report(progress, "train", ++done, total);
      return !cancelled;
    }));
    if (cancelled) break;
    if (!ndcg.has_value()) continue;
    const HeadAdapter adapter = trainer.adapter();
    const auto by_strength = ndcg->measure_each(adapter, kStrengths);
    for (std::size_t s = 1; s < by_strength.size(); ++s)
      if (mean(by_strength[s]) > best.dev_ndcg && gains_beyond_noise(by_strength[s], plain)) {
        best.adapter = adapter.interpolated(kStrengths[s]);
        best.strength = kStrengths[s];
        best.epochs = epoch + 1;
        best.dev_ndcg = mean(by_strength[s]);
      }
  }
  if (cancelled) return Status::cancelled("training of a head adapter");
  if (!ndcg.has_value()) {
    best.adapter = trainer.adapter().interpolated(kCautiousStrength);
    best.strength = kCautiousStrength;
    best.epochs = epochs;
  }
  best.loss = std::move(losses);
  return best;
}

}  // namespace collegium::core
