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
constexpr double kNegligible = 0.0005;

}  // namespace

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

  RankerExamples examples;
  std::vector<double> by_fusion(refs.size());
  for (std::size_t first = 0; first < refs.size(); first += kAtOnce) {
    if (!core::report(progress, "ranker", first, refs.size()))
      return Status::cancelled("learning to merge collections");
    const std::size_t n = std::min(kAtOnce, refs.size() - first);
    std::vector<RankerCase> cases(n);
    std::vector<Status> failures(n);
    core::default_pool().parallel_for(n, [&](std::size_t i) {
      const QueryRef ref = refs[first + i];
      const QuerySet& dev = data.collections[ref.collection].splits[1];
      auto made = ranker_case(by_half[ref.query % 2], dev.texts[ref.query],
                              {vector_of(data, Split::kDev, ref), data.dim}, names);
      if (made.ok())
        cases[i] = std::move(*made);
      else
        failures[i] = made.status();
    });
    for (std::size_t i = 0; i < n; ++i) {
      COLLEGIUM_RETURN_IF_ERROR(failures[i]);
      const QueryRef ref = refs[first + i];
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
      by_fusion[first + i] = ndcg_at(10, ranking, merged);
      const RankerLists lists = ranker_lists(cases[i].route, cases[i].rankings);
      COLLEGIUM_RETURN_IF_ERROR(examples.add(own.name, lists.sources, judgments));
    }
  }
  std::vector<double> blind;
  auto ranker = Ranker::fit(examples, {}, &blind);
  if (ranker.status().code() == StatusCode::kFailedPrecondition) return {};
  if (!ranker.ok()) return ranker.status();
  Learned& learned = next->learned;
  learned.fusion_dev_ndcg = macro_mean(refs, by_fusion, names.size());
  learned.ranker_dev_ndcg = macro_mean(refs, blind, names.size());
  if (learned.ranker_dev_ndcg >= learned.fusion_dev_ndcg + kNegligible)
    learned.ranker = std::move(*ranker);
  return {};
}

}  // namespace collegium::router
