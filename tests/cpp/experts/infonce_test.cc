#include "experts/infonce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"

namespace collegium::core {
namespace {

struct Batch {
  std::size_t dim = 0;
  std::vector<float> rows, queries;
  std::vector<std::uint32_t> target_rows;
  std::vector<std::vector<std::uint32_t>> masked;

  std::vector<InfoNceTarget> targets() const {
    std::vector<InfoNceTarget> result;
    for (std::size_t i = 0; i < target_rows.size(); ++i)
      result.push_back({&rows[target_rows[i] * dim], masked[i]});
    return result;
  }
};

// More rows than one chunk, so that chunks are merged; two rows masked a query.
Batch make_batch(std::size_t dim, std::size_t rows, std::size_t queries) {
  Random random(11);
  Batch batch;
  batch.dim = dim;
  for (std::size_t i = 0; i < rows * dim; ++i)
    batch.rows.push_back(static_cast<float>(random.normal() * 0.3));
  for (std::size_t i = 0; i < queries * dim; ++i)
    batch.queries.push_back(static_cast<float>(random.normal() * 0.3));
  for (std::size_t i = 0; i < queries; ++i) {
    const auto target = static_cast<std::uint32_t>(random.below(rows));
    const auto other = static_cast<std::uint32_t>((target + 1 + random.below(rows - 1)) % rows);
    batch.target_rows.push_back(target);
    batch.masked.push_back({std::min(target, other), std::max(target, other)});
  }
  return batch;
}

// The definition, in double.
double brute_force_loss(const Batch& batch, std::span<const float> queries, double temperature,
                        double weight) {
  const auto score = [&](std::size_t query, std::size_t row) {
    double sum = 0.0;
    for (std::size_t d = 0; d < batch.dim; ++d)
      sum += double{queries[query * batch.dim + d]} * batch.rows[row * batch.dim + d];
    return sum / temperature;
  };
  double loss = 0.0;
  for (std::size_t i = 0; i < batch.target_rows.size(); ++i) {
    const double own = score(i, batch.target_rows[i]);
    double sum = std::exp(own);
    for (std::size_t row = 0; row < batch.rows.size() / batch.dim; ++row)
      if (std::find(batch.masked[i].begin(), batch.masked[i].end(), row) == batch.masked[i].end())
        sum += weight * std::exp(score(i, row));
    loss += std::log(sum) - own;
  }
  return loss / static_cast<double>(batch.target_rows.size());
}

TEST(InfoNce, LossEqualsTheDefinition) {
  const Batch batch = make_batch(12, 1300, 7);
  InfoNce loss(batch.rows, batch.dim);
  std::vector<float> gradient(batch.queries.size());
  const auto targets = batch.targets();
  for (float temperature : {0.05f, 0.5f})
    for (float weight : {1.0f, 3.0f})
      EXPECT_NEAR(loss.loss_and_gradient(batch.queries.data(), targets, temperature, weight,
                                         gradient.data()),
                  brute_force_loss(batch, batch.queries, temperature, weight), 1e-4);
}

TEST(InfoNce, GradientEqualsFiniteDifferencesOfTheDefinition) {
  const Batch batch = make_batch(9, 700, 5);
  InfoNce loss(batch.rows, batch.dim);
  std::vector<float> gradient(batch.queries.size());
  const auto targets = batch.targets();
  loss.loss_and_gradient(batch.queries.data(), targets, 0.1f, 2.0f, gradient.data());
  const float step = 1e-3f;
  for (std::size_t i = 0; i < batch.queries.size(); ++i) {
    std::vector<float> up = batch.queries, down = batch.queries;
    up[i] += step;
    down[i] -= step;
    const double slope =
        (brute_force_loss(batch, up, 0.1, 2.0) - brute_force_loss(batch, down, 0.1, 2.0)) /
        (double{up[i]} - double{down[i]});
    EXPECT_NEAR(gradient[i], slope, 1e-4 + 1e-3 * std::abs(slope)) << i;
  }
}

TEST(InfoNce, SelectedRowsAreAllThereIs) {
  const Batch batch = make_batch(8, 600, 3);
  std::vector<std::uint32_t> selected;
  std::vector<float> gathered;
  for (std::uint32_t row = 1; row < 600; row += 7) {
    selected.push_back(row);
    gathered.insert(gathered.end(), &batch.rows[row * 8], &batch.rows[row * 8] + 8);
  }
  std::vector<InfoNceTarget> targets = batch.targets();
  for (auto& target : targets) target.masked = {};
  InfoNce some(batch.rows, 8, selected), same(gathered, 8);
  EXPECT_EQ(some.size(), selected.size());
  std::vector<float> a(batch.queries.size()), b(batch.queries.size());
  EXPECT_EQ(some.loss_and_gradient(batch.queries.data(), targets, 0.1f, 1.0f, a.data()),
            same.loss_and_gradient(batch.queries.data(), targets, 0.1f, 1.0f, b.data()));
  EXPECT_EQ(a, b);
}

TEST(InfoNce, EverythingMaskedCostsNothing) {
  Batch batch = make_batch(8, 20, 1);
  batch.masked[0].clear();
  for (std::uint32_t row = 0; row < 20; ++row) batch.masked[0].push_back(row);
  InfoNce loss(batch.rows, 8);
  std::vector<float> gradient(8, 1.0f);
  EXPECT_NEAR(
      loss.loss_and_gradient(batch.queries.data(), batch.targets(), 0.05f, 1.0f, gradient.data()),
      0.0, 1e-9);
  for (float g : gradient) EXPECT_NEAR(g, 0.0f, 1e-6f);
}

TEST(InfoNce, BitsDoNotDependOnTheNumberOfThreads) {
  const Batch batch = make_batch(16, 3000, 20);
  const auto run = [&](std::size_t threads) {
    set_num_threads(threads);
    InfoNce loss(batch.rows, batch.dim);
    std::vector<float> gradient(batch.queries.size());
    const double value =
        loss.loss_and_gradient(batch.queries.data(), batch.targets(), 0.05f, 1.0f, gradient.data());
    return std::pair(value, gradient);
  };
  const auto one = run(1), four = run(4);
  set_num_threads(0);
  EXPECT_EQ(one, four);
}

}  // namespace
}  // namespace collegium::core
