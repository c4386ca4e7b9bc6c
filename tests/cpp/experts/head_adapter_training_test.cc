#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "collegium/core/experts/head_adapter.h"
#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

constexpr std::size_t kDim = 24;

void normalize(float* vector) {
  double sum = 0.0;
  for (std::size_t d = 0; d < kDim; ++d) sum += double{vector[d]} * vector[d];
  for (std::size_t d = 0; d < kDim; ++d) vector[d] /= static_cast<float>(std::sqrt(sum));
}

struct Queries {
  std::vector<float> vectors;
  std::vector<std::vector<std::uint32_t>> positives;
  std::vector<std::vector<std::uint32_t>> hard = {};
  std::vector<std::vector<float>> teacher = {};
  JudgedQueries judged() const { return {vectors, positives, {}, hard, teacher}; }
};

// Documents of `passages_each` unit vectors; a query is one of its document's passages under the
// rotation by which each pair of axes turns 60 degrees, with noise.
struct World {
  std::vector<float> passages;
  std::vector<std::uint32_t> row_document;
  Queries train, dev;
};

World make_world(bool rotated, std::size_t documents = 300, std::size_t passages_each = 1,
                 double noise = 0.05, std::uint64_t seed = 3) {
  Random random(seed);
  World world;
  for (std::uint32_t document = 0; document < documents; ++document)
    for (std::size_t p = 0; p < passages_each; ++p) {
      world.row_document.push_back(document);
      for (std::size_t d = 0; d < kDim; ++d)
        world.passages.push_back(static_cast<float>(random.normal()));
      normalize(&world.passages[world.passages.size() - kDim]);
    }
  for (std::uint32_t document = 0; document < documents; ++document) {
    Queries& queries = document % 3 == 0 ? world.dev : world.train;
    const float* row =
        &world.passages[(document * passages_each + random.below(passages_each)) * kDim];
    const double cosine = rotated ? 0.5 : 1.0, sine = rotated ? std::sqrt(0.75) : 0.0;
    for (std::size_t d = 0; d < kDim; d += 2) {
      queries.vectors.push_back(
          static_cast<float>(cosine * row[d] - sine * row[d + 1] + noise * random.normal()));
      queries.vectors.push_back(
          static_cast<float>(sine * row[d] + cosine * row[d + 1] + noise * random.normal()));
    }
    normalize(&queries.vectors[queries.vectors.size() - kDim]);
    queries.positives.push_back({document});
  }
  return world;
}

Queries first_of(const Queries& queries, std::size_t first, std::size_t end) {
  Queries result;
  result.vectors.assign(&queries.vectors[0] + first * kDim, &queries.vectors[0] + end * kDim);
  result.positives.assign(queries.positives.begin() + static_cast<long>(first),
                          queries.positives.begin() + static_cast<long>(end));
  return result;
}

// nDCG@10 by brute force; every query has one relevant document, every document one row.
double ndcg(const World& world, const Queries& queries, const HeadAdapter& adapter) {
  double sum = 0.0;
  for (std::size_t q = 0; q < queries.positives.size(); ++q) {
    float mapped[kDim];
    adapter.apply(&queries.vectors[q * kDim], mapped);
    const auto score = [&](std::size_t row) {
      return std::inner_product(mapped, mapped + kDim, &world.passages[row * kDim], 0.0);
    };
    const std::uint32_t own = queries.positives[q][0];
    std::size_t rank = 0;
    for (std::size_t row = 0; row < world.row_document.size(); ++row)
      rank += score(row) > score(own) ? 1u : 0u;
    if (rank < 10) sum += 1.0 / std::log2(static_cast<double>(rank) + 2.0);
  }
  return sum / static_cast<double>(queries.positives.size());
}

Result<TrainedHeadAdapter> train(const World& world, HeadAdapterOptions options = {},
                                 const ProgressCallback& progress = {}) {
  return train_head_adapter(world.passages, world.row_document, kDim, world.train.judged(),
                            world.dev.judged(), options, progress);
}

HeadAdapterOptions quick() {
  HeadAdapterOptions options;
  options.learning_rate = 0.02f;
  options.batch_size = 32;
  options.max_epochs = 12;
  options.pools = {NegativePool::kWhole};
  return options;
}

TEST(TrainHeadAdapter, UndoesARotationOfTheQueries) {
  const auto trained = train(make_world(true), quick());
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_LT(trained->dev_ndcg_plain, 0.6);
  EXPECT_GT(trained->dev_ndcg, 0.95);
  EXPECT_GT(trained->strength, 0.5f);
  EXPECT_GE(trained->epochs, 1u);
  ASSERT_GE(trained->loss.size(), trained->epochs);
  EXPECT_LT(trained->loss.back(), 0.3 * trained->loss.front());
}

TEST(TrainHeadAdapter, LearnsFromTheBestPassageOfADocument) {
  const auto trained = train(make_world(true, 300, 3), quick());
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_GT(trained->dev_ndcg, trained->dev_ndcg_plain + 0.2);
}

TEST(TrainHeadAdapter, SampledNegativesDoToo) {
  HeadAdapterOptions options = quick();
  options.max_negatives = 100;
  const auto trained = train(make_world(true), options);
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_GT(trained->dev_ndcg, 0.9);
}

TEST(TrainHeadAdapter, ChoosesNoAdapterWhereDevSaysSo) {
  // Training queries are turned the other way than dev's: whatever is learned harms dev.
  World world = make_world(false, 300, 1, 0.2);
  world.train = make_world(true, 300, 1, 0.0).train;
  // Held-out training queries, which gain, do not outvote it: what is kept costs dev nothing.
  const auto helped = train(world, quick());
  ASSERT_TRUE(helped.ok()) << helped.status().to_string();
  EXPECT_GT(helped->dev_ndcg, helped->dev_ndcg_plain - 0.01);
  HeadAdapterOptions options = quick();
  options.enough_dev = 0;
  const auto trained = train(world, options);
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->strength, 0.0f);
  EXPECT_EQ(trained->epochs, 0u);
  EXPECT_EQ(trained->dev_ndcg, trained->dev_ndcg_plain);
  EXPECT_EQ(trained->adapter.weight(), HeadAdapter::identity(kDim).weight());
}

TEST(TrainHeadAdapter, KeepsAGainAndHardlyEverTheLuckOfTheBestOfManyCandidates) {
  std::size_t from_luck = 0, from_rotation = 0;
  double harm = 0.0;  // of what luck kept, on queries that nothing was chosen on
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    // Queries that are their documents with noise: there is nothing to learn. 40 dev queries.
    World nothing = make_world(false, 240, 1, 0.25, seed);
    const Queries fresh = first_of(nothing.dev, 40, 80);
    nothing.dev = first_of(nothing.dev, 0, 40);
    const auto kept = train(nothing, quick());
    from_luck += kept->strength > 0.0f ? 1u : 0u;
    harm += ndcg(nothing, fresh, HeadAdapter::identity(kDim)) - ndcg(nothing, fresh, kept->adapter);
    const World turned = make_world(true, 120, 1, 0.05, seed);
    from_rotation += train(turned, quick())->strength > 0.0f ? 1u : 0u;
  }
  EXPECT_LE(from_luck, 4u);
  EXPECT_LT(harm / 15.0, 0.01);
  EXPECT_EQ(from_rotation, 15u);
}

TEST(TrainHeadAdapter, HeldOutTrainingQueriesChooseWhereDevIsSmallOrMissing) {
  const World whole = make_world(true);
  for (std::size_t n : {0u, 1u, 5u}) {
    World world = whole;
    world.dev = first_of(whole.dev, 0, n);
    const auto trained = train(world, quick());
    ASSERT_TRUE(trained.ok()) << trained.status().to_string();
    EXPECT_GE(trained->chosen_on.queries, HeadAdapterOptions{}.enough_dev) << n;
    EXPECT_GT(trained->strength, 0.5f) << n;
    EXPECT_GT(ndcg(world, whole.dev, trained->adapter), 0.9) << n;
  }
  // And dev alone if asked: one query shows nothing.
  World world = whole;
  world.dev = first_of(whole.dev, 0, 1);
  HeadAdapterOptions options = quick();
  options.enough_dev = 0;
  EXPECT_EQ(train(world, options)->strength, 0.0f);
}

TEST(TrainHeadAdapter, WhereNoRelevantDocumentHasRowsThereIsNone) {
  World world = make_world(true, 30);
  const std::uint32_t absent = 30;  // known by number alone: document 31 has the last rows
  world.row_document.back() = 31;
  for (auto& positives : world.train.positives) positives = {absent};
  for (bool with_dev : {true, false}) {
    if (!with_dev) world.dev = {};
    const auto trained = train(world, quick());
    ASSERT_TRUE(trained.ok()) << trained.status().to_string();
    EXPECT_EQ(trained->strength, 0.0f);
    EXPECT_EQ(trained->adapter.weight(), HeadAdapter::identity(kDim).weight());
    for (double loss : trained->loss) EXPECT_TRUE(std::isfinite(loss));
  }
}

TEST(TrainHeadAdapter, AFewPairsAreNoAdapter) {
  for (std::size_t n : {1u, 2u, 4u, 9u}) {
    World world = make_world(true);
    world.train = first_of(world.train, 0, n);
    world.dev = {};
    const auto trained = train(world, quick());
    ASSERT_TRUE(trained.ok()) << trained.status().to_string();
    EXPECT_EQ(trained->strength, 0.0f) << n;
  }
}

TEST(TrainHeadAdapter, EveryLossRankAndPoolLearns) {
  const World world = make_world(true);
  for (TrainingLoss loss : {TrainingLoss::kInfoNce, TrainingLoss::kListwise})
    for (std::size_t rank : {0u, 24u})
      for (NegativePool pool : {NegativePool::kWhole, NegativePool::kPaired, NegativePool::kMixture,
                                NegativePool::kMined}) {
        HeadAdapterOptions options = quick();
        options.loss = loss;
        options.ranks = {rank};
        options.pools = {pool};
        options.max_epochs = 20;
        const auto trained = train(world, options);
        ASSERT_TRUE(trained.ok()) << trained.status().to_string();
        EXPECT_GT(trained->dev_ndcg, 0.85) << rank << " " << negative_pool_name(pool);
        EXPECT_EQ(trained->adapter.rank(), rank);
        EXPECT_EQ(trained->pool, pool);
        EXPECT_NEAR(trained->dev_ndcg, ndcg(world, world.dev, trained->adapter), 1e-6);
      }
}

// A teacher that knows the rotation: its scores are those of the vectors before it, in another
// unit.
void teach(World& world, float unit) {
  const std::size_t documents = world.row_document.size();
  for (std::size_t q = 0; q < world.train.positives.size(); ++q) {
    const float* own = &world.passages[world.train.positives[q][0] * kDim];
    std::vector<std::uint32_t> hard;
    for (std::uint32_t i = 1; i <= std::min<std::size_t>(40, documents - 1); ++i)
      hard.push_back(static_cast<std::uint32_t>((world.train.positives[q][0] + 7 * i) % documents));
    std::vector<float> scores = {unit};
    for (std::uint32_t document : hard)
      scores.push_back(unit *
                       std::inner_product(own, own + kDim, &world.passages[document * kDim], 0.0f));
    world.train.hard.push_back(hard);
    world.train.teacher.push_back(scores);
  }
}

TEST(TrainHeadAdapter, LearnsATeachersMarginsInAnyUnit) {
  for (float unit : {1.0f, 30.0f}) {
    World world = make_world(true);
    teach(world, unit);
    HeadAdapterOptions options = quick();
    options.loss = TrainingLoss::kMarginMse;
    options.max_epochs = 30;
    const auto trained = train(world, options);
    ASSERT_TRUE(trained.ok()) << trained.status().to_string();
    // More than half of what plain lacks.
    EXPECT_GT(trained->dev_ndcg, 0.5 * (1.0 + trained->dev_ndcg_plain)) << unit;
    EXPECT_EQ(trained->pool, NegativePool::kMined);
    EXPECT_LT(trained->loss.back(), 0.6 * trained->loss.front());
  }
}

TEST(TrainHeadAdapter, ATeachersScoresOfNothingHardTeachNothing) {
  World world = make_world(true, 60);
  for (const auto& positives : world.train.positives) {
    world.train.hard.push_back(positives);  // relevant ones are passed over
    world.train.teacher.push_back({1.0f, 1.0f});
  }
  HeadAdapterOptions options = quick();
  options.loss = TrainingLoss::kMarginMse;
  const auto trained = train(world, options);
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->strength, 0.0f);
  EXPECT_EQ(trained->dev_ndcg, trained->dev_ndcg_plain);
  EXPECT_GT(trained->dev_ndcg, 0.0);
}

TEST(TrainHeadAdapter, DevChoosesAmongRanks) {
  // A rotation of every pair of axes is no map of rank one away from the identity.
  HeadAdapterOptions options = quick();
  options.ranks = {1, 0};
  const auto trained = train(make_world(true), options);
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->rank, 0u);
  options.ranks = {1};
  EXPECT_LT(train(make_world(true), options)->dev_ndcg, trained->dev_ndcg);
}

TEST(TrainHeadAdapter, ReportsItsCurveAndDocumentsWithAndWithoutPairsApart) {
  World world = make_world(true);
  world.train.vectors.insert(world.train.vectors.end(), world.dev.vectors.begin(),
                             world.dev.vectors.begin() + kDim);
  world.train.vectors.back() += 1e-3f;  // another question on the first dev question's document
  world.train.positives.push_back(world.dev.positives[0]);
  const auto trained = train(world, quick());
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->dev_paired.queries, 1u);
  EXPECT_EQ(trained->dev_unpaired.queries, 99u);
  EXPECT_NEAR(trained->dev_paired.adapted + 99 * trained->dev_unpaired.adapted,
              100 * trained->dev_ndcg, 1e-9);
  EXPECT_EQ(trained->curve.size(), trained->loss.size());
  EXPECT_NEAR(*std::max_element(trained->curve.begin(), trained->curve.end()),
              trained->chosen_on.adapted, 1e-12);
  EXPECT_GT(trained->standard_error, 0.0);
}

TEST(TrainHeadAdapter, WithoutTrainingQueriesThereIsNone) {
  World world = make_world(true);
  world.train = {};
  const auto trained = train(world);
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->strength, 0.0f);
  EXPECT_GT(trained->dev_ndcg_plain, 0.0);
}

TEST(TrainHeadAdapter, IsTheSameBitForBitForASeedWhateverTheNumberOfThreads) {
  const World world = make_world(true, 1200);
  HeadAdapterOptions options = quick();
  options.max_epochs = 2;
  const auto digest = [&](std::size_t threads, std::uint64_t seed, std::size_t negatives) {
    set_num_threads(threads);
    options.seed = seed;
    options.max_negatives = negatives;
    return train(world, options)->adapter.digest();
  };
  for (std::size_t negatives : {50000u, 700u}) {
    const std::string one = digest(1, 1, negatives);
    EXPECT_EQ(one, digest(3, 1, negatives));
    EXPECT_NE(one, digest(3, 2, negatives));
  }
  set_num_threads(0);
}

TEST(TrainHeadAdapter, CancelsWhenAskedAndSaysHowFarItIs) {
  std::uint64_t seen = 0, total = 0;
  const auto trained = train(make_world(true), quick(), [&](const Progress& progress) {
    seen = progress.done;
    total = progress.total;
    return progress.done < 5;
  });
  EXPECT_EQ(trained.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(seen, 5u);
  EXPECT_GT(total, 5u);
}

TEST(TrainHeadAdapter, ADevQueryThatWasTrainedOnIsRefused) {
  World world = make_world(true, 60);
  world.dev.vectors.insert(world.dev.vectors.end(), &world.train.vectors[2 * kDim],
                           &world.train.vectors[3 * kDim]);
  world.dev.positives.push_back(world.train.positives[2]);
  const auto refused = train(world, quick());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("query 20 is training query 2"), std::string::npos)
      << refused.status().message();
  world.dev.positives.back() = {world.dev.positives[0]};  // of another document: another question
  EXPECT_TRUE(train(world, quick()).ok());
}

TEST(TrainHeadAdapter, BadInputIsATypedError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto code = [](const World& world, HeadAdapterOptions options = {}) {
    return train(world, options).status().code();
  };
  World world = make_world(true, 30);
  world.passages[5] = nan;
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world = make_world(true, 30);
  world.train.vectors[5] = nan;
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world = make_world(true, 30);
  world.dev.positives[0] = {30};
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world.dev.positives[0] = {};
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world = make_world(true, 30);
  world.passages.pop_back();
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world = make_world(true, 30);
  world.row_document[0] = 0xffffffffu;
  EXPECT_EQ(code(world), StatusCode::kInvalidArgument);
  world = make_world(true, 30);
  HeadAdapterOptions options;
  options.temperature = 0.0f;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.learning_rate = nan;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.batch_size = 0;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.ranks = {kDim + 1};
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options.ranks = {};
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.pools = {};
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.mined_negatives = 0;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.false_negative_margin = nan;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);
  options = {};
  options.loss = TrainingLoss::kMarginMse;
  EXPECT_EQ(code(world, options), StatusCode::kInvalidArgument);  // nobody teaches
  teach(world, 1.0f);
  const World taught = world;
  ASSERT_EQ(code(taught, options), StatusCode::kOk);
  const auto refused = [&](auto&& damage, const char* named) {
    World damaged = taught;
    damage(damaged.train);
    const auto status = train(damaged, options).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  refused([](Queries& train) { train.hard.pop_back(); }, "hard documents of 19 queries");
  refused([](Queries& train) { train.hard[3][0] = 30; }, "query 3 names hard document 30 of 30");
  refused([](Queries& train) { train.hard[3][0] = train.hard[3][1]; }, "twice");
  refused([](Queries& train) { train.teacher.pop_back(); }, "scores of 19 queries");
  refused([](Queries& train) { train.teacher[2].pop_back(); }, "query 2 has");
  refused([=](Queries& train) { train.teacher[2][1] = nan; }, "not finite");
  EXPECT_EQ(parse_negative_pool("all").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(parse_training_loss("").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::core
