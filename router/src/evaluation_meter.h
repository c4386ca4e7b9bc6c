#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/index/corpus.h"
#include "evaluation_outcomes.h"

namespace collegium::router {

// Results of one block of query vectors: [collection][vector].
using FoundDocuments = std::vector<std::vector<std::vector<ScoredDocument>>>;

// Measures rankings of the documents of `data`, whatever produced them. `data` must outlive it.
class RankingMeter {
 public:
  RankingMeter(const LearningData& data, Split split);

  const std::vector<std::string>& names() const noexcept { return names_; }  // of collections
  std::size_t position_of(std::string_view collection) const;
  bool is_here(std::size_t position, std::string_view collection) const;

  // The results of vector `at`: the query's own collection alone, and all of them merged by
  // (score descending, id bytewise ascending, collection).
  Outcome measure(QueryRef query, const FoundDocuments& found, std::size_t at) const;
  // Hits in rank order; those of documents that are not in `data` hold their places.
  RankedOutcome measure(QueryRef query, const std::vector<index::Hit>& hits) const;
  // The first k of one collection's results as hits.
  std::vector<index::Hit> hits_of(std::size_t collection,
                                  const std::vector<ScoredDocument>& documents,
                                  std::size_t k) const;

 private:
  struct Place {
    std::size_t collection = 0;
    ScoredDocument found;
  };
  RankedOutcome measure_places(QueryRef query, const std::vector<Place>& ranking) const;

  const LearningData& data_;
  const Split split_;
  std::vector<std::string> names_;
};

}  // namespace collegium::router
