#include "collegium/router/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "collegium/core/random.h"

namespace collegium::router {
namespace {

constexpr std::size_t kDim = 6;

// Says what it is told.
class FixedRouter final : public Router {
 public:
  FixedRouter(std::vector<std::string> names, std::vector<float> probabilities,
              float familiarity = 1.0f)
      : names_(std::move(names)), p_(std::move(probabilities)), familiarity_(familiarity) {}
  std::string_view kind() const noexcept override { return "fixed"; }
  std::size_t dim() const noexcept override { return kDim; }
  const std::vector<std::string>& collections() const noexcept override { return names_; }
  void probabilities(const float*, std::span<float> out) const noexcept override {
    std::copy(p_.begin(), p_.end(), out.begin());
  }
  float familiarity(const float*) const noexcept override { return familiarity_; }
  std::vector<std::byte> serialize() const override { return {}; }

 private:
  std::vector<std::string> names_;
  std::vector<float> p_;
  float familiarity_;
};

struct World {
  std::vector<std::string> names{"a", "b", "c"};
  std::map<std::string, std::vector<std::vector<float>>> documents;
  std::map<std::string, core::TrainedHeadAdapter> adapters;
  std::vector<float> query;
  std::vector<std::string> searched;  // a log

  static std::string id(std::size_t document) { return "d" + std::to_string(100 + document); }

  float score(const std::string& collection, std::size_t document,
              std::span<const float> vector) const {
    float sum = 0.0f;
    for (std::size_t d = 0; d < kDim; ++d) sum += vector[d] * documents.at(collection)[document][d];
    return sum;
  }
  CollectionSearch search() {
    return [this](std::string_view name, std::span<const float> vector,
                  std::size_t k) -> Result<std::vector<index::Hit>> {
      searched.emplace_back(name);
      std::vector<index::Hit> hits;
      for (std::size_t i = 0; i < documents.at(std::string(name)).size(); ++i) {
        index::Hit hit;
        hit.collection = name;
        hit.document_id = id(i);
        hit.score = score(std::string(name), i, vector);
        hits.push_back(hit);
      }
      std::sort(hits.begin(), hits.end(), [](const auto& x, const auto& y) {
        return x.score != y.score ? x.score > y.score : x.document_id < y.document_id;
      });
      hits.resize(std::min(k, hits.size()));
      return hits;
    };
  }
  std::vector<float> mapped(const std::string& name) const {
    std::vector<float> out(kDim);
    adapters.at(name).adapter.apply(query.data(), out.data());
    return out;
  }
  PolicyInput input(const Router* router, std::size_t k = 7) const {
    PolicyInput result;
    result.collections = names;
    result.adapters = &adapters;
    result.router = router;
    result.query = query;
    result.k = k;
    return result;
  }
};

core::TrainedHeadAdapter random_expert(core::Random& random) {
  std::vector<float> weight(kDim * kDim), bias(kDim);
  for (float& x : weight) x = static_cast<float>(random.normal());
  for (float& x : bias) x = static_cast<float>(0.2 * random.normal());
  return {core::HeadAdapter::create(kDim, weight, bias).value(), 1.0f, 1};
}

// a and b have experts, c has none.
World make_world(std::uint64_t seed) {
  core::Random random(seed);
  World world;
  const std::size_t sizes[] = {30, 12, 20};
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < sizes[c]; ++i) {
      std::vector<float> row(kDim);
      for (float& x : row) x = static_cast<float>(random.normal());
      world.documents[world.names[c]].push_back(row);
    }
  world.adapters.emplace("a", random_expert(random));
  world.adapters.emplace("b", random_expert(random));
  for (std::size_t d = 0; d < kDim; ++d) world.query.push_back(static_cast<float>(random.normal()));
  return world;
}

using Scored = std::tuple<double, std::string, std::string>;  // -score, document, collection

std::vector<Scored> top(std::vector<Scored> all, std::size_t k) {
  std::sort(all.begin(), all.end());
  all.resize(std::min(k, all.size()));
  return all;
}

void expect_hits(const std::vector<index::Hit>& hits, const std::vector<Scored>& expected) {
  ASSERT_EQ(hits.size(), expected.size());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    EXPECT_EQ(hits[i].document_id, std::get<1>(expected[i])) << i;
    EXPECT_EQ(hits[i].collection, std::get<2>(expected[i])) << i;
    EXPECT_NEAR(hits[i].score, -std::get<0>(expected[i]), 1e-5) << i;
  }
}

// The bound policy over again, from design.md, with sorting and no shared code.
std::vector<Scored> brute_force_bound(const World& world, const PolicyParameters& parameters,
                                      std::vector<double> probabilities, std::size_t k) {
  std::vector<std::tuple<double, std::size_t>> order;
  std::vector<std::vector<double>> plain(3);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < world.documents.at(world.names[c]).size(); ++i)
      plain[c].push_back(world.score(world.names[c], i, world.query));
    order.emplace_back(-(*std::max_element(plain[c].begin(), plain[c].end()) +
                         parameters.prior_weight * std::log(probabilities[c])),
                       c);
  }
  std::sort(order.begin(), order.end());
  std::vector<Scored> all;
  for (std::size_t rank = 0; rank < 3; ++rank) {
    const std::size_t c = std::get<1>(order[rank]);
    std::vector<double> scores = plain[c];
    if (rank < parameters.research && world.adapters.count(world.names[c]) > 0) {
      const auto vector = world.mapped(world.names[c]);
      for (std::size_t i = 0; i < scores.size(); ++i)
        scores[i] = world.score(world.names[c], i, vector);
      std::vector<double> p = plain[c], s = scores;
      std::sort(p.rbegin(), p.rend());
      std::sort(s.rbegin(), s.rend());
      const std::size_t n = std::min(parameters.shift_depth, p.size());
      double shift = 0.0;
      for (std::size_t i = 0; i < n; ++i) shift += (p[i] - s[i]) / static_cast<double>(n);
      ScoreMap map{1.0, shift};
      const auto own = parameters.score_maps.find(world.names[c]);
      if (parameters.comparability != Comparability::kTopMean && own != parameters.score_maps.end())
        map = own->second;
      for (double& score : scores) score = map.scale * score + map.shift;
    }
    for (std::size_t i = 0; i < scores.size(); ++i)
      all.emplace_back(-(scores[i] + parameters.prior_weight * std::log(probabilities[c])),
                       World::id(i), world.names[c]);
  }
  return top(all, k);
}

TEST(BoundPolicy, EqualsABruteForceOfTheDesign) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    for (std::size_t research : {0u, 1u, 2u, 3u})
      for (double weight : {0.0, 0.4})
        for (std::size_t depth : {0u, 4u, 100u}) {
          World world = make_world(seed);
          const FixedRouter router(world.names, {0.2f, 0.5f, 0.3f});
          PolicyParameters parameters;
          parameters.research = research;
          parameters.prior_weight = weight;
          parameters.shift_depth = depth;
          const auto result = run_policy(parameters, world.input(&router, 15), world.search());
          ASSERT_TRUE(result.ok()) << result.status().to_string();
          expect_hits(result->hits, brute_force_bound(world, parameters, {0.2f, 0.5f, 0.3f}, 15));
        }
}

TEST(BoundPolicy, ScoresAreMappedAsTheExpertSaysAndShiftedWhereItSaysNothing) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    for (const Comparability comparability :
         {Comparability::kTopMean, Comparability::kConstant, Comparability::kCalibrated}) {
      World world = make_world(seed);
      const FixedRouter router(world.names, {0.4f, 0.5f, 0.1f});
      PolicyParameters parameters;
      parameters.research = 3;
      parameters.prior_weight = 0.1;
      parameters.comparability = comparability;
      parameters.score_maps["b"] = {0.4, 0.3};
      const auto result = run_policy(parameters, world.input(&router, 30), world.search());
      ASSERT_TRUE(result.ok()) << result.status().to_string();
      expect_hits(result->hits, brute_force_bound(world, parameters, {0.4f, 0.5f, 0.1f}, 30));
      for (const RouteEntry& entry : result->route.entries)
        EXPECT_EQ(entry.scale,
                  entry.collection == "b" && comparability != Comparability::kTopMean ? 0.4 : 1.0);
    }
}

// The router's guess counts as at least 0.37 in the prior, and is shown as it is.
TEST(BoundPolicy, ACollectionWhoseQuestionsTheRouterNeverSawIsNotHiddenByThePrior) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    World world = make_world(seed);
    const FixedRouter router(world.names, {0.2f, 0.799f, 0.001f});
    PolicyParameters parameters;
    parameters.prior_weight = 0.4;
    parameters.guessed = {"c"};
    const auto result = run_policy(parameters, world.input(&router, 15), world.search()).value();
    expect_hits(result.hits, brute_force_bound(world, parameters, {0.2f, 0.799f, 0.37}, 15));
    for (const RouteEntry& entry : result.route.entries)
      if (entry.collection == "c") {
        EXPECT_NEAR(entry.probability, 0.001, 1e-6);
      }
    parameters.guessed = {"a"};  // what is guessed to be likelier stays so
    const FixedRouter other(world.names, {0.5f, 0.3f, 0.2f});
    const auto likely = run_policy(parameters, world.input(&other, 15), world.search()).value();
    expect_hits(likely.hits, brute_force_bound(world, parameters, {0.5f, 0.3f, 0.2f}, 15));
  }
}

TEST(BoundPolicy, ACollectionWithoutExpertKeepsItsPlainScores) {
  World world = make_world(3);
  const FixedRouter router(world.names, {0.2f, 0.5f, 0.3f});
  PolicyParameters parameters;
  parameters.research = 3;
  const auto result = run_policy(parameters, world.input(&router, 62), world.search()).value();
  ASSERT_EQ(result.hits.size(), 62u);
  for (const auto& hit : result.hits)
    if (hit.collection == "c") {
      EXPECT_EQ(hit.score,
                world.score("c", std::stoul(hit.document_id.substr(1)) - 100, world.query));
    }
}

TEST(BoundPolicy, SearchesAgainOnlyWhatItMayAndSaysSo) {
  World world = make_world(4);
  const FixedRouter router(world.names, {0.1f, 0.6f, 0.3f});
  PolicyParameters parameters;
  parameters.research = 1;
  parameters.prior_weight = 100.0;  // the prior alone decides
  const auto result = run_policy(parameters, world.input(&router), world.search()).value();
  EXPECT_EQ(world.searched, (std::vector<std::string>{"a", "b", "c", "b"}));
  EXPECT_EQ(result.searches, 4u);
  const Route& route = result.route;
  ASSERT_EQ(route.entries.size(), 3u);
  EXPECT_EQ(route.entries[0].collection, "b");
  EXPECT_TRUE(route.entries[0].searched_again);
  EXPECT_EQ(route.entries[0].expert, "b");
  EXPECT_NEAR(route.entries[0].prior, 100.0 * std::log(0.6), 1e-4);
  EXPECT_NE(route.entries[0].shift, 0.0);
  EXPECT_EQ(route.entries[1].collection, "c");
  EXPECT_EQ(route.entries[1].expert, "plain");
  EXPECT_FALSE(route.entries[1].searched_again);
  EXPECT_EQ(route.entries[2].collection, "a");
  EXPECT_NEAR(route.margin, 0.3, 1e-6);
  EXPECT_EQ(route.policy, "bound");
  EXPECT_EQ(route.router, "fixed");
  EXPECT_NE(route.reason.find("b"), std::string::npos);
}

TEST(RoutedPolicy, TheLikeliestExpertSearchesEverything) {
  World world = make_world(5);
  const FixedRouter router(world.names, {0.2f, 0.5f, 0.3f});
  PolicyParameters parameters;
  parameters.policy = Policy::kRouted;
  parameters.routed_prior_weight = 0.3;
  const auto result = run_policy(parameters, world.input(&router, 9), world.search()).value();
  const auto vector = world.mapped("b");
  std::vector<Scored> all;
  const double p[] = {0.2, 0.5, 0.3};
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < world.documents[world.names[c]].size(); ++i)
      all.emplace_back(-(world.score(world.names[c], i, vector) + 0.3 * std::log(p[c])),
                       World::id(i), world.names[c]);
  expect_hits(result.hits, top(all, 9));
  EXPECT_FALSE(result.route.abstained);
  // Every collection names the expert that searched it, not the one it has.
  ASSERT_EQ(result.route.entries.size(), 3u);
  for (const RouteEntry& entry : result.route.entries) {
    EXPECT_TRUE(entry.searched_again) << entry.collection;
    EXPECT_EQ(entry.expert, "b") << entry.collection;
  }
}

std::vector<Scored> plain_ranking(const World& world, std::size_t k) {
  std::vector<Scored> all;
  for (const auto& name : world.names)
    for (std::size_t i = 0; i < world.documents.at(name).size(); ++i)
      all.emplace_back(-world.score(name, i, world.query), World::id(i), name);
  return top(all, k);
}

TEST(RoutedPolicy, AbstainsToPlainByMarginByFamiliarityAndWithoutARouter) {
  World world = make_world(6);
  PolicyParameters parameters;
  parameters.policy = Policy::kRouted;
  parameters.min_margin = 0.25;
  parameters.min_familiarity = 0.1;
  const FixedRouter sure(world.names, {0.2f, 0.6f, 0.2f}, 0.5f);
  const FixedRouter unsure(world.names, {0.3f, 0.4f, 0.3f}, 0.5f);
  const FixedRouter stranger(world.names, {0.2f, 0.6f, 0.2f}, 0.05f);
  EXPECT_FALSE(run_policy(parameters, world.input(&sure), world.search())->route.abstained);
  for (const Router* router :
       {static_cast<const Router*>(&unsure), static_cast<const Router*>(&stranger),
        static_cast<const Router*>(nullptr)}) {
    const auto result = run_policy(parameters, world.input(router), world.search()).value();
    EXPECT_TRUE(result.route.abstained);
    EXPECT_NE(result.route.reason.find("abstained"), std::string::npos);
    for (const RouteEntry& entry : result.route.entries) {
      EXPECT_FALSE(entry.searched_again) << entry.collection;
      EXPECT_EQ(entry.expert, "plain") << entry.collection;
    }
    expect_hits(result.hits, plain_ranking(world, 7));
  }
}

TEST(RoutedPolicy, AbstainsToTheMixtureWhereThatIsTheRule) {
  World world = make_world(6);
  const FixedRouter unsure(world.names, {0.3f, 0.4f, 0.3f});
  PolicyParameters parameters;
  parameters.policy = Policy::kRouted;
  parameters.min_margin = 0.25;
  parameters.abstain_to_mixture = true;
  const auto result = run_policy(parameters, world.input(&unsure), world.search()).value();
  EXPECT_TRUE(result.route.abstained);
  EXPECT_NE(result.route.reason.find("abstained to the mixture"), std::string::npos);
  EXPECT_EQ(result.maps, 2u);
  PolicyParameters mixed;
  mixed.policy = Policy::kMixed;
  const auto expected = run_policy(mixed, world.input(&unsure), world.search()).value();
  ASSERT_EQ(result.hits.size(), expected.hits.size());
  for (std::size_t i = 0; i < result.hits.size(); ++i) {
    EXPECT_EQ(result.hits[i].document_id, expected.hits[i].document_id);
    EXPECT_EQ(result.hits[i].score, expected.hits[i].score);
  }
  for (const RouteEntry& entry : result.route.entries) EXPECT_EQ(entry.expert, "mixture");
  mixed.min_margin = parameters.min_margin;
  mixed.abstain_to_mixture = true;
  EXPECT_FALSE(run_policy(mixed, world.input(&unsure), world.search())->route.abstained);
  // Without a router there are no probabilities to mix by.
  const auto plain = run_policy(parameters, world.input(nullptr), world.search()).value();
  EXPECT_EQ(plain.route.entries[0].expert, "plain");
  expect_hits(plain.hits, plain_ranking(world, 7));
}

TEST(RoutedPolicy, ACollectionWithoutExpertIsSearchedPlainlyWithoutAbstaining) {
  World world = make_world(7);
  const FixedRouter router(world.names, {0.1f, 0.1f, 0.8f});
  PolicyParameters parameters;
  parameters.policy = Policy::kRouted;
  const auto result = run_policy(parameters, world.input(&router), world.search()).value();
  EXPECT_FALSE(result.route.abstained);
  expect_hits(result.hits, plain_ranking(world, 7));
}

TEST(MixedPolicy, SearchesEverythingUnderTheMeanOfTheExpertsQueryVectors) {
  World world = make_world(5);
  const FixedRouter router(world.names, {0.6f, 0.3f, 0.1f});
  PolicyParameters parameters;
  parameters.policy = Policy::kMixed;
  const auto result = run_policy(parameters, world.input(&router), world.search()).value();
  std::vector<double> sum(kDim, 0.0);
  const auto a = world.mapped("a"), b = world.mapped("b");
  double square = 0.0;
  for (std::size_t d = 0; d < kDim; ++d) {
    sum[d] = double{0.6f} * a[d] + double{0.3f} * b[d] + double{0.1f} * world.query[d];
    square += sum[d] * sum[d];
  }
  std::vector<float> query;
  for (double x : sum) query.push_back(static_cast<float>(x / std::sqrt(square)));
  std::vector<Scored> all;
  for (const std::string& name : world.names)
    for (std::size_t i = 0; i < world.documents.at(name).size(); ++i)
      all.emplace_back(-world.score(name, i, query), World::id(i), name);
  expect_hits(result.hits, top(all, 7));
  EXPECT_EQ(result.route.policy, "mixed");
  EXPECT_EQ(result.route.entries[0].expert, "mixture");
  EXPECT_EQ(result.searches, 6u);
  parameters.min_margin = 0.5;
  const auto abstained = run_policy(parameters, world.input(&router), world.search()).value();
  EXPECT_TRUE(abstained.route.abstained);
  EXPECT_EQ(abstained.route.entries[0].expert, "plain");
  EXPECT_EQ(abstained.searches, 3u);
}

TEST(Policies, PlainHitsAreThePlainSearchAndDeepEnoughForTheGate) {
  for (Policy policy : {Policy::kBound, Policy::kRouted}) {
    World world = make_world(8);
    const FixedRouter router(world.names, {0.2f, 0.5f, 0.3f});
    PolicyParameters parameters;
    parameters.policy = policy;
    parameters.prior_weight = parameters.routed_prior_weight = 0.5;
    const auto result = run_policy(parameters, world.input(&router, 2), world.search()).value();
    EXPECT_EQ(result.hits.size(), 2u);
    expect_hits(result.plain_hits, plain_ranking(world, kGateDepth));
  }
}

TEST(Policies, RestrictedToSomeCollectionsProbabilitiesAreSharedAmongThem) {
  World world = make_world(9);
  const FixedRouter router(world.names, {0.2f, 0.6f, 0.2f});
  const std::vector<std::string> allowed{"a", "c"};
  PolicyInput input = world.input(&router);
  input.collections = allowed;
  const auto result = run_policy({}, input, world.search()).value();
  ASSERT_EQ(result.route.entries.size(), 2u);
  for (const auto& entry : result.route.entries) EXPECT_NEAR(entry.probability, 0.5, 1e-6);
  for (const auto& hit : result.hits) EXPECT_NE(hit.collection, "b");
}

TEST(Policies, ACollectionTheRouterHasNotSeenGetsAnEvenShare) {
  World world = make_world(10);
  const FixedRouter router({"a", "b"}, {0.75f, 0.25f});
  const auto result = run_policy({}, world.input(&router), world.search()).value();
  std::map<std::string, double> p;
  for (const auto& entry : result.route.entries) p[entry.collection] = entry.probability;
  EXPECT_NEAR(p["a"], 0.5, 1e-6);
  EXPECT_NEAR(p["b"], 0.25 * 2 / 3, 1e-6);
  EXPECT_NEAR(p["c"], 1.0 / 3, 1e-6);
}

TEST(Policies, AnEmptyCollectionAndAStrengthOfZeroDoNoHarm) {
  World world = make_world(11);
  world.documents["b"].clear();
  world.adapters.at("a").strength = 0.0f;
  const FixedRouter router(world.names, {0.4f, 0.4f, 0.2f});
  const auto result = run_policy({}, world.input(&router), world.search()).value();
  expect_hits(result.hits, plain_ranking(world, 7));
  for (const auto& entry : result.route.entries)
    if (entry.collection == "a") {
      EXPECT_EQ(entry.expert, "plain");
    }
}

TEST(Policies, BadInputIsATypedErrorAndFailuresOfTheSearchArePassedOn) {
  World world = make_world(12);
  const FixedRouter router(world.names, {0.2f, 0.5f, 0.3f});
  const auto code = [&](const PolicyInput& input, PolicyParameters parameters = {}) {
    return run_policy(parameters, input, world.search()).status().code();
  };
  PolicyInput input = world.input(&router);
  EXPECT_EQ(code(input), StatusCode::kOk);
  input.k = 0;
  EXPECT_EQ(code(input), StatusCode::kInvalidArgument);
  input = world.input(&router);
  input.collections = {};
  EXPECT_EQ(code(input), StatusCode::kInvalidArgument);
  const std::vector<std::string> twice{"b", "a"};
  input.collections = twice;
  EXPECT_EQ(code(input), StatusCode::kInvalidArgument);
  input = world.input(&router);
  const std::vector<float> shorter(kDim - 1, 1.0f);
  input.query = shorter;
  EXPECT_EQ(code(input), StatusCode::kInvalidArgument);
  std::vector<float> nan = world.query;
  nan[2] = std::numeric_limits<float>::quiet_NaN();
  input.query = nan;
  EXPECT_EQ(code(input), StatusCode::kInvalidArgument);
  PolicyParameters parameters;
  parameters.prior_weight = -1.0;
  EXPECT_EQ(code(world.input(&router), parameters), StatusCode::kInvalidArgument);
  parameters = {};
  parameters.score_maps["a"] = {0.0, 1.0};
  EXPECT_EQ(code(world.input(&router), parameters), StatusCode::kInvalidArgument);
  parameters = {};
  parameters.min_margin = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(code(world.input(&router), parameters), StatusCode::kInvalidArgument);
  const auto failing = [](std::string_view, std::span<const float>,
                          std::size_t) -> Result<std::vector<index::Hit>> {
    return Status::corruption("index");
  };
  EXPECT_EQ(run_policy({}, world.input(&router), failing).status().code(), StatusCode::kCorruption);
}

TEST(Policies, HaveNamesThatParse) {
  for (Policy policy : {Policy::kBound, Policy::kRouted, Policy::kMixed})
    EXPECT_EQ(parse_policy(policy_name(policy)).value(), policy);
  EXPECT_EQ(parse_policy("best").status().code(), StatusCode::kInvalidArgument);
  for (Comparability one :
       {Comparability::kTopMean, Comparability::kConstant, Comparability::kCalibrated})
    EXPECT_EQ(parse_comparability(comparability_name(one)).value(), one);
  EXPECT_EQ(parse_comparability("none").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::router
