#include "collegium/router/evaluation.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "bind.h"
#include "calls.h"
#include "collegium/router/support_check.h"
#include "display.h"
#include "splits.h"

namespace py = pybind11;

namespace collegium::python {

using router::Evaluation;
using router::EvaluationRow;
using router::Judgments;
using router::Metrics;
using router::Ranking;

void bind_evaluation(py::module_& m) {
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
      .def("__repr__", [](const Metrics& self) {
        return "<Metrics nDCG@10 " + fixed(self.ndcg_at_10, 4) + " recall@100 " +
               fixed(self.recall_at_100, 4) + ">";
      });
  py::class_<EvaluationRow>(m, "EvaluationRow")
      .def_readonly("method", &EvaluationRow::method)
      .def_readonly("note", &EvaluationRow::note)
      .def_readonly("per_collection", &EvaluationRow::per_collection)
      .def_readonly("merged", &EvaluationRow::merged)
      .def_readonly("per_collection_mean", &EvaluationRow::per_collection_mean)
      .def_readonly("merged_mean", &EvaluationRow::merged_mean);
  py::class_<Evaluation>(m, "Evaluation")
      .def_property_readonly("split", [](const Evaluation& self) { return split_name(self.split); })
      .def_readonly("num_queries", &Evaluation::num_queries)
      .def_readonly("rows", &Evaluation::rows)
      .def_readonly("router_accuracy", &Evaluation::router_accuracy)
      .def_readonly("gate_accuracy", &Evaluation::gate_accuracy)
      .def_readonly("gate_recall", &Evaluation::gate_recall)
      .def_readonly("gate_specificity", &Evaluation::gate_specificity)
      .def_readonly("gate_examples", &Evaluation::gate_examples)
      .def_readonly("note", &Evaluation::note)
      .def("row", &Evaluation::row, py::arg("method"), py::return_value_policy::reference_internal)
      .def("to_text", &Evaluation::to_text)
      .def("to_json", &Evaluation::to_json)
      .def("to_html", &Evaluation::to_html)
      .def("to_markdown", &Evaluation::to_markdown)
      .def("__str__", &Evaluation::to_text)
      .def("_repr_html_", &Evaluation::to_html);
}

}  // namespace collegium::python
