#include "evaluation_meter.h"

#include <algorithm>

namespace collegium::router {

RankingMeter::RankingMeter(const LearningData& data, Split split) : data_(data), split_(split) {
  for (const CollectionData& collection : data.collections) names_.push_back(collection.name);
}

std::size_t RankingMeter::position_of(std::string_view collection) const {
  return static_cast<std::size_t>(std::lower_bound(names_.begin(), names_.end(), collection) -
                                  names_.begin());
}

bool RankingMeter::is_here(std::size_t position, std::string_view collection) const {
  return position < names_.size() && names_[position] == collection;
}

RankedOutcome RankingMeter::measure_places(QueryRef query,
                                           const std::vector<Place>& ranking) const {
  const QuerySet& queries =
      data_.collections[query.collection].splits[static_cast<std::size_t>(split_)];
  std::vector<std::size_t> ranks;
  for (std::uint32_t relevant : queries.relevant[query.query]) {
    std::size_t rank = 0;
    while (rank < ranking.size() && !(ranking[rank].found.document == relevant &&
                                      ranking[rank].collection == query.collection))
      ++rank;
    ranks.push_back(rank < ranking.size() ? rank : kEvaluationDepth);
  }
  RankedOutcome outcome = outcome_of(ranks, queries.gains[query.query]);
  if (!ranking.empty()) {
    outcome.first_collection = static_cast<std::uint32_t>(ranking[0].collection);
    outcome.first_document = ranking[0].found.document;
  }
  return outcome;
}

Outcome RankingMeter::measure(QueryRef query, const FoundDocuments& found, std::size_t at) const {
  std::vector<Place> merged, alone;
  for (std::size_t c = 0; c < found.size(); ++c)
    for (const ScoredDocument& document : found[c][at]) merged.push_back({c, document});
  for (const ScoredDocument& document : found[query.collection][at])
    alone.push_back({query.collection, document});
  const std::size_t kept = std::min(kEvaluationDepth, merged.size());
  std::partial_sort(
      merged.begin(), merged.begin() + static_cast<std::ptrdiff_t>(kept), merged.end(),
      [&](const Place& a, const Place& b) {
        if (a.found.score != b.found.score) return a.found.score > b.found.score;
        const auto& a_id = data_.collections[a.collection].document_ids[a.found.document];
        const auto& b_id = data_.collections[b.collection].document_ids[b.found.document];
        return a_id != b_id ? a_id < b_id : a.collection < b.collection;
      });
  merged.resize(kept);
  return {measure_places(query, alone), measure_places(query, merged)};
}

RankedOutcome RankingMeter::measure(QueryRef query, const std::vector<index::Hit>& hits) const {
  std::vector<Place> ranking;
  for (std::size_t i = 0; i < std::min(hits.size(), kEvaluationDepth); ++i) {
    Place place{position_of(hits[i].collection), {kNoDocument, hits[i].score}};
    if (is_here(place.collection, hits[i].collection)) {
      const auto& ids = data_.collections[place.collection].document_ids;
      const auto at = std::lower_bound(ids.begin(), ids.end(), hits[i].document_id);
      if (at != ids.end() && *at == hits[i].document_id)
        place.found.document = static_cast<std::uint32_t>(at - ids.begin());
    }
    ranking.push_back(place);
  }
  return measure_places(query, ranking);
}

std::vector<index::Hit> RankingMeter::hits_of(std::size_t collection,
                                              const std::vector<ScoredDocument>& documents,
                                              std::size_t k) const {
  std::vector<index::Hit> hits(std::min(k, documents.size()));
  for (std::size_t i = 0; i < hits.size(); ++i) {
    hits[i].collection = names_[collection];
    hits[i].document_id = data_.collections[collection].document_ids[documents[i].document];
    hits[i].score = documents[i].score;
  }
  return hits;
}

}  // namespace collegium::router
