#include "lm/expert_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "lm/decoder.h"
#include "lm/decoder_models.h"
#include "lm/tiny_models.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

// The pages of `bytes` that are in memory.
std::size_t pages_there(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> there(bytes.size() / page);
  EXPECT_EQ(mincore(const_cast<std::byte*>(bytes.data()), there.size() * page, there.data()), 0);
  std::size_t count = 0;
  for (const unsigned char one : there) count += one & 1;
  return count;
}

// A file of F32 matrices that is mapped and not in memory.
class ExpertPagesOnDisk : public testing::Test {
 protected:
  static constexpr std::size_t kExperts = 4, kRows = 512, kColumns = 1024;
  static constexpr std::size_t kMatrix = kRows * kColumns * sizeof(float);

  void SetUp() override {
    const std::string path = folder_ / "experts.bin";
    write_bytes(path, Bytes(3 * kExperts * kMatrix, std::byte{1}));
    file_ = open(path.c_str(), O_RDONLY);
    ASSERT_GE(file_, 0);
    mapped_ = static_cast<const std::byte*>(
        mmap(nullptr, 3 * kExperts * kMatrix, PROT_READ, MAP_PRIVATE, file_, 0));
    ASSERT_NE(mapped_, MAP_FAILED);
    madvise(const_cast<std::byte*>(mapped_), 3 * kExperts * kMatrix, MADV_RANDOM);
    ASSERT_EQ(fsync(file_), 0);
    posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
    if (pages_there(bytes(0)) != 0 || pages_there(bytes(1)) != 0)
      GTEST_SKIP() << "this file system keeps a file in memory";
    weights_.layers.resize(2);  // the first is dense
    for (std::size_t e = 0; e < kExperts; ++e) {
      GatedWeights& expert = weights_.layers[1].moe.experts.emplace_back();
      std::size_t part = 0;
      for (QuantizedLinear* linear : {&expert.gate, &expert.up, &expert.down})
        *linear = QuantizedLinear({.type = GgmlType::kF32,
                                   .shape = {kRows, kColumns},
                                   .bytes = bytes(e).subspan(part++ * kMatrix, kMatrix)},
                                  active_isa());
    }
  }
  void TearDown() override {
    if (mapped_ != nullptr) munmap(const_cast<std::byte*>(mapped_), 3 * kExperts * kMatrix);
    if (file_ >= 0) close(file_);
  }
  std::span<const std::byte> bytes(std::size_t expert) const {
    return {mapped_ + 3 * expert * kMatrix, 3 * kMatrix};
  }

  ScratchFolder folder_;
  int file_ = -1;
  const std::byte* mapped_ = nullptr;
  DecoderWeights weights_;
};

TEST_F(ExpertPagesOnDisk, WhatIsWantedComesIntoMemoryAndNothingElse) {
  ExpertPages pages(weights_);
  const std::size_t wanted[] = {1, 3};
  EXPECT_TRUE(pages.want(weights_.layers[1].moe, 1, wanted));
  const std::size_t all = bytes(1).size() / static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((pages_there(bytes(1)) < all || pages_there(bytes(3)) < all) &&
         std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(pages_there(bytes(1)), all);
  EXPECT_EQ(pages_there(bytes(3)), all);
  EXPECT_EQ(pages_there(bytes(0)), 0u);
  EXPECT_LT(pages_there(bytes(2)), all / 2);  // a system may read a little beyond
  // They are there now, as another looks.
  EXPECT_FALSE(ExpertPages(weights_).want(weights_.layers[1].moe, 1, wanted));
}

TEST(ExpertPages, GuessesAreReadWhileMostAreRight) {
  ExpertPages pages{DecoderWeights{}};
  EXPECT_TRUE(pages.guesses_well());
  pages.judge(0, 0);  // nothing was guessed
  for (int i = 0; i < 6; ++i) pages.judge(1, 8);
  EXPECT_TRUE(pages.guesses_well());
  for (int i = 0; i < 6; ++i) pages.judge(1, 8);
  EXPECT_FALSE(pages.guesses_well());
  for (int i = 0; i < 20; ++i) pages.judge(7, 8);
  EXPECT_TRUE(pages.guesses_well());
}

TEST(ExpertPages, AMixtureSaysTheSameWithAndWithoutThem) {
  auto loaded = load_gguf_decoder("gguf_models/deepseek2", active_isa());
  const std::vector<std::int32_t> ids = {5, 17, 200, 3, 44, 91, 8};
  const auto with = decoder_logits(loaded.model, ids, 3);
  loaded.model.leave_expert_pages();
  EXPECT_TRUE(same_numbers(decoder_logits(loaded.model, ids, 3), with));
}

}  // namespace
}  // namespace collegium::core
