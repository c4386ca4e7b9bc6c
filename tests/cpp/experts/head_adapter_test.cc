#include "collegium/core/experts/head_adapter.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "collegium/core/file_envelope.h"
#include "collegium/core/random.h"

namespace collegium::core {
namespace {

HeadAdapter random_adapter(std::size_t dim, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> weight(dim * dim), bias(dim);
  for (float& x : weight) x = static_cast<float>(random.normal());
  for (float& x : bias) x = static_cast<float>(random.normal());
  return HeadAdapter::create(dim, weight, bias).value();
}

std::vector<float> random_vector(std::size_t dim, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> vector(dim);
  for (float& x : vector) x = static_cast<float>(random.normal());
  return vector;
}

std::string temporary(const std::string& name) {
  return (std::filesystem::path(::testing::TempDir()) / name).string();
}

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
}

TEST(HeadAdapter, AppliesTheNormalisedAffineMap) {
  const std::size_t dim = 33;
  const HeadAdapter adapter = random_adapter(dim, 1);
  const std::vector<float> query = random_vector(dim, 2);
  std::vector<float> out(dim);
  adapter.apply(query.data(), out.data());
  std::vector<double> expected(dim);
  double norm = 0.0;
  for (std::size_t i = 0; i < dim; ++i) {
    expected[i] = adapter.bias()[i];
    for (std::size_t j = 0; j < dim; ++j)
      expected[i] += double{adapter.weight()[i * dim + j]} * query[j];
    norm += expected[i] * expected[i];
  }
  for (std::size_t i = 0; i < dim; ++i) EXPECT_NEAR(out[i], expected[i] / std::sqrt(norm), 1e-6);
}

HeadAdapter random_low_rank(std::size_t dim, std::size_t rank, std::uint64_t seed) {
  return HeadAdapter::create_low_rank(dim, rank, random_vector(rank * dim, seed),
                                      random_vector(dim * rank, seed + 1),
                                      random_vector(dim, seed + 2))
      .value();
}

TEST(HeadAdapter, MergingEqualsMixingMappedVectorsBeforeNormalisation) {
  const std::size_t dim = 24;
  const HeadAdapter whole = random_adapter(dim, 1), other = random_adapter(dim, 2);
  const HeadAdapter low = random_low_rank(dim, 3, 10), lower = random_low_rank(dim, 2, 20);
  const float weights[] = {0.5f, 0.2f};  // and 0.3 of the plain query
  const std::vector<float> query = random_vector(dim, 5);
  for (const auto& pair :
       {std::array{&whole, &other}, std::array{&whole, &low}, std::array{&low, &lower}}) {
    const auto merged = HeadAdapter::merge(pair, weights);
    ASSERT_TRUE(merged.ok()) << merged.status().to_string();
    EXPECT_EQ(merged->rank(), pair[0] == &low ? 5u : 0u);
    std::vector<float> first(dim), second(dim), out(dim);
    pair[0]->map(query.data(), first.data());
    pair[1]->map(query.data(), second.data());
    std::vector<double> mixed(dim);
    double square = 0.0;
    for (std::size_t d = 0; d < dim; ++d) {
      mixed[d] = 0.5 * first[d] + 0.2 * second[d] + 0.3 * query[d];
      square += mixed[d] * mixed[d];
    }
    merged->apply(query.data(), out.data());
    for (std::size_t d = 0; d < dim; ++d) EXPECT_NEAR(out[d], mixed[d] / std::sqrt(square), 2e-6);
  }
}

TEST(HeadAdapter, WhatCannotBeMergedIsATypedError) {
  const HeadAdapter a = random_adapter(4, 1), b = random_adapter(5, 2);
  const HeadAdapter* both[] = {&a, &a};
  const HeadAdapter* unlike[] = {&a, &b};
  const auto code = [](std::span<const HeadAdapter* const> adapters, std::vector<float> weights) {
    return HeadAdapter::merge(adapters, weights).status().code();
  };
  EXPECT_EQ(code({}, {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(both, {1.0f}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(unlike, {0.5f, 0.5f}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(both, {0.5f, -0.1f}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(both, {0.5f, std::numeric_limits<float>::quiet_NaN()}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(both, {0.8f, 0.8f}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(both, {0.5f, 0.5f}), StatusCode::kOk);
}

TEST(HeadAdapter, AZeroResultGivesTheQueryItself) {
  const HeadAdapter adapter =
      HeadAdapter::create(3, std::vector<float>(9, 0.0f), std::vector<float>(3, 0.0f)).value();
  const float query[] = {0.6f, 0.0f, 0.8f};
  float out[3];
  adapter.apply(query, out);
  EXPECT_EQ(std::memcmp(query, out, sizeof out), 0);
}

TEST(HeadAdapter, StrengthIsLinearBetweenIdentityAndTheMap) {
  const std::size_t dim = 5;
  const HeadAdapter adapter = random_adapter(dim, 3);
  const HeadAdapter none = adapter.interpolated(0.0f), half = adapter.interpolated(0.5f);
  EXPECT_EQ(none.weight(), HeadAdapter::identity(dim).weight());
  EXPECT_EQ(none.bias(), HeadAdapter::identity(dim).bias());
  for (std::size_t i = 0; i < dim * dim; ++i)
    EXPECT_NEAR(half.weight()[i], 0.5f * (none.weight()[i] + adapter.weight()[i]), 1e-6);
  EXPECT_NEAR(half.distance_from_identity(), 0.5 * adapter.distance_from_identity(), 1e-5);
  EXPECT_EQ(HeadAdapter::identity(dim).distance_from_identity(), 0.0);
}

TEST(HeadAdapter, RefusesWrongSizesAndNumbersThatAreNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(HeadAdapter::create(0, {}, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(HeadAdapter::create(HeadAdapter::kMaxDim + 1, {}, {}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(HeadAdapter::create(2, {1, 0, 0}, {0, 0}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(HeadAdapter::create(1, {nan}, {0}).status().code(), StatusCode::kInvalidArgument);
  const auto status = HeadAdapter::create(1, {1}, {nan}).status();
  EXPECT_NE(status.message().find("bias[0]"), std::string::npos);
}

TEST(HeadAdapter, ASavedOneLoadsBitForBit) {
  const std::string path = temporary("adapter.bin");
  const HeadAdapter adapter = random_adapter(17, 4);
  ASSERT_TRUE(adapter.save(path).ok());
  const auto loaded = HeadAdapter::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->weight(), adapter.weight());
  EXPECT_EQ(loaded->bias(), adapter.bias());
  EXPECT_EQ(loaded->digest(), adapter.digest());
  EXPECT_NE(random_adapter(17, 5).digest(), adapter.digest());
}

TEST(HeadAdapter, EveryTruncationAndEveryFlippedByteIsATypedError) {
  const std::string path = temporary("adapter_hostile.bin");
  ASSERT_TRUE(random_adapter(3, 6).save(path).ok());
  const std::vector<char> whole = bytes_of(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_bytes(path, {whole.begin(), whole.begin() + static_cast<long>(size)});
    EXPECT_EQ(HeadAdapter::load(path).status().code(), StatusCode::kCorruption) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::vector<char> bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    write_bytes(path, bytes);
    EXPECT_FALSE(HeadAdapter::load(path).ok()) << at;
  }
  EXPECT_EQ(HeadAdapter::load(temporary("no such file")).status().code(), StatusCode::kNotFound);
}

TEST(HeadAdapter, APayloadWhoseSizeIsNotItsDimsOrThatHoldsNanIsCorruption) {
  std::vector<std::byte> payload = random_adapter(4, 7).serialize();
  const auto code = [](std::span<const std::byte> bytes) {
    return HeadAdapter::deserialize(bytes).status().code();
  };
  ASSERT_TRUE(HeadAdapter::deserialize(payload).ok());
  EXPECT_EQ(code(std::span(payload).first(2)), StatusCode::kCorruption);
  EXPECT_EQ(code(std::span(payload).first(payload.size() - 4)), StatusCode::kCorruption);
  for (std::uint32_t dim : {0u, 3u, 5u, 0xffffffffu}) {
    std::vector<std::byte> lying = payload;
    std::memcpy(lying.data(), &dim, sizeof dim);
    EXPECT_EQ(code(lying), StatusCode::kCorruption) << dim;
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(payload.data() + 12, &nan, sizeof nan);
  EXPECT_EQ(code(payload), StatusCode::kCorruption);
}

// --- of low rank --------------------------------------------------------------------------------

TEST(LowRankHeadAdapter, IsTheWholeMapOfItsFactors) {
  const std::size_t dim = 33, rank = 5;
  const HeadAdapter adapter = random_low_rank(dim, rank, 11);
  EXPECT_EQ(adapter.rank(), rank);
  EXPECT_EQ(random_adapter(dim, 1).rank(), 0u);
  const std::vector<float> down = random_vector(rank * dim, 11);
  const std::vector<float> up = random_vector(dim * rank, 12);
  const std::vector<float> weight = adapter.weight();
  for (std::size_t i = 0; i < dim; ++i)
    for (std::size_t j = 0; j < dim; ++j) {
      double expected = i == j ? 1.0 : 0.0;
      for (std::size_t r = 0; r < rank; ++r)
        expected += double{up[i * rank + r]} * down[r * dim + j];
      EXPECT_NEAR(weight[i * dim + j], expected, 1e-5);
    }
  for (float strength : {0.0f, 0.3f, 1.0f}) {
    const HeadAdapter some = adapter.interpolated(strength);
    EXPECT_EQ(some.rank(), rank);
    const HeadAdapter whole =
        HeadAdapter::create(dim, adapter.weight(), adapter.bias()).value().interpolated(strength);
    EXPECT_NEAR(some.distance_from_identity(), whole.distance_from_identity(), 1e-4);
    const std::vector<float> query = random_vector(dim, 14);
    std::vector<float> a(dim), b(dim);
    some.apply(query.data(), a.data());
    whole.apply(query.data(), b.data());
    for (std::size_t i = 0; i < dim; ++i) EXPECT_NEAR(a[i], b[i], 1e-5) << strength;
  }
}

TEST(LowRankHeadAdapter, ASavedOneLoadsBitForBitAndIsSmaller) {
  const std::string path = temporary("low_rank.bin");
  const HeadAdapter adapter = random_low_rank(40, 3, 15);
  ASSERT_TRUE(adapter.save(path).ok());
  const auto loaded = HeadAdapter::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->rank(), 3u);
  EXPECT_EQ(loaded->weight(), adapter.weight());
  EXPECT_EQ(loaded->bias(), adapter.bias());
  EXPECT_EQ(loaded->digest(), adapter.digest());
  EXPECT_LT(bytes_of(path).size(), 40u * 40u * sizeof(float));
}

TEST(LowRankHeadAdapter, RefusesWrongSizesAndPayloadsThatLie) {
  const auto status = [](std::size_t dim, std::size_t rank, std::size_t down, std::size_t up) {
    return HeadAdapter::create_low_rank(dim, rank, std::vector<float>(down), std::vector<float>(up),
                                        std::vector<float>(dim))
        .status();
  };
  EXPECT_TRUE(status(4, 2, 8, 8).ok());
  for (const Status& wrong : {status(4, 0, 0, 0), status(4, 5, 20, 20), status(0, 0, 0, 0),
                              status(4, 2, 7, 8), status(4, 2, 8, 9)})
    EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument) << wrong.to_string();
  const std::vector<std::byte> payload = random_low_rank(4, 2, 16).serialize();
  ASSERT_TRUE(HeadAdapter::deserialize(payload).ok());
  for (std::size_t size = 0; size < payload.size(); ++size)
    EXPECT_EQ(HeadAdapter::deserialize(std::span(payload).first(size)).status().code(),
              StatusCode::kCorruption);
  for (std::size_t field : {4u, 8u})
    for (std::uint32_t lie : {0u, 1u, 3u, 5u, 0xffffffffu}) {
      auto lying = payload;
      std::memcpy(lying.data() + field, &lie, sizeof lie);
      EXPECT_EQ(HeadAdapter::deserialize(lying).status().code(), StatusCode::kCorruption)
          << field << ": " << lie;
    }
}

TEST(HeadAdapter, AFileOfVersion1IsRead) {
  const std::string path = temporary("version1.bin");
  const HeadAdapter adapter = random_adapter(6, 17);
  ASSERT_TRUE(write_file_envelope(path, {"adapter", 1}, adapter.serialize()).ok());
  const auto loaded = HeadAdapter::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->weight(), adapter.weight());
}

}  // namespace
}  // namespace collegium::core
