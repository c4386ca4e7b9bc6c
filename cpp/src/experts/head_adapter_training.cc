#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/random.h"
#include "experts/hard_negatives.h"
#include "experts/head_adapter_choice.h"
#include "experts/head_adapter_trainer.h"
#include "experts/interpolation_ndcg.h"

namespace collegium::core {
namespace {

constexpr std::uint32_t kMaxDocuments = 1u << 28;
constexpr float kStrengths[] = {0.0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1.0f};
constexpr std::uint64_t kFoldStream = ~std::uint64_t{1};  // of derive_seed()

constexpr std::array<std::string_view, 4> kPoolNames = {"whole", "paired", "mixture", "mined"};
constexpr std::array<std::string_view, 3> kLossNames = {"infonce", "listwise", "margin-mse"};

template <typename Enum, std::size_t n>
Result<Enum> parse_name(const std::array<std::string_view, n>& names, std::string_view name,
                        const char* what) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at != names.end()) return static_cast<Enum>(at - names.begin());
  std::string known;
  for (std::string_view one : names)
    known += (known.empty() ? "'" : ", '") + std::string(one) + "'";
  return Status::invalid_argument(std::string(what) + " is '" + std::string(name) +
                                  "', must be one of " + known);
}

// Of `query`, called `kind`: in range, each once.
Status check_documents(const std::string& who, std::size_t query, const char* kind,
                       const std::vector<std::uint32_t>& documents, std::uint32_t num_documents) {
  const std::string names = who + ": query " + std::to_string(query) + " names " + kind + " ";
  for (std::uint32_t document : documents)
    if (document >= num_documents)
      return Status::invalid_argument(names + std::to_string(document) + " of " +
                                      std::to_string(num_documents));
  std::vector<std::uint32_t> sorted = documents;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    return Status::invalid_argument(names + std::to_string(*twice) + " twice");
  return Status();
}

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
    COLLEGIUM_RETURN_IF_ERROR(
        check_documents(who, q, "document", queries.positives[q], num_documents));
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

// What JudgedQueries has for training alone.
Status check_hard(const JudgedQueries& train, TrainingLoss loss, std::uint32_t num_documents) {
  const auto bad = [](const std::string& what) {
    return Status::invalid_argument("train: " + what);
  };
  const bool margins = loss == TrainingLoss::kMarginMse;
  if (margins && train.size() > 0 && (train.hard.empty() || train.teacher.empty()))
    return bad("loss 'margin-mse' needs hard documents and a teacher's scores of them");
  if (!train.hard.empty() && train.hard.size() != train.size())
    return bad("hard documents of " + std::to_string(train.hard.size()) +
               " queries, positives of " + std::to_string(train.size()));
  for (std::size_t q = 0; q < train.hard.size(); ++q)
    COLLEGIUM_RETURN_IF_ERROR(
        check_documents("train", q, "hard document", train.hard[q], num_documents));
  if (!margins) return Status();
  if (train.teacher.size() != train.size())
    return bad("a teacher's scores of " + std::to_string(train.teacher.size()) +
               " queries, positives of " + std::to_string(train.size()));
  for (std::size_t q = 0; q < train.teacher.size(); ++q) {
    const std::size_t wanted = train.positives[q].size() + train.hard[q].size();
    if (train.teacher[q].size() != wanted)
      return bad("query " + std::to_string(q) + " has " + std::to_string(train.teacher[q].size()) +
                 " scores of a teacher for " + std::to_string(wanted) +
                 " documents, relevant and hard");
    for (float score : train.teacher[q])
      if (!std::isfinite(score))
        return bad("query " + std::to_string(q) + " has a teacher's score that is not finite");
  }
  return Status();
}

// A dev query that is a training query too (the same vector, a relevant document in common) would
// choose what it was trained on.
Status check_apart(const JudgedQueries& train, const JudgedQueries& dev, std::size_t dim) {
  const auto bytes = [dim](const JudgedQueries& queries, std::size_t query) {
    return std::string_view(reinterpret_cast<const char*>(&queries.vectors[query * dim]),
                            dim * sizeof(float));
  };
  std::unordered_multimap<std::string_view, std::size_t> seen;
  for (std::size_t q = 0; q < train.size(); ++q) seen.emplace(bytes(train, q), q);
  for (std::size_t q = 0; q < dev.size(); ++q) {
    const auto [first, end] = seen.equal_range(bytes(dev, q));
    for (auto at = first; at != end; ++at)
      for (std::uint32_t document : train.positives[at->second])
        if (std::find(dev.positives[q].begin(), dev.positives[q].end(), document) !=
            dev.positives[q].end())
          return Status::invalid_argument("dev: query " + std::to_string(q) +
                                          " is training query " + std::to_string(at->second) +
                                          ", with document " + std::to_string(document) +
                                          " relevant in both; dev must not overlap train");
  }
  return Status();
}

// Some queries of a training set, held out of one run, and what measures them.
struct HeldOut {
  HeldOut(const TrainingPassages& passages, std::span<const std::uint32_t> row_document,
          const JudgedQueries& train, const TrainingFold& fold) {
    for (std::uint32_t query : fold.held_out) {
      const float* vector = &train.vectors[query * passages.dim];
      vectors.insert(vectors.end(), vector, vector + passages.dim);
      positives.push_back(train.positives[query]);
      if (!train.gains.empty()) gains.push_back(train.gains[query]);
    }
    ndcg.emplace(passages.vectors, row_document, passages.dim,
                 JudgedQueries{vectors, positives, gains});
  }

  std::vector<float> vectors;
  std::vector<std::vector<std::uint32_t>> positives;
  std::vector<std::vector<float>> gains;
  std::optional<InterpolationNdcg> ndcg;  // borrows the others
};

// The training runs of one call: of every recipe one on all queries, and one for each fold.
class Training {
 public:
  Training(const TrainingPassages& passages, std::span<const std::uint32_t> row_document,
           const JudgedQueries& train, const JudgedQueries& dev, const HeadAdapterOptions& options,
           const ProgressCallback& progress)
      : passages_(passages),
        train_(train),
        options_(options),
        progress_(progress),
        pools_(options.pools) {
    if (options.loss == TrainingLoss::kMarginMse) {
      pools_ = {NegativePool::kMined};
    } else if (std::count(pools_.begin(), pools_.end(), NegativePool::kMined) > 0) {
      hard_ = mine_hard_negatives(passages, train, options.mined_negatives,
                                  options.false_negative_margin);
    }
    all_.resize(train.size());
    std::iota(all_.begin(), all_.end(), 0u);
    if (dev.size() > 0) dev_.emplace(passages.vectors, row_document, passages.dim, dev);
    if (dev.size() >= options.enough_dev) return;
    folds_ =
        hold_out(train, options.enough_dev - dev.size(), derive_seed(options.seed, kFoldStream));
    for (const TrainingFold& fold : folds_)
      held_out_.push_back(std::make_unique<HeldOut>(passages, row_document, train, fold));
  }

  const std::vector<NegativePool>& pools() const noexcept { return pools_; }

  struct Run {
    NdcgGrid grid;                      // of dev's queries, then of each fold's
    std::vector<HeadAdapter> adapters;  // by epoch, of the run on all queries
    std::vector<double> loss;
  };
  // cancelled
  Result<Run> run(TrainingRecipe recipe) {
    Run result;
    COLLEGIUM_RETURN_IF_ERROR(run_once(recipe, all_, dev_ ? &*dev_ : nullptr, result));
    for (std::size_t f = 0; f < folds_.size(); ++f) {
      Run fold;
      COLLEGIUM_RETURN_IF_ERROR(run_once(recipe, folds_[f].learn, &*held_out_[f]->ndcg, fold));
      if (fold.grid.empty()) continue;  // what it would learn from has no rows
      for (std::size_t epoch = 0; epoch < result.grid.size(); ++epoch)
        for (std::size_t s = 0; s < std::size(kStrengths); ++s) {
          auto& values = result.grid[epoch][s];
          values.insert(values.end(), fold.grid[epoch][s].begin(), fold.grid[epoch][s].end());
        }
    }
    return result;
  }

 private:
  Status run_once(TrainingRecipe recipe, std::span<const std::uint32_t> queries,
                  const InterpolationNdcg* ndcg, Run& run) {
    const bool mined = recipe.pool == NegativePool::kMined && hard_.has_value();
    HeadAdapterTrainer trainer(passages_, train_, mined ? &*hard_ : nullptr, queries, recipe,
                               options_);
    const std::uint64_t batches = trainer.num_batches();
    if (batches == 0) return {};
    const std::uint64_t runs = options_.ranks.size() * pools_.size() * (1 + folds_.size());
    if (runs_ == 0) most_steps_ = options_.max_epochs * batches;  // a fold's run has fewer
    const std::uint64_t total = runs * most_steps_;
    std::uint64_t done = runs_++ * most_steps_;
    bool cancelled = !report(progress_, "train", done, total);
    for (std::size_t epoch = 0; epoch < options_.max_epochs && !cancelled; ++epoch) {
      run.loss.push_back(trainer.run_epoch(epoch, [&] {
        cancelled = !report(progress_, "train", ++done, total);
        return !cancelled;
      }));
      if (cancelled) break;
      COLLEGIUM_ASSIGN_OR_RETURN(HeadAdapter adapter, trainer.adapter());
      run.adapters.push_back(std::move(adapter));
      run.grid.push_back(ndcg == nullptr ? std::vector<std::vector<double>>(std::size(kStrengths))
                                         : ndcg->measure_each(run.adapters.back(), kStrengths));
      const bool may_stop = ndcg != nullptr && folds_.empty() && options_.patience > 0;
      if (may_stop && epoch - best_of(run.grid).epoch >= options_.patience) break;
    }
    return cancelled ? Status::cancelled("training of a head adapter") : Status();
  }

  const TrainingPassages& passages_;
  const JudgedQueries& train_;
  const HeadAdapterOptions& options_;
  const ProgressCallback& progress_;
  std::vector<NegativePool> pools_;
  std::optional<HardNegatives> hard_;
  std::vector<std::uint32_t> all_;
  std::optional<InterpolationNdcg> dev_;
  std::vector<TrainingFold> folds_;
  std::vector<std::unique_ptr<HeldOut>> held_out_;  // parallel
  std::uint64_t runs_ = 0, most_steps_ = 0;
};

// Dev's queries are the first of `plain` and `adapted`.
void report_gains(std::span<const double> plain, std::span<const double> adapted,
                  const JudgedQueries& train, const JudgedQueries& dev,
                  TrainedHeadAdapter& trained) {
  trained.dev_ndcg_plain = mean(plain.first(dev.size()));
  trained.dev_ndcg = mean(adapted.first(dev.size()));
  trained.chosen_on = {plain.size(), mean(plain), mean(adapted)};
  const double error = paired_error(adapted, plain);
  trained.standard_error = std::isfinite(error) ? error : 0.0;
  std::unordered_set<std::uint32_t> trained_on;
  for (const auto& documents : train.positives)
    trained_on.insert(documents.begin(), documents.end());
  std::vector<double> values[2][2];
  for (std::size_t q = 0; q < dev.size(); ++q) {
    const auto& documents = dev.positives[q];
    const bool paired =
        std::any_of(documents.begin(), documents.end(),
                    [&](std::uint32_t document) { return trained_on.count(document) > 0; });
    values[paired][0].push_back(plain[q]);
    values[paired][1].push_back(adapted[q]);
  }
  trained.dev_paired = {values[1][0].size(), mean(values[1][0]), mean(values[1][1])};
  trained.dev_unpaired = {values[0][0].size(), mean(values[0][0]), mean(values[0][1])};
}

}  // namespace

std::string_view negative_pool_name(NegativePool pool) noexcept {
  return kPoolNames[static_cast<std::size_t>(pool)];
}
Result<NegativePool> parse_negative_pool(std::string_view name) {
  return parse_name<NegativePool>(kPoolNames, name, "pool of negatives");
}
std::string_view training_loss_name(TrainingLoss loss) noexcept {
  return kLossNames[static_cast<std::size_t>(loss)];
}
Result<TrainingLoss> parse_training_loss(std::string_view name) {
  return parse_name<TrainingLoss>(kLossNames, name, "loss");
}

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
  if (ranks.empty()) return bad("ranks", "empty", "at least one rank");
  for (std::size_t rank : ranks)
    if (rank > HeadAdapter::kMaxDim)
      return bad("ranks", std::to_string(rank), "at most the dim of the vectors");
  if (pools.empty()) return bad("pools", "empty", "at least one pool");
  if (mined_negatives == 0 || mined_negatives > 10000)
    return bad("mined_negatives", std::to_string(mined_negatives), "in [1, 10000]");
  if (!(false_negative_margin >= -2.0f && false_negative_margin <= 2.0f))
    return bad("false_negative_margin", std::to_string(false_negative_margin), "in [-2, 2]");
  return Status();
}

Result<TrainedHeadAdapter> train_head_adapter(std::span<const float> passages,
                                              std::span<const std::uint32_t> row_document,
                                              std::size_t dim, const JudgedQueries& train,
                                              const JudgedQueries& dev,
                                              const HeadAdapterOptions& options,
                                              const ProgressCallback& progress) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (dim == 0 || dim > HeadAdapter::kMaxDim || passages.size() != row_document.size() * dim)
    return Status::invalid_argument("passages: " + std::to_string(passages.size()) +
                                    " floats for " + std::to_string(row_document.size()) +
                                    " rows of dim " + std::to_string(dim));
  for (std::size_t rank : options.ranks)
    if (rank > dim)
      return Status::invalid_argument("HeadAdapterOptions.ranks has " + std::to_string(rank) +
                                      ", must be at most the dim, " + std::to_string(dim));
  TrainingPassages corpus{passages, dim, {}};
  for (std::size_t row = 0; row < row_document.size(); ++row) {
    const std::uint32_t document = row_document[row];
    if (document >= kMaxDocuments)
      return Status::invalid_argument("row_document: document number " + std::to_string(document) +
                                      ", must be below " + std::to_string(kMaxDocuments));
    if (document >= corpus.document_rows.size()) corpus.document_rows.resize(document + 1);
    corpus.document_rows[document].push_back(static_cast<std::uint32_t>(row));
  }
  for (std::size_t i = 0; i < passages.size(); ++i)
    if (!std::isfinite(passages[i]))
      return Status::invalid_argument("passages: row " + std::to_string(i / dim) +
                                      " has a component that is not finite");
  const auto num_documents = static_cast<std::uint32_t>(corpus.document_rows.size());
  COLLEGIUM_RETURN_IF_ERROR(check_queries("train", train, dim, num_documents));
  COLLEGIUM_RETURN_IF_ERROR(check_queries("dev", dev, dim, num_documents));
  COLLEGIUM_RETURN_IF_ERROR(check_hard(train, options.loss, num_documents));
  COLLEGIUM_RETURN_IF_ERROR(check_apart(train, dev, dim));

  TrainedHeadAdapter best{HeadAdapter::identity(dim)};
  Training training(corpus, row_document, train, dev, options, progress);
  bool first = true;
  for (std::size_t rank : options.ranks)
    for (NegativePool pool : training.pools()) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto run, training.run({rank, pool}));
      if (run.grid.empty()) continue;  // there is nothing to learn from
      const std::vector<double>& plain = run.grid.front().front();
      const EpochAndStrength chosen = best_gain(run.grid, dev.size());
      const std::vector<double>& adapted = run.grid[chosen.epoch][chosen.strength];
      if (!first && mean(adapted) <= best.chosen_on.adapted) continue;
      first = false;
      report_gains(plain, adapted, train, dev, best);
      best.strength = kStrengths[chosen.strength];
      best.epochs = chosen.strength == 0 ? 0 : chosen.epoch + 1;
      best.adapter = chosen.strength == 0 ? HeadAdapter::identity(dim)
                                          : run.adapters[chosen.epoch].interpolated(best.strength);
      best.rank = rank;
      best.pool = pool;
      best.loss = std::move(run.loss);
      best.curve.clear();
      const std::size_t shown = chosen.strength == 0 ? std::size(kStrengths) - 1 : chosen.strength;
      for (const auto& by_strength : run.grid)
        if (!plain.empty()) best.curve.push_back(mean(by_strength[shown]));
    }
  if (first && dev.size() > 0) {
    const float none[] = {0.0f};
    const auto plain =
        InterpolationNdcg(passages, row_document, dim, dev).measure_each(best.adapter, none)[0];
    report_gains(plain, plain, train, dev, best);
  }
  return best;
}

}  // namespace collegium::core
