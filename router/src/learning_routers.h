#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "collegium/router/learning.h"
#include "learning_data.h"

namespace collegium::router {

// Each document counts the same, however many passages it has. (collections, dim)
std::vector<float> document_centroids(const LearningData& data);

// A kind of router that `options` ask for.
struct FittedRouter {
  std::shared_ptr<const Router> router;
  std::vector<std::shared_ptr<const Router>> blind;      // as Learned::blind_routers
  std::vector<std::shared_ptr<const Router>> strangers;  // as Learned::stranger_routers
  double accuracy = 0.0;  // on dev queries that it did not see, mean over collections; 0: none
};

struct FittedRouters {
  std::vector<FittedRouter> candidates;            // that one is chosen of; at least one
  std::vector<std::shared_ptr<const Router>> all;  // in the order that they are fitted in
  std::map<std::string, double> dev_accuracy;      // by Router::kind()
};
Result<FittedRouters> fit_routers(const LearningData& data, const PackedLibrary& library,
                                  const LearnOptions& options,
                                  const std::map<std::string, core::TrainedHeadAdapter>& adapters);

// The router of these that may say where a dev query goes, where that takes part in a choice.
inline const Router& router_for_dev(const FittedRouter& fitted, QueryRef ref) {
  return fitted.blind.empty() ? *fitted.router : *fitted.blind[ref.query % 2];
}

}  // namespace collegium::router
