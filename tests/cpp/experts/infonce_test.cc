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
  std::vector<std::vector<std::uint32_t>> target_rows;
  std::vector<std::vector<float>> shares;
  std::vector<std::vector<std::uint32_t>> masked;
  std::vector<float> log_weights;

  std::vector<std::vector<InfoNcePositive>> positives() const {
    std::vector<std::vector<InfoNcePositive>> result(target_rows.size());
    for (std::size_t i = 0; i < target_rows.size(); ++i)
      for (std::size_t p = 0; p < target_rows[i].size(); ++p)
        result[i].push_back({&rows[target_rows[i][p] * dim], shares[i][p]});
    return result;
  }
  std::vector<InfoNceTarget> targets(
      const std::vector<std::vector<InfoNcePositive>>& positives) const {
    std::vector<InfoNceTarget> result;
    for (std::size_t i = 0; i < target_rows.size(); ++i)
      result.push_back({positives[i], masked[i]});
    return result;
  }
};

// More rows than one chunk, so that chunks are merged. One positive and two rows masked a query, or
// (listwise) up to three positives of unequal shares.
Batch make_batch(std::size_t dim, std::size_t rows, std::size_t queries, bool listwise = false) {
  Random random(11);
  Batch batch;
  batch.dim = dim;
  for (std::size_t i = 0; i < rows * dim; ++i)
    batch.rows.push_back(static_cast<float>(random.normal() * 0.3));
  for (std::size_t i = 0; i < queries * dim; ++i)
    batch.queries.push_back(static_cast<float>(random.normal() * 0.3));
  for (std::size_t i = 0; i < queries; ++i) {
    const std::size_t n = listwise ? 1 + i % 3 : 1;
    const std::size_t first = random.below(rows - n - 1);
    batch.target_rows.emplace_back();
    batch.shares.emplace_back();
    batch.masked.emplace_back();
    for (std::size_t p = 0; p < n; ++p) {
      batch.target_rows[i].push_back(static_cast<std::uint32_t>(first + p));
      batch.shares[i].push_back(static_cast<float>(p + 1) / static_cast<float>(n * (n + 1) / 2));
      batch.masked[i].push_back(static_cast<std::uint32_t>(first + p));
    }
    batch.masked[i].push_back(static_cast<std::uint32_t>(first + n));
  }
  return batch;
}

void weigh_rows(Batch& batch) {
  Random random(5);
  for (std::size_t row = 0; row < batch.rows.size() / batch.dim; ++row)
    batch.log_weights.push_back(static_cast<float>(std::log(0.2 + 3.0 * random.uniform())));
}

// The definition, in double.
double brute_force_loss(const Batch& batch, std::span<const float> queries, double temperature) {
  const auto score = [&](std::size_t query, std::size_t row) {
    double sum = 0.0;
    for (std::size_t d = 0; d < batch.dim; ++d)
      sum += double{queries[query * batch.dim + d]} * batch.rows[row * batch.dim + d];
    return sum / temperature;
  };
  double loss = 0.0;
  for (std::size_t i = 0; i < batch.target_rows.size(); ++i) {
    double sum = 0.0;
    for (std::uint32_t row : batch.target_rows[i]) sum += std::exp(score(i, row));
    for (std::size_t row = 0; row < batch.rows.size() / batch.dim; ++row)
      if (std::find(batch.masked[i].begin(), batch.masked[i].end(), row) == batch.masked[i].end())
        sum += (batch.log_weights.empty() ? 1.0 : std::exp(double{batch.log_weights[row]})) *
               std::exp(score(i, row));
    for (std::size_t p = 0; p < batch.target_rows[i].size(); ++p)
      loss += batch.shares[i][p] * (std::log(sum) - score(i, batch.target_rows[i][p]));
  }
  return loss / static_cast<double>(batch.target_rows.size());
}

double run(InfoNce& loss, const Batch& batch, float temperature, std::vector<float>& gradient) {
  gradient.resize(batch.queries.size());
  const auto positives = batch.positives();
  return loss.loss_and_gradient(batch.queries.data(), batch.targets(positives), temperature,
                                gradient.data());
}

TEST(InfoNce, LossEqualsTheDefinition) {
  std::vector<float> gradient;
  for (bool listwise : {false, true})
    for (bool weighted : {false, true}) {
      Batch batch = make_batch(12, 1300, 7, listwise);
      if (weighted) weigh_rows(batch);
      InfoNce loss(batch.rows, batch.dim, {}, batch.log_weights);
      for (float temperature : {0.05f, 0.5f})
        EXPECT_NEAR(run(loss, batch, temperature, gradient),
                    brute_force_loss(batch, batch.queries, temperature), 1e-4);
    }
}

TEST(InfoNce, GradientEqualsFiniteDifferencesOfTheDefinition) {
  for (bool listwise : {false, true}) {
    Batch batch = make_batch(9, 700, 5, listwise);
    weigh_rows(batch);
    InfoNce loss(batch.rows, batch.dim, {}, batch.log_weights);
    std::vector<float> gradient;
    run(loss, batch, 0.1f, gradient);
    const float step = 1e-3f;
    for (std::size_t i = 0; i < batch.queries.size(); ++i) {
      std::vector<float> up = batch.queries, down = batch.queries;
      up[i] += step;
      down[i] -= step;
      const double slope = (brute_force_loss(batch, up, 0.1) - brute_force_loss(batch, down, 0.1)) /
                           (double{up[i]} - double{down[i]});
      EXPECT_NEAR(gradient[i], slope, 1e-4 + 1e-3 * std::abs(slope)) << i;
    }
  }
}

TEST(InfoNce, SelectedRowsAreAllThereIs) {
  Batch batch = make_batch(8, 600, 3);
  for (auto& masked : batch.masked) masked.clear();
  std::vector<std::uint32_t> selected;
  std::vector<float> gathered;
  for (std::uint32_t row = 1; row < 600; row += 7) {
    selected.push_back(row);
    gathered.insert(gathered.end(), &batch.rows[row * 8], &batch.rows[row * 8] + 8);
  }
  InfoNce some(batch.rows, 8, selected), same(gathered, 8);
  EXPECT_EQ(some.size(), selected.size());
  std::vector<float> a, b;
  EXPECT_EQ(run(some, batch, 0.1f, a), run(same, batch, 0.1f, b));
  EXPECT_EQ(a, b);
}

TEST(InfoNce, EverythingMaskedCostsNothing) {
  Batch batch = make_batch(8, 20, 1);
  batch.masked[0].clear();
  for (std::uint32_t row = 0; row < 20; ++row) batch.masked[0].push_back(row);
  InfoNce loss(batch.rows, 8);
  std::vector<float> gradient;
  EXPECT_NEAR(run(loss, batch, 0.05f, gradient), 0.0, 1e-9);
  for (float g : gradient) EXPECT_NEAR(g, 0.0f, 1e-6f);
}

TEST(InfoNce, BitsDoNotDependOnTheNumberOfThreads) {
  const Batch batch = make_batch(16, 3000, 20);
  const auto with_threads = [&](std::size_t threads) {
    set_num_threads(threads);
    InfoNce loss(batch.rows, batch.dim);
    std::vector<float> gradient;
    const double value = run(loss, batch, 0.05f, gradient);
    return std::pair(value, gradient);
  };
  const auto one = with_threads(1), four = with_threads(4);
  set_num_threads(0);
  EXPECT_EQ(one, four);
}

}  // namespace
}  // namespace collegium::core
