#include "policy_cases.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "collegium/core/thread_pool.h"
#include "policy_steps.h"

namespace collegium::router {
namespace {

constexpr std::size_t kMaxQueries = 2000;  // of all collections together
constexpr std::size_t kMaxLists = 50000;   // queries x collections held in memory at once
constexpr std::size_t kQueriesPerTask = 16;
constexpr std::size_t kTasksPerReport = 8;
constexpr std::size_t kRoutedDepth = 10;

Found summarise(const std::vector<ScoredDocument>& documents,
                const std::vector<std::uint32_t>* relevant) {
  Found found;
  for (const auto& document : documents) found.scores.push_back(document.score);
  if (relevant == nullptr) return found;
  for (std::uint32_t wanted : *relevant) {
    const auto at = std::find_if(documents.begin(), documents.end(),
                                 [&](const auto& document) { return document.document == wanted; });
    found.relevant.push_back(at == documents.end() ? -std::numeric_limits<float>::infinity()
                                                   : at->score);
  }
  return found;
}

// Of the query's relevant documents, if they are of this collection.
const std::vector<std::uint32_t>* relevant_in(const LearningData& data, QueryRef ref,
                                              std::size_t collection) {
  return ref.collection == collection ? &data.collections[collection].splits[1].relevant[ref.query]
                                      : nullptr;
}

// Query vectors to search everything with, and where to put what is found.
struct Searches {
  struct Target {
    std::vector<Found>* found;
    QueryRef ref;
  };
  std::vector<Target> targets;
  std::vector<float> vectors;  // (targets, dim)

  void add(std::span<const float> vector, std::vector<Found>& found, QueryRef ref) {
    targets.push_back({&found, ref});
    vectors.insert(vectors.end(), vector.begin(), vector.end());
  }
  void run(const LearningData& data, const PackedLibrary& library) const {
    for (std::size_t c = 0; c < library.collections.size(); ++c) {
      const auto found =
          library.collections[c].search(vectors.data(), targets.size(), kRoutedDepth);
      for (std::size_t i = 0; i < targets.size(); ++i)
        targets[i].found->push_back(summarise(found[i], relevant_in(data, targets[i].ref, c)));
    }
  }
};

const Router* stranger_to(const FittedRouter& router, std::size_t collection) {
  return router.strangers.empty() ? nullptr : router.strangers[collection].get();
}

// Collections that are strangers to `router` have no expert either.
bool has_expert(const Experts& experts, const FittedRouter& of, const Router& router,
                std::size_t collection) {
  return experts[collection] != nullptr && stranger_to(of, collection) != &router;
}

Sent sent_by(const LearningData& data, const FittedRouter& of, const Router& router,
             const float* query) {
  const std::size_t n = data.collections.size();
  std::vector<float> probabilities(n);
  router.probabilities(query, probabilities);
  Sent sent;
  sent.probabilities.assign(probabilities.begin(), probabilities.end());
  sent.of_prior = sent.probabilities;
  for (std::size_t c = 0; c < n; ++c)
    if (guessed(data.collections[c]) || stranger_to(of, c) == &router)
      sent.of_prior[c] = std::max(sent.of_prior[c], kGuessedProbability);
  sent.familiarity = double{router.familiarity(query)};
  std::sort(probabilities.rbegin(), probabilities.rend());
  sent.margin = n > 1 ? double{probabilities[0]} - double{probabilities[1]} : 1.0;
  return sent;
}

void search_block(const LearningData& data, const PackedLibrary& library, const Experts& experts,
                  std::span<const FittedRouter> routers, std::span<QueryCase> cases) {
  const std::size_t n = cases.size(), dim = data.dim, num_collections = data.collections.size();
  std::vector<float> queries;
  for (const QueryCase& query : cases) {
    const float* vector = vector_of(data, Split::kDev, query.ref);
    queries.insert(queries.end(), vector, vector + dim);
  }
  std::vector<std::vector<float>> own(num_collections);  // empty without an expert
  for (std::size_t c = 0; c < num_collections; ++c) {
    if (experts[c] == nullptr) continue;
    own[c].resize(n * dim);
    for (std::size_t i = 0; i < n; ++i) experts[c]->apply(&queries[i * dim], &own[c][i * dim]);
  }

  Searches searches;
  for (std::size_t i = 0; i < n; ++i) {
    QueryCase& query = cases[i];
    query.under.resize(num_collections);
    query.known.resize(routers.size());
    query.strange.resize(routers.size());
    std::set<std::size_t> needed;
    const auto send = [&](const FittedRouter& of, const Router& router, Sent& sent) {
      const float* plain = &queries[i * dim];
      sent = sent_by(data, of, router, plain);
      std::vector<const float*> vectors;
      for (std::size_t c = 0; c < num_collections; ++c)
        vectors.push_back(has_expert(experts, of, router, c) ? &own[c][i * dim] : plain);
      const auto top = static_cast<std::size_t>(std::ranges::max_element(sent.probabilities) -
                                                sent.probabilities.begin());
      if (vectors[top] != plain) {
        sent.expert = top;
        needed.insert(top);
      }
      if (std::ranges::any_of(vectors, [&](const float* vector) { return vector != plain; }))
        searches.add(mixture(dim, vectors, sent.probabilities), sent.mixed, query.ref);
    };
    for (std::size_t r = 0; r < routers.size(); ++r) {
      send(routers[r], router_for_dev(routers[r], query.ref), query.known[r]);
      const Router* stranger = stranger_to(routers[r], query.ref.collection);
      if (stranger != nullptr) send(routers[r], *stranger, query.strange[r]);
    }
    for (const std::size_t e : needed)
      searches.add({&own[e][i * dim], dim}, query.under[e], query.ref);
  }
  searches.run(data, library);

  for (std::size_t c = 0; c < num_collections; ++c) {
    const MemoryCollection& collection = library.collections[c];
    const auto plain_found = collection.search(queries.data(), n, kCaseDepth);
    std::vector<std::vector<ScoredDocument>> own_found(n);
    if (experts[c] != nullptr) own_found = collection.search(own[c].data(), n, kCaseDepth);
    for (std::size_t i = 0; i < n; ++i) {
      const auto* relevant = relevant_in(data, cases[i].ref, c);
      cases[i].plain.push_back(summarise(plain_found[i], relevant));
      cases[i].own.push_back(summarise(own_found[i], relevant));
    }
  }
}

}  // namespace

Result<std::vector<QueryCase>> search_dev(const LearningData& data, const PackedLibrary& library,
                                          const Experts& experts,
                                          std::span<const FittedRouter> routers,
                                          const core::ProgressCallback& progress) {
  const auto with_dev = static_cast<std::size_t>(std::ranges::count_if(
      data.collections,
      [](const CollectionData& collection) { return collection.splits[1].size() > 0; }));
  std::vector<QueryCase> cases;
  if (with_dev == 0) return cases;
  const std::size_t budget = std::min(kMaxQueries, kMaxLists / data.collections.size() + 1);
  for (const QueryRef ref :
       sample_queries(data, Split::kDev, std::max<std::size_t>(1, budget / with_dev))) {
    cases.emplace_back();
    cases.back().ref = ref;
  }
  const std::size_t tasks = (cases.size() + kQueriesPerTask - 1) / kQueriesPerTask;
  for (std::size_t start = 0; start < tasks; start += kTasksPerReport) {
    if (!core::report(progress, "policy", start, tasks))
      return Status::cancelled("choosing the policy");
    core::default_pool().parallel_for(
        std::min(kTasksPerReport, tasks - start), [&](std::size_t offset) {
          const std::size_t first = (start + offset) * kQueriesPerTask;
          search_block(
              data, library, experts, routers,
              std::span(cases).subspan(first, std::min(kQueriesPerTask, cases.size() - first)));
        });
  }
  return cases;
}

}  // namespace collegium::router
