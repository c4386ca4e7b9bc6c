// Every kind of router against the definition it is named after, in plain loops here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <set>

#include "collegium/core/random.h"
#include "collegium/router/router.h"

namespace collegium::router {
namespace {

constexpr std::size_t kDim = 12;
using Aggregate = RouterOptions::Aggregate;

void append_unit(std::vector<double> vector, std::vector<float>& to) {
  double sum = 0.0;
  for (double x : vector) sum += x * x;
  for (double x : vector) to.push_back(static_cast<float>(x / std::sqrt(sum)));
}

// Queries of collection c lie around axis c (`modes` 1), or around axes c and c + 6 by turns (2).
RouterExamples make_examples(const std::vector<std::size_t>& counts, double spread,
                             std::uint64_t seed, std::size_t modes = 1) {
  core::Random random(seed);
  RouterExamples examples;
  examples.dim = kDim;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    examples.collections.push_back("set" + std::to_string(c));
    for (std::size_t d = 0; d < kDim; ++d) examples.centroids.push_back(d == c ? 0.7f : 0.0f);
    for (std::size_t i = 0; i < counts[c]; ++i) {
      std::vector<double> query(kDim, 0.0);
      query[i % modes == 0 ? c : c + 6] = 1.0;
      for (double& x : query) x += spread * random.normal();
      append_unit(query, examples.vectors);
      examples.labels.push_back(static_cast<std::uint32_t>(c));
    }
  }
  return examples;
}

// Two collections at the corners of a square, each on one diagonal: not linearly separable.
RouterExamples make_square(std::size_t each, std::uint64_t seed) {
  core::Random random(seed);
  RouterExamples examples;
  examples.dim = kDim;
  examples.collections = {"one", "other"};
  examples.centroids.assign(2 * kDim, 0.1f);
  for (std::size_t i = 0; i < 2 * each; ++i) {
    const std::size_t corner = i % 4;
    std::vector<double> query(kDim, 0.0);
    query[0] = corner == 0 || corner == 2 ? 1.0 : -1.0;
    query[1] = corner == 0 || corner == 3 ? 1.0 : -1.0;
    for (double& x : query) x += 0.2 * random.normal();
    append_unit(query, examples.vectors);
    examples.labels.push_back(query[0] * query[1] > 0.0 ? 0 : 1);
  }
  return examples;
}

std::vector<float> probabilities(const Router& router, const float* query) {
  std::vector<float> p(router.collections().size());
  router.probabilities(query, p);
  return p;
}

std::size_t choice(const Router& router, const float* query) {
  const auto p = probabilities(router, query);
  return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
}

double accuracy(const Router& router, const RouterExamples& examples) {
  double right = 0.0;
  for (std::size_t i = 0; i < examples.labels.size(); ++i)
    right += choice(router, &examples.vectors[i * examples.dim]) == examples.labels[i] ? 1.0 : 0.0;
  return right / static_cast<double>(examples.labels.size());
}

std::span<const float> query_of(const RouterExamples& examples, std::size_t i) {
  return {&examples.vectors[i * examples.dim], examples.dim};
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += double{a[d]} * double{b[d]};
  return sum;
}

TEST(RouterKinds, AllTellSeparableCollectionsApartAndAreTheSameWhenReadBack) {
  const auto train = make_examples({60, 60, 60}, 0.15, 1),
             dev = make_examples({30, 30, 30}, 0.15, 2);
  const auto fresh = make_examples({40, 40, 40}, 0.15, 3);
  for (std::string_view kind : router_kinds()) {
    RouterOptions options;
    options.categories = 3;
    const auto router = fit_router(kind, train, dev, options).value();
    EXPECT_EQ(router->kind(), kind);
    EXPECT_GE(accuracy(*router, fresh), 0.97) << kind;
    const auto p = probabilities(*router, fresh.vectors.data());
    EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1.0, 1e-5) << kind;
    const auto bytes = router->serialize();
    const auto loaded = deserialize_router(bytes);
    ASSERT_TRUE(loaded.ok()) << kind << loaded.status().to_string();
    EXPECT_EQ(probabilities(**loaded, fresh.vectors.data()), p) << kind;
    EXPECT_EQ((*loaded)->serialize(), bytes) << kind;
    const auto route = router->route(query_of(fresh, 50)).value();
    EXPECT_EQ(route.entries.front().collection, "set1") << kind;
    EXPECT_GE(route.entries[0].probability, route.entries[1].probability);
    const auto reasons = router->explain(query_of(fresh, 50)).value();
    ASSERT_EQ(reasons.size(), 3u);
    EXPECT_EQ(reasons.front().collection, "set1");
    EXPECT_NE(reasons.front().why, "");
    // The farthest there is.
    std::vector<float> stranger(kDim, 0.0f);
    stranger[kDim - 1] = -1.0f;
    EXPECT_EQ(router->familiarity(stranger.data()), 0.0f) << kind;
  }
}

TEST(RouterKinds, EveryTruncatedOrLyingFileIsATypedError) {
  const auto train = make_examples({6, 6}, 0.2, 1);
  for (std::string_view kind : router_kinds()) {
    RouterOptions options;
    options.hidden = 3;
    const auto whole = fit_router(kind, train, {}, options).value()->serialize();
    for (std::size_t size = 0; size < whole.size(); size += size < 96 ? 1 : 17)
      EXPECT_EQ(deserialize_router(std::span(whole).first(size)).status().code(),
                StatusCode::kCorruption)
          << kind << " " << size;
    core::Random random(3);
    for (int i = 0; i < 300; ++i) {  // whatever it says, it is read or refused
      auto lying = whole;
      lying[random.below(lying.size())] = static_cast<std::byte>(random.below(256));
      const auto read = deserialize_router(lying);
      if (read.ok()) probabilities(**read, train.vectors.data());
    }
  }
}

TEST(RouterKinds, BadInputIsATypedError) {
  const auto good = make_examples({9, 9}, 0.3, 1);
  const auto refused = [&](std::string_view kind, const auto& change) {
    RouterOptions options;
    change(options);
    EXPECT_EQ(fit_router(kind, good, {}, options).status().code(), StatusCode::kInvalidArgument);
  };
  refused("oracle", [](RouterOptions&) {});
  refused("mlp", [](RouterOptions& options) { options.hidden = 0; });
  refused("mlp", [](RouterOptions& options) { options.epochs = 0; });
  refused("linear", [](RouterOptions& options) { options.label_smoothing = 1.0; });
  refused("pilots-source", [](RouterOptions& options) { options.top_k = 0; });
  refused("two-step", [](RouterOptions& options) { options.costs = {1.0}; });
  refused("two-step", [](RouterOptions& options) {
    options.costs = {1.0, std::numeric_limits<double>::quiet_NaN()};
  });
  refused("two-step", [](RouterOptions& options) {
    options.costs = {2.0, 3.0};
    options.budget = 1.0;
  });
  auto bad = good;
  bad.quality = {1.0f};
  EXPECT_EQ(fit_router("two-step", bad, {}).status().code(), StatusCode::kInvalidArgument);
  for (std::string_view kind : router_kinds()) {
    const auto router = fit_router(kind, good, {}).value();
    std::vector<float> query(kDim, 0.1f);
    query[2] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(router->route(query).status().code(), StatusCode::kInvalidArgument) << kind;
    EXPECT_EQ(router->explain(query).status().code(), StatusCode::kInvalidArgument) << kind;
    query.pop_back();
    EXPECT_EQ(router->route(query).status().code(), StatusCode::kInvalidArgument) << kind;
  }
}

TEST(RouterKinds, OneCollectionIsCertainAndOneWithoutQueriesIsFoundByItsCentroid) {
  for (std::string_view kind : router_kinds()) {
    const auto alone = fit_router(kind, make_examples({8}, 0.2, 1), make_examples({4}, 0.2, 2));
    ASSERT_TRUE(alone.ok()) << kind;
    EXPECT_EQ(probabilities(**alone, make_examples({1}, 0.2, 3).vectors.data())[0], 1.0f) << kind;
    RouterOptions options;
    options.categories = 3;
    options.epochs = 100;
    const auto router = fit_router(kind, make_examples({40, 0, 40}, 0.15, 1),
                                   make_examples({20, 0, 20}, 0.15, 2), options);
    ASSERT_TRUE(router.ok()) << kind;
    // What no query stands for, no category is sent to.
    if (kind == "two-step") continue;
    EXPECT_GE(accuracy(**router, make_examples({30, 30, 30}, 0.15, 3)), 0.85) << kind;
  }
}

TEST(RouterKinds, AThousandExperts) {
  core::Random random(5);
  RouterExamples train;
  train.dim = 32;
  for (std::size_t c = 0; c < 1000; ++c) {
    train.collections.push_back("expert" + std::to_string(c));
    std::vector<double> centre(32);
    for (double& x : centre) x = random.normal();
    append_unit(centre, train.centroids);
    for (int i = 0; i < 2; ++i) {
      std::vector<double> query = centre;
      for (double& x : query) x += 0.2 * random.normal();
      append_unit(query, train.vectors);
      train.labels.push_back(static_cast<std::uint32_t>(c));
    }
  }
  for (std::string_view kind : {"linear", "pilots-source", "nearest", "gaussians"})
    EXPECT_GE(accuracy(*fit_router(kind, train, {}).value(), train), 0.9) << kind;
}

// RouterRetriever: an expert is added and removed without any other one's score changing.
TEST(RouterKinds, AnExpertComesAndGoesWithoutTouchingOthers) {
  const auto all = make_examples({30, 30, 30}, 0.2, 1);
  auto two = make_examples({30, 30, 0}, 0.2, 1);
  two.collections.pop_back();
  two.centroids.resize(2 * kDim);
  const std::span<const float> third(&all.vectors[60 * kDim], 30 * kDim);
  RouterOptions kept;
  kept.aggregate = Aggregate::kTopMean;
  for (std::string_view kind : router_kinds())
    for (const RouterOptions& options : {RouterOptions(), kept}) {
      const auto before = fit_router(kind, two, {}, options).value();
      const auto with = before->add_expert("set2", third);
      if (kind == "linear" || kind == "mlp" || kind == "two-step") {
        EXPECT_EQ(with.status().code(), StatusCode::kNotSupported);
        continue;
      }
      ASSERT_TRUE(with.ok()) << kind << with.status().to_string();
      EXPECT_THAT((*with)->collections(), testing::ElementsAre("set0", "set1", "set2"));
      EXPECT_GE(accuracy(**with, all), 0.95) << kind;
      for (std::size_t i : {0u, 40u, 70u}) {
        const auto old = before->explain(query_of(all, i)).value();
        const auto reasons = (*with)->explain(query_of(all, i)).value();
        for (const RouterReason& now : reasons)
          for (const RouterReason& was : old)
            if (was.collection == now.collection) {
              EXPECT_EQ(was.score, now.score) << kind;
            }
      }
      const auto without = (*with)->remove_expert("set2");
      ASSERT_TRUE(without.ok());
      EXPECT_EQ((*without)->serialize(), before->serialize()) << kind;
      EXPECT_EQ(before->add_expert("set1", third).status().code(), StatusCode::kAlreadyExists);
      EXPECT_EQ(before->add_expert("new", third.first(5)).status().code(),
                StatusCode::kInvalidArgument);
      EXPECT_EQ(before->remove_expert("set9").status().code(), StatusCode::kNotFound);
      EXPECT_EQ((*before->remove_expert("set0"))->remove_expert("set1").status().code(),
                StatusCode::kInvalidArgument);
    }
  // Of a softmax over rows, one row fewer is the conditional probability.
  for (std::string_view kind : {"linear", "mlp"}) {
    const auto three = fit_router(kind, all, {}).value();
    const auto p = probabilities(*three, all.vectors.data());
    const auto rest = probabilities(**three->remove_expert("set1"), all.vectors.data());
    EXPECT_NEAR(rest[0], p[0] / (p[0] + p[2]), 1e-5) << kind;
  }
}

TEST(PilotRouter, AggregatesAreWhatTheirNamesSay) {
  const auto train = make_examples({9, 6}, 0.4, 1);
  const auto fresh = make_examples({15, 15}, 0.6, 2);
  for (Aggregate how : {Aggregate::kMax, Aggregate::kTopMean, Aggregate::kMean})
    for (bool cosine : {false, true}) {
      RouterOptions options;
      options.aggregate = how;
      options.top_k = 3;
      options.cosine = cosine;
      const auto router = fit_router("pilots-source", train, {}, options).value();
      for (std::size_t i = 0; i < fresh.labels.size(); ++i) {
        std::vector<float> longer(query_of(fresh, i).begin(), query_of(fresh, i).end());
        for (float& x : longer) x *= 2.0f;  // only the cosine does not see it
        std::vector<double> expected;
        for (std::uint32_t c : {0u, 1u}) {
          std::vector<double> own;
          for (std::size_t j = 0; j < train.labels.size(); ++j)
            if (train.labels[j] == c) own.push_back(dot(query_of(train, j), longer));
          std::sort(own.rbegin(), own.rend());
          const std::size_t n = how == Aggregate::kMax    ? 1
                                : how == Aggregate::kMean ? own.size()
                                                          : 3;
          expected.push_back(std::accumulate(own.begin(), own.begin() + static_cast<long>(n), 0.0) /
                             static_cast<double>(n) / (cosine ? 2.0 : 1.0));
        }
        const auto reasons = router->explain(longer).value();
        for (const RouterReason& reason : reasons)
          EXPECT_NEAR(reason.score, 20.0 * expected[reason.collection == "set0" ? 0 : 1], 1e-4);
      }
    }
}

// What the paper's follow-up question is: a domain of several topics is one point by its mean.
TEST(PilotRouter, CentroidsAndNearestFindBothTopicsOfADomain) {
  const auto train = make_examples({120, 120, 120, 120}, 0.25, 1, 2);
  const auto fresh = make_examples({80, 80, 80, 80}, 0.25, 2, 2);
  RouterOptions centroids;
  centroids.centroids = 2;
  centroids.aggregate = Aggregate::kMax;
  const auto two = fit_router("pilots-source", train, {}, centroids).value();
  const auto mean = fit_router("pilots-source", train, {}).value();
  const auto nearest = fit_router("nearest", train, {}).value();
  EXPECT_GE(accuracy(*two, fresh), accuracy(*mean, fresh) - 0.005);
  EXPECT_GE(accuracy(*two, fresh), 0.97);
  // Two centroids: each near one of the two axes the queries were drawn around.
  const auto reasons = two->explain(query_of(fresh, 0)).value();
  for (const RouterReason& reason : reasons)
    EXPECT_NE(reason.why.find("of 2"), std::string::npos) << reason.why;
  // The dataset of the nearest stored query, by brute force.
  for (std::size_t i = 0; i < fresh.labels.size(); ++i) {
    std::size_t best = 0;
    for (std::size_t j = 1; j < train.labels.size(); ++j)
      if (dot(query_of(train, j), query_of(fresh, i)) >
          dot(query_of(train, best), query_of(fresh, i)))
        best = j;
    EXPECT_EQ(choice(*nearest, query_of(fresh, i).data()), train.labels[best]);
  }
}

TEST(UtteranceRouter, AbstainsBelowAThresholdFittedOnDev) {
  const auto train = make_examples({40, 40}, 0.2, 1);
  // Dev has queries that look like set0 from afar and are not its own.
  auto dev = make_examples({60, 60}, 0.2, 2);
  core::Random random(4);
  for (int i = 0; i < 60; ++i) {
    std::vector<double> query(kDim, 0.0);
    query[0] = 0.5, query[9] = 1.0;
    for (double& x : query) x += 0.1 * random.normal();
    append_unit(query, dev.vectors);
    dev.labels.push_back(1);
  }
  const auto router = fit_router("utterances", train, dev).value();
  std::vector<float> stranger, friendly;
  std::vector<double> vector(kDim, 0.0);
  vector[0] = 0.5, vector[9] = 1.0;
  append_unit(vector, stranger);
  vector.assign(kDim, 0.0);
  vector[0] = 1.0;
  append_unit(vector, friendly);
  EXPECT_TRUE(router->route(stranger)->abstained);
  EXPECT_FALSE(router->route(friendly)->abstained);
  EXPECT_NE(router->route(stranger)->reason.find("threshold"), std::string::npos);
  // Seeded, saved.
  EXPECT_EQ(fit_router("utterances", train, dev).value()->serialize(), router->serialize());
  EXPECT_TRUE(deserialize_router(router->serialize()).value()->route(stranger)->abstained);
}

// MoDEM's classifier is not a linear one: it tells apart what no line does.
TEST(MlpRouter, SeparatesWhatNoLineDoes) {
  const auto train = make_square(300, 1), fresh = make_square(150, 2);
  EXPECT_LE(accuracy(*fit_router("linear", train, {}).value(), fresh), 0.65);
  EXPECT_GE(accuracy(*fit_router("mlp", train, {}).value(), fresh), 0.95);
}

TEST(LinearRouter, SmoothedLabelsGiveSofterProbabilities) {
  const auto train = make_examples({80, 80, 80}, 0.15, 1);
  const auto confidence = [&](double smoothing) {
    RouterOptions options;
    options.label_smoothing = smoothing;
    options.l2 = 1e-5;
    const auto router = fit_router("linear", train, {}, options).value();
    double sum = 0.0;
    for (std::size_t i = 0; i < train.labels.size(); ++i)
      sum += probabilities(*router, query_of(train, i).data())[train.labels[i]];
    return sum / static_cast<double>(train.labels.size());
  };
  EXPECT_GT(confidence(0.0), 0.97);
  // The optimum of a smoothed separable problem: 1 - smoothing + smoothing / K.
  EXPECT_NEAR(confidence(0.3), 0.8, 0.03);
}

// SEED: the likelihood of a query under an expert's own spread, not only how near its mean is.
TEST(GaussianRouter, IsTheLikelihoodUnderEachCollectionsOwnSpread) {
  core::Random random(7);
  const auto draw = [&](std::size_t n) {
    RouterExamples examples;
    examples.dim = 4;
    examples.collections = {"narrow", "wide"};
    examples.centroids.assign(8, 0.0f);
    for (std::size_t i = 0; i < n; ++i)
      for (std::uint32_t c : {0u, 1u}) {
        for (std::size_t d = 0; d < 4; ++d)
          examples.vectors.push_back(static_cast<float>((c == 0 ? 0.1 : 1.0) * random.normal()));
        examples.labels.push_back(c);
      }
    return examples;
  };
  const auto train = draw(4000), fresh = draw(1000);
  const auto router = fit_router("gaussians", train, {}).value();
  // Both have one mean, so no line and no prototype tells them apart.
  EXPECT_LE(accuracy(*fit_router("linear", train, {}).value(), fresh), 0.6);
  EXPECT_GE(accuracy(*router, fresh), 0.95);
  // The difference of log likelihoods by their formula, with the spreads that are known.
  const std::vector<float> query{0.3f, -0.2f, 0.25f, 0.1f};
  double square = 0.0;
  for (float x : query) square += double{x} * x;
  // 50 queries' worth of the pooled variance, (0.01 + 1) / 2, beside 4000 of their own.
  const auto shrunk = [](double variance) { return (4000.0 * variance + 50.0 * 0.505) / 4050.0; };
  const auto likelihood = [&](double variance) {
    return -0.5 * square / variance - 0.5 * 4.0 * std::log(variance);
  };
  const double expected = likelihood(shrunk(0.01)) - likelihood(shrunk(1.0));
  const auto reasons = router->explain(query).value();
  const double narrow = reasons[reasons[0].collection == "narrow" ? 0 : 1].score;
  const double wide = reasons[reasons[0].collection == "wide" ? 0 : 1].score;
  EXPECT_NEAR(narrow - wide, expected, 0.05 * std::abs(expected) + 0.2);
  EXPECT_NE(reasons[0].why.find("overlaps most with"), std::string::npos);
  // Its distance is the familiarity.
  const std::vector<float> far{50.0f, 0.0f, 0.0f, 0.0f};
  EXPECT_EQ(router->familiarity(far.data()), 0.0f);
}

// CoE: experts are chosen for categories by quality, within a budget, and only chosen ones are
// routed to.
TEST(TwoStepRouter, SpendsItsBudgetOnTheExpertsThatAreWorthMost) {
  const auto train = make_examples({40, 40, 40, 40}, 0.1, 1);
  auto dev = make_examples({40, 40, 40, 40}, 0.1, 2);
  // Expert 3 is nearly as good as 2 on its queries; expert 0 is good at home only.
  for (std::uint32_t label : dev.labels)
    for (std::uint32_t e = 0; e < 4; ++e)
      dev.quality.push_back(e == label ? 1.0f : (label == 2 && e == 3 ? 0.9f : 0.2f));
  RouterOptions options;
  options.categories = 4;
  const auto experts = [&](double budget) {
    options.budget = budget;
    const auto router = fit_router("two-step", train, dev, options).value();
    std::set<std::size_t> seen;
    for (std::size_t i = 0; i < dev.labels.size(); ++i)
      seen.insert(choice(*router, query_of(dev, i).data()));
    return seen;
  };
  EXPECT_THAT(experts(0.0), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(experts(3.0), testing::ElementsAre(0, 1, 3));
  EXPECT_EQ(experts(1.0).size(), 1u);
  options.costs = {1.0, 1.0, 1.0, 5.0};  // now 3 is dear
  EXPECT_THAT(experts(3.0), testing::ElementsAre(0, 1, 2));
}

TEST(RouterFile, IsOfOneEncoderAndRefusesAnother) {
  const std::string path = testing::TempDir() + "/router-kinds-test.router";
  const auto train = make_examples({9, 9}, 0.3, 1);
  const auto router = fit_router("nearest", train, {}).value();
  ASSERT_TRUE(save_router(*router, path, "abc").ok());
  const auto loaded = load_router(path, "abc");
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ((*loaded)->serialize(), router->serialize());
  const auto other = load_router(path, "abd");
  EXPECT_EQ(other.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.status().message(), testing::HasSubstr("abd"));
  EXPECT_EQ(load_router(path + "x", "abc").status().code(), StatusCode::kNotFound);
  std::filesystem::resize_file(path, 50);
  EXPECT_EQ(load_router(path, "abc").status().code(), StatusCode::kCorruption);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace collegium::router
