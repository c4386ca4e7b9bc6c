#include "collegium/router/learning.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "learning_data.h"
#include "learning_routers.h"
#include "named.h"
#include "policy_choice.h"
#include "sampling.h"

namespace collegium::router {
namespace {

// Of each collection: they are searched in everything, at every strength, after every epoch.
constexpr std::size_t kMultiTaskDev = 120;
constexpr std::size_t kGateQuestions[] = {2000, 1000};  // of all collections, train and dev
constexpr std::size_t kGateFolds = 5;
constexpr std::size_t kQueriesPerTask = 32;

constexpr std::size_t kTrain = static_cast<std::size_t>(Split::kTrain);
constexpr std::size_t kDev = static_cast<std::size_t>(Split::kDev);

// Says `stage` whatever the inner work calls itself.
core::ProgressCallback renamed(const core::ProgressCallback& progress, std::string stage) {
  if (!progress) return {};
  return [progress, stage = std::move(stage)](const core::Progress& inner) {
    return progress(core::Progress{stage, inner.done, inner.total});
  };
}

Result<core::TrainedHeadAdapter> train_multi_task(const LearningData& data,
                                                  const LearnOptions& options,
                                                  const core::ProgressCallback& progress) {
  std::vector<float> passages;
  std::vector<std::uint32_t> documents;
  QuerySet splits[2];
  std::vector<std::vector<std::uint32_t>> hard;
  std::vector<std::vector<float>> teacher;
  std::uint32_t first_document = 0;
  for (const auto& collection : data.collections) {
    passages.insert(passages.end(), collection.vectors.begin(), collection.vectors.end());
    for (std::uint32_t document : collection.passage_document)
      documents.push_back(first_document + document);
    for (std::size_t split : {kTrain, kDev}) {
      const QuerySet& from = collection.splits[split];
      QuerySet& to = splits[split];
      for (std::size_t q : evenly(from.size(), split == kTrain ? from.size() : kMultiTaskDev)) {
        const auto vector = from.vectors.begin() + static_cast<std::ptrdiff_t>(q * data.dim);
        to.vectors.insert(to.vectors.end(), vector, vector + static_cast<std::ptrdiff_t>(data.dim));
        to.gains.push_back(from.gains[q]);
        to.relevant.push_back(from.relevant[q]);
        for (std::uint32_t& document : to.relevant.back()) document += first_document;
      }
    }
    for (std::vector<std::uint32_t> numbers : collection.hard) {
      for (std::uint32_t& number : numbers) number += first_document;
      hard.push_back(std::move(numbers));
    }
    teacher.insert(teacher.end(), collection.teacher.begin(), collection.teacher.end());
    first_document += static_cast<std::uint32_t>(collection.document_ids.size());
  }
  core::JudgedQueries train = judged(splits[kTrain]);
  train.hard = hard;
  train.teacher = teacher;
  core::HeadAdapterOptions adapter = options.adapter;
  adapter.seed = core::derive_seed(options.adapter.seed, 0);
  return core::train_head_adapter(passages, documents, data.dim, train, judged(splits[kDev]),
                                  adapter, renamed(progress, "train multi-task"));
}

// The scores of the plain search of everything, descending, for each of `n` queries.
std::vector<std::vector<float>> plain_scores(const PackedLibrary& library,
                                             std::span<const float> queries, std::size_t dim) {
  const std::size_t n = queries.size() / dim;
  std::vector<std::vector<float>> scores(n);
  core::default_pool().parallel_for(
      (n + kQueriesPerTask - 1) / kQueriesPerTask, [&](std::size_t task) {
        const std::size_t first = task * kQueriesPerTask;
        const std::size_t count = std::min(kQueriesPerTask, n - first);
        for (const auto& collection : library.collections) {
          const auto found = collection.search(&queries[first * dim], count, kGateDepth);
          for (std::size_t i = 0; i < count; ++i)
            for (const auto& document : found[i]) scores[first + i].push_back(document.score);
        }
        for (std::size_t i = first; i < first + count; ++i) {
          std::sort(scores[i].rbegin(), scores[i].rend());
          scores[i].resize(std::min(scores[i].size(), kGateDepth));
        }
      });
  return scores;
}

// Those of dev that no router learned from.
std::vector<float> gather_questions(const LearningData& data, Split split) {
  const auto counts = [&](const CollectionData& collection) {
    return collection.splits[static_cast<std::size_t>(split)].size() > 0 && !only_dev(collection);
  };
  const auto with_queries = static_cast<std::size_t>(
      std::count_if(data.collections.begin(), data.collections.end(), counts));
  if (with_queries == 0) return {};
  const std::size_t each =
      std::max<std::size_t>(1, kGateQuestions[static_cast<std::size_t>(split)] / with_queries);
  std::vector<float> vectors;
  for (QueryRef ref : sample_queries(data, split, each)) {
    if (!counts(data.collections[ref.collection])) continue;
    const float* query = vector_of(data, split, ref);
    vectors.insert(vectors.end(), query, query + data.dim);
  }
  return vectors;
}

Status fit_the_gate(const LearningData& data, const PackedLibrary& library,
                    const LearnOptions& options, Learned& learned) {
  const std::size_t dim = data.dim;
  const std::vector<float> centroids = document_centroids(data);
  const std::vector<float> questions = gather_questions(data, Split::kTrain);
  const std::vector<float>& negatives = data.negatives[kTrain];
  COLLEGIUM_ASSIGN_OR_RETURN(auto reference,
                             make_gate_reference(dim, centroids, questions, negatives));

  const auto add = [&](GateExamples& examples, const GateReference& seen_by,
                       std::span<const float> queries, bool helps) {
    const auto scores = plain_scores(library, queries, dim);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      auto before =
          gate_features_before(seen_by, learned.router.get(), queries.subspan(i * dim, dim));
      examples.after.push_back(gate_features_after(before, scores[i]));
      examples.before.push_back(std::move(before));
      examples.helps.push_back(helps);
    }
  };
  // A training question must not find itself among the references: each fifth is measured against
  // the other four.
  GateExamples train, dev;
  if (!questions.empty() && !negatives.empty()) {
    const auto split_fold = [dim](std::span<const float> rows, std::size_t fold, bool inside) {
      std::vector<float> kept;
      for (std::size_t row = 0; row < rows.size() / dim; ++row)
        if ((row % kGateFolds == fold) == inside)
          kept.insert(kept.end(), &rows[row * dim], &rows[row * dim] + dim);
      return kept;
    };
    for (std::size_t fold = 0; fold < kGateFolds; ++fold) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          auto others, make_gate_reference(dim, centroids, split_fold(questions, fold, false),
                                           split_fold(negatives, fold, false)));
      add(train, others, split_fold(questions, fold, true), true);
      add(train, others, split_fold(negatives, fold, true), false);
    }
  } else {  // one class: nothing is measured, and fit_gate says why
    for (std::size_t i = 0; i < (questions.size() + negatives.size()) / dim; ++i) {
      train.before.emplace_back();
      train.after.emplace_back();
      train.helps.push_back(!questions.empty());
    }
  }
  if (!questions.empty() && !negatives.empty()) {
    add(dev, reference, gather_questions(data, Split::kDev), true);
    add(dev, reference, data.negatives[kDev], false);
  }
  COLLEGIUM_ASSIGN_OR_RETURN(learned.gate, fit_gate(train, dev, options.gate));
  std::size_t marked = 0;  // as needing no corpus
  for (const auto& split : data.negatives) marked += split.size() / dim;
  if (!learned.gate.fitted() && !questions.empty() && negatives.empty() && marked > 0)
    learned.gate.note_ = "of " + std::to_string(marked) +
                         (marked == 1 ? " question" : " questions") +
                         " marked as needing no corpus none fell into train: always retrieves";
  if (learned.gate.fitted()) learned.gate.reference_ = std::move(reference);
  return Status();
}

}  // namespace

Split split_of_document(std::string_view document_id) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a, then mixed
  for (char c : document_id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  const std::uint64_t tenth = core::Random(hash).below(10);
  return tenth < 8 ? Split::kTrain : tenth == 8 ? Split::kDev : Split::kTest;
}

std::string_view router_labels_name(RouterLabels::By by) noexcept {
  return by == RouterLabels::By::kWinner ? "winner" : "source";
}

Result<RouterLabels::By> parse_router_labels(std::string_view name) {
  return parse_named("router labels by", name,
                     {RouterLabels::By::kSource, RouterLabels::By::kWinner}, router_labels_name);
}

Status RouterLabels::validate() const {
  if (cutoff < 1 || cutoff > 100)
    return Status::invalid_argument("RouterLabels.cutoff is " + std::to_string(cutoff) +
                                    ", must be in [1, 100]");
  if (!(source_weight >= 0.0 && source_weight <= 1000.0))
    return Status::invalid_argument("RouterLabels.source_weight is " +
                                    std::to_string(source_weight) + ", must be in [0, 1000]");
  return Status();
}

Status LearnOptions::validate() const {
  COLLEGIUM_RETURN_IF_ERROR(adapter.validate());
  COLLEGIUM_RETURN_IF_ERROR(gate.validate());
  COLLEGIUM_RETURN_IF_ERROR(labels.validate());
  std::string allowed = "'auto', 'all'";
  if (router == "auto" || router == "all") return Status();
  for (std::string_view known : router_kinds()) {
    if (router == known) return Status();
    allowed += ", '" + std::string(known) + "'";
  }
  return Status::invalid_argument("LearnOptions.router is '" + router + "', must be one of " +
                                  allowed);
}

Result<Learned> learn(
    const LearningData& data, const LearnOptions& options,
    const std::map<std::string, core::TrainedHeadAdapter>& kept,
    const core::ProgressCallback& progress,
    const std::function<Status(const std::string&, const core::TrainedHeadAdapter&)>& on_trained) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  COLLEGIUM_ASSIGN_OR_RETURN(const PackedLibrary library, pack_library(data));
  Learned learned;
  for (const auto& collection : data.collections) {
    if (const auto found = kept.find(collection.name); found != kept.end()) {
      if (found->second.adapter.dim() != data.dim)
        return Status::invalid_argument("adapter kept for '" + collection.name + "' has dim " +
                                        std::to_string(found->second.adapter.dim()) +
                                        ", the library has " + std::to_string(data.dim));
      learned.adapters.emplace(collection.name, found->second);
      continue;
    }
    if (collection.splits[kTrain].size() == 0) continue;
    // The same seed whatever other collections there are.
    auto trained =
        core::train_head_adapter(collection.vectors, collection.passage_document, data.dim,
                                 training_queries(collection), judged(collection.splits[kDev]),
                                 options.adapter, renamed(progress, "train " + collection.name));
    if (!trained.ok()) return trained.status().with_context("collection '" + collection.name + "'");
    const auto at = learned.adapters.emplace(collection.name, std::move(trained).value()).first;
    if (on_trained) COLLEGIUM_RETURN_IF_ERROR(on_trained(at->first, at->second));
  }
  if (options.multi_task) {
    COLLEGIUM_ASSIGN_OR_RETURN(learned.multi_task, train_multi_task(data, options, progress));
  }
  if (!core::report(progress, "routers", 0, 1)) return Status::cancelled("fitting routers");
  COLLEGIUM_ASSIGN_OR_RETURN(FittedRouters routers,
                             fit_routers(data, library, options, learned.adapters));
  COLLEGIUM_ASSIGN_OR_RETURN(RouterChoice choice, choose_router(data, library, learned.adapters,
                                                                routers.candidates, progress));
  for (std::size_t r = 0; r < choice.ndcg.size(); ++r)
    learned.router_dev_ndcg.emplace(routers.candidates[r].router->kind(), choice.ndcg[r]);
  learned.routers = std::move(routers.all);
  learned.router_dev_accuracy = std::move(routers.dev_accuracy);
  FittedRouter& chosen = routers.candidates[choice.router];
  learned.router = std::move(chosen.router);
  learned.blind_routers = std::move(chosen.blind);
  learned.stranger_routers = std::move(chosen.strangers);
  learned.policy = std::move(choice.policy);
  if (!core::report(progress, "gate", 0, 1)) return Status::cancelled("fitting the gate");
  COLLEGIUM_RETURN_IF_ERROR(fit_the_gate(data, library, options, learned));
  core::report(progress, "gate", 1, 1);
  return learned;
}

}  // namespace collegium::router
