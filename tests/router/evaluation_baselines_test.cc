#include "evaluation_baselines.h"

#include <gtest/gtest.h>

#include <cmath>

#include "synthetic.h"

namespace collegium::router {
namespace {

TEST(NoiseMaps, AreAsManyAndAsFarFromTheIdentityAsTheAdaptersOnAverage) {
  const std::vector<double> distances{0.5, 1.0, 3.0, 1.5};
  constexpr std::size_t kDim = 12;
  const auto maps = noise_maps(distances, kDim, 7);
  ASSERT_EQ(maps.size(), 4u);
  for (const auto& map : maps) {
    double square = 0.0;  // the Frobenius norm of W - I by its definition
    for (std::size_t i = 0; i < kDim; ++i)
      for (std::size_t j = 0; j < kDim; ++j)
        square += std::pow(double{map.weight()[i * kDim + j]} - (i == j ? 1.0 : 0.0), 2);
    EXPECT_NEAR(std::sqrt(square), 1.5, 1e-5);
    for (float b : map.bias()) EXPECT_EQ(b, 0.0f);
  }
  EXPECT_NE(maps[0].digest(), maps[1].digest());
  EXPECT_NE(noise_maps(distances, kDim, 8)[0].digest(), maps[0].digest());
  EXPECT_TRUE(noise_maps({}, kDim, 7).empty());
}

TEST(SoftFusion, IsTheNormalisedWeightedSum) {
  const float x[] = {1.0f, 0.0f}, y[] = {0.0f, 1.0f}, minus_x[] = {-1.0f, 0.0f};
  float out[2];
  const float* const two[] = {x, y};
  const float uneven[] = {0.6f, 0.8f};
  fuse(two, uneven, 2, out);
  EXPECT_NEAR(out[0], 0.6f, 1e-6f);
  EXPECT_NEAR(out[1], 0.8f, 1e-6f);
  const float sure[] = {0.0f, 1.0f};
  fuse(two, sure, 2, out);
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], 1.0f);
  const float* const opposed[] = {x, minus_x};
  const float even[] = {0.5f, 0.5f};
  fuse(opposed, even, 2, out);  // nothing remains: the first
  EXPECT_EQ(out[0], 1.0f);
}

TEST(NearestQuery, IsTheCollectionOfTheTrainingQueryWithTheGreatestCosine) {
  const Synthetic world({});
  const LearningData& data = world.data;
  const auto nearest = NearestQuery::create(data);
  ASSERT_TRUE(nearest.has_value());
  for (const auto& collection : data.collections)
    for (std::size_t q = 0; q < collection.splits[2].size(); ++q) {
      const float* query = &collection.splits[2].vectors[q * data.dim];
      double best = -2.0;
      std::size_t expected = 0;
      for (std::size_t c = 0; c < data.collections.size(); ++c) {
        const QuerySet& train = data.collections[c].splits[0];
        for (std::size_t i = 0; i < train.size(); ++i) {
          double cosine = 0.0;
          for (std::size_t d = 0; d < data.dim; ++d)
            cosine += double{query[d]} * train.vectors[i * data.dim + d];
          if (cosine > best) best = cosine, expected = c;
        }
      }
      EXPECT_EQ(nearest->choose(query), expected);
    }
  LearningData without = data;
  for (auto& collection : without.collections) collection.splits[0] = {};
  EXPECT_FALSE(NearestQuery::create(without).has_value());
}

}  // namespace
}  // namespace collegium::router
