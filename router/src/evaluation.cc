#include "collegium/router/evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "evaluation_baselines.h"
#include "learning_data.h"

namespace collegium::router {
namespace {

constexpr std::size_t kDepth = 100;
constexpr std::size_t kQueriesPerTask = 16;
constexpr std::size_t kTasksPerReport = 8;

// A map of the query vector that is evaluated; null adapter: the plain vector, or (kFusion) what
// fuse() makes of the others.
struct Variant {
  enum class Kind { kPlain, kMultiTask, kExpert, kNoise, kFusion } kind = Kind::kPlain;
  std::string name;
  const core::HeadAdapter* adapter = nullptr;
};

// A policy as a row of the table.
struct PolicyRow {
  std::string method, note;
  PolicyParameters parameters;
  const Router* router = nullptr;
};

struct Outcome {
  Metrics alone, merged;
};

// A merged ranking's entry.
struct MergedDocument {
  std::size_t collection = 0;
  ScoredDocument found;
};

Metrics metrics_of(std::span<const std::size_t> ranks, std::span<const float> gains) {
  std::size_t found = 0;
  for (std::size_t rank : ranks) found += rank < kDepth ? 1 : 0;
  return {ndcg_at_10(ranks, gains),
          static_cast<double>(found) / static_cast<double>(std::max<std::size_t>(ranks.size(), 1))};
}

class Evaluator {
 public:
  Evaluator(const LearningData& data, const Learned& learned, const EvaluateOptions& options,
            PackedLibrary library)
      : data_(data), learned_(learned), options_(options), library_(std::move(library)) {
    for (std::size_t c = 0; c < data.collections.size(); ++c)
      names_.push_back(data.collections[c].name);
    queries_ = sample_queries(data, options.split, static_cast<std::size_t>(-1));
    make_variants();
    make_policies();
  }

  std::size_t num_queries() const { return queries_.size(); }

  Status run(const core::ProgressCallback& progress) {
    of_variants_.assign(queries_.size() * variants_.size(), {});
    of_policies_.assign(queries_.size() * policies_.size(), {});
    statuses_.assign(queries_.size(), Status());
    retrieved_.assign(queries_.size(), true);
    const std::size_t tasks = (queries_.size() + kQueriesPerTask - 1) / kQueriesPerTask;
    for (std::size_t start = 0; start < tasks; start += kTasksPerReport) {
      if (!core::report(progress, "evaluate", start * kQueriesPerTask, queries_.size()))
        return Status::cancelled("evaluation");
      core::default_pool().parallel_for(
          std::min(kTasksPerReport, tasks - start), [&](std::size_t offset) {
            const std::size_t first = (start + offset) * kQueriesPerTask;
            run_block(first, std::min(kQueriesPerTask, queries_.size() - first));
          });
    }
    for (const Status& status : statuses_) COLLEGIUM_RETURN_IF_ERROR(status);
    core::report(progress, "evaluate", queries_.size(), queries_.size());
    return Status();
  }

  Result<Evaluation> collect() const {
    Evaluation result;
    result.split = options_.split;
    for (QueryRef ref : queries_) ++result.num_queries[names_[ref.collection]];
    result.note = options_.split == Split::kTest ? "split test: took no part in fitting or choosing"
                  : options_.split == Split::kDev
                      ? "split dev: chose strengths, router, policy and thresholds, so its figures "
                        "flatter; report test"
                      : "split train: everything was fitted on it, so its figures mean little";
    add_variant_rows(result);
    for (std::size_t p = 0; p < policies_.size(); ++p)
      result.rows.push_back(make_row(policies_[p].method, policies_[p].note, [&](std::size_t q) {
        return of_policies_[q * policies_.size() + p];
      }));
    add_baseline_rows(result);
    add_oracle_rows(result);
    add_router_accuracy(result);
    COLLEGIUM_RETURN_IF_ERROR(add_gate(result));
    return result;
  }

 private:
  void make_variants() {
    variants_.push_back({Variant::Kind::kPlain, "plain", nullptr});
    if (learned_.multi_task.has_value())
      variants_.push_back(
          {Variant::Kind::kMultiTask, "multi-task",
           learned_.multi_task->strength != 0.0f ? &learned_.multi_task->adapter : nullptr});
    std::vector<double> distances;
    variant_of_.assign(names_.size(), 0);
    for (std::size_t c = 0; c < names_.size(); ++c) {
      const auto found = learned_.adapters.find(names_[c]);
      if (found == learned_.adapters.end() || found->second.strength == 0.0f) continue;
      variants_.push_back({Variant::Kind::kExpert, names_[c], &found->second.adapter});
      variant_of_[c] = variants_.size() - 1;
      experts_.push_back(variant_of_[c]);
      distances.push_back(found->second.adapter.distance_from_identity());
    }
    noise_maps_ = noise_maps(distances, data_.dim, options_.seed);
    for (const auto& map : noise_maps_) variants_.push_back({Variant::Kind::kNoise, "noise", &map});
    if (experts_.empty()) return;
    nearest_ = NearestQuery::create(data_);
    if (learned_.router != nullptr)
      variants_.push_back({Variant::Kind::kFusion, "soft fusion", nullptr});
  }

  void make_policies() {
    const auto add = [&](std::string method, std::string note, PolicyParameters parameters,
                         const Router* router) {
      policies_.push_back({std::move(method), std::move(note), parameters, router});
    };
    for (const auto& router : learned_.routers) {
      PolicyParameters parameters;
      parameters.policy = Policy::kRouted;
      add("router " + std::string(router->kind()), "its first choice's expert, never abstaining",
          parameters, router.get());
    }
    const Router* router = learned_.router.get();
    for (Policy policy : {Policy::kRouted, Policy::kBound}) {
      PolicyParameters parameters = learned_.policy;
      parameters.policy = policy;
      PolicyParameters without = parameters;
      without.prior_weight = without.routed_prior_weight = 0.0;
      const std::string name(policy_name(policy));
      const bool served = policy == learned_.policy.policy;
      add(name,
          policy == Policy::kRouted
              ? "one expert's vector searches everything; abstains by margin and familiarity"
              : "each collection under its own expert",
          without, router);
      add(name + " + prior",
          "adds weight x log P(collection | query)" + std::string(served ? "; what is served" : ""),
          parameters, router);
    }
  }

  void run_block(std::size_t first, std::size_t n) {
    const std::size_t dim = data_.dim, num_variants = variants_.size();
    std::vector<float> vectors(n * num_variants * dim);  // (n, variants, dim)
    for (std::size_t i = 0; i < n; ++i) {
      const float* plain = vector_of(data_, options_.split, queries_[first + i]);
      for (std::size_t v = 0; v < num_variants; ++v) {
        float* out = &vectors[(i * num_variants + v) * dim];
        if (variants_[v].adapter != nullptr)
          variants_[v].adapter->apply(plain, out);
        else if (variants_[v].kind == Variant::Kind::kFusion)
          fuse_experts(plain, &vectors[i * num_variants * dim], out);
        else
          std::copy_n(plain, dim, out);
      }
    }
    // found[c][i * num_variants + v]
    std::vector<std::vector<std::vector<ScoredDocument>>> found;
    for (const auto& collection : library_.collections)
      found.push_back(collection.search(vectors.data(), n * num_variants, kDepth));
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t q = first + i;
      for (std::size_t v = 0; v < num_variants; ++v)
        of_variants_[q * num_variants + v] =
            measure_variant(queries_[q], found, i * num_variants + v);
      run_policies(q, {&vectors[i * num_variants * dim], num_variants * dim}, found,
                   i * num_variants);
    }
  }

  // Each collection's vector (its expert's, or plain) by what the router gives the collection.
  void fuse_experts(const float* plain, const float* variants, float* out) const {
    const auto& known = learned_.router->collections();
    std::vector<float> weights(known.size());
    learned_.router->probabilities(plain, weights);
    std::vector<const float*> vectors;
    for (const auto& name : known) {
      const std::size_t c = position_of(name);
      const bool is_here = c < names_.size() && names_[c] == name;
      vectors.push_back(variants + (is_here ? variant_of_[c] : 0) * data_.dim);
    }
    fuse(vectors, weights, data_.dim, out);
  }

  const QuerySet& split_of(QueryRef ref) const {
    return data_.collections[ref.collection].splits[static_cast<std::size_t>(options_.split)];
  }

  Outcome measure_variant(QueryRef ref,
                          const std::vector<std::vector<std::vector<ScoredDocument>>>& found,
                          std::size_t at) const {
    std::vector<MergedDocument> merged;
    for (std::size_t c = 0; c < found.size(); ++c)
      for (const auto& document : found[c][at]) merged.push_back({c, document});
    const std::size_t kept = std::min(kDepth, merged.size());
    std::partial_sort(
        merged.begin(), merged.begin() + static_cast<std::ptrdiff_t>(kept), merged.end(),
        [&](const MergedDocument& a, const MergedDocument& b) {
          if (a.found.score != b.found.score) return a.found.score > b.found.score;
          const auto& a_id = data_.collections[a.collection].document_ids[a.found.document];
          const auto& b_id = data_.collections[b.collection].document_ids[b.found.document];
          return a_id != b_id ? a_id < b_id : a.collection < b.collection;
        });
    merged.resize(kept);
    const QuerySet& queries = split_of(ref);
    std::vector<std::size_t> alone_ranks, merged_ranks;
    for (std::uint32_t relevant : queries.relevant[ref.query]) {
      const auto& alone = found[ref.collection][at];
      alone_ranks.push_back(static_cast<std::size_t>(
          std::find_if(alone.begin(), alone.end(),
                       [&](const auto& document) { return document.document == relevant; }) -
          alone.begin()));
      if (alone_ranks.back() == alone.size()) alone_ranks.back() = kDepth;
      merged_ranks.push_back(
          static_cast<std::size_t>(std::find_if(merged.begin(), merged.end(),
                                                [&](const MergedDocument& document) {
                                                  return document.collection == ref.collection &&
                                                         document.found.document == relevant;
                                                }) -
                                   merged.begin()));
      if (merged_ranks.back() == merged.size()) merged_ranks.back() = kDepth;
    }
    return {metrics_of(alone_ranks, queries.gains[ref.query]),
            metrics_of(merged_ranks, queries.gains[ref.query])};
  }

  Metrics measure_hits(QueryRef ref, const std::vector<index::Hit>& hits) const {
    const QuerySet& queries = split_of(ref);
    const CollectionData& collection = data_.collections[ref.collection];
    std::vector<std::size_t> ranks;
    for (std::uint32_t relevant : queries.relevant[ref.query]) {
      const std::string& id = collection.document_ids[relevant];
      std::size_t rank = 0;
      while (rank < hits.size() &&
             !(hits[rank].document_id == id && hits[rank].collection == collection.name))
        ++rank;
      ranks.push_back(rank < hits.size() ? rank : kDepth);
    }
    return metrics_of(ranks, queries.gains[ref.query]);
  }

  std::vector<index::Hit> hits_of(std::size_t c, const std::vector<ScoredDocument>& documents,
                                  std::size_t k) const {
    std::vector<index::Hit> hits(std::min(k, documents.size()));
    for (std::size_t i = 0; i < hits.size(); ++i) {
      hits[i].collection = names_[c];
      hits[i].document_id = data_.collections[c].document_ids[documents[i].document];
      hits[i].score = documents[i].score;
    }
    return hits;
  }

  std::size_t position_of(std::string_view collection) const {
    return static_cast<std::size_t>(std::lower_bound(names_.begin(), names_.end(), collection) -
                                    names_.begin());
  }

  PolicyInput input_for(const Router* router, const float* query) const {
    PolicyInput input;
    input.collections = names_;
    input.adapters = &learned_.adapters;
    input.router = router;
    input.query = {query, data_.dim};
    input.k = kDepth;
    return input;
  }

  void run_policies(std::size_t q, std::span<const float> vectors,
                    const std::vector<std::vector<std::vector<ScoredDocument>>>& found,
                    std::size_t at) {
    const std::size_t dim = data_.dim;
    const QueryRef ref = queries_[q];
    // Vectors that a policy makes are those of the variants: their results are at hand.
    const auto search = [&](std::size_t only) -> CollectionSearch {
      return [&, only](std::string_view collection, std::span<const float> query,
                       std::size_t k) -> Result<std::vector<index::Hit>> {
        const std::size_t c = position_of(collection);
        if (only != kEverything && c != only) return std::vector<index::Hit>();
        for (std::size_t v = 0; v < variants_.size() && k <= kDepth; ++v)
          if (std::memcmp(&vectors[v * dim], query.data(), dim * sizeof(float)) == 0)
            return hits_of(c, found[c][at + v], k);
        return hits_of(c, library_.collections[c].search(query.data(), 1, k)[0], k);
      };
    };
    for (std::size_t p = 0; p < policies_.size(); ++p) {
      const PolicyInput input = input_for(policies_[p].router, vectors.data());
      auto merged = run_policy(policies_[p].parameters, input, search(kEverything));
      auto alone = run_policy(policies_[p].parameters, input, search(ref.collection));
      if (!merged.ok() || !alone.ok()) {
        statuses_[q] = merged.ok() ? alone.status() : merged.status();
        return;
      }
      of_policies_[q * policies_.size() + p] = {measure_hits(ref, alone->hits),
                                                measure_hits(ref, merged->hits)};
      if (p + 1 == policies_.size()) retrieved_[q] = retrieves(input.query, *merged) ? 1 : 0;
    }
  }

  bool retrieves(std::span<const float> query, const PolicyResult& searched) const {
    const auto before = learned_.gate.features_before(learned_.router.get(), query);
    const auto early = learned_.gate.decide_before(before);
    const GateOutcome outcome =
        early.has_value() ? *early
                          : learned_.gate.decide_after(gate_features_after(before, searched));
    return outcome.decision != GateDecision::kInternal;
  }

  EvaluationRow make_row(std::string method, std::string note,
                         const std::function<Outcome(std::size_t)>& outcome) const {
    EvaluationRow row;
    row.method = std::move(method);
    row.note = std::move(note);
    std::map<std::string, double> counts;
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      const std::string& name = names_[queries_[q].collection];
      const Outcome value = outcome(q);
      counts[name] += 1.0;
      row.per_collection[name].ndcg_at_10 += value.alone.ndcg_at_10;
      row.per_collection[name].recall_at_100 += value.alone.recall_at_100;
      row.merged[name].ndcg_at_10 += value.merged.ndcg_at_10;
      row.merged[name].recall_at_100 += value.merged.recall_at_100;
    }
    const auto finish = [&](std::map<std::string, Metrics>& view, Metrics& mean) {
      for (auto& [name, metrics] : view) {
        metrics.ndcg_at_10 /= counts[name];
        metrics.recall_at_100 /= counts[name];
        mean.ndcg_at_10 += metrics.ndcg_at_10 / static_cast<double>(view.size());
        mean.recall_at_100 += metrics.recall_at_100 / static_cast<double>(view.size());
      }
    };
    finish(row.per_collection, row.per_collection_mean);
    finish(row.merged, row.merged_mean);
    return row;
  }

  EvaluationRow variant_row(std::size_t v, std::string method, std::string note) const {
    return make_row(std::move(method), std::move(note),
                    [&](std::size_t q) { return of_variants_[q * variants_.size() + v]; });
  }

  void add_variant_rows(Evaluation& result) const {
    std::vector<EvaluationRow> experts;
    for (std::size_t v = 0; v < variants_.size(); ++v) {
      switch (variants_[v].kind) {
        case Variant::Kind::kPlain:
          result.rows.push_back(variant_row(v, "plain", "the encoder alone"));
          break;
        case Variant::Kind::kMultiTask:
          result.rows.push_back(
              variant_row(v, "multi-task", "one adapter trained on every collection's pairs"));
          break;
        case Variant::Kind::kExpert:
          experts.push_back(
              variant_row(v, "expert " + variants_[v].name, "everything under this expert"));
          break;
        case Variant::Kind::kNoise:
        case Variant::Kind::kFusion:
          break;
      }
    }
    result.rows.insert(result.rows.end(), experts.begin(), experts.end());
    if (experts.empty()) return;
    const auto alone = std::max_element(
        experts.begin(), experts.end(), [](const EvaluationRow& a, const EvaluationRow& b) {
          return a.per_collection_mean.ndcg_at_10 < b.per_collection_mean.ndcg_at_10;
        });
    const auto merged = std::max_element(
        experts.begin(), experts.end(), [](const EvaluationRow& a, const EvaluationRow& b) {
          return a.merged_mean.ndcg_at_10 < b.merged_mean.ndcg_at_10;
        });
    EvaluationRow best = *alone;
    best.merged = merged->merged;
    best.merged_mean = merged->merged_mean;
    best.method = "best constant";
    best.note = "chosen on this very split: " + alone->method + "; merged: " + merged->method;
    result.rows.push_back(std::move(best));
    result.rows.push_back(make_row("random", "an expert drawn for each query", [&](std::size_t q) {
      core::Random random(core::derive_seed(options_.seed, 1000000 + q));
      return of_variants_[q * variants_.size() + experts_[random.below(experts_.size())]];
    }));
  }

  void add_baseline_rows(Evaluation& result) const {
    if (nearest_.has_value())
      result.rows.push_back(make_row(
          "nearest neighbour", "the expert of the collection that the nearest training query is of",
          [&](std::size_t q) {
            const std::size_t c = nearest_->choose(vector_of(data_, options_.split, queries_[q]));
            return of_variants_[q * variants_.size() + variant_of_[c]];
          }));
    if (variants_.back().kind == Variant::Kind::kFusion)
      result.rows.push_back(
          variant_row(variants_.size() - 1, "soft fusion",
                      "everything under the experts' vectors averaged by the router's P"));
  }

  void add_oracle_rows(Evaluation& result) const {
    if (experts_.empty()) return;
    // Per set: after the fact, by collection and view; plain wins ties.
    std::vector<EvaluationRow> candidates{*result.row("plain")};
    for (const auto& row : result.rows)
      if (row.method.rfind("expert ", 0) == 0) candidates.push_back(row);
    EvaluationRow per_set = candidates.front();
    per_set.method = "oracle per set";
    per_set.note = "the best of plain and experts for each collection, after the fact";
    for (auto view : {&EvaluationRow::per_collection, &EvaluationRow::merged}) {
      Metrics mean;
      for (auto& [name, metrics] : per_set.*view) {
        for (const auto& candidate : candidates)
          if ((candidate.*view).at(name).ndcg_at_10 > metrics.ndcg_at_10)
            metrics = (candidate.*view).at(name);
        const auto n = static_cast<double>((per_set.*view).size());
        mean.ndcg_at_10 += metrics.ndcg_at_10 / n;
        mean.recall_at_100 += metrics.recall_at_100 / n;
      }
      (view == &EvaluationRow::merged ? per_set.merged_mean : per_set.per_collection_mean) = mean;
    }
    result.rows.push_back(std::move(per_set));
    result.rows.push_back(best_of(Variant::Kind::kExpert, "oracle per query",
                                  "the best of plain and experts for each query, after the fact: "
                                  "read it beside its noise control"));
    double norm = 0.0;
    for (const auto& map : noise_maps_)
      norm += map.distance_from_identity() / static_cast<double>(noise_maps_.size());
    char size[32];
    std::snprintf(size, sizeof size, "%.3f", norm);
    result.rows.push_back(best_of(Variant::Kind::kNoise, "noise control",
                                  "the same over plain and " + std::to_string(noise_maps_.size()) +
                                      " random maps, of the adapters' mean norm " + size +
                                      ": luck alone"));
  }

  EvaluationRow best_of(Variant::Kind kind, std::string method, std::string note) const {
    return make_row(std::move(method), std::move(note), [&](std::size_t q) {
      Outcome best = of_variants_[q * variants_.size()];
      for (std::size_t v = 1; v < variants_.size(); ++v) {
        if (variants_[v].kind != kind) continue;
        const Outcome& other = of_variants_[q * variants_.size() + v];
        if (other.alone.ndcg_at_10 > best.alone.ndcg_at_10) best.alone = other.alone;
        if (other.merged.ndcg_at_10 > best.merged.ndcg_at_10) best.merged = other.merged;
      }
      return best;
    });
  }

  void add_router_accuracy(Evaluation& result) const {
    for (const auto& router : learned_.routers) {
      std::vector<double> right(queries_.size(), 0.0);
      std::vector<float> probabilities(router->collections().size());
      for (std::size_t q = 0; q < queries_.size(); ++q) {
        router->probabilities(vector_of(data_, options_.split, queries_[q]), probabilities);
        const auto top = std::max_element(probabilities.begin(), probabilities.end());
        if (router->collections()[static_cast<std::size_t>(top - probabilities.begin())] ==
            names_[queries_[q].collection])
          right[q] = 1.0;
      }
      result.router_accuracy.emplace(std::string(router->kind()),
                                     macro_mean(queries_, right, names_.size()));
    }
  }

  Status add_gate(Evaluation& result) const {
    if (!learned_.gate.fitted()) return Status();
    const auto& negatives = data_.negatives[static_cast<std::size_t>(options_.split)];
    const std::size_t num_negatives = negatives.size() / data_.dim;
    const CollectionSearch search = [&](std::string_view collection, std::span<const float> query,
                                        std::size_t k) -> Result<std::vector<index::Hit>> {
      const std::size_t c = position_of(collection);
      return hits_of(c, library_.collections[c].search(query.data(), 1, k)[0], k);
    };
    double kept = 0.0, saved = 0.0;
    for (char retrieved : retrieved_) kept += retrieved != 0 ? 1.0 : 0.0;
    for (std::size_t i = 0; i < num_negatives; ++i) {
      const float* query = &negatives[i * data_.dim];
      PolicyInput input = input_for(learned_.router.get(), query);
      input.k = kGateDepth;
      COLLEGIUM_ASSIGN_OR_RETURN(const auto searched, run_policy(learned_.policy, input, search));
      saved += retrieves(input.query, searched) ? 0.0 : 1.0;
    }
    const auto positives = static_cast<double>(retrieved_.size());
    result.gate_examples = retrieved_.size() + num_negatives;
    result.gate_accuracy = (kept + saved) / static_cast<double>(result.gate_examples);
    result.gate_recall = kept / positives;
    result.gate_specificity = num_negatives > 0 ? saved / static_cast<double>(num_negatives) : 0.0;
    return Status();
  }

  static constexpr std::size_t kEverything = static_cast<std::size_t>(-1);

  const LearningData& data_;
  const Learned& learned_;
  const EvaluateOptions& options_;
  PackedLibrary library_;
  std::vector<std::string> names_;
  std::vector<QueryRef> queries_;
  std::vector<Variant> variants_;        // plain is the first, soft fusion the last if it is there
  std::vector<std::size_t> experts_;     // positions in variants_
  std::vector<std::size_t> variant_of_;  // by collection: its expert's position, or plain's
  std::vector<core::HeadAdapter> noise_maps_;
  std::optional<NearestQuery> nearest_;
  std::vector<PolicyRow> policies_;   // the last is what is served, or its like
  std::vector<Outcome> of_variants_;  // (queries, variants)
  std::vector<Outcome> of_policies_;  // (queries, policies)
  std::vector<Status> statuses_;
  std::vector<char> retrieved_;  // by query: what the gate decided
};

}  // namespace

Status EvaluateOptions::validate() const {
  if (split != Split::kTrain && split != Split::kDev && split != Split::kTest)
    return Status::invalid_argument("EvaluateOptions.split is " +
                                    std::to_string(static_cast<int>(split)) +
                                    ", must be train, dev or test");
  return Status();
}

const EvaluationRow* Evaluation::row(std::string_view method) const noexcept {
  for (const auto& candidate : rows)
    if (candidate.method == method) return &candidate;
  return nullptr;
}

Result<Evaluation> evaluate(const LearningData& data, const Learned& learned,
                            const EvaluateOptions& options,
                            const core::ProgressCallback& progress) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  COLLEGIUM_ASSIGN_OR_RETURN(auto library, pack_library(data));
  for (const auto& [name, trained] : learned.adapters)
    if (trained.adapter.dim() != data.dim)
      return Status::invalid_argument("adapter '" + name + "' has dim " +
                                      std::to_string(trained.adapter.dim()) + ", the library has " +
                                      std::to_string(data.dim));
  Evaluator evaluator(data, learned, options, std::move(library));
  if (evaluator.num_queries() == 0)
    return Status::failed_precondition("evaluation: the split has no judged queries");
  COLLEGIUM_RETURN_IF_ERROR(evaluator.run(progress));
  return evaluator.collect();
}

}  // namespace collegium::router
