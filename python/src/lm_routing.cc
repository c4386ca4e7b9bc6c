#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind.h"
#include "calls.h"
#include "collegium/core/lm/token_router.h"
#include "collegium/core/lm/token_routers.h"
#include "collegium/core/lm/token_trace.h"
#include "python_router.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::Routing;
using core::RoutingOptions;
using core::RoutingPlan;
using core::TokenRouter;
using core::TokenTrace;
using RouterPtr = std::shared_ptr<TokenRouter>;  // bound with const methods only
using Group = core::GroupLimitedRouterOptions;
using MaskFields = std::tuple<std::optional<std::size_t>, std::vector<std::int32_t>, bool>;
using BiasFields = std::tuple<std::optional<std::size_t>, std::vector<float>>;

RouterPtr bound(core::TokenRouterPtr router) {
  return std::const_pointer_cast<TokenRouter>(std::move(router));
}

RouterPtr made(Result<core::TokenRouterPtr> router) { return bound(unwrap(std::move(router))); }

// ids and weights (n, most experts of a token); where a token has fewer, -1 and 0.
py::tuple padded(const Routing& routing) {
  std::size_t most = 0;
  for (std::size_t t = 0; t < routing.tokens(); ++t)
    most = std::max<std::size_t>(most, routing.offsets[t + 1] - routing.offsets[t]);
  std::vector<std::int32_t> ids(routing.tokens() * most, -1);
  std::vector<float> weights(routing.tokens() * most, 0.0f);
  for (std::size_t t = 0; t < routing.tokens(); ++t)
    for (std::size_t p = routing.offsets[t]; p < routing.offsets[t + 1]; ++p) {
      ids[t * most + p - routing.offsets[t]] = routing.ids[p];
      weights[t * most + p - routing.offsets[t]] = routing.weights[p];
    }
  const std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(routing.tokens()),
                                          static_cast<py::ssize_t>(most)};
  return py::make_tuple(to_array(std::move(ids), shape), to_array(std::move(weights), shape));
}

// One call of a router by itself, with a new state, checked like one in a model.
py::tuple route(const RouterPtr& router, const py::array& hidden,
                const std::optional<py::array>& logits, const WholeNumber& layer,
                const WholeNumber& position, const std::optional<py::array>& activation_norms,
                const WholeNumber& experts) {
  const Matrix rows = matrix_of(hidden, 0, "hidden");
  core::RouterInput input;
  input.layer = layer.value("layer");
  input.position = position.value("position");
  input.tokens = rows.rows;
  input.width = rows.dim;
  input.hidden = rows.values.data();
  input.experts = experts.value("experts");
  const auto take = [&](const std::optional<py::array>& array, const char* what) {
    Matrix values;
    if (!array) return values;
    values = matrix_of(*array, 0, what);
    if (values.rows != rows.rows)
      throw StatusError(Status::invalid_argument(std::string(what) + " has " +
                                                 std::to_string(values.rows) + " rows, hidden " +
                                                 std::to_string(rows.rows)));
    if (input.experts == 0) input.experts = values.dim;
    return values;
  };
  const Matrix gate = take(logits, "logits");
  const Matrix norms = take(activation_norms, "activation_norms");
  if (logits) {
    input.logits = gate.values.data();
    input.gate_rows = gate.dim;
  }
  if (activation_norms) {
    if (norms.dim != input.experts)
      throw StatusError(Status::invalid_argument(
          "activation_norms has " + std::to_string(norms.dim) + " columns, expected " +
          std::to_string(input.experts) + ", one an expert"));
    input.activation_norms = norms.values.data();
  }
  if (input.experts == 0)
    throw StatusError(Status::invalid_argument(
        "experts: 0; without logits or activation_norms it must be at least 1"));
  Routing routing;
  if (input.tokens == 0) return padded(routing);
  run_watched(py::none(), [&](const core::ProgressCallback&) -> Status {
    const RoutingPlan::Layer layers[] = {{input.layer, input.experts, router, logits.has_value()}};
    COLLEGIUM_ASSIGN_OR_RETURN(const RoutingPlan plan, RoutingPlan::make({}, layers));
    COLLEGIUM_RETURN_IF_ERROR(plan.check_piece(input.position, false, 1));
    core::RouterStates states;
    return plan.route(input, states, routing);
  });
  return padded(routing);
}

template <typename Enum>
Enum choice(Utf8 word, const char* name, const std::vector<std::pair<const char*, Enum>>& words) {
  std::string allowed;
  for (const auto& [text, value] : words) {
    if (word.view == text) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(text);
  }
  throw StatusError(Status::invalid_argument(std::string(name) + ": '" + std::string(word) +
                                             "', allowed are " + allowed));
}

void bind_routers(py::module_& m) {
  py::class_<TokenRouter, RouterPtr>(m, "TokenRouter")
      .def_property_readonly("name", [](const TokenRouter& self) { return shown(self.name()); })
      .def_property_readonly("needs_whole_prompt", &TokenRouter::needs_whole_prompt)
      .def_property_readonly("needs_activations", &TokenRouter::needs_activations)
      .def_property_readonly("takes_top_k", &TokenRouter::takes_top_k)
      .def("route", &route, py::arg("hidden"), py::arg("logits"), py::kw_only(),
           py::arg("layer") = 0, py::arg("position") = 0, py::arg("activation_norms") = py::none(),
           py::arg("experts") = 0);

  m.def(
      "top_k_router",
      [](const WholeNumber& top_k, bool softmax_after, bool renormalize, float scale) {
        return made(
            core::make_top_k_router({top_k.value("top_k"), softmax_after, renormalize, scale}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("softmax_after") = false,
      py::arg("renormalize") = false, py::arg("scale") = 1.0f);
  m.def(
      "sigmoid_router",
      [](const WholeNumber& top_k, std::vector<float> selection_bias, bool renormalize,
         float scale) {
        return made(core::make_sigmoid_router(
            {top_k.value("top_k"), std::move(selection_bias), renormalize, scale}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("selection_bias") = py::tuple(),
      py::arg("renormalize") = true, py::arg("scale") = 1.0f);
  m.def(
      "group_limited_router",
      [](const WholeNumber& top_k, const WholeNumber& groups, const WholeNumber& top_groups,
         Utf8 score, Utf8 group_score, std::vector<float> selection_bias, bool renormalize,
         float scale) {
        return made(core::make_group_limited_router(
            {top_k.value("top_k"), groups.value("groups"), top_groups.value("top_groups"),
             choice<Group::Score>(
                 score, "score",
                 {{"softmax", Group::Score::kSoftmax}, {"sigmoid", Group::Score::kSigmoid}}),
             choice<Group::GroupScore>(group_score, "group_score",
                                       {{"maximum", Group::GroupScore::kMaximum},
                                        {"sum_of_top_two", Group::GroupScore::kSumOfTopTwo}}),
             std::move(selection_bias), renormalize, scale}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("groups"), py::arg("top_groups"),
      py::arg("score") = "softmax", py::arg("group_score") = "maximum",
      py::arg("selection_bias") = py::tuple(), py::arg("renormalize") = false,
      py::arg("scale") = 1.0f);
  m.def(
      "sparse_mixer_router",
      [](float jitter_eps) { return made(core::make_sparse_mixer_router({jitter_eps})); },
      py::kw_only(), py::arg("jitter_eps") = core::SparseMixerRouterOptions{}.jitter_eps);
  m.def(
      "top_p_router",
      [](float top_p, const WholeNumber& max_experts, bool renormalize) {
        return made(
            core::make_top_p_router({top_p, max_experts.value("max_experts"), renormalize}));
      },
      py::arg("top_p"), py::kw_only(), py::arg("max_experts") = 0, py::arg("renormalize") = false);
  m.def(
      "null_expert_router",
      [](const WholeNumber& top_k, const WholeNumber& null_experts, float null_logit,
         bool renormalize) {
        return made(core::make_null_expert_router(
            {top_k.value("top_k"), null_experts.value("null_experts"), null_logit, renormalize}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("null_experts") = 1, py::arg("null_logit") = 0.0f,
      py::arg("renormalize") = true);
  m.def(
      "width_router",
      [](std::vector<std::size_t> widths, const WholeNumber& top_k, float top_p,
         float width_penalty, bool renormalize) {
        return made(core::make_width_router(
            {std::move(widths), top_k.value("top_k"), top_p, width_penalty, renormalize}));
      },
      py::arg("widths"), py::kw_only(), py::arg("top_k") = 2, py::arg("top_p") = 0.0f,
      py::arg("width_penalty") = 0.0f, py::arg("renormalize") = false);
  m.def(
      "autonomy_router",
      [](const WholeNumber& top_k, bool softmax_after) {
        return made(core::make_autonomy_router({top_k.value("top_k"), softmax_after}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("softmax_after") = true);
  m.def(
      "expert_choice_router",
      [](float experts_per_token) {
        return made(core::make_expert_choice_router({experts_per_token}));
      },
      py::arg("experts_per_token"));
  m.def("dense_router", [] { return bound(core::make_dense_router()); });
  m.def(
      "random_router",
      [](const WholeNumber& top_k, const WholeNumber& seed) {
        return made(core::make_random_router({top_k.value("top_k"), seed.value("seed")}));
      },
      py::arg("top_k"), py::kw_only(), py::arg("seed") = 1);
  m.def(
      "python_router", [](py::object router) { return make_python_router(std::move(router)); },
      py::arg("router"));
}

void bind_options(py::module_& m) {
  py::class_<RoutingOptions>(m, "RoutingOptions")
      .def(py::init([](const std::vector<MaskFields>& masks, const std::vector<BiasFields>& biases,
                       const WholeNumber& top_k, const RouterPtr& router,
                       std::vector<std::size_t> router_layers) {
             RoutingOptions options;
             for (const auto& [layer, experts, keep] : masks)
               options.masks.push_back({layer, experts, keep});
             for (const auto& [layer, values] : biases) options.biases.push_back({layer, values});
             options.top_k = top_k.value("top_k");
             options.router = router;
             options.router_layers = std::move(router_layers);
             return options;
           }),
           py::kw_only(), py::arg("masks") = py::tuple(), py::arg("biases") = py::tuple(),
           py::arg("top_k") = 0, py::arg("router") = py::none(),
           py::arg("router_layers") = py::tuple())
      .def("describe", [](const RoutingOptions& self) { return shown(self.describe()); });
}

// A column of a layer as a read-only array that keeps the layer.
template <typename T>
py::array column(const py::object& layer, const std::vector<T>& values,
                 std::vector<py::ssize_t> shape) {
  py::array_t<T> array(std::move(shape), values.data(), layer);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

template <typename T>
auto column_of(std::vector<T> TokenTrace::Layer::*member) {
  return [member](const py::object& self) {
    const auto& values = self.cast<const TokenTrace::Layer&>().*member;
    return column(self, values, {static_cast<py::ssize_t>(values.size())});
  };
}

void bind_trace(py::module_& m) {
  using Layer = TokenTrace::Layer;
  py::class_<Layer>(m, "TraceLayer")
      .def_readonly("layer", &Layer::layer)
      .def_readonly("experts", &Layer::experts)
      .def_property_readonly("offsets", column_of(&Layer::offsets))
      .def_property_readonly("ids", column_of(&Layer::ids))
      .def_property_readonly("weights", column_of(&Layer::weights))
      .def_property_readonly("output_norms",
                             [](const py::object& self) -> py::object {
                               const auto& layer = self.cast<const Layer&>();
                               if (layer.output_norms.size() != layer.ids.size()) return py::none();
                               return column_of(&Layer::output_norms)(self);
                             })
      .def_property_readonly("logits",
                             [](const py::object& self) -> py::object {
                               const auto& layer = self.cast<const Layer&>();
                               if (layer.gate_rows == 0) return py::none();
                               return column(
                                   self, layer.logits,
                                   {static_cast<py::ssize_t>(layer.logits.size() / layer.gate_rows),
                                    static_cast<py::ssize_t>(layer.gate_rows)});
                             })
      .def("__len__", &Layer::rows);

  py::class_<TokenTrace, std::shared_ptr<TokenTrace>>(m, "TokenTrace")
      .def(py::init([](bool logits, bool output_norms) {
             return std::make_shared<TokenTrace>(TokenTrace::Parts{logits, output_norms});
           }),
           py::kw_only(), py::arg("logits") = true, py::arg("output_norms") = true)
      .def_property_readonly("token_ids",
                             [](const TokenTrace& self) {
                               std::vector<std::int32_t> ids = self.token_ids();
                               const auto n = static_cast<py::ssize_t>(ids.size());
                               return to_array(std::move(ids), {n});
                             })
      .def_property_readonly("first_position", &TokenTrace::first_position)
      .def_property_readonly("model", [](const TokenTrace& self) { return shown(self.model()); })
      .def_property_readonly("routing",
                             [](const TokenTrace& self) { return shown(self.routing()); })
      .def_property_readonly("layers", [](const TokenTrace& self) { return self.layers(); })
      .def(
          "save",
          [](const TokenTrace& self, const std::filesystem::path& path) {
            run_released([&] { return self.save(path.string()); });
          },
          py::arg("path"))
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            return std::make_shared<TokenTrace>(
                run_released([&] { return TokenTrace::load(path.string()); }));
          },
          py::arg("path"))
      .def("__len__", [](const TokenTrace& self) { return self.token_ids().size(); });
}

}  // namespace

void bind_lm_routing(py::module_& m) {
  bind_routers(m);
  bind_options(m);
  bind_trace(m);
}

}  // namespace collegium::python
