#include "collegium/router/learning.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "learning_data.h"
#include "policy_choice.h"
#include "sampling.h"

namespace collegium::router {
namespace {

constexpr std::size_t kWinnerQueries = 300;             // of each collection, for pilots by winner
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
  std::uint32_t first_document = 0;
  for (const auto& collection : data.collections) {
    passages.insert(passages.end(), collection.vectors.begin(), collection.vectors.end());
    for (std::uint32_t document : collection.passage_document)
      documents.push_back(first_document + document);
    for (std::size_t split : {kTrain, kDev}) {
      const QuerySet& from = collection.splits[split];
      QuerySet& to = splits[split];
      to.vectors.insert(to.vectors.end(), from.vectors.begin(), from.vectors.end());
      to.gains.insert(to.gains.end(), from.gains.begin(), from.gains.end());
      for (std::vector<std::uint32_t> relevant : from.relevant) {
        for (std::uint32_t& document : relevant) document += first_document;
        to.relevant.push_back(std::move(relevant));
      }
    }
    first_document += static_cast<std::uint32_t>(collection.document_ids.size());
  }
  core::HeadAdapterOptions adapter = options.adapter;
  adapter.seed = core::derive_seed(options.adapter.seed, 0);
  return core::train_head_adapter(passages, documents, data.dim, judged(splits[kTrain]),
                                  judged(splits[kDev]), adapter,
                                  renamed(progress, "train multi-task"));
}

// Each document counts the same, however many passages it has.
std::vector<float> document_centroids(const LearningData& data) {
  std::vector<float> centroids;
  for (const auto& collection : data.collections) {
    std::vector<double> sum(data.dim, 0.0);
    std::vector<double> passages(collection.document_ids.size(), 0.0);
    for (std::uint32_t document : collection.passage_document) passages[document] += 1.0;
    for (std::size_t row = 0; row < collection.passage_document.size(); ++row)
      for (std::size_t d = 0; d < data.dim; ++d)
        sum[d] += double{collection.vectors[row * data.dim + d]} /
                  passages[collection.passage_document[row]];
    const auto documents = static_cast<double>(std::max<std::size_t>(passages.size(), 1));
    for (double value : sum) centroids.push_back(static_cast<float>(value / documents));
  }
  return centroids;
}

RouterExamples source_examples(const LearningData& data, std::size_t split,
                               std::span<const float> centroids) {
  RouterExamples examples;
  examples.dim = data.dim;
  examples.centroids.assign(centroids.begin(), centroids.end());
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const QuerySet& queries = data.collections[c].splits[split];
    examples.collections.push_back(data.collections[c].name);
    examples.vectors.insert(examples.vectors.end(), queries.vectors.begin(), queries.vectors.end());
    examples.labels.insert(examples.labels.end(), queries.size(), static_cast<std::uint32_t>(c));
  }
  return examples;
}

// The experts there are, by collection; null: plain.
std::vector<const core::HeadAdapter*> experts_of(const LearningData& data, const Learned& learned) {
  std::vector<const core::HeadAdapter*> experts;
  for (const auto& collection : data.collections) {
    const auto found = learned.adapters.find(collection.name);
    const bool has = found != learned.adapters.end() && found->second.strength != 0.0f;
    experts.push_back(has ? &found->second.adapter : nullptr);
  }
  return experts;
}

// Labels are the expert under which the query's own collection is searched best. Ties say nothing
// and go to the query's source where it is among the winners; a query that every expert loses or
// that several others win is dropped. Where a collection has no expert, its label stands for plain.
RouterExamples winner_examples(const LearningData& data, const PackedLibrary& library,
                               const Learned& learned, std::span<const float> centroids) {
  const std::vector<QueryRef> refs = sample_queries(data, Split::kTrain, kWinnerQueries);
  const auto experts = experts_of(data, learned);
  const std::size_t dim = data.dim;
  std::vector<std::vector<double>> ndcg(refs.size());
  core::default_pool().parallel_for(
      (refs.size() + kQueriesPerTask - 1) / kQueriesPerTask, [&](std::size_t task) {
        for (std::size_t i = task * kQueriesPerTask;
             i < std::min(refs.size(), (task + 1) * kQueriesPerTask); ++i) {
          const QueryRef ref = refs[i];
          const QuerySet& queries = data.collections[ref.collection].splits[kTrain];
          const float* query = vector_of(data, Split::kTrain, ref);
          std::vector<float> mapped(experts.size() * dim);
          for (std::size_t e = 0; e < experts.size(); ++e) {
            if (experts[e] != nullptr)
              experts[e]->apply(query, &mapped[e * dim]);
            else
              std::copy_n(query, dim, &mapped[e * dim]);
          }
          const auto found =
              library.collections[ref.collection].search(mapped.data(), experts.size(), 10);
          for (const auto& documents : found) {
            std::vector<std::size_t> ranks;
            for (std::uint32_t relevant : queries.relevant[ref.query]) {
              std::size_t rank = 0;
              while (rank < documents.size() && documents[rank].document != relevant) ++rank;
              ranks.push_back(rank < documents.size() ? rank : 10);
            }
            ndcg[i].push_back(ndcg_at_10(ranks, queries.gains[ref.query]));
          }
        }
      });
  RouterExamples examples;
  examples.dim = dim;
  examples.centroids.assign(centroids.begin(), centroids.end());
  for (const auto& collection : data.collections) examples.collections.push_back(collection.name);
  for (std::size_t i = 0; i < refs.size(); ++i) {
    const std::size_t source = refs[i].collection;
    double best = 0.0;
    std::size_t winner = 0, winners = 0;
    for (std::size_t e = 0; e < experts.size(); ++e) {
      if (experts[e] == nullptr && e != source) continue;
      if (ndcg[i][e] > best) best = ndcg[i][e], winners = 0;
      if (ndcg[i][e] == best) winner = e, ++winners;
    }
    if (best == 0.0) continue;
    if (ndcg[i][source] == best) winner = source, winners = 1;
    if (winners > 1) continue;
    const float* query = vector_of(data, Split::kTrain, refs[i]);
    examples.vectors.insert(examples.vectors.end(), query, query + dim);
    examples.labels.push_back(static_cast<std::uint32_t>(winner));
  }
  return examples;
}

// The mean over collections of the share of queries sent to their own.
double routing_accuracy(const Router& router, const RouterExamples& examples) {
  const std::size_t n = examples.collections.size();
  std::vector<double> right(n, 0.0), all(n, 0.0);
  std::vector<float> probabilities(n);
  for (std::size_t i = 0; i < examples.labels.size(); ++i) {
    router.probabilities(&examples.vectors[i * examples.dim], probabilities);
    const auto top = std::max_element(probabilities.begin(), probabilities.end());
    all[examples.labels[i]] += 1.0;
    if (top - probabilities.begin() == examples.labels[i]) right[examples.labels[i]] += 1.0;
  }
  double sum = 0.0, present = 0.0;
  for (std::size_t c = 0; c < n; ++c)
    if (all[c] > 0.0) sum += right[c] / all[c], present += 1.0;
  return present > 0.0 ? sum / present : 0.0;
}

Status fit_routers(const LearningData& data, const PackedLibrary& library,
                   const LearnOptions& options, Learned& learned) {
  const std::vector<float> centroids = document_centroids(data);
  const RouterExamples train = source_examples(data, kTrain, centroids);
  const RouterExamples dev = source_examples(data, kDev, centroids);
  COLLEGIUM_ASSIGN_OR_RETURN(auto linear, fit_router("linear", train, dev));
  COLLEGIUM_ASSIGN_OR_RETURN(auto by_source, fit_router("pilots-source", train, dev));
  COLLEGIUM_ASSIGN_OR_RETURN(
      auto by_winner,
      fit_router("pilots-winner", winner_examples(data, library, learned, centroids), dev));
  learned.routers = {linear, by_source, by_winner};
  // The other kinds are fitted when one is asked for.
  const auto fitted = [&](const auto& router) { return router->kind() == options.router; };
  if (options.router != "auto" &&
      std::none_of(learned.routers.begin(), learned.routers.end(), fitted)) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto asked, fit_router(options.router, train, dev));
    learned.routers.push_back(std::move(asked));
  }
  double best = -1.0;
  for (const auto& router : learned.routers) {
    const double accuracy = routing_accuracy(*router, dev);
    if (!dev.labels.empty())
      learned.router_dev_accuracy.emplace(std::string(router->kind()), accuracy);
    const bool wanted = options.router == "auto" || options.router == router->kind();
    if (wanted && accuracy > best) {  // the first of equals: the classifier
      best = accuracy;
      learned.router = router;
    }
  }
  return Status();
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

std::vector<float> gather_questions(const LearningData& data, Split split) {
  std::size_t with_queries = 0;
  for (const auto& collection : data.collections)
    with_queries += collection.splits[static_cast<std::size_t>(split)].size() > 0;
  if (with_queries == 0) return {};
  const std::size_t each =
      std::max<std::size_t>(1, kGateQuestions[static_cast<std::size_t>(split)] / with_queries);
  std::vector<float> vectors;
  for (QueryRef ref : sample_queries(data, split, each)) {
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

Status LearnOptions::validate() const {
  COLLEGIUM_RETURN_IF_ERROR(adapter.validate());
  COLLEGIUM_RETURN_IF_ERROR(gate.validate());
  std::string allowed = "'auto'";
  if (router == "auto") return Status();
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
                                 judged(collection.splits[kTrain]), judged(collection.splits[kDev]),
                                 options.adapter, renamed(progress, "train " + collection.name));
    if (!trained.ok()) return trained.status().with_context("collection '" + collection.name + "'");
    const auto at = learned.adapters.emplace(collection.name, std::move(trained).value()).first;
    if (on_trained) COLLEGIUM_RETURN_IF_ERROR(on_trained(at->first, at->second));
  }
  if (options.multi_task) {
    COLLEGIUM_ASSIGN_OR_RETURN(learned.multi_task, train_multi_task(data, options, progress));
  }
  if (!core::report(progress, "routers", 0, 1)) return Status::cancelled("fitting routers");
  COLLEGIUM_RETURN_IF_ERROR(fit_routers(data, library, options, learned));
  COLLEGIUM_ASSIGN_OR_RETURN(
      learned.policy, choose_policy(data, library, learned.adapters, *learned.router, progress));
  if (!core::report(progress, "gate", 0, 1)) return Status::cancelled("fitting the gate");
  COLLEGIUM_RETURN_IF_ERROR(fit_the_gate(data, library, options, learned));
  core::report(progress, "gate", 1, 1);
  return learned;
}

}  // namespace collegium::router
