#include "text/bpe_merges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace collegium::core {
namespace {

using Rules = std::map<std::pair<std::int32_t, std::int32_t>, std::pair<std::uint32_t, int>>;

// The definition: the leftmost of the pairs of least rank, again and again.
std::vector<std::int32_t> merged_by_definition(std::vector<std::int32_t> ids, const Rules& rules) {
  while (true) {
    std::uint32_t best = std::numeric_limits<std::uint32_t>::max();
    std::size_t at = 0;
    int id = -1;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rule = rules.find({ids[i], ids[i + 1]});
      if (rule == rules.end() || rule->second.first >= best) continue;
      best = rule->second.first;
      id = rule->second.second;
      at = i;
    }
    if (id < 0) return ids;
    ids[at] = id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

std::vector<std::int32_t> merged(const std::vector<std::int32_t>& ids, const Rules& rules,
                                 BpeMerges::Scratch& scratch) {
  BpeMerges merges(rules.size());
  for (const auto& [pair, to] : rules) merges.set(pair.first, pair.second, to.first, to.second);
  scratch.symbols.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) scratch.add(ids[i], i, i + 1);
  merges.merge(scratch);
  std::vector<std::int32_t> out;
  std::uint32_t end = 0;
  for (std::uint32_t i = 0; i != BpeMerges::kNone; i = scratch.symbols[i].next) {
    EXPECT_EQ(scratch.symbols[i].begin, end);
    end = scratch.symbols[i].end;
    out.push_back(scratch.symbols[i].id);
  }
  EXPECT_EQ(end, ids.size());
  return out;
}

// Long pieces go another way than short ones, and files whose later merges make room for earlier
// ones yet another.
void expect_as_defined(bool ranks_in_order) {
  std::mt19937 random(7);
  BpeMerges::Scratch scratch;
  for (int round = 0; round < 60; ++round) {
    const int letters = 1 + static_cast<int>(random() % 4);
    Rules rules;
    std::vector<std::uint32_t> ranks(40);
    for (std::uint32_t i = 0; i < ranks.size(); ++i) ranks[i] = i;
    if (!ranks_in_order) std::shuffle(ranks.begin(), ranks.end(), random);
    int id = letters;
    for (const std::uint32_t rank : ranks) {
      const auto left = static_cast<std::int32_t>(random() % static_cast<unsigned>(id));
      const auto right = static_cast<std::int32_t>(random() % static_cast<unsigned>(id));
      if (rules.emplace(std::pair(left, right), std::pair(rank, id)).second) ++id;
    }
    for (const std::size_t size : {1u, 7u, 300u, 511u, 512u, 700u, 2000u}) {
      std::vector<std::int32_t> ids(size);
      for (std::int32_t& each : ids)
        each = static_cast<std::int32_t>(random() % static_cast<unsigned>(letters));
      ASSERT_EQ(merged(ids, rules, scratch), merged_by_definition(ids, rules))
          << "round " << round << ", " << size << " symbols";
    }
  }
}

TEST(BpeMerges, MergesTheLeftmostPairOfLeastRankAgainAndAgain) { expect_as_defined(true); }

TEST(BpeMerges, DoesSoWhenRanksComeInAnyOrder) { expect_as_defined(false); }

}  // namespace
}  // namespace collegium::core
