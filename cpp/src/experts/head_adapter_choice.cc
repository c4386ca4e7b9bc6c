#include "experts/head_adapter_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "collegium/core/random.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxFolds = 5;
constexpr double kMinGain = 1.0;  // standard errors

// The queries of `train` in groups that share no relevant document (union and find by document).
std::vector<std::vector<std::uint32_t>> independent_groups(const JudgedQueries& train) {
  std::vector<std::uint32_t> parent(train.size());
  std::iota(parent.begin(), parent.end(), 0u);
  const auto root = [&](std::uint32_t query) {
    while (parent[query] != query) query = parent[query] = parent[parent[query]];
    return query;
  };
  std::map<std::uint32_t, std::uint32_t> first_with;  // by document
  for (std::uint32_t query = 0; query < train.size(); ++query)
    for (std::uint32_t document : train.positives[query]) {
      const auto [at, added] = first_with.emplace(document, query);
      if (!added) parent[root(query)] = root(at->second);
    }
  std::map<std::uint32_t, std::vector<std::uint32_t>> by_root;
  for (std::uint32_t query = 0; query < train.size(); ++query)
    by_root[root(query)].push_back(query);
  std::vector<std::vector<std::uint32_t>> groups;
  for (auto& [query, members] : by_root) groups.push_back(std::move(members));
  return groups;
}

// Among those at a strength above 0 that `counts`, and plain.
template <typename Counts>
EpochAndStrength best_where(const NdcgGrid& grid, Counts&& counts) {
  EpochAndStrength best;
  double best_mean = mean(grid.front().front());
  for (std::size_t epoch = 0; epoch < grid.size(); ++epoch)
    for (std::size_t strength = 1; strength < grid[epoch].size(); ++strength) {
      const double value = mean(grid[epoch][strength]);
      if (value > best_mean && counts(grid[epoch][strength])) {
        best_mean = value;
        best = {epoch, strength};
      }
    }
  return best;
}

}  // namespace

std::vector<TrainingFold> hold_out(const JudgedQueries& train, std::size_t wanted,
                                   std::uint64_t seed) {
  const std::size_t most = train.size() / kMaxFolds;
  if (most == 0 || wanted == 0) return {};
  const std::size_t folds = std::min(kMaxFolds, (wanted + most - 1) / most);
  const std::size_t each = std::min(most, (wanted + folds - 1) / folds);
  auto groups = independent_groups(train);
  Random(seed).shuffle(std::span(groups));
  std::vector<TrainingFold> result(folds);
  std::vector<std::size_t> fold_of(train.size(), folds);
  for (const auto& group : groups) {
    const auto fold = std::find_if(result.begin(), result.end(), [&](const TrainingFold& one) {
      return one.held_out.size() < each && one.held_out.size() + group.size() <= most;
    });
    if (fold == result.end()) continue;
    for (std::uint32_t query : group) {
      fold->held_out.push_back(query);
      fold_of[query] = static_cast<std::size_t>(fold - result.begin());
    }
  }
  std::erase_if(result, [](const TrainingFold& fold) { return fold.held_out.empty(); });
  for (std::size_t f = 0; f < result.size(); ++f)
    for (std::uint32_t query = 0; query < train.size(); ++query)
      if (fold_of[query] != f) result[f].learn.push_back(query);
  return result;
}

double mean(std::span<const double> values) {
  double sum = 0.0;
  for (double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

double paired_error(std::span<const double> after, std::span<const double> before) {
  const auto n = static_cast<double>(before.size());
  if (before.size() < 2) return std::numeric_limits<double>::infinity();
  const double gain = mean(after) - mean(before);
  double square = 0.0;
  for (std::size_t q = 0; q < before.size(); ++q) {
    const double difference = after[q] - before[q] - gain;
    square += difference * difference;
  }
  return std::sqrt(square / (n - 1.0) / n);
}

EpochAndStrength best_of(const NdcgGrid& grid) {
  return best_where(grid, [](std::span<const double>) { return true; });
}

EpochAndStrength best_gain(const NdcgGrid& grid, std::size_t dev_size) {
  const std::span<const double> plain = grid.front().front();
  const std::span<const double> dev_plain = plain.first(dev_size);
  return best_where(grid, [&](std::span<const double> values) {
    const std::span<const double> dev = values.first(dev_size);
    const double dev_gain = mean(dev) - mean(dev_plain);
    return plain.size() >= kLeastChoiceQueries &&
           mean(values) - mean(plain) > kMinGain * paired_error(values, plain) &&
           (dev_gain >= 0.0 || -dev_gain < kMinGain * paired_error(dev, dev_plain));
  });
}

}  // namespace collegium::core
