#include "collegium/router/learning.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "collegium/core/thread_pool.h"
#include "collegium/router/evaluation.h"
#include "synthetic.h"

namespace collegium::router {
namespace {

std::string fingerprint(const Learned& learned) {
  std::string text;
  for (const auto& [name, trained] : learned.adapters)
    text += name + trained.adapter.digest() + std::to_string(trained.strength);
  if (learned.multi_task.has_value()) text += learned.multi_task->adapter.digest();
  for (const auto& router : learned.routers) text += core::digest_hex(router->serialize());
  text += learned.router->kind();
  const auto& p = learned.policy;
  for (double value :
       {static_cast<double>(p.research), p.prior_weight, static_cast<double>(p.shift_depth),
        p.routed_prior_weight, p.min_margin, p.min_familiarity})
    text += " " + std::to_string(value);
  return text + core::digest_hex(learned.gate.serialize());
}

TEST(Learn, FitsExpertsRoutersPolicyAndGateOnAWorldWhereEachHelps) {
  const Synthetic world({});
  const auto learned = learn(world.data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  ASSERT_EQ(learned->adapters.size(), 3u);
  for (const auto& [name, trained] : learned->adapters) {
    EXPECT_GT(trained.strength, 0.0f) << name;
    EXPECT_GT(trained.dev_ndcg, trained.dev_ndcg_plain + 0.05) << name;
  }
  EXPECT_TRUE(learned->multi_task.has_value());
  ASSERT_EQ(learned->routers.size(), 4u);
  EXPECT_EQ(learned->router_dev_accuracy.size(), 4u);
  EXPECT_GE(learned->router_dev_accuracy.at(std::string(learned->router->kind())), 0.95);
  EXPECT_EQ(learned->policy.policy, Policy::kBound);
  EXPECT_TRUE(learned->policy.validate().ok());
  EXPECT_TRUE(learned->gate.fitted()) << learned->gate.note();
}

TEST(Learn, IsTheSameBitForBitWhateverTheNumberOfThreads) {
  const Synthetic world({});
  core::set_num_threads(1);
  const std::string one = fingerprint(learn(world.data, quick_learning()).value());
  core::set_num_threads(3);
  const std::string three = fingerprint(learn(world.data, quick_learning()).value());
  core::set_num_threads(0);
  EXPECT_EQ(one, three);
}

TEST(Learn, TheAdaptersSeedIsTheOneSeed) {
  const Synthetic world({});
  LearnOptions options = quick_learning();
  const Learned first = learn(world.data, options).value();
  options.adapter.seed = 2;
  const Learned other = learn(world.data, options).value();
  for (const auto& [name, trained] : first.adapters)
    EXPECT_NE(other.adapters.at(name).adapter.digest(), trained.adapter.digest()) << name;
  EXPECT_NE(other.multi_task->adapter.digest(), first.multi_task->adapter.digest());
  // It is what train_head_adapter() makes of these options, nothing in between.
  const CollectionData& collection = world.data.collections[1];
  const auto judged = [&](Split split) {
    const QuerySet& queries = collection.splits[static_cast<std::size_t>(split)];
    return core::JudgedQueries{queries.vectors, queries.relevant, queries.gains};
  };
  const auto alone =
      core::train_head_adapter(collection.vectors, collection.passage_document, world.data.dim,
                               judged(Split::kTrain), judged(Split::kDev), options.adapter);
  ASSERT_TRUE(alone.ok()) << alone.status().to_string();
  EXPECT_EQ(other.adapters.at("setb").adapter.digest(), alone->adapter.digest());
}

TEST(Learn, AddingACollectionRetrainsNoOtherExpert) {
  SyntheticOptions options;
  const Synthetic world(options);
  const Learned before = learn(world.data, quick_learning()).value();
  LearningData two = world.data;
  two.collections.pop_back();
  const Learned first = learn(two, quick_learning()).value();
  std::set<std::string> stages;
  const auto after =
      learn(world.data, quick_learning(), first.adapters, [&](const core::Progress& progress) {
        stages.insert(std::string(progress.stage));
        return true;
      });
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  for (const auto& [name, trained] : first.adapters)
    EXPECT_EQ(after->adapters.at(name).adapter.digest(), trained.adapter.digest());
  EXPECT_EQ(stages.count("train seta"), 0u);
  EXPECT_EQ(stages.count("train setc"), 1u);
  // And an expert does not depend on which other collections there are.
  EXPECT_EQ(fingerprint(*after), fingerprint(before));
}

TEST(Learn, ACollectionWithoutPairsHasNoExpertAndIsStillRoutedTo) {
  const Synthetic world({});
  LearningData data = world.data;
  for (auto& split : data.collections[1].splits) split = {};
  const auto learned = learn(data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  EXPECT_EQ(learned->adapters.count("setb"), 0u);
  EXPECT_EQ(learned->router->collections().size(), 3u);
  EXPECT_EQ(learned->policy.guessed, (std::set<std::string, std::less<>>{"setb"}));
  EXPECT_TRUE(evaluate(data, *learned).ok());
}

// An expert undoes the turns of its own collection, and of another one makes as many worse as it
// undoes. So a question of a collection that nobody labelled is best searched plainly, and dev,
// which has none of those, must still teach to abstain.
TEST(Learn, AbstainsOnCollectionsThatTheRouterDoesNotKnow) {
  SyntheticOptions options;
  options.collections = 7;
  options.own_signs = true;
  const Synthetic world(options);
  EvaluateOptions untimed;
  untimed.split = Split::kTest;
  untimed.timed_queries = 0;
  struct Ndcg {
    double never = 0.0, routed = 0.0, plain = 0.0;  // never: abstaining
  } strange, known;
  for (const std::size_t stranger : {1u, 3u, 5u}) {
    LearningData data = world.data;
    for (auto& split : data.collections[stranger].splits) split = {};
    const auto learned = learn(data, quick_learning());
    ASSERT_TRUE(learned.ok()) << learned.status().to_string();
    EXPECT_EQ(learned->stranger_routers.at(stranger), nullptr);
    EXPECT_NE(learned->stranger_routers.at(0), nullptr);
    const auto evaluation = evaluate(world.data, *learned, untimed);
    ASSERT_TRUE(evaluation.ok()) << evaluation.status().to_string();
    const auto add = [&](const std::string& method, double Ndcg::*sum) {
      const EvaluationRow* row = evaluation->row(method);
      ASSERT_NE(row, nullptr) << method;
      for (std::size_t q = 0; q < evaluation->queries.size(); ++q) {
        const bool own = evaluation->queries[q].collection == data.collections[stranger].name;
        Ndcg& to = own ? strange : known;
        to.*sum += row->alone.queries[q].ndcg_at_10 / (own ? 90.0 : 540.0);
      }
    };
    add("router " + std::string(learned->router->kind()), &Ndcg::never);
    add("routed", &Ndcg::routed);
    add("plain", &Ndcg::plain);
  }
  EXPECT_LT(strange.never, strange.plain - 0.03);
  EXPECT_GT(strange.routed, strange.plain - 0.02);
  EXPECT_GT(known.routed, known.plain + 0.2);
  EXPECT_GT(known.routed, known.never - 0.02);
}

// All collections are asked in the same turned way, and each expert learned it from few questions:
// what they have in common is right for a collection that nobody labelled, too, and abstaining to
// the plain encoder would lose it.
TEST(Learn, AbstainsToTheMixtureWhereStrangersAreAskedLikeTheOthers) {
  SyntheticOptions options;
  options.collections = 11;  // of which those of one turn are kept
  options.queries[0] = 45;
  const Synthetic world(options);
  LearningData all = world.data;
  for (std::size_t c = all.collections.size(); c-- > 0;)
    if (c % 2 != 0) all.collections.erase(all.collections.begin() + static_cast<long>(c));
  EvaluateOptions untimed;
  untimed.split = Split::kTest;
  untimed.timed_queries = 0;
  double routed = 0.0, plain = 0.0, one_expert = 0.0;
  for (const std::size_t stranger : {0u, 2u, 4u}) {
    LearningData data = all;
    for (auto& split : data.collections[stranger].splits) split = {};
    const auto learned = learn(data, quick_learning());
    ASSERT_TRUE(learned.ok()) << learned.status().to_string();
    EXPECT_TRUE(learned->policy.abstain_to_mixture);
    const auto evaluation = evaluate(all, *learned, untimed);
    ASSERT_TRUE(evaluation.ok()) << evaluation.status().to_string();
    const auto add = [&](const std::string& method, double& sum) {
      const EvaluationRow* row = evaluation->row(method);
      ASSERT_NE(row, nullptr) << method;
      for (std::size_t q = 0; q < evaluation->queries.size(); ++q)
        if (evaluation->queries[q].collection == all.collections[stranger].name)
          sum += row->alone.queries[q].ndcg_at_10 / 90.0;
    };
    add("routed", routed);
    add("plain", plain);
    add("router " + std::string(learned->router->kind()), one_expert);
  }
  EXPECT_GT(routed, plain + 0.03);
  EXPECT_GT(routed, one_expert - 0.01);
}

TEST(Learn, AQuestionOfTwoCollectionsCalibratesNoRouterThatLearnedIt) {
  const Synthetic world({});
  LearningData data = world.data;
  const auto first = data.collections[0].splits[0].vectors.begin();
  std::copy(first, first + static_cast<std::ptrdiff_t>(data.dim),
            data.collections[1].splits[1].vectors.begin());
  const auto learned = learn(data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  // As without it.
  QuerySet& dev = data.collections[1].splits[1];
  dev.vectors.erase(dev.vectors.begin(),
                    dev.vectors.begin() + static_cast<std::ptrdiff_t>(data.dim));
  dev.ids.erase(dev.ids.begin());
  dev.relevant.erase(dev.relevant.begin());
  dev.gains.erase(dev.gains.begin());
  const auto without = learn(data, quick_learning());
  ASSERT_TRUE(without.ok()) << without.status().to_string();
  EXPECT_EQ(learned->router->serialize(), without->router->serialize());
  EXPECT_EQ(learned->router_dev_accuracy, without->router_dev_accuracy);
}

// What learn() should give a router of a world whose second collection has dev queries alone:
// `half` of them left out.
RouterExamples routing_examples(const LearningData& data, std::size_t left_out) {
  RouterExamples examples;
  examples.dim = data.dim;
  for (std::size_t c = 0; c < data.collections.size(); ++c) {
    const CollectionData& collection = data.collections[c];
    examples.collections.push_back(collection.name);
    std::vector<double> sum(data.dim, 0.0);
    for (std::size_t i = 0; i < collection.vectors.size(); ++i)
      sum[i % data.dim] += double{collection.vectors[i]};
    for (double value : sum)
      examples.centroids.push_back(
          static_cast<float>(value / static_cast<double>(collection.document_ids.size())));
  }
  for (std::size_t c : {0u, 2u, 1u}) {  // sums keep their order: training queries come first
    const QuerySet& queries = data.collections[c].splits[c == 1 ? 1 : 0];
    for (std::size_t q = 0; q < queries.size(); ++q) {
      if (c == 1 && q % 2 == left_out) continue;
      examples.labels.push_back(static_cast<std::uint32_t>(c));
      for (std::size_t d = 0; d < data.dim; ++d)
        examples.vectors.push_back(queries.vectors[q * data.dim + d]);
    }
  }
  return examples;
}

TEST(Learn, ACollectionWithDevQueriesAloneIsKnownByThemAndChosenForByRoutersThatDidNotSeeThem) {
  const Synthetic world({});
  LearningData data = world.data;
  data.collections[1].splits[0] = {};
  LearnOptions options = quick_learning();
  options.router = "linear";
  const auto learned = learn(data, options).value();
  EXPECT_EQ(learned.adapters.count("setb"), 0u);
  EXPECT_TRUE(learned.policy.guessed.empty());
  // Routers are calibrated on what they did not learn from.
  const auto expected = [&](std::size_t half) {
    RouterExamples dev = routing_examples(data, 2);
    dev.vectors.clear(), dev.labels.clear();
    for (std::uint32_t c = 0; c < 3; ++c) {
      const QuerySet& queries = data.collections[c].splits[1];
      for (std::size_t q = 0; q < queries.size(); ++q) {
        if (c == 1 && q % 2 != half) continue;
        dev.labels.push_back(c);
        for (std::size_t d = 0; d < data.dim; ++d)
          dev.vectors.push_back(queries.vectors[q * data.dim + d]);
      }
    }
    return fit_router("linear", routing_examples(data, half), dev).value()->serialize();
  };
  EXPECT_EQ(learned.router->serialize(), expected(2));
  ASSERT_EQ(learned.blind_routers.size(), 2u);
  EXPECT_EQ(learned.blind_routers[0]->serialize(), expected(0));
  EXPECT_EQ(learned.blind_routers[1]->serialize(), expected(1));
  EXPECT_GE(learned.router_dev_accuracy.at("linear"), 0.9);
  // A world with training queries everywhere needs none.
  EXPECT_TRUE(learn(world.data, options).value().blind_routers.empty());
}

TEST(Learn, AnEmptyCollectionIsNoObstacle) {
  const Synthetic world({});
  LearningData data = world.data;
  CollectionData empty;
  empty.name = "setz";
  data.collections.push_back(empty);
  const auto learned = learn(data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  EXPECT_EQ(learned->adapters.count("setz"), 0u);
  EXPECT_TRUE(evaluate(data, *learned).ok());
}

TEST(Learn, OneCollectionAloneWorks) {
  SyntheticOptions options;
  options.collections = 1;
  const Synthetic world(options);
  const auto learned = learn(world.data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  EXPECT_GT(learned->adapters.at("seta").strength, 0.0f);
  EXPECT_TRUE(learned->gate.fitted());
  EXPECT_TRUE(evaluate(world.data, *learned).ok());
}

TEST(Learn, WithoutAnyPairsEverythingIsPlainAndTheGateAlwaysRetrieves) {
  const Synthetic world({});
  LearningData data = world.data;
  for (auto& collection : data.collections)
    for (auto& split : collection.splits) split = {};
  const auto learned = learn(data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  EXPECT_TRUE(learned->adapters.empty());
  EXPECT_FALSE(learned->gate.fitted());
  ASSERT_NE(learned->router, nullptr);
  EXPECT_EQ(evaluate(data, *learned).status().code(), StatusCode::kFailedPrecondition);
}

TEST(Learn, WithoutNegativesTheGateSaysWhyItAlwaysRetrieves) {
  SyntheticOptions options;
  for (auto& n : options.negatives) n = 0;
  const Synthetic world(options);
  const auto learned = learn(world.data, quick_learning()).value();
  EXPECT_FALSE(learned.gate.fitted());
  EXPECT_NE(learned.gate.note().find("always retrieves"), std::string::npos);
}

TEST(Learn, NegativesThatAllFallOutsideTrainAreCountedInTheGatesReason) {
  const Synthetic world({});
  LearningData data = world.data;
  data.negatives[0].clear();
  const auto learned = learn(data, quick_learning()).value();
  EXPECT_FALSE(learned.gate.fitted());
  EXPECT_NE(learned.gate.note().find("of 50 questions marked as needing no corpus none"),
            std::string::npos)
      << learned.gate.note();
}

TEST(Learn, WithoutDevHeldOutTrainingQueriesChooseTheExperts) {
  const Synthetic world({});
  LearningData data = world.data;
  for (auto& collection : data.collections) collection.splits[1] = {};
  const auto learned = learn(data, quick_learning());
  ASSERT_TRUE(learned.ok()) << learned.status().to_string();
  for (const auto& [name, trained] : learned->adapters) {
    EXPECT_GT(trained.strength, 0.0f) << name;
    EXPECT_GT(trained.chosen_on.queries, 0u) << name;
    EXPECT_EQ(trained.dev_unpaired.queries + trained.dev_paired.queries, 0u) << name;
  }
  EXPECT_EQ(learned->router->kind(), "linear");
  EXPECT_TRUE(learned->router_dev_accuracy.empty());
}

TEST(Learn, AQueryInTwoSplitsIsRefused) {
  const Synthetic world({});
  LearningData data = world.data;
  auto& splits = data.collections[1].splits;
  splits[1].ids[3] = splits[0].ids[5];
  const auto refused = learn(data, quick_learning());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("is in train and in dev"), std::string::npos)
      << refused.status().message();
}

TEST(Learn, TheRouterAskedForIsTaken) {
  const Synthetic world({});
  LearnOptions options = quick_learning();
  options.multi_task = false;
  for (const char* kind : {"linear", "mlp", "pilots-source", "pilots-winner"}) {
    options.router = kind;
    const auto learned = learn(world.data, options).value();
    EXPECT_EQ(learned.router->kind(), kind);
    EXPECT_FALSE(learned.multi_task.has_value());
  }
  options.router = "all";
  const auto learned = learn(world.data, options).value();
  EXPECT_EQ(learned.routers.size(), router_kinds().size());
  EXPECT_EQ(learned.router_dev_accuracy.size(), router_kinds().size());
  options.router = "auto";
  EXPECT_EQ(learned.router->serialize(), learn(world.data, options).value().router->serialize());
  options.router = "no such router";
  EXPECT_EQ(learn(world.data, options).status().code(), StatusCode::kInvalidArgument);
}

// An expert is better for its own collection than others are, so that winners are mostly sources;
// what is noise in them, the options leave out.
TEST(Learn, RoutersLearnWinnersWhereTheyShall) {
  SyntheticOptions noisy;
  noisy.noise = 0.08;
  const Synthetic world(noisy);
  LearnOptions options = quick_learning();
  options.multi_task = false;
  options.router = "linear";
  const auto fitted = [&](const RouterLabels& labels) {
    options.labels = labels;
    auto learned = learn(world.data, options);
    EXPECT_TRUE(learned.ok()) << learned.status().to_string();
    return std::move(learned).value();
  };
  const Learned by_source = fitted({});
  std::vector<std::vector<std::byte>> routers = {by_source.router->serialize()};
  RouterLabels winner{.by = RouterLabels::By::kWinner};
  RouterLabels margins = winner, dropped = winner, mixed = winner, deeper = winner;
  margins.margin_weights = true;
  dropped.drop_ties = true;
  mixed.source_weight = 1000.0;
  deeper.cutoff = 100;
  for (const RouterLabels& labels : {winner, margins, dropped, mixed, deeper}) {
    const Learned learned = fitted(labels);
    EXPECT_GE(learned.router_dev_accuracy.at("linear"), 0.8);
    // Pilots by source stay what they are.
    EXPECT_EQ(learned.routers[1]->serialize(), by_source.routers[1]->serialize());
    routers.push_back(learned.router->serialize());
  }
  std::set<std::vector<std::byte>> different(routers.begin(), routers.end());
  EXPECT_EQ(different.size(), routers.size());
  // Where sources count a thousand times as much, winners hardly matter.
  const Learned source_like = fitted(mixed);
  std::vector<float> a(3), b(3);
  for (std::size_t q = 0; q < 20; ++q) {
    const float* query = &world.data.collections[0].splits[1].vectors[q * world.data.dim];
    by_source.router->probabilities(query, a);
    source_like.router->probabilities(query, b);
    EXPECT_NEAR(a[0], b[0], 0.02);
  }
  for (RouterLabels bad : {RouterLabels{.cutoff = 0}, RouterLabels{.cutoff = 101},
                           RouterLabels{.source_weight = -1.0}}) {
    options.labels = bad;
    EXPECT_EQ(learn(world.data, options).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(parse_router_labels("winner").value(), RouterLabels::By::kWinner);
  EXPECT_EQ(parse_router_labels("best").status().code(), StatusCode::kInvalidArgument);
}

TEST(Learn, CancelsAtEveryStage) {
  const Synthetic world({});
  std::set<std::string> stages;
  ASSERT_TRUE(learn(world.data, quick_learning(), {}, [&](const core::Progress& progress) {
                stages.insert(std::string(progress.stage));
                return true;
              }).ok());
  EXPECT_GE(stages.size(), 7u);
  for (const auto& stage : stages) {
    const auto learned =
        learn(world.data, quick_learning(), {}, [&](const core::Progress& progress) {
          return progress.stage != stage || progress.done > 0;
        });
    EXPECT_EQ(learned.status().code(), StatusCode::kCancelled) << stage;
  }
}

TEST(Learn, DataThatDisagreesWithItselfIsATypedErrorThatSaysWhere) {
  const Synthetic world({});
  const auto message = [](const LearningData& data) {
    const auto learned = learn(data, quick_learning());
    EXPECT_EQ(learned.status().code(), StatusCode::kInvalidArgument);
    return learned.status().message();
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  LearningData data = world.data;
  data.collections[1].splits[0].vectors[3] = nan;
  EXPECT_NE(message(data).find("'setb', train"), std::string::npos);
  data = world.data;
  std::vector<float> poisoned = world.vectors[2];
  poisoned[10] = nan;
  data.collections[2].vectors = poisoned;
  EXPECT_NE(message(data).find("'setc'"), std::string::npos);
  data = world.data;
  data.collections[0].splits[1].relevant[4] = {99999};
  EXPECT_NE(message(data).find("'q1-4'"), std::string::npos);
  data = world.data;
  data.collections[0].splits[1].gains[4] = {0.0f};
  message(data);
  data = world.data;
  data.collections[0].splits[1].relevant[4] = {1, 1};
  data.collections[0].splits[1].gains[4] = {1.0f, 2.0f};
  EXPECT_NE(message(data).find("'q1-4': document number 1 twice"), std::string::npos);
  data = world.data;
  std::swap(data.collections[0], data.collections[1]);
  message(data);
  data = world.data;
  std::swap(data.collections[0].document_ids[0], data.collections[0].document_ids[1]);
  message(data);
  data = world.data;
  data.negatives[0].pop_back();
  message(data);
  data = world.data;
  data.negatives[1][0] = nan;
  message(data);
  data = world.data;
  data.collections.clear();
  message(data);
  data = world.data;
  data.dim = 0;
  message(data);
  const std::map<std::string, core::TrainedHeadAdapter> kept{
      {"seta", {core::HeadAdapter::identity(5), 1.0f, 1}}};
  EXPECT_EQ(learn(world.data, quick_learning(), kept).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(SplitOfDocument, IsStableAndAbout80To10To10) {
  double counts[3] = {0, 0, 0};
  for (int i = 0; i < 20000; ++i)
    counts[static_cast<std::size_t>(split_of_document("doc-" + std::to_string(i)))] += 1.0 / 20000;
  EXPECT_NEAR(counts[0], 0.8, 0.01);
  EXPECT_NEAR(counts[1], 0.1, 0.01);
  EXPECT_NEAR(counts[2], 0.1, 0.01);
}

TEST(SplitOfDocument, IsWhatLibrariesOnDiskRelyOn) {
  // From tests/oracles/split_of_document.py, which computes FNV-1a and SplitMix64 from their
  // definitions and checks both against published vectors.
  const std::pair<const char*, Split> expected[] = {
      {"", Split::kDev},        {"d0", Split::kTrain},     {"doc-17", Split::kTrain},
      {"Grüße", Split::kTrain}, {"日本", Split::kTest},    {"law-5", Split::kTest},
      {"law-11", Split::kDev},  {"nature-5", Split::kDev}, {"nature-33", Split::kTest},
      {"music-3", Split::kTest}};
  for (const auto& [id, split] : expected) EXPECT_EQ(split_of_document(id), split) << id;
}

}  // namespace
}  // namespace collegium::router
