#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "collegium/router/learning.h"
#include "collegium/router/metrics.h"
#include "collegium/router/statistics.h"

namespace collegium::router {

// How deep rankings are looked at.
inline constexpr std::size_t kEvaluationDepth = 100;

// As measure_ranking() has them, of the documents that are known to be relevant.
struct Metrics {
  double ndcg_at_10 = 0.0;
  double recall_at_100 = 0.0;
  double map_at_100 = 0.0;
  double mrr_at_10 = 0.0;
  double precision_at_10 = 0.0;
  double success_at_5 = 0.0;
};

// The mean over some of the collections: "seen", those with training queries, or "unseen".
struct EvaluationGroup {
  Metrics mean;
  Comparison against_plain;
};

// One method's figures where each collection is searched alone, or where all are merged.
struct EvaluationView {
  std::map<std::string, Metrics> by_collection;
  Metrics mean;  // over collections
  // Of nDCG@10; by collection corrected over the collections (p_holm).
  std::map<std::string, Comparison> against_plain;
  Comparison mean_against_plain;
  std::map<std::string, EvaluationGroup> groups;  // empty unless there are both
  std::vector<Metrics> queries;                   // parallel to Evaluation::queries
  // Of nDCG@10: what the best of plain and experts for each query has more, and which share of its
  // gain over plain, and of that over the noise control, this wins (below 0: loses).
  double regret = 0.0, gain_share = 0.0, gain_share_over_noise = 0.0;
};

// Of one query in the merged view, beside encoding it. Searches by words count no FLOPs.
struct EvaluationCost {
  double flops = 0.0;
  double ms = 0.0;  // on this machine, one query at a time; 0: not measured
};

struct EvaluationRow {
  std::string method;  // "plain", "multi-task", "expert medicine", "oracle per query", ...
  std::string note;    // what it is, or why it is not comparable
  EvaluationView alone, merged;
  EvaluationCost cost;  // zero for what cannot be served (oracles)
};

struct EvaluationQuery {
  std::string collection, id, text;  // text may be empty
};

// How one router's first choices fare.
struct RouterReport {
  std::string kind;
  double accuracy = 0.0;  // own collection first; mean over collections
  // [own collection][chosen collection]: queries.
  std::map<std::string, std::map<std::string, std::size_t>> confusion;
  Calibration calibration;  // of the first choice's probability; over queries
  // By "margin" and "familiarity": nDCG@10 where each collection is searched under the first
  // choice's expert, and plainly below the threshold. Alone and merged.
  std::map<std::string, std::vector<CoveragePoint>> coverage_alone, coverage_merged;
};

// A query that the served method answers badly, in the merged view.
struct WorstQuery {
  std::size_t query = 0;  // in Evaluation::queries
  double ndcg_at_10 = 0.0, plain = 0.0, best = 0.0;
  std::string best_method;               // that has `best`: plain or an expert
  std::vector<std::string> relevant;     // document ids
  std::size_t rank = 0, plain_rank = 0;  // of the first relevant document, from 1; 0: not in 100
  std::string first_collection, first_document;  // what stood first
  std::string routed_to;                         // the router's first choice; empty: no router
  double probability = 0.0;                      // of it
  std::string why;                               // one sentence
};

// Judged queries given at call time. They take no part in fitting, and no library keeps them.
struct JudgedQuery {
  std::string id, text;
  Judgments judgments;
};

struct COLLEGIUM_API EvaluateOptions {
  Split split = Split::kDev;
  std::uint64_t seed = 1;         // of the random router, the noise control and the resamples
  std::size_t resamples = 2000;   // of the bootstrap; see BootstrapOptions
  std::size_t timed_queries = 8;  // whose time is measured; 0: none
  std::size_t worst = 100;        // queries that are listed
  // By collection, instead of the split's own: Library::evaluate() alone. `split` is test then, and
  // collections without any are searched, not judged.
  std::map<std::string, std::vector<JudgedQuery>> judged = {};
  Status validate() const;
};

// A method of the caller's beside the others. `rank` gives at most kEvaluationDepth hits, best
// first, from `collections` (the query's own alone, or all); it runs on many threads at once.
struct EvaluatedMethod {
  std::string method, note;
  std::function<Result<std::vector<index::Hit>>(const EvaluationQuery& query,
                                                std::span<const float> vector,
                                                std::span<const std::string> collections)>
      rank;
  double flops = 0.0;   // of one query over everything
  bool served = false;  // it is what a library serves, and not the policy learned
};

struct COLLEGIUM_API Evaluation {
  Split split = Split::kDev;
  std::map<std::string, std::size_t> num_queries;  // by collection; none: not in the table
  std::map<std::string, std::string> groups;       // by such a collection: "seen" or "unseen"
  std::vector<EvaluationQuery> queries;            // by collection, then as given
  std::vector<EvaluationRow> rows;
  std::string served;  // the row that a library answers with
  std::vector<RouterReport> routers;
  std::vector<WorstQuery> worst;  // worst first
  // Of encoding one query, over a sample; 0: not known (evaluate() gets vectors).
  double encode_flops = 0.0, encode_ms = 0.0;
  // By collection: the share of its queries that have a relevant document which a training query
  // has too. What was learned about the document helps them.
  std::map<std::string, double> shares_training_documents;
  // Of the split's queries and negatives: decided rightly; of questions that need the corpus:
  // retrieved for; of the others: not. Zero examples where the gate is not fitted; specificity is 0
  // (null in JSON) where the split has no negatives.
  double gate_accuracy = 0.0, gate_recall = 0.0, gate_specificity = 0.0;
  std::size_t gate_examples = 0;
  std::string note;          // first line of a report: e.g. that this split took part in fitting
  bool may_flatter = false;  // the note says that queries took part, or may have
  const EvaluationRow* row(std::string_view method) const noexcept;  // null: no such row
  // Figures x 100. Text shows nDCG@10 by collection and the means of both; the others show all.
  std::string to_text() const;
  std::string to_json() const;
  std::string to_markdown() const;
  // What a notebook shows: tables and plots. Self-contained, without script, everything escaped.
  std::string to_html() const;
  // A whole page with that, filters by collection and method, and the worst queries.
  std::string to_html_page() const;
};

// The rows, in order:
//   plain               the encoder alone
//   multi-task          one adapter trained on every collection's pairs
//   expert X            everything under the expert of X
//   best constant       the one expert that is best on average (per view)
//   random              an expert drawn for each query
//   router K            the likeliest collection's expert, by each router K, never abstaining
//   bound, all again    bound with prior, where every expert searches its collection again; absent
//                       if learned.policy has that many searched again
//   routed, mixed, bound the policies with learned.policy's settings, without and with prior
//   nearest neighbour   the expert of the collection that the nearest training query is of
//   soft fusion         everything under the experts' query vectors (plain where a collection has
//                       none), averaged by learned.router's probabilities
//   `methods`           Library::evaluate() gives BM25 and hybrid (plain and BM25 together, by each
//                       collection's weight), and where fit gave words a weight served: search() as
//                       it is
//   oracle per set      the best of plain and experts for each collection, after the fact
//   oracle per query    the same for each query
//   noise control       the same with as many random maps of the adapters' mean norm of W - I for
//                       experts: what choosing after the fact gains from luck alone
// Policies go through run_policy(), so what is evaluated is what is served. Exact search in memory.
// Everything but EvaluationCost::ms is a function of the arguments, whatever the number of threads.
// failed_precondition if the split has no queries; invalid_argument as learn(); cancelled; what
// `methods` fail with.
COLLEGIUM_API Result<Evaluation> evaluate(const LearningData& data, const Learned& learned,
                                          const EvaluateOptions& options = {},
                                          const core::ProgressCallback& progress = {},
                                          std::span<const EvaluatedMethod> methods = {});

}  // namespace collegium::router
