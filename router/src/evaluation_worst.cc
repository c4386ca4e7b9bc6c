#include <algorithm>
#include <numeric>

#include "engine/render.h"
#include "evaluation_outcomes.h"

namespace collegium::router {
namespace {

std::string place(std::size_t rank) {
  return rank == 0 ? "not among the first " + std::to_string(kEvaluationDepth)
                   : "at rank " + std::to_string(rank);
}

// The first of these that holds is the most useful thing to know about the query.
std::string why(const WorstQuery& worst, const std::string& own, const Outcome& served,
                bool best_finds) {
  if (worst.rank == 0 && worst.plain_rank == 0 && !best_finds)
    return "no vector finds it: a relevant document is not among the first " +
           std::to_string(kEvaluationDepth) + ", plainly or under any expert";
  const bool lost = worst.ndcg_at_10 < worst.best;
  const std::string wins = worst.best_method + " has " + fixed(worst.best, 2) + " where this has " +
                           fixed(worst.ndcg_at_10, 2);
  if (lost && !worst.routed_to.empty() && worst.routed_to != own)
    return "the router takes it for " + worst.routed_to + " (P " + fixed(worst.probability, 2) +
           "); " + wins;
  if (served.alone.metrics.ndcg_at_10 > worst.ndcg_at_10 && !worst.first_collection.empty() &&
      worst.first_collection != own)
    return "other collections stand above: alone it has " +
           fixed(served.alone.metrics.ndcg_at_10, 2) + ", but first is a document of " +
           worst.first_collection;
  if (worst.ndcg_at_10 < worst.plain)
    return "its expert harms it: plainly a relevant document is " + place(worst.plain_rank) +
           ", here " + place(worst.rank);
  if (lost) return wins;
  return "the best vector at hand has it no better: a relevant document is " + place(worst.rank);
}

}  // namespace

std::vector<WorstQuery> worst_queries(const WorstInput& input, const Evaluation& evaluation,
                                      std::size_t count) {
  const std::size_t n = evaluation.queries.size();
  const auto ndcg = [](const MethodOutcomes& method, std::size_t q) {
    return method.queries[q].merged.metrics.ndcg_at_10;
  };
  std::vector<const MethodOutcomes*> best(n);
  for (std::size_t q = 0; q < n; ++q) {
    best[q] = input.candidates.front();
    for (const MethodOutcomes* candidate : input.candidates)
      if (ndcg(*candidate, q) > ndcg(*best[q], q)) best[q] = candidate;
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (ndcg(input.served, a) != ndcg(input.served, b))
      return ndcg(input.served, a) < ndcg(input.served, b);
    return ndcg(*best[a], a) > ndcg(*best[b], b);
  });
  order.resize(std::min(count, n));

  const auto from_one = [](const RankedOutcome& outcome) {
    return outcome.rank < kEvaluationDepth ? outcome.rank + 1 : 0;
  };
  std::vector<WorstQuery> result;
  for (const std::size_t q : order) {
    if (ndcg(input.served, q) >= 1.0) break;
    const Outcome& served = input.served.queries[q];
    const QueryRef ref = input.queries[q];
    const CollectionData& own = input.data.collections[ref.collection];
    WorstQuery worst;
    worst.query = q;
    worst.ndcg_at_10 = ndcg(input.served, q);
    worst.plain = ndcg(*input.candidates.front(), q);
    worst.best = ndcg(*best[q], q);
    worst.best_method = best[q]->method;
    for (const std::uint32_t document :
         own.splits[static_cast<std::size_t>(evaluation.split)].relevant[ref.query])
      worst.relevant.push_back(own.document_ids[document]);
    worst.rank = from_one(served.merged);
    worst.plain_rank = from_one(input.candidates.front()->queries[q].merged);
    if (served.merged.first_document != kNoDocument) {
      const CollectionData& first = input.data.collections[served.merged.first_collection];
      worst.first_collection = first.name;
      worst.first_document = first.document_ids[served.merged.first_document];
    }
    if (input.router != nullptr) {
      worst.routed_to = input.router->collections()[input.choices[q].collection];
      worst.probability = input.choices[q].probability;
    }
    const bool best_finds = std::any_of(input.candidates.begin(), input.candidates.end(),
                                        [&](const MethodOutcomes* candidate) {
                                          return from_one(candidate->queries[q].merged) > 0;
                                        });
    worst.why = why(worst, own.name, served, best_finds);
    result.push_back(std::move(worst));
  }
  return result;
}

}  // namespace collegium::router
