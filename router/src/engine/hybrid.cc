#include "engine/hybrid.h"

#include <algorithm>
#include <utility>

#include "engine/library_impl.h"

namespace collegium::router {
namespace {

constexpr std::size_t kMaxFusionQueries = 300;  // of one collection

std::vector<index::RankedDocument> documents_of(const std::vector<index::Hit>& hits) {
  std::vector<index::RankedDocument> documents;
  documents.reserve(hits.size());
  for (const index::Hit& hit : hits) documents.push_back({hit.document_id, double{hit.score}});
  return documents;
}

Result<std::vector<index::Hit>> fused_hits(const CollectionRankings& rankings) {
  COLLEGIUM_ASSIGN_OR_RETURN(
      const auto fused,
      index::fuse(documents_of(rankings.dense), documents_of(rankings.lexical), rankings.fusion));
  std::vector<index::Hit> hits;
  hits.reserve(fused.size());
  for (const index::FusedDocument& document : fused)
    hits.push_back(document.dense != index::kNotRanked ? rankings.dense[document.dense]
                                                       : rankings.lexical[document.lexical]);
  return hits;
}

}  // namespace

Ranking ranking_of(const std::vector<index::Hit>& hits) {
  Ranking ranking;
  ranking.reserve(hits.size());
  for (const index::Hit& hit : hits) ranking.emplace_back(hit.document_id, double{hit.score});
  return ranking;
}

Result<std::vector<index::Hit>> fill_places(
    std::vector<index::Hit> merged,
    const std::map<std::string, CollectionRankings, std::less<>>& rankings) {
  std::map<std::string_view, std::vector<index::Hit>> fused;
  for (const auto& [collection, both] : rankings) {
    if (both.fusion.lexical_weight == 0.0) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(fused[collection], fused_hits(both));
  }
  std::map<std::string_view, std::size_t> taken;
  for (index::Hit& place : merged) {
    const auto found = fused.find(place.collection);
    if (found == fused.end()) continue;
    // The fused ranking holds all that the dense one does, so it never runs out.
    index::Hit& next = found->second.at(taken[found->first]++);
    next.score = place.score;
    place = std::move(next);
  }
  return merged;
}

Result<std::map<std::string, CollectionFusion>> LibraryImpl::choose_fusions(
    const LearningSnapshot& snapshot, const Learned& learned,
    const core::ProgressCallback& progress) const {
  std::map<std::string, std::vector<FusionCase>> dev;
  const std::size_t dim = snapshot.data.dim;
  std::size_t done = 0;
  for (const CollectionData& collection : snapshot.data.collections) {
    std::vector<FusionCase>& cases = dev[collection.name];
    const QuerySet& set = collection.splits[static_cast<std::size_t>(Split::kDev)];
    const std::size_t wanted = std::min(set.size(), kMaxFusionQueries);
    const auto adapter = learned.adapters.find(collection.name);
    for (std::size_t i = 0; i < wanted; ++i) {
      if (!core::report(progress, "fusion", done++, 0))
        return Status::cancelled("choosing the weight of words");
      const std::size_t q = i * set.size() / wanted;  // evenly over all
      std::vector<float> query(set.vectors.begin() + static_cast<std::ptrdiff_t>(q * dim),
                               set.vectors.begin() + static_cast<std::ptrdiff_t>((q + 1) * dim));
      if (adapter != learned.adapters.end() && adapter->second.strength > 0.0f) {
        std::vector<float> mapped(dim);
        adapter->second.adapter.apply(query.data(), mapped.data());
        query = std::move(mapped);
      }
      FusionCase one;
      COLLEGIUM_ASSIGN_OR_RETURN(const auto dense,
                                 corpus_->search(collection.name, query, kFusionDepth));
      index::LexicalQuery words = index::LexicalQuery::words(set.texts[q]);
      words.explain = false;
      COLLEGIUM_ASSIGN_OR_RETURN(const auto lexical,
                                 corpus_->search_lexical(collection.name, words, kFusionDepth));
      one.dense = ranking_of(dense);
      one.lexical = ranking_of(lexical);
      for (std::size_t r = 0; r < set.relevant[q].size(); ++r)
        one.judgments[collection.document_ids[set.relevant[q][r]]] = double{set.gains[q][r]};
      cases.push_back(std::move(one));
    }
  }
  return choose_fusion(dev, index::FusionRule::kZScore);
}

Result<EvaluationRow> LibraryImpl::evaluate_served(
    const LearningSnapshot& snapshot, const std::shared_ptr<const Generation>& generation,
    Split split, const core::ProgressCallback& progress) const {
  EvaluationRow row;
  row.method = "served";
  row.note = "search() as it is: the policy with each collection's words beside its vectors";
  const LearningData& data = snapshot.data;
  std::vector<std::string> everything;
  std::size_t total = 0, done = 0;
  for (const CollectionData& collection : data.collections) {
    everything.push_back(collection.name);
    total += collection.splits[static_cast<std::size_t>(split)].size();
  }
  // Ids are unique within a collection alone.
  const auto key = [](std::string_view collection, std::string_view id) {
    return std::string(collection) + '/' + std::string(id);
  };
  double judged = 0.0;
  for (const CollectionData& collection : data.collections) {
    const QuerySet& set = collection.splits[static_cast<std::size_t>(split)];
    if (set.size() == 0) continue;
    judged += 1.0;
    Metrics& alone = row.per_collection[collection.name];
    Metrics& merged = row.merged[collection.name];
    for (std::size_t q = 0; q < set.size(); ++q) {
      if (!core::report(progress, "served", done++, total))
        return Status::cancelled("evaluating what is served");
      const std::span<const float> vector(set.vectors.data() + q * data.dim, data.dim);
      Judgments judgments;
      for (std::size_t r = 0; r < set.relevant[q].size(); ++r)
        judgments[key(collection.name, collection.document_ids[set.relevant[q][r]])] =
            double{set.gains[q][r]};
      const auto measure = [&](const std::vector<std::string>& collections,
                               Metrics& sum) -> Status {
        COLLEGIUM_ASSIGN_OR_RETURN(const auto hits, served_hits(generation, set.texts[q], vector,
                                                                collections, kFusionDepth));
        Ranking ranking;
        for (const index::Hit& hit : hits)  // by rank: equal scores keep the order served
          ranking.emplace_back(key(hit.collection, hit.document_id),
                               -static_cast<double>(ranking.size()));
        const double n = static_cast<double>(set.size());
        sum.ndcg_at_10 += ndcg_at(10, ranking, judgments) / n;
        sum.recall_at_100 += recall_at(100, ranking, judgments) / n;
        return {};
      };
      COLLEGIUM_RETURN_IF_ERROR(measure({collection.name}, alone));
      COLLEGIUM_RETURN_IF_ERROR(measure(everything, merged));
    }
  }
  const auto mean = [&](const std::map<std::string, Metrics>& by_collection, Metrics& out) {
    for (const auto& [name, metrics] : by_collection) {
      out.ndcg_at_10 += metrics.ndcg_at_10 / judged;
      out.recall_at_100 += metrics.recall_at_100 / judged;
    }
  };
  mean(row.per_collection, row.per_collection_mean);
  mean(row.merged, row.merged_mean);
  return row;
}

}  // namespace collegium::router
