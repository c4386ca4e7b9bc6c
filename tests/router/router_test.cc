#include "collegium/router/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"
#include "logistic.h"

namespace collegium::router {
namespace {

constexpr std::size_t kDim = 16;

void append_unit(std::vector<double> vector, std::vector<float>& to) {
  double sum = 0.0;
  for (double x : vector) sum += x * x;
  for (double x : vector) to.push_back(static_cast<float>(x / std::sqrt(sum)));
}

// Queries of collection c lie around axis c; `spread` says how far.
RouterExamples make_examples(const std::vector<std::size_t>& counts, double spread,
                             std::uint64_t seed) {
  core::Random random(seed);
  RouterExamples examples;
  examples.dim = kDim;
  for (std::size_t c = 0; c < counts.size(); ++c) {
    examples.collections.push_back("set" + std::to_string(c));
    std::vector<double> centre(kDim, 0.0);
    centre[c] = 0.7;
    for (double& x : centre) examples.centroids.push_back(static_cast<float>(x));
    for (std::size_t i = 0; i < counts[c]; ++i) {
      std::vector<double> query(kDim, 0.0);
      query[c] = 1.0;
      for (double& x : query) x += spread * random.normal();
      append_unit(query, examples.vectors);
      examples.labels.push_back(static_cast<std::uint32_t>(c));
    }
  }
  return examples;
}

std::size_t choice(const Router& router, const float* query) {
  std::vector<float> p(router.collections().size());
  router.probabilities(query, p);
  return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
}

double accuracy(const Router& router, const RouterExamples& examples) {
  double right = 0.0;
  for (std::size_t i = 0; i < examples.labels.size(); ++i)
    right += choice(router, &examples.vectors[i * kDim]) == examples.labels[i] ? 1.0 : 0.0;
  return right / static_cast<double>(examples.labels.size());
}

std::vector<std::shared_ptr<const Router>> every_kind(const RouterExamples& train,
                                                      const RouterExamples& dev) {
  return {fit_router("linear", train, dev).value(), fit_router("pilots-source", train, dev).value(),
          fit_router("pilots-winner", train, dev).value()};
}

TEST(Routers, TellSeparableCollectionsApart) {
  const auto train = make_examples({80, 80, 80}, 0.15, 1),
             dev = make_examples({30, 30, 30}, 0.15, 2);
  for (const auto& router : every_kind(train, dev))
    EXPECT_GE(accuracy(*router, make_examples({50, 50, 50}, 0.15, 3)), 0.98) << router->kind();
}

// A query that counts n times is n queries.
TEST(Routers, AWeightIsSoManyQueries) {
  const RouterExamples plain = make_examples({20, 30, 40}, 0.3, 1);
  RouterExamples weighted = plain, repeated = plain;
  repeated.vectors.clear();
  repeated.labels.clear();
  core::Random random(3);
  for (std::size_t i = 0; i < plain.labels.size(); ++i) {
    const std::size_t times = 1 + random.below(4);
    weighted.weights.push_back(static_cast<double>(times));
    for (std::size_t t = 0; t < times; ++t) {
      repeated.vectors.insert(repeated.vectors.end(), &plain.vectors[i * kDim],
                              &plain.vectors[i * kDim] + kDim);
      repeated.labels.push_back(plain.labels[i]);
    }
  }
  const auto queries = make_examples({10, 10, 10}, 0.5, 4);
  for (const char* kind : {"linear", "pilots-source"}) {
    const auto by_weight = fit_router(kind, weighted, {}).value();
    const auto by_count = fit_router(kind, repeated, {}).value();
    const auto unweighted = fit_router(kind, plain, {}).value();
    double difference = 0.0, effect = 0.0;
    for (std::size_t q = 0; q < queries.labels.size(); ++q) {
      std::vector<float> a(3), b(3), c(3);
      by_weight->probabilities(&queries.vectors[q * kDim], a);
      by_count->probabilities(&queries.vectors[q * kDim], b);
      unweighted->probabilities(&queries.vectors[q * kDim], c);
      for (std::size_t i = 0; i < 3; ++i) {
        difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
        effect = std::max(effect, std::abs(double{a[i]} - double{c[i]}));
      }
    }
    EXPECT_LT(difference, 1e-3) << kind;
    EXPECT_GT(effect, 5e-3) << kind;
  }
  weighted.weights.pop_back();
  EXPECT_EQ(fit_router("linear", weighted, {}).status().code(), StatusCode::kInvalidArgument);
  weighted.weights.push_back(0.0);
  EXPECT_EQ(fit_router("mlp", weighted, {}).status().code(), StatusCode::kInvalidArgument);
}

TEST(Routers, ProbabilitiesSumToOne) {
  const auto train = make_examples({20, 20, 20, 20}, 0.3, 1);
  for (const auto& router : every_kind(train, {})) {
    std::vector<float> p(4);
    router->probabilities(train.vectors.data(), p);
    double sum = 0.0;
    for (float x : p) {
      EXPECT_GE(x, 0.0f);
      sum += x;
    }
    EXPECT_NEAR(sum, 1.0, 1e-6) << router->kind();
  }
}

TEST(Routers, AreCalibratedOnDev) {
  // Overlapping collections: the mean confidence on fresh queries is near the accuracy.
  const auto train = make_examples({400, 400, 400}, 0.45, 1);
  const auto dev = make_examples({300, 300, 300}, 0.45, 2);
  const auto fresh = make_examples({500, 500, 500}, 0.45, 3);
  for (const auto& router : every_kind(train, dev)) {
    double confidence = 0.0;
    std::vector<float> p(3);
    for (std::size_t i = 0; i < fresh.labels.size(); ++i) {
      router->probabilities(&fresh.vectors[i * kDim], p);
      confidence += *std::max_element(p.begin(), p.end());
    }
    EXPECT_NEAR(confidence / static_cast<double>(fresh.labels.size()), accuracy(*router, fresh),
                0.03)
        << router->kind();
  }
}

// Mean -log P(label).
double loss(const Router& router, const RouterExamples& examples) {
  double sum = 0.0;
  std::vector<float> p(examples.collections.size());
  for (std::size_t i = 0; i < examples.labels.size(); ++i) {
    router.probabilities(&examples.vectors[i * kDim], p);
    sum -= std::log(std::max(double{p[examples.labels[i]]}, 1e-12));
  }
  return sum / static_cast<double>(examples.labels.size());
}

TEST(Routers, ATinyDevCalibratesNoWorseThanNone) {
  constexpr std::uint64_t kSeeds = 10;
  for (double spread : {0.3, 0.4})
    for (std::size_t n : {1u, 2u, 5u}) {
      std::vector<double> without(3, 0.0), with(3, 0.0);
      for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        const auto train = make_examples({80, 80, 80}, spread, 10 * seed);
        const auto dev = make_examples({n, n, n}, spread, 10 * seed + 1);
        const auto fresh = make_examples({200, 200, 200}, spread, 10 * seed + 2);
        const auto plain = every_kind(train, {}), calibrated = every_kind(train, dev);
        for (std::size_t kind = 0; kind < 3; ++kind) {
          without[kind] += loss(*plain[kind], fresh) / kSeeds;
          with[kind] += loss(*calibrated[kind], fresh) / kSeeds;
        }
      }
      // A twentieth is noise; dividing by the likeliest temperature alone multiplies the loss.
      for (std::size_t kind = 0; kind < 3; ++kind)
        EXPECT_LE(with[kind], 1.05 * without[kind]) << kind << " " << n << " " << spread;
    }
}

TEST(Routers, ADevThatIsToldApartWithoutErrorLeavesDoubt) {
  const auto train = make_examples({80, 80, 80}, 0.3, 1), dev = make_examples({1, 1, 1}, 0.05, 2);
  for (const auto& router : every_kind(train, dev)) {
    ASSERT_EQ(accuracy(*router, dev), 1.0);
    std::vector<float> p(3);
    const std::vector<float> between{0.71f, 0.70f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f,
                                     0.0f,  0.0f,  0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    router->probabilities(between.data(), p);
    EXPECT_LT(*std::max_element(p.begin(), p.end()), 0.9f) << router->kind();
  }
}

TEST(LinearRouter, IsBalancedWhateverTheCountsOfQueries) {
  const auto router =
      fit_router("linear", make_examples({2000, 20}, 0.5, 1), make_examples({200, 200}, 0.5, 2))
          .value();
  const auto fresh = make_examples({300, 300}, 0.5, 3);
  double right[2] = {0.0, 0.0};
  for (std::size_t i = 0; i < fresh.labels.size(); ++i)
    right[fresh.labels[i]] +=
        choice(*router, &fresh.vectors[i * kDim]) == fresh.labels[i] ? 1.0 / 300.0 : 0.0;
  EXPECT_NEAR(right[0], right[1], 0.15);
}

TEST(Routers, ACollectionWithoutQueriesIsFoundByItsCentroid) {
  const auto train = make_examples({60, 0, 60}, 0.15, 1), dev = make_examples({30, 0, 30}, 0.15, 2);
  for (const auto& router : every_kind(train, dev))
    EXPECT_GE(accuracy(*router, make_examples({40, 40, 40}, 0.15, 3)), 0.9) << router->kind();
}

TEST(Routers, OneCollectionIsCertain) {
  for (const auto& router : every_kind(make_examples({10}, 0.2, 1), make_examples({5}, 0.2, 2))) {
    std::vector<float> p(1);
    router->probabilities(make_examples({1}, 0.2, 3).vectors.data(), p);
    EXPECT_EQ(p[0], 1.0f) << router->kind();
  }
}

TEST(Routers, WorkWithoutAnyQueries) {
  for (const auto& router : every_kind(make_examples({0, 0}, 0.2, 1), {})) {
    EXPECT_GE(accuracy(*router, make_examples({20, 20}, 0.1, 3)), 0.95) << router->kind();
    EXPECT_EQ(router->familiarity(make_examples({1, 0}, 0.2, 3).vectors.data()), 1.0f);
  }
}

TEST(PilotRouter, IsTheMeanSimilarityToPilots) {
  const auto train = make_examples({5, 7}, 0.4, 1);
  const auto router = fit_router("pilots-source", train, {}).value();
  const auto fresh = make_examples({20, 20}, 0.6, 2);
  for (std::size_t i = 0; i < fresh.labels.size(); ++i) {
    double sums[2] = {0.0, 0.0};
    for (std::size_t j = 0; j < train.labels.size(); ++j)
      for (std::size_t d = 0; d < kDim; ++d)
        sums[train.labels[j]] += double{train.vectors[j * kDim + d]} * fresh.vectors[i * kDim + d];
    const std::size_t expected = sums[0] / 5.0 >= sums[1] / 7.0 ? 0 : 1;
    EXPECT_EQ(choice(*router, &fresh.vectors[i * kDim]), expected);
  }
}

TEST(Routers, FamiliarityIsAQuantileOfTheTrainingQueries) {
  const auto train = make_examples({300, 300}, 0.3, 1);
  for (const auto& router : every_kind(train, {})) {
    double sum = 0.0;
    for (std::size_t i = 0; i < train.labels.size(); ++i) {
      const float value = router->familiarity(&train.vectors[i * kDim]);
      ASSERT_GE(value, 0.0f);
      ASSERT_LE(value, 1.0f);
      sum += value;
    }
    EXPECT_NEAR(sum / static_cast<double>(train.labels.size()), 0.5, 0.02);
    std::vector<float> stranger(kDim, 0.0f);
    stranger[kDim - 1] = 1.0f;
    EXPECT_EQ(router->familiarity(stranger.data()), 0.0f) << router->kind();
  }
}

TEST(Routers, ASerialisedOneIsTheSame) {
  const auto train = make_examples({40, 40, 0}, 0.3, 1), dev = make_examples({20, 20, 0}, 0.3, 2);
  for (const auto& router : every_kind(train, dev)) {
    const auto bytes = router->serialize();
    const auto loaded = deserialize_router(bytes);
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    EXPECT_EQ((*loaded)->kind(), router->kind());
    EXPECT_EQ((*loaded)->collections(), router->collections());
    std::vector<float> a(3), b(3);
    router->probabilities(dev.vectors.data(), a);
    (*loaded)->probabilities(dev.vectors.data(), b);
    EXPECT_EQ(a, b);
    EXPECT_EQ(router->familiarity(dev.vectors.data()), (*loaded)->familiarity(dev.vectors.data()));
    EXPECT_EQ((*loaded)->serialize(), bytes);
  }
}

TEST(Routers, ADamagedPayloadIsATypedError) {
  const auto router = fit_router("linear", make_examples({9, 9}, 0.3, 1), {}).value();
  const std::vector<std::byte> whole = router->serialize();
  for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 13)
    EXPECT_EQ(deserialize_router(std::span(whole).first(size)).status().code(),
              StatusCode::kCorruption)
        << size;
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_EQ(deserialize_router(longer).status().code(), StatusCode::kCorruption);
  // Sizes: after u32 6 "linear" come dim and collections.
  for (std::size_t at : {0u, 10u, 14u})
    for (std::uint32_t value : {0u, 1u, 77u, 0x40000000u, 0xffffffffu}) {
      std::vector<std::byte> lying = whole;
      std::memcpy(&lying[at], &value, sizeof value);
      EXPECT_FALSE(deserialize_router(lying).ok()) << at << " " << value;
    }
  std::vector<std::byte> poisoned = whole;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(&poisoned[poisoned.size() - 4], &nan, 4);
  EXPECT_EQ(deserialize_router(poisoned).status().code(), StatusCode::kCorruption);
  std::vector<std::byte> unknown = whole;
  unknown[4] = std::byte{'L'};
  EXPECT_EQ(deserialize_router(unknown).status().code(), StatusCode::kNotSupported);
}

TEST(Routers, BadExamplesAreATypedError) {
  const auto good = make_examples({9, 9}, 0.3, 1);
  const auto expect_refused = [&](const RouterExamples& train, const RouterExamples& dev) {
    EXPECT_EQ(fit_router("linear", train, dev).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(fit_router("pilots-source", train, dev).status().code(),
              StatusCode::kInvalidArgument);
  };
  RouterExamples bad = good;
  bad.vectors[3] = std::numeric_limits<float>::quiet_NaN();
  expect_refused(bad, {});
  expect_refused(good, bad);
  bad = good;
  bad.labels[0] = 2;
  expect_refused(bad, {});
  bad = good;
  bad.vectors.pop_back();
  expect_refused(bad, {});
  bad = good;
  bad.centroids.clear();
  expect_refused(bad, {});
  expect_refused({}, {});
  bad = good;
  bad.collections[0] = "other";
  expect_refused(good, bad);
  bad = make_examples({3, 3}, 0.3, 2);
  std::copy_n(&good.vectors[7 * good.dim], good.dim, &bad.vectors[4 * good.dim]);
  expect_refused(good, bad);
  EXPECT_EQ(fit_router("linear", good, bad).status().message(),
            "router examples: dev query 4 is training query 7: what was learned from must not "
            "calibrate");
  EXPECT_EQ(fit_router("oracle", good, {}).status().code(), StatusCode::kInvalidArgument);
  RouterOptions options;
  options.l2 = 0.0;
  EXPECT_EQ(fit_router("linear", good, {}, options).status().code(), StatusCode::kInvalidArgument);
}

TEST(LinearRouter, IsTheSameBitForBitWhateverTheNumberOfThreads) {
  const auto train = make_examples({900, 900, 900}, 0.4, 1),
             dev = make_examples({50, 50, 50}, 0.4, 2);
  core::set_num_threads(1);
  const auto one = fit_router("linear", train, dev).value()->serialize();
  core::set_num_threads(3);
  const auto three = fit_router("linear", train, dev).value()->serialize();
  core::set_num_threads(0);
  EXPECT_EQ(one, three);
}

TEST(Logistic, StopsWhereTheGradientVanishes) {
  const auto examples = make_examples({50, 30, 40}, 0.6, 5);
  const auto weights = balanced_weights(examples.labels, 3);
  const double l2 = 0.01;
  const LogisticModel model =
      fit_logistic({examples.vectors, kDim, examples.labels, weights, 3, l2, 500});
  // The gradient by the definition, in double.
  std::vector<double> gradient(3 * kDim, 0.0), bias_gradient(3, 0.0);
  double total = 0.0;
  for (double w : weights) total += w;
  for (std::size_t i = 0; i < examples.labels.size(); ++i) {
    double logits[3], sum = 0.0;
    for (std::size_t c = 0; c < 3; ++c) {
      logits[c] = model.bias[c];
      for (std::size_t d = 0; d < kDim; ++d)
        logits[c] += double{model.weight[c * kDim + d]} * examples.vectors[i * kDim + d];
      sum += std::exp(logits[c]);
    }
    for (std::size_t c = 0; c < 3; ++c) {
      const double residual =
          weights[i] / total * (std::exp(logits[c]) / sum - (examples.labels[i] == c ? 1.0 : 0.0));
      bias_gradient[c] += residual;
      for (std::size_t d = 0; d < kDim; ++d)
        gradient[c * kDim + d] += residual * examples.vectors[i * kDim + d];
    }
  }
  for (std::size_t j = 0; j < gradient.size(); ++j)
    EXPECT_NEAR(gradient[j] + l2 * model.weight[j], 0.0, 5e-4) << j;
  for (double g : bias_gradient) EXPECT_NEAR(g, 0.0, 5e-4);
}

}  // namespace
}  // namespace collegium::router
