#include "collegium/router/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "collegium/core/random.h"
#include "collegium/core/thread_pool.h"

namespace collegium::router {
namespace {

// Written by tests/oracles/make_statistics_goldens.py with numpy and statsmodels.
const nlohmann::json& goldens() {
  static const nlohmann::json all = [] {
    std::ifstream file(std::string(COLLEGIUM_TEST_DATA) + "/statistics_goldens.json");
    return nlohmann::json::parse(file);
  }();
  return all;
}

using Sets = std::vector<std::vector<double>>;

TEST(PairedBootstrap, ConvergesToTheExactDistributionOverAllResamples) {
  for (const auto& one : goldens()["bootstrap"]) {
    BootstrapOptions options;
    options.resamples = 40000;
    const Comparison compared = paired_bootstrap(one["differences"].get<Sets>(), options).value();
    EXPECT_NEAR(compared.difference, one["mean"].get<double>(), 1e-12);
    // Quantiles of a discrete distribution: the golden has those of 0.5 % less and more.
    EXPECT_GE(compared.low, one["low"][0].get<double>() - 1e-12);
    EXPECT_LE(compared.low, one["low"][1].get<double>() + 1e-12);
    EXPECT_GE(compared.high, one["high"][0].get<double>() - 1e-12);
    EXPECT_LE(compared.high, one["high"][1].get<double>() + 1e-12);
    // Five standard errors of a share of 40000 draws, and no less than the sign test allows.
    const double p = one["p"].get<double>(), least = one["least"].get<double>();
    EXPECT_NEAR(compared.p, std::max(p, least), 5.0 * std::sqrt(0.25 / 40000.0) + 1e-4);
  }
}

TEST(PairedBootstrap, FewQueriesThatAgreeProveNothing) {
  EXPECT_EQ(paired_bootstrap(Sets{{0.9}}).value().p, 1.0);
  EXPECT_EQ(paired_bootstrap(Sets{{0.9, 0.8}}).value().p, 0.5);
  EXPECT_EQ(paired_bootstrap(Sets{{0.9, 0.8, 0.7, 0.0, 0.0}}).value().p, 0.25);
  const Comparison none = paired_bootstrap(Sets{{0.0, 0.0, 0.0}, {0.0}}).value();
  EXPECT_EQ(none.p, 1.0);
  EXPECT_EQ(none.low, 0.0);
  EXPECT_EQ(none.high, 0.0);
}

TEST(PairedBootstrap, RejectsATrueNullAboutAsOftenAsItSays) {
  core::Random random(5);
  BootstrapOptions options;
  options.resamples = 500;
  int rejected = 0;
  for (int trial = 0; trial < 400; ++trial) {
    Sets sets(2);
    for (auto& set : sets)
      for (int i = 0; i < 40; ++i) set.push_back(random.normal());
    options.seed = static_cast<std::uint64_t>(trial);
    rejected += paired_bootstrap(sets, options).value().p < 0.05 ? 1 : 0;
  }
  EXPECT_GE(rejected, 8);  // of 400 expected 20; five standard deviations are 22
  EXPECT_LE(rejected, 42);
}

TEST(PairedBootstrap, IsTheSameWhateverTheThreadsAndATableIsItsColumns) {
  core::Random random(6);
  Sets sets(3);
  std::vector<double> table;
  std::vector<std::uint32_t> set_of;
  for (std::size_t s = 0; s < 3; ++s)
    for (int i = 0; i < 20; ++i) {
      sets[s].push_back(random.normal());
      table.push_back(random.normal());
      table.push_back(sets[s].back());
      set_of.push_back(static_cast<std::uint32_t>(s));
    }
  core::set_num_threads(1);
  const Comparison one = paired_bootstrap(sets).value();
  core::set_num_threads(3);
  const Comparison three = paired_bootstrap(sets).value();
  core::set_num_threads(0);
  EXPECT_EQ(one.low, three.low);
  EXPECT_EQ(one.p, three.p);
  const auto all = paired_bootstrap_table(table, set_of, 3, 2).value();
  ASSERT_EQ(all.size(), 8u);
  EXPECT_EQ(all[3 * 2 + 1].low, one.low);
  EXPECT_EQ(all[3 * 2 + 1].p, one.p);
  std::vector<double> p;
  for (std::size_t s = 0; s < 3; ++s) p.push_back(all[s * 2 + 1].p);
  const auto corrected = holm(p);
  for (std::size_t s = 0; s < 3; ++s) EXPECT_EQ(all[s * 2 + 1].p_holm, corrected[s]);
}

TEST(Holm, EqualsStatsmodels) {
  for (const auto& one : goldens()["holm"]) {
    const auto corrected = holm(one["p"].get<std::vector<double>>());
    const auto expected = one["corrected"].get<std::vector<double>>();
    ASSERT_EQ(corrected.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(corrected[i], expected[i], 1e-12);
  }
}

TEST(Calibration, EqualsNumpy) {
  for (const auto& one : goldens()["calibration"]) {
    const auto result =
        measure_calibration(one["confidence"].get<std::vector<double>>(),
                            one["right"].get<std::vector<std::uint8_t>>(), one["bins"].size())
            .value();
    EXPECT_NEAR(result.ece, one["ece"].get<double>(), 1e-12);
    for (std::size_t b = 0; b < result.bins.size(); ++b) {
      EXPECT_EQ(result.bins[b].count, one["bins"][b]["count"].get<std::size_t>());
      EXPECT_NEAR(result.bins[b].confidence, one["bins"][b]["confidence"].get<double>(), 1e-12);
      EXPECT_NEAR(result.bins[b].accuracy, one["bins"][b]["accuracy"].get<double>(), 1e-12);
    }
  }
}

TEST(Coverage, EqualsNumpy) {
  for (const auto& one : goldens()["coverage"]) {
    const auto numbers = [&](const char* key) { return one[key].get<std::vector<double>>(); };
    const auto curve =
        coverage_curve(numbers("confidence"), numbers("routed"), numbers("otherwise"),
                       one["right"].get<std::vector<std::uint8_t>>(),
                       one["set"].get<std::vector<std::uint32_t>>(), 4, one["curve"].size() - 1)
            .value();
    ASSERT_EQ(curve.size(), one["curve"].size());
    for (std::size_t i = 0; i < curve.size(); ++i) {
      EXPECT_NEAR(curve[i].coverage, one["curve"][i]["coverage"].get<double>(), 1e-12);
      EXPECT_NEAR(curve[i].quality, one["curve"][i]["quality"].get<double>(), 1e-12);
      EXPECT_NEAR(curve[i].accuracy, one["curve"][i]["accuracy"].get<double>(), 1e-12);
    }
  }
}

TEST(Statistics, RefuseWhatIsNoMeasurement) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto bad = StatusCode::kInvalidArgument;
  EXPECT_EQ(paired_bootstrap(Sets{}).status().code(), bad);
  EXPECT_EQ(paired_bootstrap(Sets{{1.0}, {}}).status().code(), bad);
  EXPECT_EQ(paired_bootstrap(Sets{{nan}}).status().code(), bad);
  BootstrapOptions options;
  options.resamples = 99;
  EXPECT_EQ(paired_bootstrap(Sets{{1.0}}, options).status().code(), bad);
  options = {};
  options.level = 1.0;
  EXPECT_EQ(paired_bootstrap(Sets{{1.0}}, options).status().code(), bad);
  const std::vector<double> half{0.5}, over{1.5};
  const std::vector<std::uint8_t> yes{1}, none;
  EXPECT_EQ(measure_calibration(half, none).status().code(), bad);
  EXPECT_EQ(measure_calibration(over, yes).status().code(), bad);
  EXPECT_EQ(measure_calibration(half, yes, 0).status().code(), bad);
  const std::vector<std::uint32_t> first{0}, second{1};
  EXPECT_EQ(coverage_curve(half, half, half, yes, second, 1).status().code(), bad);
  EXPECT_EQ(coverage_curve({}, {}, {}, {}, {}, 1).status().code(), bad);
  EXPECT_TRUE(coverage_curve(half, half, half, yes, first, 1).ok());
  EXPECT_EQ(gain_share(0.5, 0.6, 0.6), 0.0);
}

}  // namespace
}  // namespace collegium::router
