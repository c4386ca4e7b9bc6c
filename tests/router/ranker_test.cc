#include "collegium/router/ranker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "collegium/core/random.h"
#include "collegium/router/metrics.h"

namespace collegium::router {
namespace {

using index::RankedDocument;
using testing::ElementsAre;

std::size_t feature(std::string_view name) {
  const auto at = std::find(kRankerFeatureNames.begin(), kRankerFeatureNames.end(), name);
  EXPECT_NE(at, kRankerFeatureNames.end());
  return static_cast<std::size_t>(at - kRankerFeatureNames.begin());
}

TEST(RankerCandidates, FeaturesAreWhatTheirNamesSay) {
  const std::vector<RankedDocument> plain{{"a", 0.9}, {"b", 0.5}}, own{{"b", 0.8}, {"a", 0.6}},
      lexical{{"c", 8.0}, {"a", 4.0}}, other{{"x", 0.7}}, words{{"x", 16.0}};
  const std::vector<RankerSource> sources{{"law", 0.25, plain, own, lexical},
                                          {"music", 0.5, other, {}, words}};
  const auto found = ranker_candidates(sources).value();
  ASSERT_EQ(found.size(), 4u);
  std::vector<std::string> ids;
  for (const auto& one : found) ids.emplace_back(one.id);
  EXPECT_THAT(ids, ElementsAre("b", "a", "c", "x"));
  const auto value = [&](std::size_t i, std::string_view name) {
    return double{found[i].features[feature(name)]};
  };
  EXPECT_FLOAT_EQ(value(0, "plain"), 0.5);
  EXPECT_FLOAT_EQ(value(0, "own"), 0.8);
  EXPECT_FLOAT_EQ(value(0, "lexical z"), -1.0);  // no better than the last, 4 of 8 and 4
  EXPECT_FLOAT_EQ(value(0, "lexical share"), 0.25);
  EXPECT_FLOAT_EQ(value(0, "prior"), std::log(0.25));
  EXPECT_FLOAT_EQ(value(2, "plain"), 0.5);  // c: words alone found it
  EXPECT_FLOAT_EQ(value(2, "own"), 0.6);
  EXPECT_FLOAT_EQ(value(3, "own"), 0.7);  // x: no expert, as plain
  EXPECT_FLOAT_EQ(value(3, "lexical share"), 1.0);
  EXPECT_EQ(found[2].dense, index::kNotRanked);
  EXPECT_EQ(found[1].lexical, 1u);
}

// Queries of two collections, whose relevant document is told by words in "words" and by the expert
// in "vectors"; the other list says nothing. Scores of "loud" vectors are higher everywhere.
struct World {
  std::vector<std::string> ids;
  std::vector<std::vector<RankedDocument>> lists;  // two of each collection
  std::vector<RankerSource> sources;
  std::string_view collection;
  Judgments judgments;
};

World make_query(core::Random& random, bool words) {
  World world;
  world.collection = words ? "words" : "vectors";
  for (int i = 0; i < 40; ++i) world.ids.push_back("d" + std::to_string(i));
  const auto list = [&](std::size_t first, double base, double told) {
    std::vector<RankedDocument> documents;
    for (std::size_t i = 0; i < 20; ++i)
      documents.push_back({world.ids[first + i], base + 0.1 * random.normal()});
    documents[7].score += told;
    std::sort(documents.begin(), documents.end(),
              [](const auto& a, const auto& b) { return a.score > b.score; });
    return documents;
  };
  world.lists.push_back(list(0, 0.5, words ? 0.0 : 0.3));  // vectors
  world.lists.push_back(list(0, 10.0, 0.0));
  world.lists.push_back(list(20, 0.4, 0.0));  // words
  world.lists.push_back(list(20, 10.0, words ? 0.3 : 0.0));
  world.sources = {{"vectors", words ? 0.3 : 0.7, world.lists[0], {}, world.lists[1]},
                   {"words", words ? 0.7 : 0.3, world.lists[2], {}, world.lists[3]}};
  world.judgments[world.ids[words ? 27 : 7]] = 1.0;
  return world;
}

RankerExamples make_examples(std::size_t n, std::uint64_t seed) {
  core::Random random(seed);
  RankerExamples examples;
  for (std::size_t i = 0; i < n; ++i) {
    const World world = make_query(random, i % 4 < 2);
    EXPECT_TRUE(examples.add(world.collection, world.sources, world.judgments).ok());
  }
  return examples;
}

TEST(Ranker, WeighsWordsAndVectorsAsEachCollectionNeedsThem) {
  const auto ranker = Ranker::fit(make_examples(400, 1)).value();
  EXPECT_THAT(ranker->collections(), ElementsAre("vectors", "words"));
  const auto weight = [&](std::string_view collection, std::string_view name) {
    return ranker->explain(collection, {})[feature(name)].weight;
  };
  EXPECT_GT(weight("vectors", "own"), weight("words", "own") + 0.5);
  EXPECT_GT(weight("words", "lexical z"), weight("vectors", "lexical z") + 0.5);
  core::Random random(9);
  double first = 0.0, by_score = 0.0;
  constexpr int kFresh = 300;
  for (int i = 0; i < kFresh; ++i) {
    const World world = make_query(random, i % 2 == 0);
    const auto ranked = ranker->rank(world.sources, 10).value();
    ASSERT_EQ(ranked.size(), 10u);
    first += world.judgments.contains(std::string(ranked[0].id)) ? 1.0 : 0.0;
    const bool loud = world.lists[0][0].score > world.lists[2][0].score;
    const auto& best = world.lists[loud ? 0 : 2][0];
    by_score += world.judgments.contains(std::string(best.id)) ? 1.0 : 0.0;
  }
  EXPECT_GT(first / kFresh, 0.75);
  EXPECT_LT(by_score / kFresh, 0.5);  // what merging by the score finds
}

TEST(Ranker, ItsProbabilityIsTheShareOfRelevantDocuments) {
  const auto ranker = Ranker::fit(make_examples(600, 2)).value();
  core::Random random(11);
  std::array<double, 10> predicted{}, relevant{}, counts{};
  for (int i = 0; i < 800; ++i) {
    const World world = make_query(random, i % 2 == 0);
    const auto ranked = ranker->rank(world.sources, 10).value();
    for (const RankedCandidate& one : ranked) {
      const auto bin = std::min<std::size_t>(9, static_cast<std::size_t>(10.0 * one.probability));
      predicted[bin] += one.probability;
      relevant[bin] += world.judgments.contains(std::string(one.id)) ? 1.0 : 0.0;
      counts[bin] += 1.0;
    }
  }
  double error = 0.0, all = 0.0;  // the expected calibration error
  for (std::size_t bin = 0; bin < 10; ++bin) {
    error += std::abs(predicted[bin] - relevant[bin]);
    all += counts[bin];
  }
  EXPECT_LT(error / all, 0.03);
}

TEST(Ranker, ACollectionThatTaughtNothingHasTheSharedWeights) {
  const auto ranker = Ranker::fit(make_examples(200, 3)).value();
  RankerOptions stiff;
  stiff.l2_collection = 1e9;
  const auto same = Ranker::fit(make_examples(200, 3), stiff).value();
  RankedCandidate features;
  features.features.fill(0.5f);
  for (std::size_t f = 0; f <= kRankerFeatures; ++f) {
    EXPECT_NEAR(same->explain("words", features)[f].weight,
                same->explain("vectors", features)[f].weight, 1e-4);
    EXPECT_EQ(ranker->explain("new", features)[f].weight,
              ranker->explain("newer", features)[f].weight);
  }
}

TEST(Ranker, TheRoutersDoubtDoesNotHideACollectionThatTaughtNothing) {
  const auto ranker = Ranker::fit(make_examples(200, 3)).value();
  const std::vector<RankedDocument> list{{"a", 0.9}};
  const auto prior = [&](std::string_view name) {
    const std::vector<RankerSource> sources{{name, 1e-6, list, {}, {}}};
    return ranker->rank(sources, 1).value()[0].features[feature("prior")];
  };
  EXPECT_EQ(prior("words"), kRankerLeastPrior);
  EXPECT_EQ(prior("new"), kRankerUnknownPrior);
}

// By hand: a ranker that learned from the other collection's queries alone ranks the stranger's
// lists.
TEST(Ranker, WhatStrangersFindIsWhatARankerOfTheOthersRanksForThem) {
  core::Random random(7);
  std::vector<World> known, strange;
  for (std::size_t i = 0; i < 200; ++i) known.push_back(make_query(random, i % 4 < 2));
  for (std::size_t i = 0; i < 60; ++i) strange.push_back(make_query(random, i % 3 == 0));
  const auto examples_of = [](const std::vector<World>& worlds, std::string_view but) {
    RankerExamples examples;
    for (const World& world : worlds) {
      if (world.collection == but) continue;
      EXPECT_TRUE(examples.add(world.collection, world.sources, world.judgments).ok());
    }
    return examples;
  };
  const auto found = Ranker::stranger_ndcg(examples_of(known, ""), examples_of(strange, ""));
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  ASSERT_EQ(found->size(), strange.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < strange.size(); ++i) {
    const auto others = Ranker::fit(examples_of(known, strange[i].collection)).value();
    const auto ranked = others->rank(strange[i].sources, 10);
    ASSERT_TRUE(ranked.ok());
    Ranking ranking;
    for (const RankedCandidate& one : *ranked)
      ranking.emplace_back(one.id, -static_cast<double>(ranking.size()));
    EXPECT_NEAR((*found)[i], ndcg_at(10, ranking, strange[i].judgments), 1e-12) << i;
    sum += (*found)[i];
  }
  EXPECT_GT(sum, 5.0);
  EXPECT_LT(sum, 59.0);
  // Of one collection nothing is left.
  EXPECT_EQ(Ranker::stranger_ndcg(examples_of(known, "words"), examples_of(strange, "words"))
                .status()
                .code(),
            StatusCode::kFailedPrecondition);
}

TEST(Ranker, WhatExplainGivesSumsToTheScore) {
  const auto ranker = Ranker::fit(make_examples(100, 4)).value();
  core::Random random(5);
  const World world = make_query(random, true);
  const auto ranked = ranker->rank(world.sources, 5).value();
  for (const RankedCandidate& one : ranked) {
    double sum = 0.0;
    for (const auto& part : ranker->explain(world.sources[one.source].collection, one))
      sum += part.given;
    EXPECT_NEAR(sum, one.score, 1e-9);
    EXPECT_NEAR(one.probability, 1.0 / (1.0 + std::exp(-one.score)), 1e-12);
  }
}

TEST(Ranker, EqualScoresGoByIdThenCollection) {
  const auto ranker = Ranker::fit(make_examples(100, 4)).value();
  const std::vector<RankedDocument> list{{"b", 0.5}, {"c", 0.5}};
  const std::vector<RankerSource> sources{{"y", 0.5, list, {}, {}}, {"x", 0.5, list, {}, {}}};
  std::vector<std::string> names;
  const auto ranked = ranker->rank(sources, 4).value();
  for (const auto& one : ranked)
    names.push_back(std::string(sources[one.source].collection) + std::string(one.id));
  EXPECT_THAT(names, ElementsAre("xb", "yb", "xc", "yc"));
}

TEST(Ranker, IsTheSameWhenReadBackAndDamageIsATypedError) {
  const auto ranker = Ranker::fit(make_examples(60, 6)).value();
  const auto bytes = ranker->serialize();
  EXPECT_EQ(Ranker::fit(make_examples(60, 6)).value()->serialize(), bytes);
  const auto loaded = Ranker::deserialize(bytes);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ((*loaded)->serialize(), bytes);
  EXPECT_EQ((*loaded)->queries(), 60u);
  for (std::size_t size = 0; size < bytes.size(); size += size < 300 ? 1 : 11)
    EXPECT_EQ(Ranker::deserialize(std::span(bytes).first(size)).status().code(),
              StatusCode::kCorruption)
        << size;
  auto other = bytes;
  other[8] = std::byte{'X'};  // the first feature's name
  EXPECT_EQ(Ranker::deserialize(other).status().code(), StatusCode::kNotSupported);
  core::Random random(3);
  for (int i = 0; i < 500; ++i) {
    auto lying = bytes;
    lying[random.below(lying.size())] = static_cast<std::byte>(random.below(256));
    (void)Ranker::deserialize(lying);
  }
}

TEST(Ranker, BadInputIsATypedError) {
  const std::vector<RankedDocument> good{{"a", 0.5}};
  const std::vector<RankedDocument> bad{{"a", std::numeric_limits<double>::quiet_NaN()}};
  RankerExamples examples;
  for (double p : {0.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    const std::vector<RankerSource> sources{{"x", p, good, {}, {}}};
    EXPECT_EQ(ranker_candidates(sources).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(examples.add("x", sources, {}).code(), StatusCode::kInvalidArgument);
  }
  const std::vector<RankerSource> poisoned{{"x", 1.0, good, {}, bad}};
  EXPECT_EQ(ranker_candidates(poisoned).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Ranker::fit(examples).status().code(), StatusCode::kFailedPrecondition);
  const std::vector<RankerSource> sources{{"x", 1.0, good, {}, {}}};
  EXPECT_TRUE(examples.add("x", sources, {{"z", 1.0}}).ok());  // not among the candidates
  EXPECT_EQ(Ranker::fit(examples).status().code(), StatusCode::kFailedPrecondition);
  RankerOptions options;
  options.l2_collection = 0.0;
  EXPECT_EQ(Ranker::fit(examples, options).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(ranker_candidates({}).value().empty());
}

}  // namespace
}  // namespace collegium::router
