#include "engine/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "collegium/router/library.h"

namespace collegium::router {
namespace {

using testing::HasSubstr;
using testing::Not;

Answer sample_answer() {
  Answer answer;
  answer.question = "How do I make a column reject empty values?";
  answer.text = "Add a NOT NULL constraint. [1]";
  answer.reader = "extractive";
  answer.route.entries = {{"postgresql", "postgresql", 0.81, true, 0.01, 0.0},
                          {"statistics", "plain", 0.11, false, 0.0, 0.0},
                          {"music", "plain", 0.02, false, 0.0, 0.0}};
  answer.route.margin = 0.70;
  answer.route.router = "linear";
  answer.route.policy = "bound";
  answer.gate.decision = GateDecision::kRetrieve;
  answer.gate.probability = 0.93;
  answer.gate.threshold = 0.40;
  answer.gate.stage = GateStage::kAfterSearch;
  answer.gate.features = {{"top_score", 0.5}};
  CitedPassage passage;
  passage.number = 1;
  passage.collection = "postgresql";
  passage.document_id = "ddl-5";
  passage.title = "5.4.2 Not-Null Constraints";
  passage.text = "A not-null constraint ...";
  passage.score = 0.71;
  answer.passages = {passage};
  answer.cost = {
      {"encode", 3.1, 1e9}, {"search", 0.4, 1e6}, {"read", 400.2, 1e9}, {"answer", 10.0, 1e10}};
  return answer;
}

TEST(Render, AnAnswerAsTextIsWhatTheCommandLinePromises) {
  EXPECT_EQ(sample_answer().to_text(),
            "  route    postgresql 0.81 · statistics 0.11 · margin 0.70 · bound    "
            "gate  retrieve 0.93 (after search, threshold 0.40)\n"
            "  answer   Add a NOT NULL constraint. [1]\n"
            "  [1] postgresql › 5.4.2 Not-Null Constraints  score 0.71\n"
            "  cost     encode 3.1 ms · search 0.4 ms · read+answer 410 ms · 0 network\n");
}

TEST(Render, JsonHasEveryPartUnderStableKeys) {
  const auto json = nlohmann::ordered_json::parse(sample_answer().to_json());
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(
      keys, testing::ElementsAre("question", "text", "reader", "note", "route", "gate", "passages",
                                 "cost", "generation", "commit_seq", "index_generations"));
  EXPECT_EQ(json["route"]["entries"][0]["collection"], "postgresql");
  EXPECT_EQ(json["gate"]["stage"], std::string(gate_stage_name(GateStage::kAfterSearch)));
  EXPECT_EQ(json["gate"]["features"]["top_score"], 0.5);
  EXPECT_EQ(json["passages"][0]["document_id"], "ddl-5");
  EXPECT_EQ(json["cost"][0]["flops"], 1e9);
}

TEST(Render, JsonOfBytesThatAreNotUtf8IsStillJson) {
  Answer answer = sample_answer();
  answer.text = "cut \xE2\x82";
  EXPECT_TRUE(nlohmann::json::accept(answer.to_json()));
}

TEST(Render, HtmlEscapesEveryPartThatComesFromOutside) {
  const std::string evil = "<script>alert('x')</script>\"&";
  Answer answer = sample_answer();
  answer.question = answer.text = answer.note = evil;
  answer.passages[0].title = answer.passages[0].section = evil;
  answer.passages[0].text = answer.passages[0].collection = evil;
  answer.route.entries[0].collection = answer.route.entries[0].expert = evil;
  answer.route.reason = answer.gate.reason = evil;
  const std::string html = answer.to_html();
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"));

  FitReport report;
  report.experts.push_back({.collection = evil, .note = evil});
  report.router = report.gate_note = report.generation = evil;
  EXPECT_THAT(report.to_html(), Not(HasSubstr("<script")));
}

TEST(Render, TheIndexGenerationsAreInTheJsonAndTheGraphsInTheHtml) {
  Answer answer = sample_answer();
  answer.index_generations = {{"music", 0}, {"statistics", 0}};
  EXPECT_THAT(answer.to_html(), Not(HasSubstr("approximate")));
  answer.index_generations["<postgresql>"] = answer.passages[0].index_generation =
      0xffffffffffffffffu;
  EXPECT_THAT(answer.to_html(),
              HasSubstr("approximate in &lt;postgresql&gt; (generation 18446744073709551615)<"));
  const auto json = nlohmann::json::parse(answer.to_json());
  EXPECT_EQ(json["index_generations"]["<postgresql>"], 0xffffffffffffffffu);
  EXPECT_EQ(json["index_generations"]["music"], 0u);
  EXPECT_EQ(json["passages"][0]["index_generation"], 0xffffffffffffffffu);
}

TEST(Render, HtmlRefersToNothingOutside) {
  const std::string html = sample_answer().to_html();
  for (const char* outside : {"http:", "https:", "src=", "href=", "url(", "@import"})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(Render, ARefusalSaysWhy) {
  Answer answer = sample_answer();
  answer.text.clear();
  answer.passages.clear();
  answer.gate.decision = GateDecision::kRefuse;
  answer.gate.reason = "no language model";
  EXPECT_THAT(answer.to_text(), HasSubstr("no answer: no language model"));
}

TEST(Render, LinesAreWrappedBetweenWords) {
  EXPECT_EQ(wrap("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(wrap("averyveryverylongword b", 7, 0), "averyveryverylongword\nb");
  EXPECT_EQ(wrap("", 7, 2), "");
}

TEST(Render, AFitReportPrintsDashesWhereNothingWasMeasured) {
  FitReport report;
  report.generation = "abc";
  report.experts.push_back({.collection = "law", .note = "no training queries"});
  report.router = "linear";
  EXPECT_THAT(report.to_text(), HasSubstr("  -, - (0.00)  no training queries"));
  EXPECT_TRUE(nlohmann::json::accept(report.to_json()));
}

}  // namespace
}  // namespace collegium::router
