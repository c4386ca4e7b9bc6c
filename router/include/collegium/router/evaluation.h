#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/router/learning.h"
#include "collegium/router/metrics.h"

namespace collegium::router {

struct Metrics {
  double ndcg_at_10 = 0.0;
  double recall_at_100 = 0.0;
};

// One method on every collection: each searched alone ("per collection") and all as one ("merged").
struct EvaluationRow {
  std::string method;  // "plain", "multi-task", "expert medicine", "oracle per query", ...
  std::string note;    // what it is, or why it is not comparable
  std::map<std::string, Metrics> per_collection, merged;  // by collection
  Metrics per_collection_mean, merged_mean;               // over collections
};

struct COLLEGIUM_API EvaluateOptions {
  Split split = Split::kDev;
  std::uint64_t seed = 1;  // of the random router and the noise control
  Status validate() const;
};

struct COLLEGIUM_API Evaluation {
  Split split = Split::kDev;
  std::map<std::string, std::size_t> num_queries;  // by collection; none: not in the table
  std::vector<EvaluationRow> rows;
  std::map<std::string, double> router_accuracy;  // by Router::kind(), mean over collections
  // Of the split's queries and negatives: decided rightly; of questions that need the corpus:
  // retrieved for; of the others: not. Zero examples where the gate is not fitted; specificity is 0
  // (null in JSON) where the split has no negatives.
  double gate_accuracy = 0.0, gate_recall = 0.0, gate_specificity = 0.0;
  std::size_t gate_examples = 0;
  std::string note;  // first line of a report: e.g. that this split took part in fitting
  const EvaluationRow* row(std::string_view method) const noexcept;  // null: no such row
  // Figures x 100. Text shows nDCG@10 by collection and the means of both; the others show all.
  std::string to_text() const;
  std::string to_json() const;
  std::string to_html() const;  // self-contained, everything escaped
  std::string to_markdown() const;
};

// The rows, in order:
//   plain               the encoder alone
//   multi-task          one adapter trained on every collection's pairs
//   expert X            everything under the expert of X
//   best constant       the one expert that is best on average (per view)
//   random              an expert drawn for each query
//   router K            the likeliest collection's expert, by each router K, never abstaining
//   routed, bound       the policies with learned.policy's settings, without and with prior
//   served              Library::evaluate() alone, where fit gave words a weight: search() as it is
//   nearest neighbour   the expert of the collection that the nearest training query is of
//   soft fusion         everything under the experts' query vectors (plain where a collection has
//                       none), averaged by learned.router's probabilities
//   oracle per set      the best of plain and experts for each collection, after the fact
//   oracle per query    the same for each query
//   noise control       the same with as many random maps of the adapters' mean norm of W - I for
//                       experts: what choosing after the fact gains from luck alone
// Policies go through run_policy(), so what is evaluated is what is served. Exact search in memory.
// failed_precondition if the split has no queries; invalid_argument as learn(); cancelled.
COLLEGIUM_API Result<Evaluation> evaluate(const LearningData& data, const Learned& learned,
                                          const EvaluateOptions& options = {},
                                          const core::ProgressCallback& progress = {});

}  // namespace collegium::router
