#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/experts/head_adapter.h"
#include "experts/head_adapter_trainer.h"

// What train_head_adapter chooses, and on which queries.
namespace collegium::core {

// Training queries held out of one run (`held_out`) and those it learns from; positions in train.
struct TrainingFold {
  std::vector<std::uint32_t> learn, held_out;
};

// Folds whose held-out queries, `wanted` in all if there are enough, share no relevant document
// with those learned from: queries that share one are held out together. At most five folds, none
// holding out more than a fifth of the queries. Empty if queries cannot be parted so.
std::vector<TrainingFold> hold_out(const JudgedQueries& train, std::size_t wanted,
                                   std::uint64_t seed);

// nDCG@10 of one run: [epoch][strength][query]; strength 0 (plain) first.
using NdcgGrid = std::vector<std::vector<std::vector<double>>>;

struct EpochAndStrength {
  std::size_t epoch = 0, strength = 0;  // positions in the grid; strength 0: no adapter
};

double mean(std::span<const double> values);
// Of the mean of after - before, paired; infinite for fewer than two.
double paired_error(std::span<const double> after, std::span<const double> before);
// The best mean; the earlier epoch and smaller strength among equals.
EpochAndStrength best_of(const NdcgGrid& grid);
// The best of those whose gain over strength 0 is to be believed (see train_head_adapter); strength
// 0 if none is. The first `dev_size` queries are dev's.
EpochAndStrength best_gain(const NdcgGrid& grid, std::size_t dev_size);

}  // namespace collegium::core
