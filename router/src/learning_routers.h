#pragma once

#include <vector>

#include "collegium/router/learning.h"
#include "learning_data.h"

namespace collegium::router {

// Each document counts the same, however many passages it has. (collections, dim)
std::vector<float> document_centroids(const LearningData& data);

// Its dev queries are all that routers can learn it from.
inline bool only_dev(const CollectionData& collection) {
  return collection.splits[0].size() == 0 && collection.splits[1].size() > 0;
}

// Fits the routers that `options` ask for and chooses one: fills `routers`, `router`,
// `router_dev_accuracy` and `blind_routers`. Reads `adapters`.
Status fit_routers(const LearningData& data, const PackedLibrary& library,
                   const LearnOptions& options, Learned& learned);

}  // namespace collegium::router
