#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "bind.h"
#include "collegium/router/gate.h"
#include "collegium/router/policy.h"
#include "collegium/router/router.h"
#include "display.h"
#include "errors.h"

namespace py = pybind11;

namespace collegium::python {

using router::GateFeature;
using router::GateOptions;
using router::GateOutcome;
using router::PolicyParameters;
using router::Route;
using router::RouteEntry;

void bind_routing(py::module_& m) {
  py::class_<RouteEntry>(m, "RouteEntry")
      .def_readonly("collection", &RouteEntry::collection)
      .def_readonly("expert", &RouteEntry::expert)
      .def_readonly("probability", &RouteEntry::probability)
      .def_readonly("searched_again", &RouteEntry::searched_again)
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

  py::class_<PolicyParameters>(m, "PolicyParameters")
      .def_property_readonly("policy",
                             [](const PolicyParameters& self) {
                               return std::string(router::policy_name(self.policy));
                             })
      .def_readonly("research", &PolicyParameters::research)
      .def_readonly("prior_weight", &PolicyParameters::prior_weight)
      .def_readonly("shift_depth", &PolicyParameters::shift_depth)
      .def_readonly("min_margin", &PolicyParameters::min_margin)
      .def_readonly("min_familiarity", &PolicyParameters::min_familiarity);
}

}  // namespace collegium::python
