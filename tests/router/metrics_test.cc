#include "collegium/router/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

namespace collegium::router {
namespace {

struct Case {
  Ranking ranking;
  Judgments judgments;
  std::map<std::string, double> expected;
};

std::vector<Case> goldens() {
  std::ifstream file(std::string(COLLEGIUM_TEST_DATA) + "/metrics_goldens.json");
  const auto json = nlohmann::json::parse(file);
  std::vector<Case> cases;
  for (const auto& entry : json) {
    Case one;
    for (const auto& pair : entry["ranking"])
      one.ranking.emplace_back(pair[0].get<std::string>(), pair[1].get<double>());
    for (const auto& [id, gain] : entry["gains"].items()) one.judgments[id] = gain.get<double>();
    for (const auto& [name, value] : entry["expected"].items()) one.expected[name] = value;
    cases.push_back(std::move(one));
  }
  return cases;
}

TEST(Metrics, EqualTrecEvalOnGradedRankingsWithTies) {
  const std::vector<Case> cases = goldens();
  ASSERT_GE(cases.size(), 50u);
  for (const Case& one : cases) {
    EXPECT_GE(one.expected.size(), 13u);
    for (const auto& [name, value] : one.expected) {
      const Measure measure = parse_measure(name).value();
      EXPECT_EQ(measure_name(measure), name);
      EXPECT_NEAR(measure_ranking(measure, one.ranking, one.judgments), value, 1e-6) << name;
    }
    EXPECT_NEAR(ndcg_at(10, one.ranking, one.judgments), one.expected.at("ndcg@10"), 1e-6);
    EXPECT_NEAR(recall_at(5, one.ranking, one.judgments), one.expected.at("recall@5"), 1e-6);
  }
}

TEST(Metrics, NamesThatAreNoneAreRefused) {
  for (const char* name : {"", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "ndcg@10 ", "NDCG@10",
                           "precision", "bpref@10", "recall@99999999999999999999", "hits@3"})
    EXPECT_EQ(parse_measure(name).status().code(), StatusCode::kInvalidArgument) << name;
}

TEST(Metrics, ReciprocalRankEndsAtItsCutOff) {
  const Ranking ranking{{"a", 3.0}, {"b", 2.0}, {"c", 1.0}};
  const Judgments judgments{{"c", 1.0}};
  EXPECT_EQ(measure_ranking({Measure::Kind::kMrr, 2}, ranking, judgments), 0.0);
  EXPECT_NEAR(measure_ranking({Measure::Kind::kMrr, 3}, ranking, judgments), 1.0 / 3.0, 1e-12);
}

TEST(Metrics, AreZeroWhereNothingIsRelevantOrFound) {
  EXPECT_EQ(ndcg_at(10, {{"a", 1.0}}, {}), 0.0);
  EXPECT_EQ(recall_at(10, {{"a", 1.0}}, {}), 0.0);
  EXPECT_EQ(ndcg_at(10, {}, {{"a", 1.0}}), 0.0);
  EXPECT_EQ(recall_at(10, {}, {{"a", 1.0}}), 0.0);
}

struct Line {
  std::string query, id;
  std::size_t rank = 0;
  double score = 0.0;
};

std::vector<Line> parse(const std::string& run) {
  std::vector<Line> lines;
  std::istringstream in(run);
  std::string q0, tag;
  for (Line line; in >> line.query >> q0 >> line.id >> line.rank >> line.score >> tag;)
    lines.push_back(line);
  return lines;
}

TEST(TrecRun, ScoresDecreaseStrictlySoThatMetricsSurviveAnyTieRule) {
  std::map<std::string, Ranking> rankings;
  const std::vector<Case> cases = goldens();
  for (std::size_t i = 0; i < cases.size(); ++i)
    rankings["q" + std::to_string(i)] = cases[i].ranking;
  std::ostringstream out;
  ASSERT_TRUE(write_trec_run(out, rankings, "test").ok());
  std::map<std::string, std::vector<Line>> by_query;
  for (const Line& line : parse(out.str())) by_query[line.query].push_back(line);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& lines = by_query["q" + std::to_string(i)];
    ASSERT_EQ(lines.size(), cases[i].ranking.size());
    Ranking by_descending_id;  // trec_eval's own rule: among equals the larger id first
    for (std::size_t rank = 0; rank < lines.size(); ++rank) {
      EXPECT_EQ(lines[rank].rank, rank + 1);
      if (rank > 0) {
        EXPECT_LT(static_cast<float>(lines[rank].score), static_cast<float>(lines[rank - 1].score));
      }
      by_descending_id.emplace_back(lines[rank].id, static_cast<double>(lines[rank].score));
    }
    EXPECT_NEAR(ndcg_at(10, by_descending_id, cases[i].judgments), cases[i].expected.at("ndcg@10"),
                1e-6);
  }
}

TEST(TrecRun, RefusesWhatTheFormatCannotHold) {
  std::ostringstream out;
  const auto code = [&](const std::map<std::string, Ranking>& run, const char* tag = "t") {
    return write_trec_run(out, run, tag).code();
  };
  EXPECT_EQ(code({{"q", {{"a b", 1.0}}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"q", {{"", 1.0}}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"q\n", {{"a", 1.0}}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"q", {{"a", std::nan("")}}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"q", {{"a", 1.0}}}}, "two words"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"q", {{"a", 1.0}}}}), StatusCode::kOk);
}

}  // namespace
}  // namespace collegium::router
