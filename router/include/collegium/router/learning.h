#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/export.h"
#include "collegium/core/progress.h"
#include "collegium/core/status.h"
#include "collegium/router/fusion_choice.h"
#include "collegium/router/gate.h"
#include "collegium/router/policy.h"
#include "collegium/router/ranker.h"
#include "collegium/router/router.h"

namespace collegium::router {

enum class Split : std::uint8_t { kTrain = 0, kDev = 1, kTest = 2 };

// 80/10/10 by a hash of the document, so that no document's pairs straddle splits.
COLLEGIUM_API Split split_of_document(std::string_view document_id) noexcept;

// Queries of one split with the documents that are relevant to them.
struct QuerySet {
  std::vector<std::string> ids;    // (n,) for runs; unique within a collection
  std::vector<std::string> texts;  // (n,), or empty: only a lexical search reads them
  std::vector<float> vectors;      // (n, dim), the plain encoder's
  std::vector<std::vector<std::uint32_t>> relevant;  // (n,) document numbers; never empty
  std::vector<std::vector<float>> gains;             // (n,) parallel to `relevant`; > 0
  std::size_t size() const noexcept { return relevant.size(); }
};

// One collection as learning and evaluation see it. Spans are borrowed.
struct CollectionData {
  std::string name;
  std::span<const float> vectors;                   // (passages, dim)
  std::span<const std::uint32_t> passage_document;  // (passages,)
  std::vector<std::string> document_ids;            // (documents,) bytewise ascending
  std::array<QuerySet, 3> splits;                   // by Split
  // Of the training queries, as core::JudgedQueries has them; empty unless the options of the
  // adapter need them.
  std::vector<std::vector<std::uint32_t>> hard = {};
  std::vector<std::vector<float>> teacher = {};
};

struct LearningData {
  std::size_t dim = 0;
  std::vector<CollectionData> collections;  // bytewise ascending by name
  // Queries that need no corpus, by split: vectors (n, dim).
  std::array<std::vector<float>, 3> negatives;
};

// What routers learn a training query as: the collection it is of, or the expert that finds most
// for it. pilots-source and pilots-winner learn what their names say.
struct COLLEGIUM_API RouterLabels {
  enum class By { kSource, kWinner };
  By by = By::kSource;
  // Winners, of at most 300 queries of each collection: experts are compared by the nDCG of so many
  // documents. [1, 100]
  std::size_t cutoff = 10;
  // A query counts by how much its winner gains over the next best; ties then say nothing.
  bool margin_weights = false;
  // A query that several experts win is left out; else, where its source is among them, it is the
  // source's.
  bool drop_ties = false;
  // Every query once more by its source, counting so much. [0, 1000]; 0: not.
  double source_weight = 0.0;
  Status validate() const;
};
COLLEGIUM_API std::string_view router_labels_name(RouterLabels::By by) noexcept;
COLLEGIUM_API Result<RouterLabels::By> parse_router_labels(std::string_view name);

struct COLLEGIUM_API LearnOptions {
  core::HeadAdapterOptions adapter;  // of every expert; multi_task derives its seed from this one's
  bool multi_task = true;  // also train the one-adapter-for-all baseline that reports show
  // One of router_kinds(); "auto": dev chooses of linear, pilots and nearest (router_dev_ndcg);
  // "all": the same, and the other kinds are fitted too, for reports.
  std::string router = "auto";
  GateOptions gate;
  RouterLabels labels = {};
  Status validate() const;
};

// What fit learned: truth, kept in files named by digest.
struct Learned {
  std::map<std::string, core::TrainedHeadAdapter> adapters;  // by collection; absent: none trained
  std::optional<core::TrainedHeadAdapter> multi_task;        // the baseline; if asked for
  std::vector<std::shared_ptr<const Router>> routers;        // every one fitted
  std::shared_ptr<const Router> router;                      // the one dev chose
  std::map<std::string, double> router_dev_accuracy;         // by Router::kind()
  // What dev chose by, of the kinds that it chose from: nDCG@10 of the merged library, the mean of
  // bound and routed, each question counting half as one of a collection that the router does not
  // know. By Router::kind(); empty without dev queries.
  std::map<std::string, double> router_dev_ndcg;
  // Routers learn a collection that has dev queries and no training queries from the former. Then
  // there are two of the chosen kind that did not see the dev queries of number q % 2, and what is
  // chosen on dev is chosen by them. Empty otherwise, and not kept in files.
  std::vector<std::shared_ptr<const Router>> blind_routers;
  // Of the chosen kind too, and not kept either: by collection (of LearningData) a router that saw
  // none of its queries, shared by a third of them, so that the rule that abstains is chosen on
  // questions of collections that the router does not know as well. Null for a collection without
  // training queries; empty where fewer than two have some.
  std::vector<std::shared_ptr<const Router>> stranger_routers;
  PolicyParameters policy;  // chosen on dev
  // By collection, chosen on dev by choose_fusion(): not by learn(), which has no words.
  std::map<std::string, CollectionFusion> fusion;
  // What merges the collections' candidates; null: fusion does, where dense scores say. Not by
  // learn() either. nDCG@10 on dev, mean over collections: of a ranker that did not see the query,
  // and of the merge by fusion, each question counting half as one of a collection that nobody
  // labelled, as in router_dev_ndcg. Both 0: too little to learn from.
  std::shared_ptr<const Ranker> ranker;
  double ranker_dev_ndcg = 0.0, fusion_dev_ndcg = 0.0;
  Gate gate;
};

// Fits on train, chooses on dev (promise 7); test is never looked at. Adapters in `kept` (of
// collections whose data did not change) are taken bit for bit, so adding a collection retrains no
// other expert. A collection without training queries gets no adapter. Deterministic for
// adapter.seed (nothing else is drawn), whatever the number of threads. invalid_argument on data
// that disagrees with itself or is not finite; cancelled.
//
// `on_trained` gets every expert as soon as it is trained, so that a caller can keep it for a later
// call's `kept` if this one is interrupted; what it returns other than ok ends the call.
COLLEGIUM_API Result<Learned> learn(
    const LearningData& data, const LearnOptions& options,
    const std::map<std::string, core::TrainedHeadAdapter>& kept = {},
    const core::ProgressCallback& progress = {},
    const std::function<Status(const std::string& collection, const core::TrainedHeadAdapter&)>&
        on_trained = {});

}  // namespace collegium::router
