#include <gtest/gtest.h>

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
  JudgedQueries judged() const { return {vectors, positives}; }
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
  World world = make_world(false, 300, 1, 0.0);
  const World turned = make_world(true, 300, 1, 0.0);
  world.train = turned.train;
  const auto trained = train(world, quick());
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_EQ(trained->strength, 0.0f);
  EXPECT_EQ(trained->epochs, 0u);
  EXPECT_EQ(trained->dev_ndcg, trained->dev_ndcg_plain);
  EXPECT_EQ(trained->adapter.weight(), HeadAdapter::identity(kDim).weight());
}

TEST(TrainHeadAdapter, KeepsAGainAndNotTheLuckOfTheBestOfManyCandidates) {
  std::size_t from_luck = 0, from_rotation = 0;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    // Queries that are their documents with noise: there is nothing to learn. 40 dev queries.
    const World nothing = make_world(false, 120, 1, 0.25, seed);
    from_luck += train(nothing, quick())->strength > 0.0f ? 1u : 0u;
    const World turned = make_world(true, 120, 1, 0.05, seed);
    from_rotation += train(turned, quick())->strength > 0.0f ? 1u : 0u;
  }
  EXPECT_LE(from_luck, 2u);
  EXPECT_EQ(from_rotation, 15u);
}

TEST(TrainHeadAdapter, OneDevQueryShowsNoGainAndTwoMay) {
  World world = make_world(true, 300, 1, 0.0);
  const std::vector<float> vectors = world.dev.vectors;
  const auto positives = world.dev.positives;
  for (std::size_t n : {1u, 2u}) {
    // The same query twice: the paired difference has no spread.
    world.dev = {};
    for (std::size_t i = 0; i < n; ++i) {
      world.dev.vectors.insert(world.dev.vectors.end(), vectors.begin(), vectors.begin() + kDim);
      world.dev.positives.push_back(positives[0]);
    }
    const auto trained = train(world, quick());
    ASSERT_TRUE(trained.ok()) << trained.status().to_string();
    ASSERT_LT(trained->dev_ndcg_plain, 1.0);
    EXPECT_EQ(trained->strength > 0.0f, n == 2) << n;
  }
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

TEST(TrainHeadAdapter, WithoutDevTakesACautiousStrength) {
  World world = make_world(true);
  world.dev = {};
  const auto trained = train(world, quick());
  ASSERT_TRUE(trained.ok()) << trained.status().to_string();
  EXPECT_GT(trained->strength, 0.0f);
  EXPECT_LT(trained->strength, 1.0f);
  EXPECT_GT(trained->adapter.distance_from_identity(), 0.0);
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
}

}  // namespace
}  // namespace collegium::core
