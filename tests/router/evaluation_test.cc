#include "collegium/router/evaluation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "collegium/core/thread_pool.h"
#include "synthetic.h"

namespace collegium::router {
namespace {

// Nothing in the result is a measurement.
EvaluateOptions untimed(Split split, std::uint64_t seed = 1) {
  EvaluateOptions options;
  options.split = split;
  options.seed = seed;
  options.timed_queries = 0;
  return options;
}

class Evaluated : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    SyntheticOptions options;
    options.passages_each = 2;
    options.noise = 0.1;
    world_ = new Synthetic(options);
    learned_ = new Learned(learn(world_->data, quick_learning()).value());
    evaluation_ = new Evaluation(evaluate(world_->data, *learned_, untimed(Split::kTest)).value());
  }
  static void TearDownTestSuite() {
    delete evaluation_;
    delete learned_;
    delete world_;
  }
  static const EvaluationRow& row(std::string_view method) {
    const EvaluationRow* found = evaluation_->row(method);
    EXPECT_NE(found, nullptr) << method;
    return *found;
  }
  // The table's own metrics over sorted scores, for one query vector map.
  template <typename Map>
  static Metrics by_hand(bool merged, std::size_t collection, Map&& map) {
    const LearningData& data = world_->data;
    const QuerySet& queries = data.collections[collection].splits[2];
    Metrics mean;
    for (std::size_t q = 0; q < queries.size(); ++q) {
      std::vector<float> query(&queries.vectors[q * data.dim],
                               &queries.vectors[q * data.dim] + data.dim);
      query = map(query);
      Ranking ranking;
      for (std::size_t c = 0; c < data.collections.size(); ++c) {
        if (!merged && c != collection) continue;
        std::map<std::string, double> best;
        for (std::size_t row = 0; row < world_->passage_document[c].size(); ++row) {
          double score = 0.0;
          for (std::size_t d = 0; d < data.dim; ++d)
            score += double{query[d]} * world_->vectors[c][row * data.dim + d];
          const std::string id = data.collections[c].name + "/" +
                                 data.collections[c].document_ids[world_->passage_document[c][row]];
          const auto at = best.emplace(id, score).first;
          at->second = std::max(at->second, score);
        }
        ranking.insert(ranking.end(), best.begin(), best.end());
      }
      Judgments judgments;
      for (std::uint32_t document : queries.relevant[q])
        judgments[data.collections[collection].name + "/" +
                  data.collections[collection].document_ids[document]] = 1.0;
      const auto n = static_cast<double>(queries.size());
      mean.ndcg_at_10 += ndcg_at(10, ranking, judgments) / n;
      mean.recall_at_100 += recall_at(100, ranking, judgments) / n;
    }
    return mean;
  }

  static inline Synthetic* world_ = nullptr;
  static inline Learned* learned_ = nullptr;
  static inline Evaluation* evaluation_ = nullptr;
};

TEST_F(Evaluated, HasEveryRowInOrder) {
  std::vector<std::string> methods;
  for (const auto& entry : evaluation_->rows) methods.push_back(entry.method);
  EXPECT_EQ(methods, (std::vector<std::string>{"plain",
                                               "multi-task",
                                               "expert seta",
                                               "expert setb",
                                               "expert setc",
                                               "best constant",
                                               "random",
                                               "router linear",
                                               "router pilots-source",
                                               "router pilots-winner",
                                               "router nearest",
                                               "bound, all again",
                                               "routed",
                                               "routed + prior",
                                               "mixed",
                                               "mixed + prior",
                                               "bound",
                                               "bound + prior",
                                               "nearest neighbour",
                                               "soft fusion",
                                               "oracle per set",
                                               "oracle per query",
                                               "noise control"}));
  EXPECT_EQ(evaluation_->num_queries.at("setb"), 30u);
}

TEST_F(Evaluated, SearchingEveryCollectionAgainIsThePolicyWithoutItsLimit) {
  Learned unlimited = *learned_;
  unlimited.policy.research = 3;
  const auto other = evaluate(world_->data, unlimited, {.split = Split::kTest}).value();
  EXPECT_EQ(other.row("bound, all again"), nullptr);
  for (const auto view : {&EvaluationRow::alone, &EvaluationRow::merged})
    EXPECT_EQ((row("bound, all again").*view).mean.ndcg_at_10,
              (other.row("bound + prior")->*view).mean.ndcg_at_10);
  EXPECT_GT(row("bound, all again").cost.flops, row("bound + prior").cost.flops);
}

TEST_F(Evaluated, PlainAndExpertsEqualSortingByHand) {
  const auto same = [](const std::vector<float>& query) { return query; };
  const auto expert = [](const std::vector<float>& query) {
    std::vector<float> out(query.size());
    learned_->adapters.at("setb").adapter.apply(query.data(), out.data());
    return out;
  };
  for (std::size_t c = 0; c < 3; ++c) {
    const std::string& name = world_->data.collections[c].name;
    for (bool merged : {false, true}) {
      const auto view = merged ? &EvaluationRow::merged : &EvaluationRow::alone;
      const Metrics plain = by_hand(merged, c, same), mapped = by_hand(merged, c, expert);
      EXPECT_NEAR((row("plain").*view).by_collection.at(name).ndcg_at_10, plain.ndcg_at_10, 1e-6);
      EXPECT_NEAR((row("plain").*view).by_collection.at(name).recall_at_100, plain.recall_at_100,
                  1e-6);
      EXPECT_NEAR((row("expert setb").*view).by_collection.at(name).ndcg_at_10, mapped.ndcg_at_10,
                  1e-6);
      EXPECT_NEAR((row("expert setb").*view).by_collection.at(name).recall_at_100,
                  mapped.recall_at_100, 1e-6);
    }
  }
}

TEST_F(Evaluated, BoundAloneIsEachCollectionUnderItsOwnExpert) {
  for (const auto& collection : world_->data.collections)
    EXPECT_NEAR(row("bound").alone.by_collection.at(collection.name).ndcg_at_10,
                row("expert " + collection.name).alone.by_collection.at(collection.name).ndcg_at_10,
                1e-9);
}

TEST_F(Evaluated, OrdersTheMethodsAsTheWorldWasMade) {
  for (auto view : {&EvaluationRow::alone, &EvaluationRow::merged}) {
    const auto ndcg = [&](std::string_view method) { return (row(method).*view).mean.ndcg_at_10; };
    // Experts help their own and harm others, so routing wins over plain, constant and random.
    EXPECT_GT(ndcg("bound + prior"), ndcg("plain") + 0.1);
    EXPECT_GT(ndcg("router linear"), ndcg("best constant") + 0.05);
    EXPECT_GT(ndcg("router linear"), ndcg("random") + 0.05);
    EXPECT_GE(ndcg("oracle per set") + 1e-9, ndcg("router linear") - 0.02);
    EXPECT_GE(ndcg("oracle per query"), ndcg("oracle per set"));
    EXPECT_GE(ndcg("best constant"),
              std::max({ndcg("expert seta"), ndcg("expert setb"), ndcg("expert setc")}) - 1e-12);
    // Luck alone gains over plain, and less than choosing among experts that know something.
    EXPECT_GT(ndcg("noise control"), ndcg("plain"));
    EXPECT_LT(ndcg("noise control"), ndcg("oracle per query"));
  }
}

TEST_F(Evaluated, OraclesAreNeverWorseThanPlainOnAnyCollection) {
  for (const auto& [name, metrics] : row("plain").merged.by_collection)
    for (const char* method : {"oracle per set", "oracle per query", "noise control"})
      EXPECT_GE(row(method).merged.by_collection.at(name).ndcg_at_10, metrics.ndcg_at_10)
          << method << name;
}

TEST_F(Evaluated, TheNoiseControlChoosesAmongAsManyMapsOfTheAdaptersMeanNorm) {
  double norm = 0.0;
  for (const auto& [name, trained] : learned_->adapters)
    norm += trained.adapter.distance_from_identity() / 3.0;
  char expected[80];
  std::snprintf(expected, sizeof expected,
                "plain and 3 random maps, of the adapters' mean norm %.3f", norm);
  EXPECT_NE(row("noise control").note.find(expected), std::string::npos)
      << row("noise control").note << "\n"
      << expected;
}

TEST_F(Evaluated, SoftFusionEqualsFusingByHand) {
  const auto fused = [](const std::vector<float>& query) {
    std::vector<float> p(3), one(query.size());
    learned_->router->probabilities(query.data(), p);
    std::vector<double> sum(query.size(), 0.0);
    for (std::size_t c = 0; c < 3; ++c) {
      learned_->adapters.at(learned_->router->collections()[c])
          .adapter.apply(query.data(), one.data());
      for (std::size_t d = 0; d < one.size(); ++d) sum[d] += double{p[c]} * one[d];
    }
    return std::vector<float>(sum.begin(), sum.end());  // its length does not change the order
  };
  for (std::size_t c = 0; c < 3; ++c) {
    const std::string& name = world_->data.collections[c].name;
    EXPECT_NEAR(row("soft fusion").alone.by_collection.at(name).ndcg_at_10,
                by_hand(false, c, fused).ndcg_at_10, 1e-6);
    EXPECT_NEAR(row("soft fusion").merged.by_collection.at(name).ndcg_at_10,
                by_hand(true, c, fused).ndcg_at_10, 1e-6);
  }
}

TEST_F(Evaluated, TheNearestNeighbourRouterBeatsChanceAndNotTheOracle) {
  const auto ndcg = [&](std::string_view method) { return row(method).alone.mean.ndcg_at_10; };
  EXPECT_GT(ndcg("nearest neighbour"), ndcg("random") + 0.05);
  EXPECT_LE(ndcg("nearest neighbour"), ndcg("oracle per query"));
}

TEST_F(Evaluated, WithoutNegativesTheReportClaimsNoSaving) {
  LearningData data = world_->data;
  data.negatives[2].clear();
  const Evaluation evaluation = evaluate(data, *learned_, untimed(Split::kTest, 1)).value();
  EXPECT_EQ(evaluation.gate_examples, 90u);
  const std::string text = evaluation.to_text();
  EXPECT_EQ(text.find("saves"), std::string::npos);
  EXPECT_NE(text.find("90 questions that need the corpus; the split has none"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::parse(evaluation.to_json())["gate"]["specificity"].is_null());
  EXPECT_NE(evaluation_->to_text().find("saves"), std::string::npos);
}

TEST_F(Evaluated, ReportsRoutersAndGate) {
  ASSERT_EQ(evaluation_->routers.size(), 4u);
  EXPECT_EQ(evaluation_->routers[0].kind, "linear");
  EXPECT_GE(evaluation_->routers[0].accuracy, 0.9);
  EXPECT_EQ(evaluation_->gate_examples, 90u + 20u);
  EXPECT_GE(evaluation_->gate_recall, 0.9);
  EXPECT_GE(evaluation_->gate_specificity, 0.8);
  EXPECT_NEAR(evaluation_->gate_accuracy,
              (90 * evaluation_->gate_recall + 20 * evaluation_->gate_specificity) / 110, 1e-9);
}

TEST_F(Evaluated, TheFirstLineSaysWhetherTheSplitTookPartInFitting) {
  EXPECT_EQ(evaluation_->to_text().rfind("split test: took no part", 0), 0u);
  const auto dev = evaluate(world_->data, *learned_, untimed(Split::kDev, 1)).value();
  EXPECT_EQ(dev.to_text().rfind("split dev: chose", 0), 0u);
  const auto train = evaluate(world_->data, *learned_, untimed(Split::kTrain, 1)).value();
  EXPECT_EQ(train.to_markdown().rfind("split train: everything was fitted on it", 0), 0u);
}

TEST_F(Evaluated, IsTheSameWhateverTheNumberOfThreadsAndTheSeedMovesOnlyChance) {
  const auto json = [&](std::size_t threads, std::uint64_t seed) {
    core::set_num_threads(threads);
    return evaluate(world_->data, *learned_, untimed(Split::kTest, seed)).value().to_json();
  };
  const std::string one = json(1, 1);
  EXPECT_EQ(one, json(3, 1));
  EXPECT_EQ(one, evaluation_->to_json());
  const auto other = nlohmann::json::parse(json(2, 2));
  core::set_num_threads(0);
  const auto same = nlohmann::json::parse(one);
  for (std::size_t i = 0; i < same["rows"].size(); ++i) {
    const std::string method = same["rows"][i]["method"];
    if (method == "random" || method == "noise control") continue;
    for (const char* figures : {"merged_queries", "per_collection_queries"})
      EXPECT_EQ(same["rows"][i][figures], other["rows"][i][figures]) << method;
  }
}

TEST_F(Evaluated, EveryFormHasEveryFigure) {
  const auto json = nlohmann::json::parse(evaluation_->to_json());
  EXPECT_EQ(json["rows"].size(), evaluation_->rows.size());
  EXPECT_EQ(json["split"], "test");
  char figure[16];
  std::snprintf(figure, sizeof figure, "%.1f", 100 * row("bound + prior").merged.mean.ndcg_at_10);
  for (const std::string& text :
       {evaluation_->to_text(), evaluation_->to_markdown(), evaluation_->to_html()}) {
    EXPECT_NE(text.find("bound + prior"), std::string::npos);
    EXPECT_NE(text.find(figure), std::string::npos);
    EXPECT_NE(text.find("gate"), std::string::npos);
  }
}

TEST_F(Evaluated, DifferencesFromPlainAreTheBootstrapOfItsQueries) {
  for (const auto view : {&EvaluationRow::alone, &EvaluationRow::merged}) {
    const EvaluationView &bound = row("bound + prior").*view, &plain = row("plain").*view;
    std::vector<std::vector<double>> differences(3);
    std::vector<double> p;
    for (std::size_t q = 0; q < evaluation_->queries.size(); ++q)
      differences[q / 30].push_back(bound.queries[q].ndcg_at_10 - plain.queries[q].ndcg_at_10);
    for (std::size_t c = 0; c < 3; ++c) {
      const Comparison& compared = bound.against_plain.at(world_->data.collections[c].name);
      double mean = 0.0;
      for (const double difference : differences[c]) mean += difference / 30.0;
      EXPECT_NEAR(compared.difference, mean, 1e-12);
      EXPECT_EQ(compared.queries, 30u);
      p.push_back(compared.p);
    }
    const std::vector<double> corrected = holm(p);
    for (std::size_t c = 0; c < 3; ++c)
      EXPECT_EQ(bound.against_plain.at(world_->data.collections[c].name).p_holm, corrected[c]);
    const Comparison alone = paired_bootstrap(differences).value();
    EXPECT_EQ(bound.mean_against_plain.low, alone.low);
    EXPECT_EQ(bound.mean_against_plain.p, alone.p);
    EXPECT_NEAR(bound.mean_against_plain.difference, bound.mean.ndcg_at_10 - plain.mean.ndcg_at_10,
                1e-12);
    EXPECT_GT(bound.mean_against_plain.low, 0.0);
    EXPECT_EQ(plain.mean_against_plain.difference, 0.0);
    EXPECT_EQ(plain.mean_against_plain.p, 1.0);
  }
}

TEST_F(Evaluated, RegretAndSharesAreMeasuredFromOracleAndNoise) {
  const double oracle = row("oracle per query").merged.mean.ndcg_at_10;
  const double noise = row("noise control").merged.mean.ndcg_at_10;
  const double plain = row("plain").merged.mean.ndcg_at_10;
  const EvaluationView& bound = row("bound + prior").merged;
  EXPECT_NEAR(bound.regret, oracle - bound.mean.ndcg_at_10, 1e-12);
  EXPECT_NEAR(bound.gain_share, (bound.mean.ndcg_at_10 - plain) / (oracle - plain), 1e-12);
  EXPECT_NEAR(bound.gain_share_over_noise, (bound.mean.ndcg_at_10 - noise) / (oracle - noise),
              1e-12);
  EXPECT_EQ(row("oracle per query").merged.gain_share, 1.0);
  EXPECT_EQ(row("plain").merged.gain_share, 0.0);
}

TEST_F(Evaluated, RouterReportsCountEveryQueryAndAgreeWithTheRows) {
  for (const RouterReport& router : evaluation_->routers) {
    std::size_t queries = 0;
    double right = 0.0;
    for (const auto& [own, chosen] : router.confusion)
      for (const auto& [name, count] : chosen) {
        queries += count;
        if (name == own) right += static_cast<double>(count) / 30.0 / 3.0;
      }
    EXPECT_EQ(queries, 90u);
    EXPECT_NEAR(router.accuracy, right, 1e-12);
    for (const auto& [signal, curve] : router.coverage_merged) {
      ASSERT_EQ(curve.size(), 21u);
      EXPECT_NEAR(curve.front().quality, row("plain").merged.mean.ndcg_at_10, 1e-12);
      EXPECT_NEAR(curve.back().quality, row("router " + router.kind).merged.mean.ndcg_at_10, 1e-6);
      EXPECT_NEAR(curve.back().accuracy, router.accuracy, 1e-12);
    }
  }
}

TEST_F(Evaluated, WorstQueriesAreThoseOfTheServedRowAndSayWhy) {
  EXPECT_EQ(evaluation_->served, std::string(policy_name(learned_->policy.policy)) + " + prior");
  const auto& figures = row(evaluation_->served).merged.queries;
  ASSERT_FALSE(evaluation_->worst.empty());
  EXPECT_LE(evaluation_->worst.size(), 90u);
  double before = 0.0;
  for (const WorstQuery& worst : evaluation_->worst) {
    EXPECT_EQ(worst.ndcg_at_10, figures[worst.query].ndcg_at_10);
    EXPECT_GE(worst.ndcg_at_10, before);
    EXPECT_GE(worst.best, worst.plain);
    EXPECT_FALSE(worst.why.empty());
    EXPECT_FALSE(worst.relevant.empty());
    before = worst.ndcg_at_10;
  }
  std::size_t below = 0;
  for (const Metrics& metrics : figures) below += metrics.ndcg_at_10 < 1.0 ? 1 : 0;
  EXPECT_EQ(evaluation_->worst.size(), std::min<std::size_t>(100, below));
}

TEST_F(Evaluated, CostsCountMapsAndSearches) {
  const double scan = 2.0 * 24 * 3 * 240, map = 2.0 * 24 * 24;
  EXPECT_EQ(row("plain").cost.flops, scan);
  EXPECT_EQ(row("expert seta").cost.flops, scan + map);
  EXPECT_EQ(row("oracle per query").cost.flops, 0.0);
  EXPECT_GT(row("bound").cost.flops, scan);
  EXPECT_LT(row("bound").cost.flops, 2.0 * scan + 10.0 * map);
  EvaluateOptions timed = untimed(Split::kTest);
  timed.timed_queries = 2;
  const Evaluation evaluation = evaluate(world_->data, *learned_, timed).value();
  EXPECT_GT(evaluation.row("bound")->cost.ms, 0.0);
  EXPECT_EQ(evaluation.row("oracle per query")->cost.ms, 0.0);
}

TEST_F(Evaluated, AMethodOfTheCallersIsMeasuredLikeTheOthers) {
  const LearningData& data = world_->data;
  EvaluatedMethod first;
  first.method = "first relevant first";
  first.rank = [&](const EvaluationQuery& query, std::span<const float> vector,
                   std::span<const std::string> collections) -> Result<std::vector<index::Hit>> {
    EXPECT_EQ(vector.size(), data.dim);
    EXPECT_TRUE(collections.size() == 1 || collections.size() == 3);
    std::vector<index::Hit> hits(2);
    hits[0].collection = hits[1].collection = query.collection;
    const auto c = static_cast<std::size_t>(query.collection.back() - 'a');
    const QuerySet& set = data.collections[c].splits[2];
    const auto q = static_cast<std::size_t>(std::find(set.ids.begin(), set.ids.end(), query.id) -
                                            set.ids.begin());
    hits[0].document_id = "not a document";
    hits[1].document_id = data.collections[c].document_ids[set.relevant[q][0]];
    return hits;
  };
  const Evaluation evaluation =
      evaluate(data, *learned_, untimed(Split::kTest), {}, std::span(&first, 1)).value();
  const Metrics& mean = evaluation.row("first relevant first")->merged.mean;
  EXPECT_NEAR(mean.ndcg_at_10, 1.0 / std::log2(3.0), 1e-12);
  EXPECT_NEAR(mean.mrr_at_10, 0.5, 1e-12);
  EXPECT_NEAR(mean.map_at_100, 0.5, 1e-12);
  EXPECT_NEAR(mean.precision_at_10, 0.1, 1e-12);
  EXPECT_EQ(mean.success_at_5, 1.0);
  EXPECT_EQ(mean.recall_at_100, 1.0);
  first.rank = [](const EvaluationQuery&, std::span<const float>,
                  std::span<const std::string>) -> Result<std::vector<index::Hit>> {
    return Status::io_error("as told");
  };
  EXPECT_EQ(
      evaluate(data, *learned_, untimed(Split::kTest), {}, std::span(&first, 1)).status().code(),
      StatusCode::kIoError);
}

TEST(Evaluate, CollectionsWithoutTrainingQueriesAreAGroupOfTheirOwn) {
  Synthetic world({});
  world.data.collections[2].splits[0] = {};
  const Learned learned = learn(world.data, quick_learning()).value();
  const Evaluation evaluation = evaluate(world.data, learned, untimed(Split::kTest)).value();
  EXPECT_EQ(evaluation.groups.at("setc"), "unseen");
  for (const EvaluationRow& row : evaluation.rows) {
    const EvaluationView& view = row.merged;
    EXPECT_NEAR(
        view.groups.at("seen").mean.ndcg_at_10,
        (view.by_collection.at("seta").ndcg_at_10 + view.by_collection.at("setb").ndcg_at_10) / 2,
        1e-12);
    EXPECT_EQ(view.groups.at("unseen").mean.ndcg_at_10, view.by_collection.at("setc").ndcg_at_10);
    EXPECT_NEAR(view.groups.at("unseen").against_plain.difference,
                view.against_plain.at("setc").difference, 1e-12);
  }
}

TEST(EvaluationReport, EscapesNamesInHtmlAndMarkdown) {
  Evaluation evaluation;
  const std::string name = "<script>alert('x')</script> & \"y\" | z";
  evaluation.num_queries[name] = 1;
  EvaluationRow row;
  row.method = "expert " + name;
  row.note = name;
  row.alone.by_collection[name].ndcg_at_10 = row.merged.by_collection[name].ndcg_at_10 = 0.5;
  row.alone.against_plain[name] = row.merged.against_plain[name] = {};
  evaluation.rows.push_back(row);
  evaluation.queries.push_back({name, name, name});
  evaluation.served = row.method;
  WorstQuery worst;
  worst.best_method = worst.first_collection = worst.first_document = worst.why = name;
  worst.relevant = {name};
  evaluation.worst.push_back(worst);
  RouterReport router;
  router.kind = name;
  router.confusion[name][name] = 1;
  router.coverage_merged[name] = {{0.0, 1.0, 0.5, 0.0}, {1.0, 0.5, 0.6, 1.0}};
  evaluation.routers.push_back(router);
  for (const std::string& html : {evaluation.to_html(), evaluation.to_html_page()}) {
    EXPECT_EQ(html.find("<script>alert"), std::string::npos);
    EXPECT_NE(html.find("&lt;script&gt;alert(&#39;x&#39;)"), std::string::npos);
    EXPECT_EQ(html.find("http"), html.find("http://www.w3.org/2000/svg")) << "no network";
  }
  EXPECT_NE(evaluation.to_markdown().find("\\| z"), std::string::npos);
  evaluation.note = "\xff not UTF-8";
  EXPECT_NO_THROW(nlohmann::json::parse(evaluation.to_json()));
}

TEST(Evaluate, WithoutExpertsLeavesOutWhatNeedsThem) {
  const Synthetic world({});
  Learned learned = learn(world.data, quick_learning()).value();
  learned.adapters.clear();
  learned.multi_task.reset();
  const auto evaluation = evaluate(world.data, learned).value();
  EXPECT_EQ(evaluation.row("best constant"), nullptr);
  EXPECT_EQ(evaluation.row("oracle per query"), nullptr);
  EXPECT_EQ(evaluation.row("soft fusion"), nullptr);
  EXPECT_EQ(evaluation.row("nearest neighbour"), nullptr);
  EXPECT_NEAR(evaluation.row("bound")->merged.mean.ndcg_at_10,
              evaluation.row("plain")->merged.mean.ndcg_at_10, 1e-12);
}

TEST(Evaluate, CancelsAndRefusesBadInput) {
  const Synthetic world({});
  const Learned learned = learn(world.data, quick_learning()).value();
  EXPECT_EQ(evaluate(world.data, learned, {}, [](const core::Progress&) { return false; })
                .status()
                .code(),
            StatusCode::kCancelled);
  Learned other;
  other.adapters.emplace("seta", core::TrainedHeadAdapter{core::HeadAdapter::identity(3), 1.0f, 1});
  EXPECT_EQ(evaluate(world.data, other).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(evaluate(world.data, learned, untimed(static_cast<Split>(9))).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::router
