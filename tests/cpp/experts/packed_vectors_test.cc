#include "collegium/core/experts/packed_vectors.h"

#include <gtest/gtest.h>

#include <vector>

#include "collegium/core/random.h"

namespace collegium::core {
namespace {

std::vector<float> normals(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>(random.normal());
  return out;
}

TEST(PackedVectors, ScoresAreInnerProducts) {
  const std::size_t dim = 19, rows = 37, queries = 5;
  const std::vector<float> r = normals(rows * dim, 1), q = normals(queries * dim, 2);
  const PackedVectors packed = PackedVectors::create(r, dim).value();
  EXPECT_EQ(packed.size(), rows);
  std::vector<float> out(queries * 40, -7.0f);
  packed.scores(q.data(), queries, out.data(), 40);
  for (std::size_t i = 0; i < queries; ++i) {
    for (std::size_t j = 0; j < rows; ++j) {
      double expected = 0.0;
      for (std::size_t d = 0; d < dim; ++d) expected += double{q[i * dim + d]} * r[j * dim + d];
      EXPECT_NEAR(out[i * 40 + j], expected, 1e-5);
    }
    EXPECT_EQ(out[i * 40 + rows], -7.0f);  // nothing beyond the rows is written
  }
}

TEST(PackedVectors, AScoreHasTheSameBitsAloneAndInABatch) {
  const std::size_t dim = 384, rows = 100, queries = 33;
  const std::vector<float> r = normals(rows * dim, 3), q = normals(queries * dim, 4);
  const PackedVectors packed = PackedVectors::create(r, dim).value();
  std::vector<float> batch(queries * rows), alone(rows);
  packed.scores(q.data(), queries, batch.data(), rows);
  for (std::size_t i = 0; i < queries; ++i) {
    packed.scores(&q[i * dim], 1, alone.data(), rows);
    EXPECT_EQ(alone, std::vector<float>(&batch[i * rows], &batch[i * rows] + rows)) << i;
  }
}

TEST(PackedVectors, NoneAndUnevenSizes) {
  EXPECT_EQ(PackedVectors::create({}, 4)->size(), 0u);
  const std::vector<float> five(5);
  EXPECT_EQ(PackedVectors::create(five, 4).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PackedVectors::create({}, 0).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::core
