#include "lexical_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace collegium::index {
namespace {

using Rows = std::map<std::uint64_t, Posting>;

std::string bytes_of(const std::vector<Posting>& postings) { return PostingBlock::write(postings); }

Rows rows_of(const TermPostings& postings) {
  Rows rows;
  for (std::size_t i = 0; i < postings.num_blocks(); ++i)
    for (const Posting& posting : postings.block(i).block().postings()) rows[posting.row] = posting;
  return rows;
}

void expect_equal(const Rows& found, const Rows& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [row, posting] : expected) {
    const auto at = found.find(row);
    ASSERT_NE(at, found.end()) << row;
    EXPECT_EQ(at->second.tf, posting.tf);
    EXPECT_EQ(at->second.length, posting.length);
  }
}

// A term of `rows` in one block.
std::shared_ptr<const TermPostings> small(const std::vector<std::uint64_t>& rows) {
  std::vector<Posting> postings;
  for (const std::uint64_t row : rows) postings.push_back({row, 1, 5});
  return TermPostings::none()->with({"", true, rows.size(), bytes_of(postings), {}});
}

TermChange change_to(const std::string& term, const std::vector<std::uint64_t>& rows) {
  std::vector<Posting> postings;
  for (const std::uint64_t row : rows) postings.push_back({row, 1, 5});
  return {term, true, rows.size(), bytes_of(postings), {}};
}

std::vector<std::uint64_t> keys_of(const std::shared_ptr<const TermPostings>& postings) {
  std::vector<std::uint64_t> keys;
  for (const auto& [row, posting] : rows_of(*postings)) keys.push_back(row);
  return keys;
}
using Keys = std::vector<std::uint64_t>;

// What the writer does to a term, on a map of blocks; the postings follow by changes alone.
TEST(TermPostings, FollowChangesOfTheirBlocks) {
  std::mt19937 random(3);
  std::map<std::uint64_t, std::vector<Posting>> full;
  std::vector<Posting> last;
  std::uint64_t next_row = 0;
  auto postings = TermPostings::none();
  for (int round = 0; round < 300; ++round) {
    TermChange change{"t", true, 0, "", {}};
    std::map<std::uint64_t, std::string> changed;
    for (auto& [key, block] : full) {
      if (random() % 8 != 0) continue;
      const std::size_t left = random() % 5 == 0 ? 0 : block.size() - 1;
      while (block.size() > left) block.erase(block.begin() + random() % block.size());
      changed[key] = block.empty() ? "" : bytes_of(block);
    }
    std::erase_if(full, [](const auto& entry) { return entry.second.empty(); });
    for (std::size_t i = 0; i < random() % 200; ++i) {
      next_row += 1 + random() % 300;
      last.push_back({next_row, static_cast<std::uint32_t>(1 + random() % 9),
                      static_cast<std::uint32_t>(10 + random() % 400)});
    }
    while (last.size() > PostingBlock::kMaxPostings) {
      const auto end = last.begin() + PostingBlock::kMaxPostings;
      const std::vector<Posting> block(last.begin(), end);
      last.erase(last.begin(), end);
      full[block.back().row] = block;
      changed[block.back().row] = bytes_of(block);
    }
    Rows expected;
    for (const auto& [key, block] : full)
      for (const Posting& posting : block) expected[posting.row] = posting;
    for (const Posting& posting : last) expected[posting.row] = posting;
    change.df = expected.size();
    if (change.df > 0) change.last = bytes_of(last);
    change.full.assign(changed.begin(), changed.end());
    postings = postings->with(change);
    ASSERT_NE(postings, nullptr);
    expect_equal(rows_of(*postings), expected);
    EXPECT_EQ(postings->df(), expected.size());
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t row = random() % (next_row + 10);
      const std::size_t from = random() % (postings->num_blocks() + 1);
      std::size_t brute = from;
      while (brute < postings->num_blocks() && postings->block(brute).last_row() < row) ++brute;
      EXPECT_EQ(postings->find_block(row, from), brute);
    }
  }
}

TEST(TermPostings, RefuseWhatDoesNotFit) {
  const auto postings = small({5, 9});
  TermChange change{
      "t", true, 3, bytes_of({{20, 1, 1}}), {{12, bytes_of({{10, 1, 1}, {13, 1, 1}})}}};
  EXPECT_EQ(postings->with(change), nullptr);  // a row behind its key
  change.full[0].first = 13;
  EXPECT_NE(postings->with(change), nullptr);
  change.last = bytes_of({{13, 1, 1}});  // the same row twice
  EXPECT_EQ(postings->with(change), nullptr);
  change.last = "no block";
  EXPECT_EQ(postings->with(change), nullptr);
  EXPECT_EQ(postings->with({"t", true, 2, "", {}}), nullptr);  // two postings and no block
  EXPECT_EQ(LoadedBlock::make(bytes_of({}), LoadedBlock::kLast), nullptr);
}

TEST(LexicalCache, ServesReadersOfEveryCommitSinceAWordChanged) {
  LexicalCache cache;
  cache.clear(4);
  cache.insert(1, "old", 4, small({1}));
  cache.insert(1, "new", 4, small({2}));
  cache.insert(1, "of another commit", 3, small({3}));
  EXPECT_EQ(cache.find(1, "of another commit", 4), nullptr);
  LexicalCache::Update update(cache);
  const std::vector<TermChange> changes = {change_to("new", {2, 7})};
  update.add(1, changes);
  EXPECT_EQ(keys_of(cache.find(1, "new", 4)), Keys{2});
  cache.publish(5, update);
  EXPECT_EQ(keys_of(cache.find(1, "new", 5)), (Keys{2, 7}));
  EXPECT_EQ(cache.find(1, "new", 4), nullptr);  // it must read the store as it was
  EXPECT_EQ(keys_of(cache.find(1, "old", 4)), Keys{1});
  EXPECT_EQ(keys_of(cache.find(1, "old", 5)), Keys{1});
  EXPECT_EQ(cache.find(2, "old", 5), nullptr);
  cache.clear(9);
  EXPECT_EQ(cache.find(1, "old", 9), nullptr);
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(LexicalCache, WhatAReaderBringsWhileACommitIsOnItsWayDoesNotOutliveIt) {
  LexicalCache cache;
  LexicalCache::Update update(cache);
  const std::vector<TermChange> changes = {change_to("a", {1, 2})};
  update.add(1, changes);
  cache.insert(1, "a", 0, small({1}));
  cache.publish(1, update);
  EXPECT_EQ(cache.find(1, "a", 1), nullptr);
  cache.insert(1, "a", 0, small({1}));  // late
  EXPECT_EQ(cache.find(1, "a", 1), nullptr);
}

TEST(LexicalCache, SeveralCommitsArePublishedTogether) {
  LexicalCache cache;
  cache.insert(1, "a", 0, small({1}));
  cache.insert(1, "b", 0, small({1}));
  LexicalCache::Update update(cache);
  const std::vector<TermChange> first = {change_to("a", {1, 2}), {"b", false, 2, "", {}}};
  const std::vector<TermChange> second = {change_to("a", {2, 3}), change_to("b", {4})};
  update.add(1, first);
  update.add(1, second);
  cache.publish(2, update);
  EXPECT_EQ(keys_of(cache.find(1, "a", 2)), (Keys{2, 3}));
  EXPECT_EQ(cache.find(1, "b", 2), nullptr);  // one of its changes is not known
}

TEST(LexicalCache, KeepsItsBoundAndWhatWasUsedLast) {
  LexicalCache cache(20000);
  for (int i = 0; i < 500; ++i) {
    cache.insert(1, "w" + std::to_string(i), 0, small({1, 2, 3}));
    EXPECT_NE(cache.find(1, "w0", 0), nullptr) << i;
    EXPECT_LE(cache.bytes(), 20000u);
  }
  EXPECT_EQ(cache.find(1, "w1", 0), nullptr);
  std::vector<std::uint64_t> rows;
  for (std::uint64_t row = 0; row < 128; ++row) rows.push_back(row << 33);
  LexicalCache little(4000);
  little.insert(1, "long", 0, small(rows));
  EXPECT_EQ(little.find(1, "long", 0), nullptr);
}

}  // namespace
}  // namespace collegium::index
