#include "collegium/router/library.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bind.h"
#include "calls.h"
#include "collegium/index/filter.h"
#include "display.h"
#include "splits.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using router::AddReport;
using router::Answer;
using router::AskOptions;
using router::CitedPassage;
using router::Document;
using router::FitReport;
using router::Library;
using router::LibraryInfo;
using router::Pair;
using router::StageCost;

router::ReadMode parse_read(const std::string& read) {
  if (read == "extractive") return router::ReadMode::kExtractive;
  if (read == "generative") return router::ReadMode::kGenerative;
  throw StatusError(
      Status::invalid_argument("read is '" + read + "', expected 'extractive' or 'generative'"));
}

router::GateDecision parse_gate(const std::string& name) {
  for (const router::GateDecision decision :
       {router::GateDecision::kRetrieve, router::GateDecision::kInternal,
        router::GateDecision::kBoth, router::GateDecision::kRefuse}) {
    if (name == router::gate_decision_name(decision)) return decision;
  }
  throw StatusError(Status::invalid_argument(
      "gate is '" + name + "', expected 'retrieve', 'internal', 'both' or 'refuse'"));
}

index::ScanKind parse_scan(const std::string& scan) {
  if (scan == "auto") return index::ScanKind::kAuto;
  if (scan == "fp32") return index::ScanKind::kFloat32;
  if (scan == "int8") return index::ScanKind::kInt8;
  if (scan == "bf16") return index::ScanKind::kBfloat16;
  if (scan == "binary") return index::ScanKind::kBinary;
  throw StatusError(Status::invalid_argument(
      "scan is '" + scan + "', expected 'auto', 'fp32', 'int8', 'bf16' or 'binary'"));
}

index::SearchOptions search_options(const std::optional<Utf8>& filter, Utf8 source_field,
                                    const WholeNumber& max_per_source,
                                    const std::optional<double>& duplicate_similarity, bool exact,
                                    Utf8 scan, const WholeNumber& breadth,
                                    const WholeNumber& probes) {
  index::SearchOptions options;
  options.exact = exact;
  options.scan = parse_scan(scan);
  options.breadth = breadth.value("breadth");
  options.probes = probes.value("probes");
  if (filter) options.filter = unwrap(index::Filter::parse(filter->view));
  options.source_field = source_field;
  options.max_per_source = max_per_source.value("max_per_source");
  options.duplicate_similarity = duplicate_similarity;
  return options;
}

AskOptions ask_options(const std::vector<Utf8>& collections, const std::optional<Utf8>& policy,
                       const WholeNumber& k, Utf8 read, const std::optional<Utf8>& gate,
                       const core::GenerateOptions& generate,
                       const std::optional<double>& lexical_weight, index::SearchOptions search) {
  AskOptions options;
  options.lexical_weight = lexical_weight;
  options.search = std::move(search);
  options.collections.assign(collections.begin(), collections.end());
  if (policy) options.policy = unwrap(router::parse_policy(policy->view));
  options.k = k.value("k");
  options.read = parse_read(read);
  if (gate) options.gate = parse_gate(*gate);
  options.generate = generate;
  return options;
}

void bind_inputs(py::module_& m) {
  py::class_<Document>(m, "Document")
      .def(py::init([](Utf8 id, Utf8 title, Utf8 text, Utf8 metadata) {
             return Document{id, title, text, metadata};
           }),
           py::kw_only(), py::arg("id"), py::arg("title") = "", py::arg("text"),
           py::arg("metadata") = "")
      .def_readonly("id", &Document::id)
      .def_readonly("title", &Document::title)
      .def_readonly("text", &Document::text)
      .def_readonly("metadata", &Document::metadata)
      .def("__repr__", [](const Document& self) { return "<Document " + self.id + ">"; });
  py::class_<Pair>(m, "Pair")
      .def(py::init([](Utf8 query, Utf8 document_id, const std::optional<Utf8>& split, float gain,
                       Utf8 kind) {
             Pair pair{query, document_id, std::nullopt, gain, kind};
             if (split) pair.split = parse_split(*split);
             return pair;
           }),
           py::kw_only(), py::arg("query"), py::arg("document_id"), py::arg("split") = py::none(),
           py::arg("gain") = 1.0f, py::arg("kind") = "")
      .def_readonly("query", &Pair::query)
      .def_readonly("document_id", &Pair::document_id)
      .def_property_readonly("split",
                             [](const Pair& self) -> std::optional<std::string> {
                               if (!self.split) return std::nullopt;
                               return split_name(*self.split);
                             })
      .def_readonly("gain", &Pair::gain)
      .def_readonly("kind", &Pair::kind);
}

std::string settings_repr(const index::LexicalSettings& self) {
  return "<LexicalSettings k1=" + fixed(self.k1, 2) + " b=" + fixed(self.b, 2) + ", " +
         (self.stemmer.empty() ? "no" : self.stemmer) + " stemmer, " +
         std::to_string(self.stop_words.size()) + " stop words>";
}

void bind_lexical(py::module_& m) {
  using index::LexicalSettings;
  const LexicalSettings defaults;
  py::class_<LexicalSettings>(m, "LexicalSettings")
      .def(py::init([](double k1, double b, Utf8 stemmer, const py::object& stop_words,
                       bool fold_accents, bool split_names) {
             return LexicalSettings{k1,           b,
                                    stemmer,      TextList(stop_words, "stop_words").strings(),
                                    fold_accents, split_names};
           }),
           py::kw_only(), py::arg("k1") = defaults.k1, py::arg("b") = defaults.b,
           py::arg("stemmer") = "", py::arg("stop_words") = py::tuple(),
           py::arg("fold_accents") = defaults.fold_accents,
           py::arg("split_names") = defaults.split_names)
      .def_readonly("k1", &LexicalSettings::k1)
      .def_readonly("b", &LexicalSettings::b)
      .def_readonly("stemmer", &LexicalSettings::stemmer)
      .def_readonly("stop_words", &LexicalSettings::stop_words)
      .def_readonly("fold_accents", &LexicalSettings::fold_accents)
      .def_readonly("split_names", &LexicalSettings::split_names)
      .def_static("stemmers", &LexicalSettings::stemmers)
      .def_static("english_stop_words", &LexicalSettings::english_stop_words)
      .def("__repr__", &settings_repr);
}

void bind_reports(py::module_& m) {
  py::class_<AddReport>(m, "AddReport")
      .def_readonly("documents", &AddReport::documents)
      .def_readonly("unchanged", &AddReport::unchanged)
      .def_readonly("replaced", &AddReport::replaced)
      .def_readonly("passages", &AddReport::passages)
      .def_readonly("truncated", &AddReport::truncated)
      .def_property_readonly("pairs",
                             [](const AddReport& self) { return split_counts(self.pairs); })
      .def_readonly("seconds", &AddReport::seconds)
      .def("__repr__", [](const AddReport& self) {
        return "<AddReport " + std::to_string(self.documents) + " documents (" +
               std::to_string(self.unchanged) + " unchanged, " + std::to_string(self.replaced) +
               " replaced), " + std::to_string(self.passages) + " passages embedded, " +
               (self.truncated == 0 ? "" : std::to_string(self.truncated) + " truncated, ") +
               std::to_string(self.pairs[0] + self.pairs[1] + self.pairs[2]) + " pairs, " +
               fixed(self.seconds, 1) + " s>";
      });

  py::class_<FitReport::Expert>(m, "FitReportExpert")
      .def_readonly("collection", &FitReport::Expert::collection)
      .def_readonly("train", &FitReport::Expert::train)
      .def_readonly("dev", &FitReport::Expert::dev)
      .def_readonly("test", &FitReport::Expert::test)
      .def_readonly("strength", &FitReport::Expert::strength)
      .def_readonly("epochs", &FitReport::Expert::epochs)
      .def_readonly("dev_ndcg_plain", &FitReport::Expert::dev_ndcg_plain)
      .def_readonly("dev_ndcg", &FitReport::Expert::dev_ndcg)
      .def_readonly("rank", &FitReport::Expert::rank)
      .def_property_readonly(
          "pool", [](const FitReport::Expert& self) { return core::negative_pool_name(self.pool); })
      .def_readonly("chosen_on", &FitReport::Expert::chosen_on)
      .def_readonly("standard_error", &FitReport::Expert::standard_error)
      .def_readonly("dev_paired", &FitReport::Expert::dev_paired)
      .def_readonly("dev_unpaired", &FitReport::Expert::dev_unpaired)
      .def_readonly("loss", &FitReport::Expert::loss)
      .def_readonly("curve", &FitReport::Expert::curve)
      .def_readonly("lexical_weight", &FitReport::Expert::lexical_weight)
      .def_readonly("dev_ndcg_hybrid", &FitReport::Expert::dev_ndcg_hybrid)
      .def_readonly("kept", &FitReport::Expert::kept)
      .def_readonly("note", &FitReport::Expert::note)
      .def_property_readonly("pair_kinds", [](const FitReport::Expert& self) {
        std::map<std::string, py::dict> kinds;
        for (const auto& [kind, counts] : self.pair_kinds)
          kinds[kind] = split_counts({counts[0], counts[1], counts[2]});
        return kinds;
      });
  py::class_<FitReport>(m, "FitReport")
      .def_readonly("generation", &FitReport::generation)
      .def_readonly("experts", &FitReport::experts)
      .def_readonly("router", &FitReport::router)
      .def_readonly("router_dev_accuracy", &FitReport::router_dev_accuracy)
      .def_readonly("router_dev_ndcg", &FitReport::router_dev_ndcg)
      .def_readonly("policy", &FitReport::policy)
      .def_readonly("ranked", &FitReport::ranked)
      .def_readonly("ranker_dev_ndcg", &FitReport::ranker_dev_ndcg)
      .def_readonly("fusion_dev_ndcg", &FitReport::fusion_dev_ndcg)
      .def_readonly("gate_note", &FitReport::gate_note)
      .def_readonly("seconds", &FitReport::seconds)
      .def("to_text", &FitReport::to_text)
      .def("to_json", &FitReport::to_json)
      .def("to_html", &FitReport::to_html)
      .def("__str__", &FitReport::to_text)
      .def("_repr_html_", &FitReport::to_html);

  py::class_<router::VectorOrigin>(m, "VectorOrigin")
      .def_readonly("compute", &router::VectorOrigin::compute)
      .def_readonly("isa", &router::VectorOrigin::isa)
      .def("__repr__", [](const router::VectorOrigin& self) {
        return "<VectorOrigin " + self.compute + " on " + self.isa + ">";
      });
  py::class_<LibraryInfo::Collection>(m, "LibraryInfoCollection")
      .def_property_readonly("name",
                             [](const LibraryInfo::Collection& self) { return self.index.name; })
      .def_property_readonly(
          "documents", [](const LibraryInfo::Collection& self) { return self.index.documents; })
      .def_property_readonly(
          "passages", [](const LibraryInfo::Collection& self) { return self.index.passages; })
      .def_property_readonly(
          "index_kind", [](const LibraryInfo::Collection& self) { return self.index.index_kind; })
      .def_property_readonly(
          "index_parameters",
          [](const LibraryInfo::Collection& self) { return self.index.index_parameters; })
      .def_property_readonly(
          "index_reason",
          [](const LibraryInfo::Collection& self) { return self.index.index_reason; })
      .def_property_readonly(
          "index_rebuilt",
          [](const LibraryInfo::Collection& self) { return self.index.index_rebuilt; })
      .def_property_readonly(
          "index_note", [](const LibraryInfo::Collection& self) { return self.index.index_note; })
      .def_property_readonly(
          "pairs", [](const LibraryInfo::Collection& self) { return split_counts(self.pairs); })
      .def_readonly("expert", &LibraryInfo::Collection::expert)
      .def_property_readonly(
          "index_generation",
          [](const LibraryInfo::Collection& self) { return self.index.index_generation; })
      .def_readonly("vectors_made", &LibraryInfo::Collection::vectors_made);
  py::class_<LibraryInfo>(m, "LibraryInfo")
      .def_property_readonly("path", [](const LibraryInfo& self) { return path_of(self.path); })
      .def_readonly("version", &LibraryInfo::version)
      .def_readonly("isa", &LibraryInfo::isa)
      .def_readonly("format_version", &LibraryInfo::format_version)
      .def_readonly("commit_seq", &LibraryInfo::commit_seq)
      .def_property_readonly("encoder_folder",
                             [](const LibraryInfo& self) { return path_of(self.encoder_folder); })
      .def_readonly("encoder_digest", &LibraryInfo::encoder_digest)
      .def_readonly("dim", &LibraryInfo::dim)
      .def_readonly("max_tokens", &LibraryInfo::max_tokens)
      .def_readonly("compute", &LibraryInfo::compute)
      .def_readonly("truncate_dim", &LibraryInfo::truncate_dim)
      .def_property_readonly("language_model",
                             [](const LibraryInfo& self) { return path_of(self.language_model); })
      .def_readonly("generation", &LibraryInfo::generation)
      .def_readonly("router", &LibraryInfo::router)
      .def_readonly("gate_note", &LibraryInfo::gate_note)
      .def_readonly("policy", &LibraryInfo::policy)
      .def_readonly("collections", &LibraryInfo::collections)
      .def_readonly("negatives", &LibraryInfo::negatives)
      .def("to_text", [](const LibraryInfo& self) { return shown(self.to_text()); })
      .def("to_json", &LibraryInfo::to_json)
      .def("__str__", [](const LibraryInfo& self) { return shown(self.to_text()); })
      .def("_repr_html_", [](const py::object& self) { return draw("text_html", self); });
}

void bind_answer(py::module_& m) {
  py::class_<CitedPassage>(m, "CitedPassage")
      .def_readonly("number", &CitedPassage::number)
      .def_readonly("collection", &CitedPassage::collection)
      .def_readonly("document_id", &CitedPassage::document_id)
      .def_readonly("title", &CitedPassage::title)
      .def_readonly("section", &CitedPassage::section)
      .def_property_readonly(
          "bytes",
          [](const CitedPassage& self) { return std::pair(self.bytes.begin, self.bytes.end); })
      .def_readonly("text", &CitedPassage::text)
      .def_readonly("score", &CitedPassage::score)
      .def_readonly("ranking", &CitedPassage::ranking)
      .def_readonly("dense_score", &CitedPassage::dense_score)
      .def_readonly("lexical_score", &CitedPassage::lexical_score)
      .def_readonly("similarity", &CitedPassage::similarity)
      .def_readonly("index_generation", &CitedPassage::index_generation)
      .def_property_readonly("source",
                             [](const CitedPassage& self) -> py::object {
                               if (self.source.empty()) return py::none();
                               return py::module_::import("json").attr("loads")(self.source);
                             })
      .def("__repr__", [](const CitedPassage& self) {
        return "<CitedPassage [" + std::to_string(self.number) + "] " + self.collection + "/" +
               self.document_id + " score " + fixed(self.score, 2) + ">";
      });
  py::class_<StageCost>(m, "StageCost")
      .def_readonly("stage", &StageCost::stage)
      .def_readonly("ms", &StageCost::ms)
      .def_readonly("flops", &StageCost::flops)
      .def("__repr__", [](const StageCost& self) {
        return "<StageCost " + self.stage + " " + fixed(self.ms, 1) + " ms>";
      });
  py::class_<Answer>(m, "Answer")
      .def_readonly("question", &Answer::question)
      .def_readonly("text", &Answer::text)
      .def_readonly("reader", &Answer::reader)
      .def_readonly("note", &Answer::note)
      .def_readonly("route", &Answer::route)
      .def_readonly("gate", &Answer::gate)
      .def_readonly("passages", &Answer::passages)
      .def_readonly("cost", &Answer::cost)
      .def_readonly("generation", &Answer::generation)
      .def_readonly("commit_seq", &Answer::commit_seq)
      .def_readonly("index_generations", &Answer::index_generations)
      .def("to_text", &Answer::to_text)
      .def("to_json", &Answer::to_json)
      .def("to_html", &Answer::to_html)
      .def("__str__", &Answer::to_text)
      .def("_repr_html_", &Answer::to_html);
}

}  // namespace

void bind_library(py::module_& m) {
  bind_inputs(m);
  bind_lexical(m);
  bind_reports(m);
  bind_answer(m);

  const router::LearnOptions learn_defaults;
  py::class_<Library, std::shared_ptr<Library>>(m, "Library")
      .def_static(
          "create",
          [](const std::filesystem::path& path, const std::filesystem::path& encoder,
             const std::filesystem::path& language_model, bool link,
             const WholeNumber& hnsw_threshold, Utf8 compute, const WholeNumber& truncate_dim) {
            const router::CreateOptions options{encoder.string(),
                                                language_model.string(),
                                                link,
                                                hnsw_threshold.value("hnsw_threshold"),
                                                unwrap(core::parse_compute(compute.view)),
                                                truncate_dim.value("truncate_dim")};
            return run_released([&] { return Library::create(path.string(), options); });
          },
          py::arg("path"), py::kw_only(), py::arg("encoder"), py::arg("language_model") = "",
          py::arg("link") = false,
          py::arg("hnsw_threshold") = router::CreateOptions{}.hnsw_threshold,
          py::arg("compute") = "auto", py::arg("truncate_dim") = 0)
      .def_static(
          "open",
          [](const std::filesystem::path& path, const std::filesystem::path& encoder,
             const std::filesystem::path& language_model, bool ignore_learned, bool read_only,
             Utf8 lm_compute) {
            const router::OpenOptions options{encoder.string(), language_model.string(),
                                              ignore_learned, read_only,
                                              unwrap(core::parse_lm_compute(lm_compute.view))};
            return run_released([&] { return Library::open(path.string(), options); });
          },
          py::arg("path"), py::kw_only(), py::arg("encoder") = "", py::arg("language_model") = "",
          py::arg("ignore_learned") = false, py::arg("read_only") = false,
          py::arg("lm_compute") = "exact")
      .def(
          "add",
          [](Library& self, Utf8 collection, const std::vector<Document>& documents,
             const std::vector<Pair>& pairs, py::object progress) {
            return run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
              return self.add(collection, documents, pairs, callback);
            });
          },
          py::arg("collection"), py::arg("documents"), py::arg("pairs"), py::kw_only(),
          py::arg("progress") = py::none())
      .def(
          "remove",
          [](Library& self, Utf8 collection, const py::object& ids) {
            const std::vector<std::string> list = TextList(ids, "ids").strings();
            run_released([&] { return self.remove(collection, list); });
          },
          py::arg("collection"), py::arg("ids"))
      .def(
          "set_lexical",
          [](Library& self, Utf8 collection, const index::LexicalSettings& settings) {
            run_released([&] { return self.set_lexical(collection, settings); });
          },
          py::arg("collection"), py::arg("settings"))
      .def(
          "lexical_settings",
          [](const Library& self, Utf8 collection) {
            return run_released([&] { return self.lexical_settings(collection.view); });
          },
          py::arg("collection"))
      .def(
          "add_negatives",
          [](Library& self, const py::object& queries, py::object progress) {
            const std::vector<std::string> list = TextList(queries, "queries").strings();
            run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
              return self.add_negatives(list, callback);
            });
          },
          py::arg("queries"), py::kw_only(), py::arg("progress") = py::none())
      .def(
          "fit",
          [](Library& self, const core::HeadAdapterOptions& adapter, bool multi_task,
             Utf8 router_kind, const router::GateOptions& gate, const router::RouterLabels& labels,
             bool refit, py::object progress) {
            const router::FitOptions options{{adapter, multi_task, router_kind, gate, labels},
                                             refit};
            return run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
              return self.fit(options, callback);
            });
          },
          py::kw_only(), py::arg("adapter"), py::arg("multi_task") = learn_defaults.multi_task,
          py::arg("router") = learn_defaults.router, py::arg("gate"), py::arg("labels"),
          py::arg("refit") = false, py::arg("progress") = py::none())
      .def(
          "ask",
          [](const Library& self, Utf8 question, const std::vector<Utf8>& collections,
             const std::optional<Utf8>& policy, const WholeNumber& k, Utf8 read,
             const std::optional<Utf8>& gate, const core::GenerateOptions& generate,
             const std::optional<double>& lexical_weight, const std::optional<Utf8>& filter,
             Utf8 source_field, const WholeNumber& max_per_source,
             const std::optional<double>& duplicate_similarity, bool exact, Utf8 scan,
             const WholeNumber& breadth, const WholeNumber& probes, const py::object& on_token) {
            const AskOptions options =
                ask_options(collections, policy, k, read, gate, generate, lexical_weight,
                            search_options(filter, source_field, max_per_source,
                                           duplicate_similarity, exact, scan, breadth, probes));
            Watch watch{py::none()};
            auto result = [&] {
              py::gil_scoped_release release;
              return self.ask(question.view, options, [&](std::string_view piece) {
                return watch.on_token(on_token, piece);
              });
            }();
            watch.rethrow();
            return unwrap(std::move(result));
          },
          py::arg("question"), py::kw_only(), py::arg("collections"),
          py::arg("policy") = py::none(), py::arg("k") = AskOptions{}.k,
          py::arg("read") = "extractive", py::arg("gate") = py::none(), py::arg("generate"),
          py::arg("lexical_weight") = py::none(), py::arg("filter") = py::none(),
          py::arg("source_field") = "", py::arg("max_per_source") = 0,
          py::arg("duplicate_similarity") = py::none(), py::arg("exact") = false,
          py::arg("scan") = "auto", py::arg("breadth") = 0, py::arg("probes") = 0,
          py::arg("on_token") = py::none())
      .def(
          "search",
          [](const Library& self, Utf8 query, const std::vector<Utf8>& collections,
             const std::optional<Utf8>& policy, const WholeNumber& k,
             const std::optional<double>& lexical_weight, const std::optional<Utf8>& filter,
             Utf8 source_field, const WholeNumber& max_per_source,
             const std::optional<double>& duplicate_similarity, bool exact, Utf8 scan,
             const WholeNumber& breadth, const WholeNumber& probes) {
            const AskOptions options = ask_options(
                collections, policy, k, Utf8{"extractive"}, std::nullopt, {}, lexical_weight,
                search_options(filter, source_field, max_per_source, duplicate_similarity, exact,
                               scan, breadth, probes));
            return run_released([&] { return self.search(query.view, options); });
          },
          py::arg("query"), py::kw_only(), py::arg("collections"), py::arg("policy") = py::none(),
          py::arg("k") = AskOptions{}.k, py::arg("lexical_weight") = py::none(),
          py::arg("filter") = py::none(), py::arg("source_field") = "",
          py::arg("max_per_source") = 0, py::arg("duplicate_similarity") = py::none(),
          py::arg("exact") = false, py::arg("scan") = "auto", py::arg("breadth") = 0,
          py::arg("probes") = 0)
      .def(
          "evaluate",
          [](const Library& self, Utf8 split, const WholeNumber& seed, const WholeNumber& resamples,
             const WholeNumber& timed_queries, const WholeNumber& worst,
             const std::map<std::string, std::vector<router::JudgedQuery>>& judged,
             py::object progress) {
            router::EvaluateOptions options;
            options.split = parse_split(split);
            options.seed = seed.value("seed");
            options.resamples = resamples.value("resamples");
            options.timed_queries = timed_queries.value("timed_queries");
            options.worst = worst.value("worst");
            options.judged = judged;
            return run_watched(std::move(progress), [&](const core::ProgressCallback& callback) {
              return self.evaluate(options, callback);
            });
          },
          py::kw_only(), py::arg("split") = "dev", py::arg("seed") = router::EvaluateOptions{}.seed,
          py::arg("resamples") = router::EvaluateOptions{}.resamples,
          py::arg("timed_queries") = router::EvaluateOptions{}.timed_queries,
          py::arg("worst") = router::EvaluateOptions{}.worst, py::arg("judged"),
          py::arg("progress") = py::none())
      .def(
          "document",
          [](const Library& self, Utf8 collection, Utf8 id) {
            return run_released([&] { return self.document(collection.view, id.view); });
          },
          py::arg("collection"), py::arg("id"))
      .def(
          "document_ids",
          [](const Library& self, Utf8 collection) {
            return run_released([&] { return self.document_ids(collection.view); });
          },
          py::arg("collection"))
      .def("info", [](const Library& self) { return run_released([&] { return self.info(); }); })
      .def_property_readonly(
          "encoder",
          // Shared, so that an ExpertSet can hold it; it keeps the library's memory, not its lock.
          [](const std::shared_ptr<Library>& self) {
            return std::shared_ptr<core::Encoder>(self,
                                                  const_cast<core::Encoder*>(&self->encoder()));
          })
      .def("close", [](Library& self) { run_released([&] { return self.close(); }); });
}

}  // namespace collegium::python
