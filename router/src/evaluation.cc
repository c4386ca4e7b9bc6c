#include "collegium/router/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "engine/render.h"
#include "evaluation_baselines.h"
#include "evaluation_meter.h"
#include "evaluation_outcomes.h"
#include "learning_data.h"

namespace collegium::router {
namespace {

constexpr std::size_t kDepth = kEvaluationDepth;
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

class Evaluator {
 public:
  Evaluator(const LearningData& data, const Learned& learned, const EvaluateOptions& options,
            std::span<const EvaluatedMethod> given, PackedLibrary library)
      : data_(data),
        learned_(learned),
        options_(options),
        given_(given),
        library_(std::move(library)),
        meter_(data, options.split),
        names_(meter_.names()) {
    for (const CollectionData& collection : data.collections)
      num_passages_ += collection.passage_document.size();
    result_.split = options.split;
    queries_ = sample_queries(data, options.split, static_cast<std::size_t>(-1));
    describe_queries(data, queries_, result_);
    make_variants();
    make_policies();
  }

  std::size_t num_queries() const { return queries_.size(); }

  Result<Evaluation> run(const core::ProgressCallback& progress) {
    statuses_.assign(queries_.size(), Status());
    retrieved_.assign(queries_.size(), true);
    policy_flops_.assign(queries_.size() * policies_.size(), 0.0);
    for (auto* group : {&of_variants_, &of_policies_, &of_given_})
      for (MethodOutcomes& method : *group) method.queries.resize(queries_.size());
    const std::size_t tasks = (queries_.size() + kQueriesPerTask - 1) / kQueriesPerTask;
    for (std::size_t start = 0; start < tasks; start += kTasksPerReport) {
      if (!core::report(progress, "evaluate", start * kQueriesPerTask, queries_.size()))
        return Status::cancelled("evaluation");
      core::default_pool().parallel_for(
          std::min(kTasksPerReport, tasks - start), [&](std::size_t offset) {
            const std::size_t first = (start + offset) * kQueriesPerTask;
            run_block(first, std::min(kQueriesPerTask, queries_.size() - first));
          });
      for (const Status& status : statuses_) COLLEGIUM_RETURN_IF_ERROR(status);
    }
    core::report(progress, "evaluate", queries_.size(), queries_.size());
    COLLEGIUM_RETURN_IF_ERROR(add_costs(progress));
    return collect();
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
    if (!experts_.empty()) {
      nearest_ = NearestQuery::create(data_);
      if (learned_.router != nullptr)
        variants_.push_back({Variant::Kind::kFusion, "soft fusion", nullptr});
    }
    for (const Variant& variant : variants_) {
      MethodOutcomes method;
      switch (variant.kind) {
        case Variant::Kind::kPlain:
          method.method = variant.name;
          method.note = "the encoder alone";
          break;
        case Variant::Kind::kMultiTask:
          method.method = variant.name;
          method.note = "one adapter trained on every collection's pairs";
          break;
        case Variant::Kind::kExpert:
          method.method = "expert " + variant.name;
          method.note = "everything under this expert";
          break;
        case Variant::Kind::kFusion:
          method.method = variant.name;
          method.note = "everything under the experts' vectors averaged by the router's P";
          break;
        case Variant::Kind::kNoise:
          break;
      }
      of_variants_.push_back(std::move(method));
    }
    for (const EvaluatedMethod& method : given_)
      of_given_.push_back({method.method, method.note, {}, {}});
  }

  void make_policies() {
    const auto add = [&](std::string method, std::string note, PolicyParameters parameters,
                         const Router* router) {
      of_policies_.push_back({method, note, {}, {}});
      policies_.push_back({std::move(method), std::move(note), parameters, router});
    };
    for (const auto& router : learned_.routers) {
      PolicyParameters parameters;
      parameters.policy = Policy::kRouted;
      add("router " + std::string(router->kind()), "its first choice's expert, never abstaining",
          parameters, router.get());
    }
    const Router* router = learned_.router.get();
    if (learned_.policy.research < experts_.size()) {
      PolicyParameters parameters = learned_.policy;
      parameters.policy = Policy::kBound;
      parameters.research = names_.size();
      add("bound, all again", "bound + prior where every expert searches again: what fewer lose",
          parameters, router);
    }
    for (Policy policy : {Policy::kRouted, Policy::kMixed, Policy::kBound}) {
      PolicyParameters parameters = learned_.policy;
      parameters.policy = policy;
      PolicyParameters without = parameters;
      without.prior_weight = without.routed_prior_weight = 0.0;
      const std::string name(policy_name(policy));
      const bool served = policy == learned_.policy.policy;
      const bool words = std::any_of(given_.begin(), given_.end(),
                                     [](const EvaluatedMethod& method) { return method.served; });
      add(name,
          policy == Policy::kRouted
              ? "one expert's vector searches everything; abstains by margin and familiarity"
          : policy == Policy::kMixed
              ? "the experts' vectors by their probabilities search everything; abstains likewise"
              : "each collection under its own expert",
          without, router);
      add(name + " + prior",
          std::string("adds weight x log P(collection | query)") +
              (served ? words ? "; what is served, but for the words" : "; what is served" : ""),
          parameters, router);
      if (!served) continue;
      result_.served = name + " + prior";
      served_policy_ = policies_.size() - 1;
    }
    for (const EvaluatedMethod& method : given_)
      if (method.served) result_.served = method.method;
  }

  void run_block(std::size_t first, std::size_t n) {
    const std::size_t dim = data_.dim, num_variants = variants_.size();
    std::vector<float> vectors(n * num_variants * dim);  // (n, variants, dim)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t v = 0; v < num_variants; ++v)
        map_query(v, query_vector(first + i), &vectors[i * num_variants * dim],
                  &vectors[(i * num_variants + v) * dim]);
    // found[c][i * num_variants + v]
    std::vector<std::vector<std::vector<ScoredDocument>>> found;
    for (const auto& collection : library_.collections)
      found.push_back(collection.search(vectors.data(), n * num_variants, kDepth));
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t q = first + i;
      for (std::size_t v = 0; v < num_variants; ++v)
        of_variants_[v].queries[q] = meter_.measure(queries_[q], found, i * num_variants + v);
      statuses_[q] = run_policies(q, {&vectors[i * num_variants * dim], num_variants * dim}, found,
                                  i * num_variants);
      if (statuses_[q].ok()) statuses_[q] = run_given(q);
    }
  }

  const float* query_vector(std::size_t q) const {
    return vector_of(data_, options_.split, queries_[q]);
  }

  // `done`: the vectors of the variants before v.
  void map_query(std::size_t v, const float* plain, const float* done, float* out) const {
    if (variants_[v].adapter != nullptr)
      variants_[v].adapter->apply(plain, out);
    else if (variants_[v].kind == Variant::Kind::kFusion)
      fuse_experts(plain, done, out);
    else
      std::copy_n(plain, data_.dim, out);
  }

  // Each collection's vector (its expert's, or plain) by what the router gives the collection.
  void fuse_experts(const float* plain, const float* variants, float* out) const {
    const auto& known = learned_.router->collections();
    std::vector<float> weights(known.size());
    learned_.router->probabilities(plain, weights);
    std::vector<const float*> vectors;
    for (const auto& name : known) {
      const std::size_t c = meter_.position_of(name);
      vectors.push_back(variants + (meter_.is_here(c, name) ? variant_of_[c] : 0) * data_.dim);
    }
    fuse(vectors, weights, data_.dim, out);
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

  Status run_policies(std::size_t q, std::span<const float> vectors,
                      const std::vector<std::vector<std::vector<ScoredDocument>>>& found,
                      std::size_t at) {
    const std::size_t dim = data_.dim;
    const QueryRef ref = queries_[q];
    double flops = 0.0;
    // Vectors that a policy makes are those of the variants: their results are at hand.
    const auto search = [&](std::size_t only) -> CollectionSearch {
      return [&, only](std::string_view collection, std::span<const float> query,
                       std::size_t k) -> Result<std::vector<index::Hit>> {
        const std::size_t c = meter_.position_of(collection);
        if (only != kEverything && c != only) return std::vector<index::Hit>();
        if (only == kEverything) flops += scan_flops(data_.collections[c].passage_document.size());
        for (std::size_t v = 0; v < variants_.size() && k <= kDepth; ++v)
          if (std::memcmp(&vectors[v * dim], query.data(), dim * sizeof(float)) == 0)
            return meter_.hits_of(c, found[c][at + v], k);
        return meter_.hits_of(c, library_.collections[c].search(query.data(), 1, k)[0], k);
      };
    };
    for (std::size_t p = 0; p < policies_.size(); ++p) {
      const PolicyInput input = input_for(policies_[p].router, vectors.data());
      flops = router_flops(policies_[p].router);
      COLLEGIUM_ASSIGN_OR_RETURN(const auto merged,
                                 run_policy(policies_[p].parameters, input, search(kEverything)));
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto alone, run_policy(policies_[p].parameters, input, search(ref.collection)));
      policy_flops_[q * policies_.size() + p] =
          flops + map_flops() * static_cast<double>(merged.maps);
      of_policies_[p].queries[q] = {meter_.measure(ref, alone.hits),
                                    meter_.measure(ref, merged.hits)};
      if (p + 1 == policies_.size()) retrieved_[q] = retrieves(input.query, merged) ? 1 : 0;
    }
    return Status();
  }

  Status run_given(std::size_t q) {
    const QueryRef ref = queries_[q];
    const std::span<const float> vector{query_vector(q), data_.dim};
    for (std::size_t m = 0; m < given_.size(); ++m) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto alone,
          given_[m].rank(result_.queries[q], vector, std::span(&names_[ref.collection], 1)));
      COLLEGIUM_ASSIGN_OR_RETURN(const auto merged,
                                 given_[m].rank(result_.queries[q], vector, names_));
      of_given_[m].queries[q] = {meter_.measure(ref, alone), meter_.measure(ref, merged)};
    }
    return Status();
  }

  bool retrieves(std::span<const float> query, const PolicyResult& searched) const {
    const auto before = learned_.gate.features_before(learned_.router.get(), query);
    const auto early = learned_.gate.decide_before(before);
    const GateOutcome outcome =
        early.has_value() ? *early
                          : learned_.gate.decide_after(gate_features_after(before, searched));
    return outcome.decision != GateDecision::kInternal;
  }

  // ---- cost ----

  double scan_flops(std::size_t rows) const {
    return 2.0 * static_cast<double>(data_.dim) * static_cast<double>(rows);
  }
  double map_flops() const { return scan_flops(data_.dim); }
  // Probabilities and familiarity.
  double router_flops(const Router* router) const {
    return router == nullptr ? 0.0 : 2.0 * scan_flops(router->collections().size());
  }

  Result<std::vector<index::Hit>> search_all(const float* query) const {
    for (std::size_t c = 0; c < names_.size(); ++c)
      (void)library_.collections[c].search(query, 1, kDepth);
    return std::vector<index::Hit>();
  }

  // Milliseconds a query of `work(q)` over the sample; the first call is not counted.
  Result<double> time(const std::function<Status(std::size_t)>& work) const {
    const std::size_t sample = std::min(options_.timed_queries, queries_.size());
    if (sample == 0) return 0.0;
    COLLEGIUM_RETURN_IF_ERROR(work(0));
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < sample; ++i)
      COLLEGIUM_RETURN_IF_ERROR(work(i * queries_.size() / sample));
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    return spent.count() / static_cast<double>(sample);
  }

  Status add_costs(const core::ProgressCallback& progress) {
    std::size_t done = 0;
    const std::size_t total = variants_.size() + policies_.size() + given_.size();
    const auto going_on = [&] { return core::report(progress, "time", done++, total); };
    std::optional<double> of_a_map;  // any map costs the same
    for (std::size_t v = 0; v < variants_.size(); ++v) {
      if (!going_on()) return Status::cancelled("evaluation");
      const Variant& variant = variants_[v];
      EvaluationCost& cost = of_variants_[v].cost;
      const bool fusion = variant.kind == Variant::Kind::kFusion;
      cost.flops = scan_flops(num_passages_) +
                   map_flops() * (fusion ? static_cast<double>(experts_.size())
                                  : variant.adapter != nullptr ? 1.0
                                                               : 0.0) +
                   (fusion ? router_flops(learned_.router.get()) : 0.0);
      if (variant.adapter != nullptr && of_a_map.has_value()) {
        cost.ms = *of_a_map;
        continue;
      }
      COLLEGIUM_ASSIGN_OR_RETURN(cost.ms, time([&](std::size_t q) {
                                   std::vector<float> vectors(variants_.size() * data_.dim);
                                   for (std::size_t i = fusion ? 0 : v; i <= v; ++i)
                                     map_query(i, query_vector(q), vectors.data(),
                                               &vectors[i * data_.dim]);
                                   return search_all(&vectors[v * data_.dim]).status();
                                 }));
      if (variant.adapter != nullptr) of_a_map = cost.ms;
    }
    const CollectionSearch search = everything_search();
    for (std::size_t p = 0; p < policies_.size(); ++p) {
      if (!going_on()) return Status::cancelled("evaluation");
      EvaluationCost& cost = of_policies_[p].cost;
      for (std::size_t q = 0; q < queries_.size(); ++q)
        cost.flops +=
            policy_flops_[q * policies_.size() + p] / static_cast<double>(queries_.size());
      COLLEGIUM_ASSIGN_OR_RETURN(
          cost.ms, time([&](std::size_t q) {
            return run_policy(policies_[p].parameters,
                              input_for(policies_[p].router, query_vector(q)), search)
                .status();
          }));
    }
    for (std::size_t m = 0; m < given_.size(); ++m) {
      if (!going_on()) return Status::cancelled("evaluation");
      // What is served is the policy with words, which count none.
      of_given_[m].cost.flops =
          given_[m].served ? of_policies_[served_policy_].cost.flops : given_[m].flops;
      COLLEGIUM_ASSIGN_OR_RETURN(of_given_[m].cost.ms, time([&](std::size_t q) {
                                   return given_[m]
                                       .rank(result_.queries[q], {query_vector(q), data_.dim},
                                             names_)
                                       .status();
                                 }));
    }
    return Status();
  }

  CollectionSearch everything_search() const {
    return [this](std::string_view collection, std::span<const float> query,
                  std::size_t k) -> Result<std::vector<index::Hit>> {
      const std::size_t c = meter_.position_of(collection);
      return meter_.hits_of(c, library_.collections[c].search(query.data(), 1, k)[0], k);
    };
  }

  // ---- rows ----

  MethodOutcomes choose(std::string method, std::string note, EvaluationCost cost,
                        const std::function<const Outcome&(std::size_t)>& outcome) const {
    MethodOutcomes result{std::move(method), std::move(note), {}, cost};
    for (std::size_t q = 0; q < queries_.size(); ++q) result.queries.push_back(outcome(q));
    return result;
  }

  std::vector<const MethodOutcomes*> plain_and(Variant::Kind kind) const {
    std::vector<const MethodOutcomes*> methods{&of_variants_[0]};
    for (std::size_t v = 1; v < variants_.size(); ++v)
      if (variants_[v].kind == kind) methods.push_back(&of_variants_[v]);
    return methods;
  }

  std::vector<MethodOutcomes> all_methods() const {
    const std::vector<const MethodOutcomes*> candidates = plain_and(Variant::Kind::kExpert);
    std::vector<MethodOutcomes> methods{of_variants_[0]};
    for (std::size_t v = 1; v < variants_.size(); ++v)
      if (variants_[v].kind == Variant::Kind::kMultiTask ||
          variants_[v].kind == Variant::Kind::kExpert)
        methods.push_back(of_variants_[v]);
    if (!experts_.empty()) {
      methods.push_back(best_constant(result_, std::span(candidates).subspan(1)));
      methods.push_back(
          choose("random", "an expert drawn for each query", of_variants_[experts_[0]].cost,
                 [&](std::size_t q) -> const Outcome& {
                   core::Random random(core::derive_seed(options_.seed, 1000000 + q));
                   return of_variants_[experts_[random.below(experts_.size())]].queries[q];
                 }));
    }
    methods.insert(methods.end(), of_policies_.begin(), of_policies_.end());
    if (nearest_.has_value()) {
      EvaluationCost cost = of_variants_[experts_[0]].cost;
      cost.flops += scan_flops(nearest_->size());
      methods.push_back(choose(
          "nearest neighbour", "the expert of the collection that the nearest training query is of",
          cost, [&](std::size_t q) -> const Outcome& {
            return of_variants_[variant_of_[nearest_->choose(query_vector(q))]].queries[q];
          }));
    }
    if (variants_.back().kind == Variant::Kind::kFusion) methods.push_back(of_variants_.back());
    methods.insert(methods.end(), of_given_.begin(), of_given_.end());
    if (experts_.empty()) return methods;
    methods.push_back(oracle_per_set(result_, candidates));
    methods.push_back(oracle_per_query(candidates, "oracle per query",
                                       "the best of plain and experts for each query, after the "
                                       "fact: read it beside its noise control"));
    double norm = 0.0;
    for (const auto& map : noise_maps_)
      norm += map.distance_from_identity() / static_cast<double>(noise_maps_.size());
    methods.push_back(oracle_per_query(
        plain_and(Variant::Kind::kNoise), "noise control",
        "the same over plain and " + std::to_string(noise_maps_.size()) +
            " random maps, of the adapters' mean norm " + fixed(norm, 3) + ": luck alone"));
    return methods;
  }

  std::vector<FirstChoice> choices_of(const Router& router) const {
    std::vector<FirstChoice> choices;
    for (std::size_t q = 0; q < queries_.size(); ++q)
      choices.push_back(first_choice(router, query_vector(q)));
    return choices;
  }

  Status add_routers() {
    for (const auto& router : learned_.routers) {
      const std::vector<FirstChoice> choices = choices_of(*router);
      std::vector<ChoiceOutcome> outcomes;
      for (std::size_t q = 0; q < queries_.size(); ++q) {
        const std::string& chosen = router->collections()[choices[q].collection];
        const std::size_t c = meter_.position_of(chosen);
        const std::size_t v = meter_.is_here(c, chosen) ? variant_of_[c] : 0;
        outcomes.push_back({&of_variants_[v].queries[q], &of_variants_[0].queries[q]});
      }
      COLLEGIUM_ASSIGN_OR_RETURN(auto report, report_router(*router, result_, choices, outcomes));
      result_.routers.push_back(std::move(report));
    }
    return Status();
  }

  void add_worst() {
    const MethodOutcomes* served = nullptr;
    for (const auto* group : {&of_policies_, &of_given_})
      for (const MethodOutcomes& method : *group)
        if (method.method == result_.served) served = &method;
    if (served == nullptr || options_.worst == 0) return;
    const std::vector<const MethodOutcomes*> candidates = plain_and(Variant::Kind::kExpert);
    std::vector<FirstChoice> choices;
    if (learned_.router != nullptr) choices = choices_of(*learned_.router);
    result_.worst =
        worst_queries({data_, queries_, *served, candidates, learned_.router.get(), choices},
                      result_, options_.worst);
  }

  Status add_gate() {
    if (!learned_.gate.fitted()) return Status();
    const auto& negatives = data_.negatives[static_cast<std::size_t>(options_.split)];
    const std::size_t num_negatives = negatives.size() / data_.dim;
    const CollectionSearch search = everything_search();
    double kept = 0.0, saved = 0.0;
    for (char retrieved : retrieved_) kept += retrieved != 0 ? 1.0 : 0.0;
    for (std::size_t i = 0; i < num_negatives; ++i) {
      PolicyInput input = input_for(learned_.router.get(), &negatives[i * data_.dim]);
      input.k = kGateDepth;
      COLLEGIUM_ASSIGN_OR_RETURN(const auto searched, run_policy(learned_.policy, input, search));
      saved += retrieves(input.query, searched) ? 0.0 : 1.0;
    }
    const auto positives = static_cast<double>(retrieved_.size());
    result_.gate_examples = retrieved_.size() + num_negatives;
    result_.gate_accuracy = (kept + saved) / static_cast<double>(result_.gate_examples);
    result_.gate_recall = kept / positives;
    result_.gate_specificity = num_negatives > 0 ? saved / static_cast<double>(num_negatives) : 0.0;
    return Status();
  }

  Result<Evaluation> collect() {
    BootstrapOptions bootstrap;
    bootstrap.resamples = options_.resamples;
    bootstrap.seed = options_.seed;
    COLLEGIUM_RETURN_IF_ERROR(add_routers());
    add_worst();
    COLLEGIUM_RETURN_IF_ERROR(add_gate());
    COLLEGIUM_RETURN_IF_ERROR(add_rows(result_, all_methods(), bootstrap));
    return std::move(result_);
  }

  static constexpr std::size_t kEverything = static_cast<std::size_t>(-1);

  const LearningData& data_;
  const Learned& learned_;
  const EvaluateOptions& options_;
  const std::span<const EvaluatedMethod> given_;
  PackedLibrary library_;
  const RankingMeter meter_;
  const std::vector<std::string>& names_;
  std::size_t num_passages_ = 0;
  std::vector<QueryRef> queries_;
  std::vector<Variant> variants_;        // plain is the first, soft fusion the last if it is there
  std::vector<std::size_t> experts_;     // positions in variants_
  std::vector<std::size_t> variant_of_;  // by collection: its expert's position, or plain's
  std::vector<core::HeadAdapter> noise_maps_;
  std::optional<NearestQuery> nearest_;
  std::vector<PolicyRow> policies_;  // the last is what is served, or its like
  std::size_t served_policy_ = 0;    // in policies_
  std::vector<MethodOutcomes> of_variants_, of_policies_, of_given_;  // parallel to each
  std::vector<double> policy_flops_;                                  // (queries, policies)
  std::vector<Status> statuses_;
  std::vector<char> retrieved_;  // by query: what the gate decided
  Evaluation result_;
};

}  // namespace

Status EvaluateOptions::validate() const {
  if (split != Split::kTrain && split != Split::kDev && split != Split::kTest)
    return Status::invalid_argument("EvaluateOptions.split is " +
                                    std::to_string(static_cast<int>(split)) +
                                    ", must be train, dev or test");
  BootstrapOptions bootstrap;
  bootstrap.resamples = resamples;
  return bootstrap.validate();
}

const EvaluationRow* Evaluation::row(std::string_view method) const noexcept {
  for (const auto& candidate : rows)
    if (candidate.method == method) return &candidate;
  return nullptr;
}

Result<Evaluation> evaluate(const LearningData& data, const Learned& learned,
                            const EvaluateOptions& options, const core::ProgressCallback& progress,
                            std::span<const EvaluatedMethod> methods) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  COLLEGIUM_ASSIGN_OR_RETURN(auto library, pack_library(data));
  for (const auto& [name, trained] : learned.adapters)
    if (trained.adapter.dim() != data.dim)
      return Status::invalid_argument("adapter '" + name + "' has dim " +
                                      std::to_string(trained.adapter.dim()) + ", the library has " +
                                      std::to_string(data.dim));
  Evaluator evaluator(data, learned, options, methods, std::move(library));
  if (evaluator.num_queries() == 0)
    return Status::failed_precondition("evaluation: the split has no judged queries");
  return evaluator.run(progress);
}

}  // namespace collegium::router
