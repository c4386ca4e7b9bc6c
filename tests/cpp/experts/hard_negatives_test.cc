#include "experts/hard_negatives.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "experts/margin_mse.h"

namespace collegium::core {
namespace {

constexpr std::size_t kDim = 10;

std::vector<float> random_vectors(Random& random, std::size_t n) {
  std::vector<float> vectors(n * kDim);
  for (float& value : vectors) value = static_cast<float>(random.normal() * 0.3);
  return vectors;
}

// Documents of one to three passages; queries with up to two relevant ones.
struct World {
  std::vector<float> vectors, queries;
  TrainingPassages passages;
  std::vector<std::vector<std::uint32_t>> positives, hard;
  JudgedQueries train() const { return {queries, positives, {}, hard}; }
  double score(std::size_t query, std::size_t row) const {
    return std::inner_product(&queries[query * kDim], &queries[(query + 1) * kDim],
                              &vectors[row * kDim], 0.0);
  }
};

World make_world(std::size_t documents, std::size_t queries, bool with_hard) {
  Random random(7);
  World world;
  std::uint32_t rows = 0;
  world.passages.document_rows.resize(documents);
  for (auto& own : world.passages.document_rows)
    for (std::size_t i = random.below(3); i < 3; ++i) own.push_back(rows++);
  world.vectors = random_vectors(random, rows);
  world.queries = random_vectors(random, queries);
  world.passages.vectors = world.vectors;
  world.passages.dim = kDim;
  for (std::size_t q = 0; q < queries; ++q) {
    const auto first = static_cast<std::uint32_t>(random.below(documents - 1));
    world.positives.push_back({first});
    if (q % 2 == 0) world.positives.back().push_back(first + 1);
    if (!with_hard) continue;
    world.hard.push_back({first});  // a relevant one among them
    for (std::uint32_t i = 1; i < 4; ++i)
      world.hard.back().push_back(static_cast<std::uint32_t>((first + 11 * i) % documents));
  }
  return world;
}

TEST(MineHardNegatives, AreTheBestRowsAndTheGivenDocumentsByBruteForce) {
  for (bool with_hard : {false, true})
    for (float margin : {-0.1f, 0.0f, 0.1f}) {
      const World world = make_world(400, 130, with_hard);
      const std::size_t rows = world.passages.rows(), depth = 15;
      const auto mined = mine_hard_negatives(world.passages, world.train(), depth, margin);
      std::size_t left_out = 0;
      for (std::size_t q = 0; q < world.positives.size(); ++q) {
        std::vector<std::uint32_t> order(rows);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
          return world.score(q, a) > world.score(q, b);
        });
        std::vector<char> found(rows, 0), relevant(rows, 0);
        for (std::size_t i = 0; i < depth; ++i) found[order[i]] = 1;
        if (with_hard)
          for (std::uint32_t document : world.hard[q])
            for (std::uint32_t row : world.passages.document_rows[document]) found[row] = 1;
        double best = -1e9;
        for (std::uint32_t document : world.positives[q])
          for (std::uint32_t row : world.passages.document_rows[document]) {
            relevant[row] = 1;
            best = std::max(best, world.score(q, row));
          }
        std::vector<std::uint32_t> wanted, likely;
        for (std::uint32_t row = 0; row < rows; ++row)
          if (found[row] && !relevant[row])
            (world.score(q, row) > best - double{margin} ? likely : wanted).push_back(row);
        EXPECT_EQ(mined.rows[q], wanted) << q;
        EXPECT_EQ(mined.left_out[q], likely) << q;
        left_out += likely.size();
      }
      EXPECT_GT(left_out, 0u);
    }
}

TEST(MineHardNegatives, TiesAreTheSmallerRowsAndFewRowsAreAllOfThem) {
  World world = make_world(40, 3, false);
  std::fill(world.vectors.begin(), world.vectors.end(), 0.25f);
  for (auto& positives : world.positives) positives = {39};
  const auto rows_of = [&](std::size_t depth) {
    return mine_hard_negatives(world.passages, world.train(), depth, -1.0f).rows[0];
  };
  EXPECT_EQ(rows_of(3), (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(rows_of(10000).size(), world.passages.rows() - world.passages.document_rows[39].size());
}

TEST(MineHardNegatives, DoNotDependOnTheNumberOfThreads) {
  const World world = make_world(300, 200, true);
  const std::size_t before = default_pool().num_threads();
  set_num_threads(1);
  const auto one = mine_hard_negatives(world.passages, world.train(), 20, 0.0f);
  set_num_threads(4);
  const auto four = mine_hard_negatives(world.passages, world.train(), 20, 0.0f);
  set_num_threads(before);
  EXPECT_EQ(one.rows, four.rows);
  EXPECT_EQ(one.left_out, four.left_out);
}

struct Batch {
  std::vector<float> queries, rows;
  std::vector<MarginTarget> targets;
};

Batch make_batch() {
  Random random(3);
  Batch batch;
  batch.queries = random_vectors(random, 5);
  batch.rows = random_vectors(random, 30);
  for (std::size_t i = 0; i < 5; ++i) {
    MarginTarget target{&batch.rows[i * kDim]};
    for (std::size_t j = 0; j < 3 * i; ++j) {  // the first has nothing to be better than
      target.others.push_back(&batch.rows[(5 + (i * 7 + j) % 25) * kDim]);
      target.margins.push_back(static_cast<float>(random.normal()));
    }
    batch.targets.push_back(std::move(target));
  }
  return batch;
}

// The definition, in double.
double brute_force(const Batch& batch, const std::vector<float>& queries) {
  double loss = 0.0;
  for (std::size_t i = 0; i < batch.targets.size(); ++i) {
    const auto score = [&](const float* row) {
      return std::inner_product(&queries[i * kDim], &queries[(i + 1) * kDim], row, 0.0);
    };
    const MarginTarget& target = batch.targets[i];
    double sum = 0.0;
    for (std::size_t j = 0; j < target.others.size(); ++j) {
      const double error =
          score(target.positive) - score(target.others[j]) - double{target.margins[j]};
      sum += error * error;
    }
    if (!target.others.empty()) loss += sum / static_cast<double>(target.others.size());
  }
  return loss / static_cast<double>(batch.targets.size());
}

TEST(MarginMse, EqualsTheDefinitionAndItsGradientFiniteDifferences) {
  const Batch batch = make_batch();
  std::vector<float> gradient(batch.queries.size(), 9.0f);
  const double loss = margin_mse(batch.queries.data(), batch.targets, kDim, gradient.data());
  EXPECT_NEAR(loss, brute_force(batch, batch.queries), 1e-5);
  for (std::size_t i = 0; i < batch.queries.size(); ++i) {
    std::vector<float> up = batch.queries, down = batch.queries;
    up[i] += 1e-2f;
    down[i] -= 1e-2f;
    const double slope =
        (brute_force(batch, up) - brute_force(batch, down)) / (double{up[i]} - double{down[i]});
    EXPECT_NEAR(gradient[i], slope, 1e-5 + 1e-4 * std::abs(slope)) << i;
  }
}

}  // namespace
}  // namespace collegium::core
