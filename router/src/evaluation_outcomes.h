#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/router/evaluation.h"
#include "learning_data.h"

// From what every method found for every query to what a report shows.
namespace collegium::router {

inline constexpr std::uint32_t kNoDocument = 0xffffffff;

// Fills what is known before anything is ranked, from `queries` of evaluation.split: note,
// num_queries, groups, queries, shares_training_documents.
void describe_queries(const LearningData& data, std::span<const QueryRef> queries,
                      Evaluation& evaluation);

struct RankedOutcome {
  Metrics metrics;
  std::size_t rank = kEvaluationDepth;  // of the first relevant document, from 0
  // What stood first, by position and number; kNoDocument: nothing, or a document removed
  // meanwhile.
  std::uint32_t first_collection = kNoDocument, first_document = kNoDocument;
};

struct Outcome {
  RankedOutcome alone, merged;
};

struct MethodOutcomes {
  std::string method, note;
  std::vector<Outcome> queries;
  EvaluationCost cost;
};

// `ranks` (from 0; kEvaluationDepth: not found) of all relevant documents, parallel to `gains`.
RankedOutcome outcome_of(std::span<const std::size_t> ranks, std::span<const float> gains);

// Fills evaluation.rows from `methods`, of which "plain" is one; num_queries, groups and queries
// are there. Regret and shares where "oracle per query" and "noise control" are among them.
Status add_rows(Evaluation& evaluation, std::vector<MethodOutcomes> methods,
                const BootstrapOptions& options);

// One router's first choice for one query.
struct FirstChoice {
  std::size_t collection = 0;  // position in Router::collections()
  double probability = 0.0, margin = 0.0, familiarity = 1.0;
};
FirstChoice first_choice(const Router& router, const float* query);

// Qualities of one query under the expert of the first choice, and plainly.
struct ChoiceOutcome {
  const Outcome* routed = nullptr;
  const Outcome* plain = nullptr;
};
Result<RouterReport> report_router(const Router& router, const Evaluation& evaluation,
                                   std::span<const FirstChoice> choices,
                                   std::span<const ChoiceOutcome> outcomes);

struct WorstInput {
  const LearningData& data;
  std::span<const QueryRef> queries;
  const MethodOutcomes& served;
  std::span<const MethodOutcomes* const> candidates;  // plain first, then experts
  const Router* router = nullptr;                     // with `choices` by query, or null
  std::span<const FirstChoice> choices;
};
// The `count` queries with the lowest nDCG@10, among equals those with most to win first.
std::vector<WorstQuery> worst_queries(const WorstInput& input, const Evaluation& evaluation,
                                      std::size_t count);

// What only the judgments can choose. `candidates` with plain first, which wins ties.
// The one of `experts` that is best on average, for each view.
MethodOutcomes best_constant(const Evaluation& evaluation,
                             std::span<const MethodOutcomes* const> experts);
MethodOutcomes oracle_per_set(const Evaluation& evaluation,
                              std::span<const MethodOutcomes* const> candidates);
MethodOutcomes oracle_per_query(std::span<const MethodOutcomes* const> candidates,
                                std::string method, std::string note);

}  // namespace collegium::router
