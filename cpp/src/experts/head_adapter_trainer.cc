#include "experts/head_adapter_trainer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "collegium/core/isa.h"
#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

// How much a document without a training pair counts among the negatives of kMixture.
constexpr float kUnpairedWeight = 0.25f;
constexpr std::uint32_t kNotSelected = 0xffffffffu;

template <typename Task>
void in_row_parts(std::size_t rows, Task&& task) {
  constexpr std::size_t kRows = 48;
  default_pool().parallel_for((rows + kRows - 1) / kRows, [&](std::size_t part) {
    task(part * kRows, std::min(kRows, rows - part * kRows));
  });
}

}  // namespace

HeadAdapterTrainer::HeadAdapterTrainer(const TrainingPassages& passages, const JudgedQueries& train,
                                       const HardNegatives* hard,
                                       std::span<const std::uint32_t> queries,
                                       TrainingRecipe recipe, const HeadAdapterOptions& options)
    : passages_(passages),
      dim_(passages.dim),
      train_(train),
      hard_(hard),
      queries_(queries.begin(), queries.end()),
      options_(options),
      kernels_(kernels_for(active_isa())),
      parameters_(passages.dim, recipe.rank, derive_seed(options.seed, kInitialStream)) {
  if (margins()) taught_.resize(train.size());
  for (std::uint32_t query : queries) add_examples(query);
  if (margins()) {
    margin_scale_ = plain_margin_scale();
  } else {
    choose_pool(recipe.pool);
  }
}

void HeadAdapterTrainer::add_examples(std::uint32_t query) {
  const auto first = static_cast<std::uint32_t>(positives_.size());
  const auto& documents = train_.positives[query];
  if (margins()) {
    taught_[query] = hard_documents(query);
    if (taught_[query].empty()) return;
  }
  float sum = 0.0f;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (passages_.document_rows[documents[i]].empty()) continue;
    const float gain = train_.gains.empty() ? 1.0f : train_.gains[query][i];
    positives_.push_back({documents[i], gain, margins() ? train_.teacher[query][i] : 0.0f});
    sum += gain;
  }
  const auto count = static_cast<std::uint32_t>(positives_.size()) - first;
  if (count == 0) return;
  if (options_.loss == TrainingLoss::kListwise) {
    for (std::uint32_t p = first; p < first + count; ++p) positives_[p].share /= sum;
    examples_.push_back({query, first, count});
    return;
  }
  for (std::uint32_t p = first; p < first + count; ++p) {
    positives_[p].share = 1.0f;
    examples_.push_back({query, p, 1});
  }
}

void HeadAdapterTrainer::choose_pool(NegativePool pool) {
  std::vector<char> wanted(passages_.rows(), 0);
  for (const Positive& positive : positives_)
    for (std::uint32_t row : passages_.document_rows[positive.document]) wanted[row] = 1;
  if (pool == NegativePool::kMined)
    for (std::uint32_t query : queries_)
      for (std::uint32_t row : hard_->rows[query]) wanted[row] = 1;
  const bool all = pool == NegativePool::kWhole || pool == NegativePool::kMixture;
  for (std::uint32_t row = 0; row < wanted.size(); ++row) {
    if (!all && !wanted[row]) continue;
    pool_.push_back(row);
    if (pool == NegativePool::kMixture)
      pool_log_weights_.push_back(wanted[row] ? 0.0f : std::log(kUnpairedWeight));
  }
}

std::size_t HeadAdapterTrainer::num_batches() const {
  return (examples_.size() + options_.batch_size - 1) / options_.batch_size;
}

void HeadAdapterTrainer::begin_epoch(std::size_t epoch) {
  epoch_ = epoch;
  if (!margins()) prepare_candidates();
  Random random(derive_seed(options_.seed, 2 * epoch + 1));
  random.shuffle(std::span<Example>(examples_));
}

// All of the pool, or this epoch's sample of it; and for each query which candidates are masked.
void HeadAdapterTrainer::prepare_candidates() {
  const bool sampled = pool_.size() > options_.max_negatives;
  if (!sampled && candidates_.has_value()) return;
  std::vector<std::uint32_t> places(pool_.size());  // in pool_
  std::iota(places.begin(), places.end(), 0u);
  float correction = 0.0f;
  if (sampled) {
    // The first steps of a shuffle are a sample without replacement.
    Random random(derive_seed(options_.seed, 2 * epoch_));
    for (std::size_t i = 0; i < options_.max_negatives; ++i)
      std::swap(places[i], places[i + random.below(places.size() - i)]);
    places.resize(options_.max_negatives);
    std::sort(places.begin(), places.end());
    correction =
        std::log(static_cast<float>(pool_.size()) / static_cast<float>(options_.max_negatives));
  }
  std::vector<std::uint32_t> selected;
  std::vector<float> log_weights;
  std::vector<std::uint32_t> position(passages_.rows(), kNotSelected);
  for (std::uint32_t place : places) {
    position[pool_[place]] = static_cast<std::uint32_t>(selected.size());
    selected.push_back(pool_[place]);
    log_weights.push_back(correction +
                          (pool_log_weights_.empty() ? 0.0f : pool_log_weights_[place]));
  }
  candidates_.emplace(passages_.vectors, dim_, selected, log_weights);
  masked_.assign(train_.size(), {});
  for (std::uint32_t query : queries_) {
    for (std::uint32_t document : train_.positives[query])
      for (std::uint32_t row : passages_.document_rows[document])
        if (position[row] != kNotSelected) masked_[query].push_back(position[row]);
    if (hard_ != nullptr)
      for (std::uint32_t row : hard_->left_out[query])
        if (position[row] != kNotSelected) masked_[query].push_back(position[row]);
    std::sort(masked_[query].begin(), masked_[query].end());
  }
}

double HeadAdapterTrainer::run_batch(std::size_t batch) {
  const std::span<const Example> examples =
      std::span<const Example>(examples_).subspan(batch * options_.batch_size);
  const std::size_t n = std::min(options_.batch_size, examples.size());
  inputs_.resize(n * dim_);
  mapped_.resize(n * dim_);
  gradient_.resize(n * dim_);
  norms_.resize(n);
  weight_panels_.resize(num_panels(dim_) * kPanelWidth * dim_);
  for (std::size_t i = 0; i < n; ++i)
    std::copy_n(&train_.vectors[examples[i].query * dim_], dim_, &inputs_[i * dim_]);
  kernels_.pack_panels(parameters_.weight().data(), dim_, dim_, dim_, weight_panels_.data());
  in_row_parts(n, [&](std::size_t first, std::size_t count) {
    kernels_.gemm_panels(&inputs_[first * dim_], dim_, count, weight_panels_.data(), dim_, dim_,
                         parameters_.bias().data(), &mapped_[first * dim_], dim_);
  });
  for (std::size_t i = 0; i < n; ++i) {
    float* query = &mapped_[i * dim_];
    norms_[i] = std::max(std::sqrt(kernels_.dot(query, query, dim_)), 1e-12f);
    for (std::size_t d = 0; d < dim_; ++d) query[d] /= norms_[i];
  }
  const double loss = margins() ? margin_loss(examples.first(n)) : softmax_loss(examples.first(n));

  // Back through the normalisation, to W x + b.
  for (std::size_t i = 0; i < n; ++i) {
    const float* query = &mapped_[i * dim_];
    float* g = &gradient_[i * dim_];
    const float along = kernels_.dot(g, query, dim_);
    for (std::size_t d = 0; d < dim_; ++d) g[d] = (g[d] - along * query[d]) / norms_[i];
  }
  // A cosine down to a tenth: late epochs settle what early ones found.
  const double progress = static_cast<double>(epoch_ * num_batches() + batch) /
                          static_cast<double>(options_.max_epochs * num_batches());
  update(n, static_cast<float>(options_.learning_rate *
                               (0.1 + 0.45 * (1.0 + std::cos(M_PI * progress)))));
  return loss * static_cast<double>(n);
}

double HeadAdapterTrainer::softmax_loss(std::span<const Example> examples) {
  std::size_t num_positives = 0;
  for (const Example& example : examples) num_positives += example.count;
  std::vector<InfoNcePositive> positives;
  positives.reserve(num_positives);  // targets point into it
  std::vector<InfoNceTarget> targets;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const std::size_t first = positives.size();
    for (std::uint32_t p = 0; p < examples[i].count; ++p) {
      const Positive& positive = positives_[examples[i].first + p];
      positives.push_back({best_row(positive.document, &mapped_[i * dim_]), positive.share});
    }
    targets.push_back({std::span(positives).subspan(first), masked_[examples[i].query]});
  }
  return candidates_->loss_and_gradient(mapped_.data(), targets, options_.temperature,
                                        gradient_.data());
}

// Those that are not relevant and have rows.
std::vector<HeadAdapterTrainer::Hard> HeadAdapterTrainer::hard_documents(
    std::uint32_t query) const {
  const auto& relevant = train_.positives[query];
  std::vector<Hard> kept;
  for (std::size_t i = 0; i < train_.hard[query].size(); ++i) {
    const std::uint32_t document = train_.hard[query][i];
    if (passages_.document_rows[document].empty()) continue;
    if (std::find(relevant.begin(), relevant.end(), document) != relevant.end()) continue;
    kept.push_back({document, train_.teacher[query][relevant.size() + i]});
  }
  return kept;
}

// `query` (dim,): the example's, as it is mapped now.
MarginTarget HeadAdapterTrainer::margin_target(const Example& example, const float* query) const {
  const Positive& positive = positives_[example.first];
  MarginTarget target{best_row(positive.document, query)};
  for (const Hard& hard : taught_[example.query]) {
    target.others.push_back(best_row(hard.document, query));
    target.margins.push_back(margin_scale_ * (positive.teacher - hard.teacher));
  }
  return target;
}

double HeadAdapterTrainer::margin_loss(std::span<const Example> examples) {
  std::vector<MarginTarget> targets(examples.size());
  default_pool().parallel_for(examples.size(), [&](std::size_t i) {
    targets[i] = margin_target(examples[i], &mapped_[i * dim_]);
  });
  return margin_mse(mapped_.data(), targets, dim_, gradient_.data());
}

// What makes the teacher's margins as large as the plain encoder's, in the mean square. A teacher
// that makes no difference teaches none.
float HeadAdapterTrainer::plain_margin_scale() const {
  std::vector<double> plain(examples_.size()), taught(examples_.size());
  default_pool().parallel_for(examples_.size(), [&](std::size_t i) {
    const float* query = &train_.vectors[examples_[i].query * dim_];
    const MarginTarget target = margin_target(examples_[i], query);
    const double score = kernels_.dot(query, target.positive, dim_);
    for (std::size_t j = 0; j < target.others.size(); ++j) {
      const double margin = score - double{kernels_.dot(query, target.others[j], dim_)};
      plain[i] += margin * margin;
      taught[i] += double{target.margins[j]} * double{target.margins[j]};
    }
  });
  const double sum_plain = std::accumulate(plain.begin(), plain.end(), 0.0);
  const double sum_taught = std::accumulate(taught.begin(), taught.end(), 0.0);
  return sum_taught > 0.0 ? static_cast<float>(std::sqrt(sum_plain / sum_taught)) : 1.0f;
}

void HeadAdapterTrainer::update(std::size_t n, float learning_rate) {
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
    kernels_.gemm_panels(&transposed_gradient_[first * n], n, count, input_panels_.data(), dim_, n,
                         nullptr, &weight_gradient_[first * dim_], dim_);
  });
  parameters_.step(learning_rate, options_.identity_decay, weight_gradient_, bias_gradient_);
}

// The passage of `document` nearest to `query`: what a document scores by.
const float* HeadAdapterTrainer::best_row(std::uint32_t document, const float* query) const {
  const float* best = nullptr;
  float best_score = 0.0f;
  for (std::uint32_t row : passages_.document_rows[document]) {
    const float* candidate = &passages_.vectors[std::size_t{row} * dim_];
    const float score = kernels_.dot(query, candidate, dim_);
    if (best == nullptr || score > best_score) {
      best = candidate;
      best_score = score;
    }
  }
  return best;
}

}  // namespace collegium::core
