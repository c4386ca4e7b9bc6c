#include "collegium/router/evaluation.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bind.h"
#include "calls.h"
#include "collegium/router/support_check.h"
#include "display.h"
#include "splits.h"

namespace py = pybind11;

namespace collegium::python {

using router::Calibration;
using router::Comparison;
using router::CoveragePoint;
using router::Evaluation;
using router::EvaluationGroup;
using router::EvaluationQuery;
using router::EvaluationRow;
using router::EvaluationView;
using router::JudgedQuery;
using router::Judgments;
using router::Metrics;
using router::Ranking;
using router::ReliabilityBin;
using router::RouterReport;
using router::WorstQuery;

namespace {

void bind_statistics(py::module_& m) {
  py::class_<Comparison>(m, "Comparison")
      .def_readonly("difference", &Comparison::difference)
      .def_readonly("low", &Comparison::low)
      .def_readonly("high", &Comparison::high)
      .def_readonly("p", &Comparison::p)
      .def_readonly("p_holm", &Comparison::p_holm)
      .def_readonly("queries", &Comparison::queries)
      .def("__repr__", [](const Comparison& self) {
        return "<Comparison " + fixed(self.difference, 4) + " [" + fixed(self.low, 4) + ", " +
               fixed(self.high, 4) + "] p " + fixed(self.p, 4) + ">";
      });
  py::class_<ReliabilityBin>(m, "ReliabilityBin")
      .def_readonly("low", &ReliabilityBin::low)
      .def_readonly("high", &ReliabilityBin::high)
      .def_readonly("count", &ReliabilityBin::count)
      .def_readonly("confidence", &ReliabilityBin::confidence)
      .def_readonly("accuracy", &ReliabilityBin::accuracy);
  py::class_<Calibration>(m, "Calibration")
      .def_readonly("ece", &Calibration::ece)
      .def_readonly("bins", &Calibration::bins);
  py::class_<CoveragePoint>(m, "CoveragePoint")
      .def_readonly("coverage", &CoveragePoint::coverage)
      .def_readonly("threshold", &CoveragePoint::threshold)
      .def_readonly("quality", &CoveragePoint::quality)
      .def_readonly("accuracy", &CoveragePoint::accuracy);

  const router::BootstrapOptions bootstrap;
  m.def(
      "paired_bootstrap",
      [](const std::vector<std::vector<double>>& differences, const WholeNumber& resamples,
         double level, const WholeNumber& seed) {
        const router::BootstrapOptions options{resamples.value("resamples"), level,
                                               seed.value("seed")};
        return run_released([&] { return router::paired_bootstrap(differences, options); });
      },
      py::arg("differences"), py::kw_only(), py::arg("resamples") = bootstrap.resamples,
      py::arg("level") = bootstrap.level, py::arg("seed") = bootstrap.seed);
  m.def(
      "holm", [](const std::vector<double>& p) { return router::holm(p); }, py::arg("p"));
  m.def(
      "measure_calibration",
      [](const std::vector<double>& confidence, const std::vector<bool>& right,
         const WholeNumber& bins) {
        const std::vector<std::uint8_t> bytes(right.begin(), right.end());
        return unwrap(router::measure_calibration(confidence, bytes, bins.value("bins")));
      },
      py::arg("confidence"), py::arg("right"), py::kw_only(), py::arg("bins") = 10);
  m.def(
      "coverage_curve",
      [](const std::vector<double>& confidence, const std::vector<double>& routed,
         const std::vector<double>& otherwise, const std::vector<bool>& right,
         const std::vector<std::uint32_t>& sets, const WholeNumber& steps) {
        const std::vector<std::uint8_t> bytes(right.begin(), right.end());
        // Labels are any numbers: memory is for as many sets as there are.
        std::vector<std::uint32_t> labels = sets;
        std::sort(labels.begin(), labels.end());
        labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
        std::vector<std::uint32_t> numbers(sets.size());
        std::transform(sets.begin(), sets.end(), numbers.begin(), [&labels](std::uint32_t label) {
          return static_cast<std::uint32_t>(std::lower_bound(labels.begin(), labels.end(), label) -
                                            labels.begin());
        });
        return unwrap(router::coverage_curve(confidence, routed, otherwise, bytes, numbers,
                                             labels.size(), steps.value("steps")));
      },
      py::arg("confidence"), py::arg("routed"), py::arg("otherwise"), py::arg("right"),
      py::arg("sets"), py::kw_only(), py::arg("steps") = 20);
  m.def("gain_share", &router::gain_share, py::arg("method"), py::arg("base"), py::arg("oracle"));
}

}  // namespace

void bind_evaluation(py::module_& m) {
  bind_statistics(m);
  m.def(
      "measure_ranking",
      [](Utf8 measure, const Ranking& ranking, const Judgments& judgments) {
        return router::measure_ranking(unwrap(router::parse_measure(measure.view)), ranking,
                                       judgments);
      },
      py::arg("measure"), py::arg("ranking"), py::arg("judgments"));
  m.def(
      "ndcg_at",
      [](std::size_t k, const Ranking& ranking, const Judgments& judgments) {
        return router::ndcg_at(k, ranking, judgments);
      },
      py::arg("k"), py::arg("ranking"), py::arg("judgments"));
  m.def(
      "recall_at",
      [](std::size_t k, const Ranking& ranking, const Judgments& judgments) {
        return router::recall_at(k, ranking, judgments);
      },
      py::arg("k"), py::arg("ranking"), py::arg("judgments"));
  m.def(
      "split_of_document",
      [](Utf8 document_id) { return split_name(router::split_of_document(document_id.view)); },
      py::arg("document_id"));

  m.def(
      "check_support",
      [](Utf8 sentence, Utf8 passage) {
        return router::check_support(sentence.view, passage.view).reason();
      },
      py::arg("sentence"), py::arg("passage"));

  py::class_<Metrics>(m, "Metrics")
      .def_readonly("ndcg_at_10", &Metrics::ndcg_at_10)
      .def_readonly("recall_at_100", &Metrics::recall_at_100)
      .def_readonly("map_at_100", &Metrics::map_at_100)
      .def_readonly("mrr_at_10", &Metrics::mrr_at_10)
      .def_readonly("precision_at_10", &Metrics::precision_at_10)
      .def_readonly("success_at_5", &Metrics::success_at_5)
      .def("__repr__", [](const Metrics& self) {
        return "<Metrics nDCG@10 " + fixed(self.ndcg_at_10, 4) + " recall@100 " +
               fixed(self.recall_at_100, 4) + ">";
      });
  py::class_<EvaluationGroup>(m, "EvaluationGroup")
      .def_readonly("mean", &EvaluationGroup::mean)
      .def_readonly("against_plain", &EvaluationGroup::against_plain);
  py::class_<EvaluationView>(m, "EvaluationView")
      .def_readonly("by_collection", &EvaluationView::by_collection)
      .def_readonly("mean", &EvaluationView::mean)
      .def_readonly("against_plain", &EvaluationView::against_plain)
      .def_readonly("mean_against_plain", &EvaluationView::mean_against_plain)
      .def_readonly("groups", &EvaluationView::groups)
      .def_readonly("queries", &EvaluationView::queries)
      .def_readonly("regret", &EvaluationView::regret)
      .def_readonly("gain_share", &EvaluationView::gain_share)
      .def_readonly("gain_share_over_noise", &EvaluationView::gain_share_over_noise);
  py::class_<router::EvaluationCost>(m, "EvaluationCost")
      .def_readonly("flops", &router::EvaluationCost::flops)
      .def_readonly("ms", &router::EvaluationCost::ms);
  const auto reference = py::return_value_policy::reference_internal;
  py::class_<EvaluationRow>(m, "EvaluationRow")
      .def_readonly("method", &EvaluationRow::method)
      .def_readonly("note", &EvaluationRow::note)
      .def_readonly("alone_view", &EvaluationRow::alone)
      .def_readonly("merged_view", &EvaluationRow::merged)
      .def_readonly("cost", &EvaluationRow::cost)
      .def_property_readonly(
          "per_collection",
          [](const EvaluationRow& self) -> const auto& { return self.alone.by_collection; },
          reference)
      .def_property_readonly(
          "merged",
          [](const EvaluationRow& self) -> const auto& { return self.merged.by_collection; },
          reference)
      .def_property_readonly(
          "per_collection_mean",
          [](const EvaluationRow& self) -> const Metrics& { return self.alone.mean; }, reference)
      .def_property_readonly(
          "merged_mean",
          [](const EvaluationRow& self) -> const Metrics& { return self.merged.mean; }, reference);
  py::class_<EvaluationQuery>(m, "EvaluationQuery")
      .def_readonly("collection", &EvaluationQuery::collection)
      .def_readonly("id", &EvaluationQuery::id)
      .def_readonly("text", &EvaluationQuery::text);
  py::class_<JudgedQuery>(m, "JudgedQuery")
      .def(py::init([](Utf8 id, Utf8 text, const Judgments& judgments) {
             return JudgedQuery{id, text, judgments};
           }),
           py::kw_only(), py::arg("id"), py::arg("text"), py::arg("judgments"))
      .def_readonly("id", &JudgedQuery::id)
      .def_readonly("text", &JudgedQuery::text)
      .def_readonly("judgments", &JudgedQuery::judgments);
  py::class_<RouterReport>(m, "RouterReport")
      .def_readonly("kind", &RouterReport::kind)
      .def_readonly("accuracy", &RouterReport::accuracy)
      .def_readonly("confusion", &RouterReport::confusion)
      .def_readonly("calibration", &RouterReport::calibration)
      .def_readonly("coverage_alone", &RouterReport::coverage_alone)
      .def_readonly("coverage_merged", &RouterReport::coverage_merged);
  py::class_<WorstQuery>(m, "WorstQuery")
      .def_readonly("query", &WorstQuery::query)
      .def_readonly("ndcg_at_10", &WorstQuery::ndcg_at_10)
      .def_readonly("plain", &WorstQuery::plain)
      .def_readonly("best", &WorstQuery::best)
      .def_readonly("best_method", &WorstQuery::best_method)
      .def_readonly("relevant", &WorstQuery::relevant)
      .def_readonly("rank", &WorstQuery::rank)
      .def_readonly("plain_rank", &WorstQuery::plain_rank)
      .def_readonly("first_collection", &WorstQuery::first_collection)
      .def_readonly("first_document", &WorstQuery::first_document)
      .def_readonly("routed_to", &WorstQuery::routed_to)
      .def_readonly("probability", &WorstQuery::probability)
      .def_readonly("why", &WorstQuery::why);
  py::class_<Evaluation>(m, "Evaluation")
      .def_property_readonly("split", [](const Evaluation& self) { return split_name(self.split); })
      .def_readonly("num_queries", &Evaluation::num_queries)
      .def_readonly("groups", &Evaluation::groups)
      .def_readonly("queries", &Evaluation::queries)
      .def_readonly("rows", &Evaluation::rows)
      .def_readonly("served", &Evaluation::served)
      .def_readonly("routers", &Evaluation::routers)
      .def_readonly("worst", &Evaluation::worst)
      .def_readonly("encode_flops", &Evaluation::encode_flops)
      .def_readonly("encode_ms", &Evaluation::encode_ms)
      .def_readonly("shares_training_documents", &Evaluation::shares_training_documents)
      .def_property_readonly("router_accuracy",
                             [](const Evaluation& self) {
                               std::map<std::string, double> accuracy;
                               for (const RouterReport& router : self.routers)
                                 accuracy[router.kind] = router.accuracy;
                               return accuracy;
                             })
      .def_readonly("gate_accuracy", &Evaluation::gate_accuracy)
      .def_readonly("gate_recall", &Evaluation::gate_recall)
      .def_readonly("gate_specificity", &Evaluation::gate_specificity)
      .def_readonly("gate_examples", &Evaluation::gate_examples)
      .def_readonly("note", &Evaluation::note)
      .def("row", &Evaluation::row, py::arg("method"), reference)
      .def("to_text", &Evaluation::to_text)
      .def("to_json", &Evaluation::to_json)
      .def("to_html", &Evaluation::to_html)
      .def("to_html_page", &Evaluation::to_html_page)
      .def("to_markdown", &Evaluation::to_markdown)
      .def("__str__", &Evaluation::to_text)
      .def("_repr_html_", &Evaluation::to_html);
}

}  // namespace collegium::python
