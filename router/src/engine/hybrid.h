#pragma once

#include <map>
#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "collegium/index/fusion.h"
#include "collegium/router/fusion_choice.h"
#include "collegium/router/ranker.h"
#include "collegium/router/router.h"

namespace collegium::router {

// A collection's documents for one question, best first, as its own expert and as its words rank
// them.
struct CollectionRankings {
  std::vector<index::Hit> dense, lexical;
  index::FusionOptions fusion;
  std::vector<index::Hit> plain;  // as the plain encoder does
};

// How many documents of each ranking are fused.
inline constexpr std::size_t kFusionDepth = 100;

// The rule that merges fused rankings of several collections. Fused scores of two collections do
// not compare, dense ones do: so `merged`, the dense merge, says how many places each collection
// has and where, with what score; which of its documents stands there is the fused ranking's to
// say. With one collection that is the fused ranking. Collections without rankings keep their
// documents.
Result<std::vector<index::Hit>> fill_places(
    std::vector<index::Hit> merged,
    const std::map<std::string, CollectionRankings, std::less<>>& rankings);

// The other rule: the documents of all rankings by a ranker, at most `k` of them, whose scores are
// probabilities of relevance.
struct RankedHit {
  index::Hit hit;
  RankedCandidate candidate;  // its `source` and `id` mean nothing here
};
Result<std::vector<RankedHit>> rank_hits(
    const Ranker& ranker, const Route& route,
    const std::map<std::string, CollectionRankings, std::less<>>& rankings, std::size_t k);

// One collection after another, as a ranker reads them. Looks into what it was made from.
struct RankerLists {
  std::vector<std::vector<index::RankedDocument>> lists;
  std::vector<RankerSource> sources;
};
RankerLists ranker_lists(const Route& route,
                         const std::map<std::string, CollectionRankings, std::less<>>& rankings);

// The question's words, without what each of them gave.
index::LexicalQuery lexical_query(std::string_view question);

// For fuse() and choose_fusion(); the first borrows the ids.
std::vector<index::RankedDocument> documents_of(const std::vector<index::Hit>& hits);
Ranking ranking_of(const std::vector<index::Hit>& hits);

}  // namespace collegium::router
