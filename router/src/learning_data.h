#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/router/learning.h"
#include "memory_search.h"

// What learning and evaluation share: checked data, packed for searching.
namespace collegium::router {

struct PackedLibrary {
  std::vector<MemoryCollection> collections;  // parallel to LearningData::collections
};

// invalid_argument where `data` disagrees with itself; the message names collection and query.
Result<PackedLibrary> pack_library(const LearningData& data);

inline core::JudgedQueries judged(const QuerySet& queries) {
  return {queries.vectors, queries.relevant, queries.gains};
}

// What an expert of `collection` learns from.
inline core::JudgedQueries training_queries(const CollectionData& collection) {
  core::JudgedQueries queries = judged(collection.splits[static_cast<std::size_t>(Split::kTrain)]);
  queries.hard = collection.hard;
  queries.teacher = collection.teacher;
  return queries;
}

// By collection of `data`; null: it has none.
using Experts = std::vector<const core::HeadAdapter*>;
Experts experts_of(const LearningData& data,
                   const std::map<std::string, core::TrainedHeadAdapter>& adapters);

// Neither routers nor anything else has a question of it.
inline bool guessed(const CollectionData& collection) {
  return collection.splits[0].size() == 0 && collection.splits[1].size() == 0;
}
// Its dev queries are all that routers can learn it from.
inline bool only_dev(const CollectionData& collection) {
  return collection.splits[0].size() == 0 && collection.splits[1].size() > 0;
}

// A query of a LearningData: (collection, position in its split).
struct QueryRef {
  std::size_t collection = 0;
  std::size_t query = 0;
};

// At most `per_collection` queries of each collection, evenly spread.
std::vector<QueryRef> sample_queries(const LearningData& data, Split split,
                                     std::size_t per_collection);

inline const float* vector_of(const LearningData& data, Split split, QueryRef ref) {
  return &data.collections[ref.collection]
              .splits[static_cast<std::size_t>(split)]
              .vectors[ref.query * data.dim];
}

// What a collection's questions find where nobody labelled it is told by what learned nothing of
// it, nor of the others of its group.
inline constexpr std::size_t kStrangerGroups = 3;

// Settings whose nDCG differs by less than this are as good as each other.
inline constexpr double kNegligible = 0.0005;

// nDCG@k of the relevant documents' ranks (from 0); ranks of k and more count nothing. `gains`
// parallel to `ranks`; the ideal is over all of them.
double ndcg_at(std::size_t k, std::span<const std::size_t> ranks, std::span<const float> gains);
inline double ndcg_at_10(std::span<const std::size_t> ranks, std::span<const float> gains) {
  return ndcg_at(10, ranks, gains);
}

// The mean over collections of the mean over their queries.
double macro_mean(std::span<const QueryRef> queries, std::span<const double> values,
                  std::size_t num_collections);

}  // namespace collegium::router
