#include "lexical_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace collegium::index {
namespace {

std::vector<Posting> random_postings(std::mt19937& random, std::size_t n, std::uint64_t step,
                                     std::uint32_t most) {
  std::vector<Posting> postings;
  std::uint64_t row = random() % 1000;
  for (std::size_t i = 0; i < n; ++i) {
    row += 1 + random() % step;
    const auto tf = static_cast<std::uint32_t>(1 + random() % most);
    postings.push_back({row, tf, tf + static_cast<std::uint32_t>(random() % most)});
  }
  return postings;
}

TEST(PostingBlock, ComesBackAsItWas) {
  std::mt19937 random(7);
  for (const std::uint64_t step : {1ull, 3ull, 1000ull, 1ull << 30, 1ull << 50})
    for (const std::uint32_t most : {1u, 200u, 70000u, 1u << 30})
      for (const std::size_t n : {0u, 1u, 2u, 127u, 128u}) {
        const auto postings = random_postings(random, n, step, most);
        const std::string bytes = PostingBlock::write(postings);
        PostingBlock block;
        ASSERT_TRUE(block.read(bytes));
        ASSERT_EQ(block.size(), n);
        for (std::size_t i = 0; i < n; ++i) {
          EXPECT_EQ(block.row(i), postings[i].row);
          EXPECT_EQ(block.tf(i), postings[i].tf);
          EXPECT_EQ(block.length(i), postings[i].length);
          EXPECT_EQ(block.find(postings[i].row, 0), i);
          EXPECT_EQ(block.find(postings[i].row + 1, 0), i + 1);
        }
      }
}

TEST(PostingBlock, EveryPostingIsBoundedByAnImpact) {
  std::mt19937 random(8);
  for (int round = 0; round < 200; ++round) {
    const auto postings = random_postings(random, 1 + random() % 128, 5, 1 + random() % 300);
    const std::string bytes = PostingBlock::write(postings);
    PostingBlock block;
    ASSERT_TRUE(block.read(bytes));
    ASSERT_LE(block.num_impacts(), PostingBlock::kMaxImpacts);
    for (const Posting& posting : postings) {
      bool bounded = false;
      for (std::size_t i = 0; i < block.num_impacts(); ++i)
        bounded = bounded ||
                  (block.impact(i).tf >= posting.tf && block.impact(i).length <= posting.length);
      EXPECT_TRUE(bounded);
    }
  }
}

TEST(PostingBlock, RefusesWhatIsNoBlock) {
  std::mt19937 random(9);
  const std::string bytes = PostingBlock::write(random_postings(random, 100, 300, 300));
  PostingBlock block;
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(block.read(std::string_view(bytes).substr(0, size))) << size;
  EXPECT_FALSE(block.read(bytes + "x"));
  // A flipped bit is refused, or gives a block whose every number lies in the bytes.
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    damaged.shrink_to_fit();
    if (!block.read(damaged)) continue;
    for (std::size_t i = 0; i < block.size(); ++i)
      EXPECT_GE(block.row(i) + block.tf(i) + block.length(i), 0u);
  }
}

TEST(Positions, ComeBackAsTheyWere) {
  const std::vector<std::uint32_t> first = {0, 0, 5, 127, 255, 70000, 0xffffffff};
  const std::vector<std::uint32_t> second = {3};
  std::string bytes;
  append_positions(bytes, first);
  const std::size_t size = bytes.size();
  append_positions(bytes, second);
  EXPECT_EQ(positions_size(bytes, first.size()), size);
  EXPECT_EQ(positions_size(bytes, 100), bytes.size() + 1);
  std::string_view rest = bytes;
  std::vector<std::uint32_t> back;
  ASSERT_TRUE(read_positions(rest, first.size(), back));
  EXPECT_EQ(back, first);
  back.clear();
  ASSERT_TRUE(read_positions(rest, 1, back));
  EXPECT_EQ(back, second);
  EXPECT_TRUE(rest.empty());
  EXPECT_FALSE(read_positions(rest, 1, back));
  std::string_view endless = "\xff\xff\xff\xff\xff\xff\x01";
  EXPECT_FALSE(read_positions(endless, 1, back));
}

}  // namespace
}  // namespace collegium::index
