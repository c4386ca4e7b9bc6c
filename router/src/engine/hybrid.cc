#include "engine/hybrid.h"

#include <algorithm>
#include <utility>

#include "engine/library_impl.h"

namespace collegium::router {
namespace {

constexpr std::size_t kMaxFusionQueries = 300;  // of one collection

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

std::vector<index::RankedDocument> documents_of(const std::vector<index::Hit>& hits) {
  std::vector<index::RankedDocument> documents;
  documents.reserve(hits.size());
  for (const index::Hit& hit : hits) documents.push_back({hit.document_id, double{hit.score}});
  return documents;
}

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

index::LexicalQuery lexical_query(std::string_view question) {
  index::LexicalQuery words = index::LexicalQuery::words(question);
  words.explain = false;
  return words;
}

RankerLists ranker_lists(const Route& route,
                         const std::map<std::string, CollectionRankings, std::less<>>& rankings) {
  RankerLists made;
  made.lists.reserve(3 * rankings.size());  // spans look into them
  const auto add = [&](const std::vector<index::Hit>& hits, ScoreMap map) {
    made.lists.push_back(documents_of(hits));
    for (index::RankedDocument& document : made.lists.back())
      document.score = map.scale * document.score + map.shift;
    return std::span<const index::RankedDocument>(made.lists.back());
  };
  for (const auto& [collection, both] : rankings) {
    const auto entry = std::find_if(route.entries.begin(), route.entries.end(),
                                    [&](const auto& one) { return one.collection == collection; });
    RankerSource source;
    source.collection = collection;
    source.plain = add(both.plain, {});
    if (entry != route.entries.end()) {
      source.probability = std::clamp(entry->probability, kMinProbability, 1.0);
      if (entry->searched_again) source.own = add(both.dense, {entry->scale, entry->shift});
    }
    source.lexical = add(both.lexical, {});
    made.sources.push_back(source);
  }
  return made;
}

Result<std::vector<RankedHit>> rank_hits(
    const Ranker& ranker, const Route& route,
    const std::map<std::string, CollectionRankings, std::less<>>& rankings, std::size_t k) {
  const RankerLists made = ranker_lists(route, rankings);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto ranked, ranker.rank(made.sources, k));
  std::vector<RankedHit> hits;
  hits.reserve(ranked.size());
  for (const RankedCandidate& one : ranked) {
    const CollectionRankings& both = rankings.find(made.sources[one.source].collection)->second;
    const auto& dense = made.sources[one.source].own.empty() ? both.plain : both.dense;
    RankedHit found{one.dense != index::kNotRanked ? dense[one.dense] : both.lexical[one.lexical],
                    one};
    found.hit.score = static_cast<float>(one.probability);
    found.candidate.id = {};
    hits.push_back(std::move(found));
  }
  return hits;
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
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto lexical,
          corpus_->search_lexical(collection.name, lexical_query(set.texts[q]), kFusionDepth));
      one.dense = ranking_of(dense);
      one.lexical = ranking_of(lexical);
      for (std::size_t r = 0; r < set.relevant[q].size(); ++r)
        one.judgments[collection.document_ids[set.relevant[q][r]]] = double{set.gains[q][r]};
      cases.push_back(std::move(one));
    }
  }
  return choose_fusion(dev, index::FusionRule::kZScore);
}

}  // namespace collegium::router
