#include <algorithm>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "engine/hybrid.h"
#include "engine/library_impl.h"
#include "learning_data.h"

namespace collegium::router {
namespace {

constexpr std::size_t kQueriesEach = 120;     // of one collection
constexpr std::size_t kMaxSearches = 100000;  // queries x collections
constexpr std::size_t kFewest = 50;           // queries of all collections to learn from
constexpr std::size_t kAtOnce = 64;           // queries between two reports

std::shared_ptr<const Generation> as_if_unlabelled(const Generation& generation,
                                                   const std::string& collection,
                                                   std::shared_ptr<const Router> router) {
  auto made = std::make_shared<Generation>(generation);
  Learned& learned = made->learned;
  learned.router = std::move(router);
  learned.adapters.erase(collection);
  learned.policy.guessed.insert(collection);
  // Its words would have the weight of the others that have no labels.
  const auto pooled =
      std::ranges::find_if(learned.fusion, [](const auto& entry) { return entry.second.pooled; });
  CollectionFusion fusion;
  if (pooled != learned.fusion.end()) fusion.options = pooled->second.options;
  learned.fusion[collection] = fusion;
  return made;
}

}  // namespace

// Dev questions, and what served each.
struct LibraryImpl::Asked {
  std::vector<QueryRef> refs;
  std::vector<std::shared_ptr<const Generation>> by;  // parallel
  std::vector<double> by_fusion;                      // nDCG@10, parallel
  RankerExamples examples;                            // parallel
  void add(QueryRef ref, std::shared_ptr<const Generation> generation) {
    refs.push_back(ref);
    by.push_back(std::move(generation));
  }
};

Status LibraryImpl::ask_for_ranker(const LearningData& data, const std::vector<std::string>& names,
                                   const core::ProgressCallback& progress, Asked& asked) const {
  for (std::size_t first = 0; first < asked.refs.size(); first += kAtOnce) {
    if (!core::report(progress, "ranker", first, asked.refs.size()))
      return Status::cancelled("learning to merge collections");
    const std::size_t n = std::min(kAtOnce, asked.refs.size() - first);
    std::vector<RankerCase> cases(n);
    std::vector<Status> failures(n);
    core::default_pool().parallel_for(n, [&](std::size_t i) {
      const QueryRef ref = asked.refs[first + i];
      const QuerySet& dev = data.collections[ref.collection].splits[1];
      auto made = ranker_case(asked.by[first + i], dev.texts[ref.query],
                              {vector_of(data, Split::kDev, ref), data.dim}, names);
      if (made.ok())
        cases[i] = std::move(*made);
      else
        failures[i] = made.status();
    });
    for (std::size_t i = 0; i < n; ++i) {
      COLLEGIUM_RETURN_IF_ERROR(failures[i]);
      const QueryRef ref = asked.refs[first + i];
      const CollectionData& own = data.collections[ref.collection];
      const QuerySet& dev = own.splits[1];
      Judgments judgments, merged;  // of its documents; ids are unique within a collection alone
      for (std::size_t r = 0; r < dev.relevant[ref.query].size(); ++r) {
        const std::string& id = own.document_ids[dev.relevant[ref.query][r]];
        judgments[id] = merged[own.name + '/' + id] = double{dev.gains[ref.query][r]};
      }
      Ranking ranking;
      for (const index::Hit& hit : cases[i].hits)
        ranking.emplace_back(hit.collection + '/' + hit.document_id,
                             -static_cast<double>(ranking.size()));
      asked.by_fusion.push_back(ndcg_at(10, ranking, merged));
      const RankerLists lists = ranker_lists(cases[i].route, cases[i].rankings);
      COLLEGIUM_RETURN_IF_ERROR(asked.examples.add(own.name, lists.sources, judgments));
    }
  }
  return Status();
}

Status LibraryImpl::choose_ranker(const LearningSnapshot& snapshot,
                                  const std::shared_ptr<Generation>& next,
                                  const core::ProgressCallback& progress) const {
  const LearningData& data = snapshot.data;
  if (data.collections.size() < 2) return {};
  std::vector<std::string> names;
  for (const CollectionData& collection : data.collections) names.push_back(collection.name);
  const std::vector<QueryRef> refs = sample_queries(
      data, Split::kDev,
      std::clamp(kMaxSearches / (names.size() * names.size()), std::size_t{1}, kQueriesEach));
  if (refs.size() < kFewest) return {};

  // As `next`, but routed by what did not learn from the query (Learned::blind_routers).
  std::vector<std::shared_ptr<const Generation>> by_half(2, next);
  for (std::size_t half = 0; half < next->learned.blind_routers.size(); ++half) {
    auto blind = std::make_shared<Generation>(*next);
    blind->learned.router = next->learned.blind_routers[half];
    by_half[half] = std::move(blind);
  }

  // As `next` would be, had nobody labelled this collection (Learned::stranger_routers); null: no
  // router says.
  std::vector<std::shared_ptr<const Generation>> without(names.size());
  for (std::size_t c = 0; c < next->learned.stranger_routers.size(); ++c)
    if (const auto& router = next->learned.stranger_routers[c]; router != nullptr)
      without[c] = as_if_unlabelled(*next, names[c], router);

  Asked known, strange;
  std::vector<std::size_t> places;  // of strangers among `refs`
  for (std::size_t i = 0; i < refs.size(); ++i) {
    known.add(refs[i], by_half[refs[i].query % 2]);
    if (without[refs[i].collection] == nullptr) continue;
    strange.add(refs[i], without[refs[i].collection]);
    places.push_back(i);
  }
  for (Asked* asked : {&known, &strange})
    COLLEGIUM_RETURN_IF_ERROR(ask_for_ranker(data, names, progress, *asked));
  std::vector<double> by_ranker;
  auto ranker = Ranker::fit(known.examples, {}, &by_ranker);
  if (ranker.status().code() == StatusCode::kFailedPrecondition) return {};
  if (!ranker.ok()) return ranker.status();
  auto by_stranger = Ranker::stranger_ndcg(known.examples, strange.examples);
  if (by_stranger.status().code() == StatusCode::kFailedPrecondition)
    places.clear();
  else if (!by_stranger.ok())
    return by_stranger.status();
  // A question counts half as known and half as a stranger, where it is one.
  std::vector<double> by_fusion = known.by_fusion;
  for (std::size_t s = 0; s < places.size(); ++s) {
    const std::size_t i = places[s];
    by_ranker[i] = 0.5 * (by_ranker[i] + (*by_stranger)[s]);
    by_fusion[i] = 0.5 * (by_fusion[i] + strange.by_fusion[s]);
  }
  Learned& learned = next->learned;
  learned.fusion_dev_ndcg = macro_mean(refs, by_fusion, names.size());
  learned.ranker_dev_ndcg = macro_mean(refs, by_ranker, names.size());
  if (learned.ranker_dev_ndcg >= learned.fusion_dev_ndcg + kNegligible)
    learned.ranker = std::move(*ranker);
  return {};
}

}  // namespace collegium::router
