// What dev chooses the router by.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "collegium/router/learning.h"
#include "synthetic.h"

namespace collegium::router {
namespace {

// Every document scored, one by one. Documents have one passage each.
CollectionSearch search_of(const LearningData& data) {
  return [&data](std::string_view name, std::span<const float> query,
                 std::size_t k) -> Result<std::vector<index::Hit>> {
    const auto& collection = *std::ranges::find(data.collections, name, &CollectionData::name);
    std::vector<index::Hit> hits;
    for (std::size_t d = 0; d < collection.document_ids.size(); ++d) {
      double score = 0.0;
      for (std::size_t i = 0; i < data.dim; ++i)
        score += double{query[i]} * double{collection.vectors[d * data.dim + i]};
      index::Hit hit;
      hit.collection = collection.name;
      hit.document_id = collection.document_ids[d];
      hit.score = static_cast<float>(score);
      hits.push_back(hit);
    }
    std::ranges::stable_sort(hits, std::greater<>(), &index::Hit::score);
    hits.resize(std::min(k, hits.size()));
    return hits;
  };
}

// A question of dev with one relevant document.
double ndcg_of(const std::vector<index::Hit>& hits, const CollectionData& collection,
               std::uint32_t relevant) {
  for (std::size_t rank = 0; rank < std::min<std::size_t>(10, hits.size()); ++rank)
    if (hits[rank].collection == collection.name &&
        hits[rank].document_id == collection.document_ids[relevant])
      return 1.0 / std::log2(static_cast<double>(rank) + 2.0);
  return 0.0;
}

// The mean over collections of what their dev questions find under bound and routed, known to the
// router and, with another router, not.
double value_by_hand(const LearningData& data, const Learned& learned) {
  const CollectionSearch search = search_of(data);
  std::vector<std::string> names;
  for (const auto& collection : data.collections) names.push_back(collection.name);
  double value = 0.0;
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const CollectionData& collection = data.collections[c];
    const QuerySet& dev = collection.splits[1];
    for (std::size_t q = 0; q < dev.size(); ++q)
      for (const bool strange : {false, true})
        for (const Policy policy : {Policy::kBound, Policy::kRouted}) {
          PolicyParameters parameters = learned.policy;
          parameters.policy = policy;
          auto adapters = learned.adapters;
          if (strange) {
            parameters.guessed.insert(collection.name);
            adapters.erase(collection.name);
          }
          PolicyInput input;
          input.collections = names;
          input.adapters = &adapters;
          input.router = strange ? learned.stranger_routers.at(c).get() : learned.router.get();
          input.query = std::span(dev.vectors).subspan(q * data.dim, data.dim);
          const auto result = run_policy(parameters, input, search);
          EXPECT_TRUE(result.ok()) << result.status().to_string();
          if (!result.ok()) return 0.0;
          EXPECT_EQ(dev.relevant[q].size(), 1u);
          value += ndcg_of(result->hits, collection, dev.relevant[q].front()) / 4.0 /
                   static_cast<double>(dev.size());
        }
  }
  return value / static_cast<double>(data.collections.size());
}

TEST(RouterChoice, WhatItIsChosenByIsWhatPoliciesFindForKnownQuestionsAndStrangers) {
  for (const std::uint64_t seed : {1u, 2u}) {
    SyntheticOptions options;
    options.seed = seed;
    options.own_signs = true;
    const Synthetic world(options);
    for (const char* kind : {"auto", "nearest", "gaussians"}) {
      LearnOptions how = quick_learning();
      how.router = kind;
      const auto learned = learn(world.data, how);
      ASSERT_TRUE(learned.ok()) << learned.status().to_string();
      EXPECT_EQ(learned->router_dev_ndcg.size(), std::string(kind) == "auto" ? 4u : 1u);
      EXPECT_NEAR(learned->router_dev_ndcg.at(std::string(learned->router->kind())),
                  value_by_hand(world.data, *learned), 1e-9)
          << kind << " " << learned->router->kind();
    }
  }
}

TEST(RouterChoice, NoOtherRouterFindsMuchMore) {
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    SyntheticOptions options;
    options.collections = 6;
    options.seed = seed;
    options.own_signs = true;
    const Synthetic world(options);
    const auto learned = learn(world.data, quick_learning());
    ASSERT_TRUE(learned.ok()) << learned.status().to_string();
    const double chosen = learned->router_dev_ndcg.at(std::string(learned->router->kind()));
    for (const auto& [kind, ndcg] : learned->router_dev_ndcg)
      EXPECT_LT(ndcg, chosen + 0.02) << kind;
  }
}

}  // namespace
}  // namespace collegium::router
