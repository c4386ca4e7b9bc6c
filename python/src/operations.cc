#include "collegium/router/operations.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "bind.h"
#include "calls.h"
#include "collegium/router/library.h"
#include "display.h"
#include "splits.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using router::BackupReport;
using router::Finding;
using router::Library;
using router::RepairReport;
using router::TuneReport;
using router::VerifyReport;

// Names of files are not always UTF-8, and they are in these texts.
template <typename Report>
void bind_texts(py::class_<Report>& report) {
  report.def("to_text", [](const Report& self) { return shown(self.to_text()); })
      .def("to_json", &Report::to_json)
      .def("__str__", [](const Report& self) { return shown(self.to_text()); });
}

void bind_reports(py::module_& m) {
  py::class_<Finding>(m, "Finding")
      .def_property_readonly("where", [](const Finding& self) { return shown(self.where); })
      .def_property_readonly("problem", [](const Finding& self) { return shown(self.problem); })
      .def("__repr__", [](const Finding& self) {
        return shown("<Finding " + self.where + ": " + self.problem + ">");
      });
  py::class_<BackupReport> backup(m, "BackupReport");
  backup.def_readonly("commit_seq", &BackupReport::commit_seq)
      .def_readonly("files", &BackupReport::files)
      .def_readonly("bytes", &BackupReport::bytes);
  bind_texts(backup);
  py::class_<VerifyReport> verify(m, "VerifyReport");
  verify.def_property_readonly("ok", &VerifyReport::ok)
      .def_readonly("commit_seq", &VerifyReport::commit_seq)
      .def_readonly("collections", &VerifyReport::collections)
      .def_readonly("documents", &VerifyReport::documents)
      .def_readonly("passages", &VerifyReport::passages)
      .def_readonly("records", &VerifyReport::records)
      .def_readonly("learned_files", &VerifyReport::learned_files)
      .def_readonly("findings", &VerifyReport::findings);
  bind_texts(verify);
  py::class_<RepairReport> repair(m, "RepairReport");
  repair.def_readonly("documents", &RepairReport::documents)
      .def_readonly("records", &RepairReport::records)
      .def_readonly("dropped", &RepairReport::dropped);
  bind_texts(repair);
  py::class_<index::TuneTrial>(m, "TuneTrial")
      .def_readonly("effort", &index::TuneTrial::effort)
      .def_readonly("recall", &index::TuneTrial::recall)
      .def_readonly("query_us", &index::TuneTrial::query_us);
  py::class_<TuneReport> tune(m, "TuneReport");
  tune.def_readonly("collection", &TuneReport::collection)
      .def_property_readonly(
          "kind", [](const TuneReport& self) { return index::index_kind_name(self.kind); })
      .def_property_readonly("effort", [](const TuneReport& self) { return self.settings.effort; })
      .def_property_readonly("reason", [](const TuneReport& self) { return self.settings.reason; })
      .def_readonly("passages", &TuneReport::passages)
      .def_readonly("queries", &TuneReport::queries)
      .def_readonly("reached", &TuneReport::reached)
      .def_readonly("recall", &TuneReport::recall)
      .def_readonly("exact_query_us", &TuneReport::exact_query_us)
      .def_readonly("trials", &TuneReport::trials);
  bind_texts(tune);
}

std::map<std::string, py::dict> kinds_of(
    const std::map<std::string, std::array<std::size_t, 3>>& counts) {
  std::map<std::string, py::dict> kinds;
  for (const auto& [kind, numbers] : counts)
    kinds[kind] = split_counts({numbers[0], numbers[1], numbers[2]});
  return kinds;
}

void bind_training_data(py::module_& m) {
  using router::QuerySet;
  using router::TrainingData;
  py::class_<QuerySet>(m, "TrainingQueries")
      .def_readonly("texts", &QuerySet::texts)
      .def_readonly("relevant", &QuerySet::relevant)
      .def_readonly("gains", &QuerySet::gains);
  py::class_<TrainingData>(m, "TrainingData")
      .def_readonly("document_ids", &TrainingData::document_ids)
      .def_property_readonly(
          "vectors",
          [](const TrainingData& self) {
            const auto rows = static_cast<py::ssize_t>(self.passage_document.size());
            return to_array(self.vectors, {rows, static_cast<py::ssize_t>(self.dim)});
          })
      .def_property_readonly("passage_document",
                             [](const TrainingData& self) {
                               const auto rows =
                                   static_cast<py::ssize_t>(self.passage_document.size());
                               return to_array(self.passage_document, {rows});
                             })
      .def(
          "queries",
          [](const TrainingData& self, const std::string& split) -> const QuerySet& {
            return self.splits[static_cast<std::size_t>(parse_split(split))];
          },
          py::arg("split"), py::return_value_policy::reference_internal)
      .def(
          "query_vectors",
          [](const TrainingData& self, const std::string& split) {
            const QuerySet& set = self.splits[static_cast<std::size_t>(parse_split(split))];
            return to_array(set.vectors, {static_cast<py::ssize_t>(set.size()),
                                          static_cast<py::ssize_t>(self.dim)});
          },
          py::arg("split"))
      .def_property_readonly("pair_kinds",
                             [](const TrainingData& self) { return kinds_of(self.pair_kinds); });
}

}  // namespace

void bind_operations(py::module_& m) {
  bind_reports(m);
  bind_training_data(m);
  using Path = std::filesystem::path;
  auto library = static_cast<py::class_<Library, std::shared_ptr<Library>>>(m.attr("Library"));
  library
      .def_static(
          "verify_folder",
          [](const Path& path, const Path& encoder, const Path& language_model) {
            router::OpenOptions options;
            options.encoder = encoder.string();
            options.language_model = language_model.string();
            return run_released([&] { return Library::verify_folder(path.string(), options); });
          },
          py::arg("path"), py::kw_only(), py::arg("encoder") = "", py::arg("language_model") = "")
      .def_static(
          "repair",
          [](const Path& path, const Path& to) {
            return run_released([&] { return Library::repair(path.string(), to.string()); });
          },
          py::arg("path"), py::arg("to"))
      .def(
          "backup",
          [](Library& self, const Path& folder) {
            return run_released([&] { return self.backup(folder.string()); });
          },
          py::arg("folder"))
      .def("verify", [](Library& self) { return run_released([&] { return self.verify(); }); })
      .def(
          "tune",
          [](Library& self, Utf8 collection, Utf8 kind, double target_recall, const WholeNumber& k,
             const py::sequence& questions, const WholeNumber& num_samples) {
            router::TuneOptions options;
            options.kind = unwrap(index::parse_index_kind(kind.view));
            options.target_recall = target_recall;
            options.k = k.value("k");
            options.num_samples = num_samples.value("num_samples");
            options.questions = TextList(questions, "questions").strings();
            const std::string name = collection;
            return run_released([&] { return self.tune(name, options); });
          },
          py::arg("collection"), py::kw_only(), py::arg("kind") = "auto",
          py::arg("target_recall") = 0.99, py::arg("k") = 10, py::arg("questions") = py::tuple(),
          py::arg("num_samples") = 200)
      .def(
          "training_data",
          [](const Library& self, Utf8 collection) {
            return run_released([&] { return self.training_data(collection.view); });
          },
          py::arg("collection"))
      .def("compact", [](Library& self) { run_released([&] { return self.compact(); }); })
      .def("purge", [](Library& self) { run_released([&] { return self.purge(); }); })
      .def(
          "export",
          [](const Library& self, Utf8 collection, const Path& path) {
            return run_released([&] { return self.export_jsonl(collection.view, path.string()); });
          },
          py::arg("collection"), py::arg("path"))
      .def("reopen", [](Library& self) { run_released([&] { return self.reopen(); }); });
}

}  // namespace collegium::python
