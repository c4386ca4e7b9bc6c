#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bind.h"
#include "calls.h"
#include "collegium/router/gate.h"
#include "collegium/router/learning.h"
#include "collegium/router/policy.h"
#include "collegium/router/ranker.h"
#include "collegium/router/router.h"
#include "display.h"
#include "errors.h"

namespace py = pybind11;

namespace collegium::python {

using router::GateFeature;
using router::GateOptions;
using router::GateOutcome;
using router::PolicyParameters;
using router::RankerContribution;
using router::Route;
using router::RouteEntry;
using router::Router;
using router::RouterExamples;
using router::RouterLabels;
using router::RouterOptions;
using router::RouterReason;

namespace {

using Shared = std::shared_ptr<const Router>;
using Labels = py::array_t<std::uint32_t, py::array::c_style | py::array::forcecast>;

RouterOptions::Aggregate parse_aggregate(const std::string& name) {
  if (name == "mean") return RouterOptions::Aggregate::kMean;
  if (name == "max") return RouterOptions::Aggregate::kMax;
  if (name == "top-mean") return RouterOptions::Aggregate::kTopMean;
  throw StatusError(
      Status::invalid_argument("aggregate is '" + name + "', must be 'mean', 'max' or 'top-mean'"));
}

RouterExamples make_examples(const std::vector<std::string>& collections, std::size_t dim,
                             const py::array& vectors, const Labels& labels,
                             const py::object& quality, const char* what) {
  RouterExamples examples;
  examples.collections = collections;
  examples.dim = dim;
  const Matrix rows = matrix_of(vectors, dim, what);
  examples.vectors.assign(rows.values.begin(), rows.values.end());
  examples.labels.assign(labels.data(), labels.data() + labels.size());
  if (!quality.is_none()) {
    const auto held = quality.cast<py::array>();
    const Matrix known = matrix_of(held, collections.size(), "quality");
    examples.quality.assign(known.values.begin(), known.values.end());
  }
  return examples;
}

// The vector of one query; the router checks it.
std::span<const float> query_of(const Matrix& matrix) {
  if (matrix.rows != 1)
    throw StatusError(
        Status::invalid_argument("query: " + std::to_string(matrix.rows) + " vectors, must be 1"));
  return matrix.values;
}

// (dim,) or (1, dim).
py::array as_row(const py::array& query) {
  if (query.ndim() != 1) return query;
  return query.attr("reshape")(1, -1).cast<py::array>();
}

void bind_routers(py::module_& m) {
  py::class_<RouterReason>(m, "RouterReason")
      .def_readonly("collection", &RouterReason::collection)
      .def_readonly("score", &RouterReason::score)
      .def_readonly("probability", &RouterReason::probability)
      .def_readonly("why", &RouterReason::why)
      .def("__repr__", [](const RouterReason& self) {
        return "<RouterReason " + self.collection + " " + fixed(self.probability, 2) + ": " +
               self.why + ">";
      });
  py::class_<Router, std::shared_ptr<Router>>(m, "Router")
      .def_property_readonly("kind", [](const Router& self) { return std::string(self.kind()); })
      .def_property_readonly("dim", &Router::dim)
      .def_property_readonly("collections", [](const Router& self) { return self.collections(); })
      .def(
          "probabilities",
          [](const Router& self, const py::array& queries) {
            const Matrix in = matrix_of(queries, self.dim(), "queries");
            const std::size_t n = self.collections().size();
            std::vector<float> out(in.rows * n);
            run_released([&] {
              for (std::size_t i = 0; i < in.rows; ++i)
                self.probabilities(in.values.data() + i * in.dim, {out.data() + i * n, n});
              return Status();
            });
            return to_array(std::move(out),
                            {static_cast<py::ssize_t>(in.rows), static_cast<py::ssize_t>(n)});
          },
          py::arg("queries"))
      .def(
          "familiarity",
          [](const Router& self, const py::array& queries) {
            const Matrix in = matrix_of(queries, self.dim(), "queries");
            std::vector<float> out;
            for (std::size_t i = 0; i < in.rows; ++i)
              out.push_back(self.familiarity(in.values.data() + i * in.dim));
            return to_array(std::move(out), {static_cast<py::ssize_t>(in.rows)});
          },
          py::arg("queries"))
      .def(
          "route",
          [](const Router& self, const py::array& query) {
            return unwrap(self.route(query_of(matrix_of(as_row(query), self.dim(), "query"))));
          },
          py::arg("query"))
      .def(
          "explain",
          [](const Router& self, const py::array& query) {
            return unwrap(self.explain(query_of(matrix_of(as_row(query), self.dim(), "query"))));
          },
          py::arg("query"))
      .def(
          "add_expert",
          [](const Router& self, const std::string& name, const py::array& queries) {
            const Matrix in = matrix_of(queries, self.dim(), "queries");
            return std::const_pointer_cast<Router>(unwrap(self.add_expert(name, in.values)));
          },
          py::arg("name"), py::arg("queries"))
      .def(
          "remove_expert",
          [](const Router& self, const std::string& name) {
            return std::const_pointer_cast<Router>(unwrap(self.remove_expert(name)));
          },
          py::arg("name"))
      .def(
          "save",
          [](const Router& self, const std::filesystem::path& path, const std::string& encoder) {
            unwrap(router::save_router(self, path.string(), encoder));
          },
          py::arg("path"), py::kw_only(), py::arg("encoder_digest"))
      .def_static(
          "load",
          [](const std::filesystem::path& path, const std::string& encoder) {
            return std::const_pointer_cast<Router>(
                unwrap(router::load_router(path.string(), encoder)));
          },
          py::arg("path"), py::kw_only(), py::arg("encoder_digest"))
      .def("__repr__", [](const Router& self) {
        return "<Router " + std::string(self.kind()) + " over " +
               std::to_string(self.collections().size()) + " collections>";
      });
  m.def("router_kinds", [] {
    std::vector<std::string> names;
    for (std::string_view name : router::router_kinds()) names.emplace_back(name);
    return names;
  });
  const RouterOptions defaults;
  m.def(
      "fit_router",
      [](const std::string& kind, const std::vector<std::string>& collections,
         const py::array& vectors, const Labels& labels, const py::array& centroids,
         const py::object& dev_vectors, const py::object& dev_labels, const py::object& quality,
         const py::object& dev_quality, double l2, double label_smoothing,
         const WholeNumber& hidden, const WholeNumber& epochs, const std::string& aggregate,
         const WholeNumber& top_k, const WholeNumber& pilot_centroids, bool cosine,
         const WholeNumber& max_pilots, const WholeNumber& categories,
         const std::vector<double>& costs, double budget, const WholeNumber& seed) {
        const Matrix means = matrix_of(centroids, 0, "centroids");
        RouterExamples train =
            make_examples(collections, means.dim, vectors, labels, quality, "vectors");
        train.centroids.assign(means.values.begin(), means.values.end());
        RouterExamples dev;
        if (!dev_vectors.is_none())
          dev = make_examples(collections, means.dim, dev_vectors.cast<py::array>(),
                              dev_labels.cast<Labels>(), dev_quality, "dev_vectors");
        RouterOptions options;
        options.l2 = l2;
        options.label_smoothing = label_smoothing;
        options.hidden = hidden.value("hidden");
        options.epochs = epochs.value("epochs");
        options.aggregate = parse_aggregate(aggregate);
        options.top_k = top_k.value("top_k");
        options.centroids = pilot_centroids.value("pilot_centroids");
        options.cosine = cosine;
        options.max_pilots = max_pilots.value("max_pilots");
        options.categories = categories.value("categories");
        options.costs = costs;
        options.budget = budget;
        options.seed = seed.value("seed");
        return std::const_pointer_cast<Router>(
            run_released([&] { return router::fit_router(kind, train, dev, options); }));
      },
      py::arg("kind"), py::arg("collections"), py::arg("vectors"), py::arg("labels"),
      py::arg("centroids"), py::kw_only(), py::arg("dev_vectors") = py::none(),
      py::arg("dev_labels") = py::none(), py::arg("quality") = py::none(),
      py::arg("dev_quality") = py::none(), py::arg("l2") = defaults.l2,
      py::arg("label_smoothing") = defaults.label_smoothing, py::arg("hidden") = defaults.hidden,
      py::arg("epochs") = defaults.epochs, py::arg("aggregate") = "mean",
      py::arg("top_k") = defaults.top_k, py::arg("pilot_centroids") = defaults.centroids,
      py::arg("cosine") = defaults.cosine, py::arg("max_pilots") = defaults.max_pilots,
      py::arg("categories") = defaults.categories, py::arg("costs") = std::vector<double>(),
      py::arg("budget") = defaults.budget, py::arg("seed") = defaults.seed);
}

}  // namespace

void bind_routing(py::module_& m) {
  py::class_<RouteEntry>(m, "RouteEntry")
      .def_readonly("collection", &RouteEntry::collection)
      .def_readonly("expert", &RouteEntry::expert)
      .def_readonly("probability", &RouteEntry::probability)
      .def_readonly("searched_again", &RouteEntry::searched_again)
      .def_readonly("scale", &RouteEntry::scale)
      .def_readonly("shift", &RouteEntry::shift)
      .def_readonly("lexical_weight", &RouteEntry::lexical_weight)
      .def("__repr__", [](const RouteEntry& self) {
        return "<RouteEntry " + self.collection + " " + fixed(self.probability, 2) + " by " +
               self.expert + ">";
      });

  py::class_<Route>(m, "Route")
      .def_readonly("entries", &Route::entries)
      .def_readonly("margin", &Route::margin)
      .def_readonly("familiarity", &Route::familiarity)
      .def_readonly("abstained", &Route::abstained)
      .def_readonly("router", &Route::router)
      .def_readonly("policy", &Route::policy)
      .def_readonly("reason", &Route::reason)
      .def("__repr__",
           [](const Route& self) {
             std::string text = "<Route";
             for (const RouteEntry& entry : self.entries)
               text += " " + entry.collection + " " + fixed(entry.probability, 2);
             return text + (self.abstained ? " abstained" : "") + ">";
           })
      .def("_repr_html_", [](const py::object& self) { return draw("route_html", self); });

  bind_routers(m);
  py::class_<RankerContribution>(m, "RankerContribution")
      .def_property_readonly(
          "feature", [](const RankerContribution& self) { return std::string(self.feature); })
      .def_readonly("value", &RankerContribution::value)
      .def_readonly("weight", &RankerContribution::weight)
      .def_readonly("given", &RankerContribution::given)
      .def("__repr__", [](const RankerContribution& self) {
        return "<RankerContribution " + std::string(self.feature) + " " +
               fixed(double{self.value}, 3) + " gives " + fixed(self.given, 2) + ">";
      });

  py::class_<GateFeature>(m, "GateFeature")
      .def_readonly("name", &GateFeature::name)
      .def_readonly("value", &GateFeature::value)
      .def("__repr__", [](const GateFeature& self) {
        return "<GateFeature " + self.name + " " + fixed(self.value, 3) + ">";
      });

  py::class_<GateOutcome>(m, "GateOutcome")
      .def_property_readonly("decision",
                             [](const GateOutcome& self) {
                               return std::string(router::gate_decision_name(self.decision));
                             })
      .def_readonly("probability", &GateOutcome::probability)
      .def_readonly("threshold", &GateOutcome::threshold)
      .def_property_readonly(
          "stage",
          [](const GateOutcome& self) { return std::string(router::gate_stage_name(self.stage)); })
      .def_readonly("features", &GateOutcome::features)
      .def_readonly("reason", &GateOutcome::reason)
      .def("__repr__", [](const GateOutcome& self) {
        return "<GateOutcome " + std::string(router::gate_decision_name(self.decision)) + " " +
               fixed(self.probability, 2) + " (" +
               std::string(router::gate_stage_name(self.stage)) + ", threshold " +
               fixed(self.threshold, 2) + ")>";
      });

  const GateOptions defaults;
  py::class_<GateOptions>(m, "GateOptions")
      .def(py::init([](double target_recall, double early_confidence) {
             GateOptions options{target_recall, early_confidence};
             unwrap(options.validate());
             return options;
           }),
           py::kw_only(), py::arg("target_recall") = defaults.target_recall,
           py::arg("early_confidence") = defaults.early_confidence)
      .def_readonly("target_recall", &GateOptions::target_recall)
      .def_readonly("early_confidence", &GateOptions::early_confidence);

  const RouterLabels label_defaults;
  py::class_<RouterLabels>(m, "RouterLabels")
      .def(py::init([](const std::string& by, const WholeNumber& cutoff, bool margin_weights,
                       bool drop_ties, double source_weight) {
             RouterLabels labels{unwrap(router::parse_router_labels(by)), cutoff.value("cutoff"),
                                 margin_weights, drop_ties, source_weight};
             unwrap(labels.validate());
             return labels;
           }),
           py::kw_only(), py::arg("by") = "source", py::arg("cutoff") = label_defaults.cutoff,
           py::arg("margin_weights") = label_defaults.margin_weights,
           py::arg("drop_ties") = label_defaults.drop_ties,
           py::arg("source_weight") = label_defaults.source_weight)
      .def_property_readonly(
          "by",
          [](const RouterLabels& self) { return std::string(router::router_labels_name(self.by)); })
      .def_readonly("cutoff", &RouterLabels::cutoff)
      .def_readonly("margin_weights", &RouterLabels::margin_weights)
      .def_readonly("drop_ties", &RouterLabels::drop_ties)
      .def_readonly("source_weight", &RouterLabels::source_weight);

  py::class_<PolicyParameters>(m, "PolicyParameters")
      .def_property_readonly("policy",
                             [](const PolicyParameters& self) {
                               return std::string(router::policy_name(self.policy));
                             })
      .def_readonly("research", &PolicyParameters::research)
      .def_readonly("prior_weight", &PolicyParameters::prior_weight)
      .def_property_readonly("comparability",
                             [](const PolicyParameters& self) {
                               return std::string(router::comparability_name(self.comparability));
                             })
      .def_readonly("shift_depth", &PolicyParameters::shift_depth)
      .def_property_readonly("score_maps",
                             [](const PolicyParameters& self) {
                               std::map<std::string, std::pair<double, double>> maps;
                               for (const auto& [name, map] : self.score_maps)
                                 maps[name] = {map.scale, map.shift};
                               return maps;
                             })
      .def_readonly("min_margin", &PolicyParameters::min_margin)
      .def_readonly("min_familiarity", &PolicyParameters::min_familiarity)
      .def_readonly("abstain_to_mixture", &PolicyParameters::abstain_to_mixture);
}

}  // namespace collegium::python
