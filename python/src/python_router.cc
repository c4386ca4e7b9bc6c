#include "python_router.h"

#include <pybind11/numpy.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "held.h"

namespace py = pybind11;

namespace collegium::python {
namespace {

using core::RouterInput;
using core::Routing;
using core::TokenRouter;

// "ValueError: bad shape (router.py:12)". With the GIL.
std::string told(const py::error_already_set& error) {
  std::string text = py::str(error.type().attr("__name__"));
  try {
    text += ": " + std::string(py::str(error.value()));
    py::object place = error.trace();
    if (place && !place.is_none()) {
      while (!place.attr("tb_next").is_none()) place = place.attr("tb_next");
      const py::object file = place.attr("tb_frame").attr("f_code").attr("co_filename");
      text += " (" + std::string(py::str(file)) + ":" +
              std::string(py::str(place.attr("tb_lineno"))) + ")";
    }
  } catch (const py::error_already_set&) {  // an exception that cannot be shown
  }
  return text;
}

// A (rows, columns) copy: the router may keep it.
py::array_t<float> copied(const float* values, std::size_t rows, std::size_t columns) {
  py::array_t<float> array({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
  if (rows * columns != 0)
    std::memcpy(array.mutable_data(), values, rows * columns * sizeof(float));
  return array;
}

// What is too large for a float is infinite, and so refused.
float to_float(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (value > kMost || value < -kMost)
    return std::copysign(std::numeric_limits<float>::infinity(), value > 0 ? 1.0f : -1.0f);
  return static_cast<float>(value);
}

struct PythonState final : TokenRouter::State {
  PythonState(py::object object, std::string why)
      : held(std::move(object)), failure(std::move(why)) {}
  std::unique_ptr<State> clone() const override {
    const py::gil_scoped_acquire acquire;
    try {
      const py::object copy = py::module_::import("copy").attr("deepcopy")(held.get());
      return std::make_unique<PythonState>(copy, failure);
    } catch (const py::error_already_set&) {
      return nullptr;
    }
  }

  Held held;
  std::string failure;  // what make_state() raised
};

class PythonRouter final : public TokenRouter {
 public:
  explicit PythonRouter(py::object router)
      : name_(py::str(router.attr("name"))),
        whole_prompt_(py::bool_(router.attr("needs_whole_prompt"))),
        held_(std::move(router)) {}

  std::string name() const override { return name_; }
  bool needs_whole_prompt() const override { return whole_prompt_; }

  std::unique_ptr<State> make_state(std::size_t layer) const override {
    const py::gil_scoped_acquire acquire;
    try {
      py::object state = held_.get().attr("make_state")(layer);
      if (state.is_none()) return nullptr;
      return std::make_unique<PythonState>(std::move(state), "");
    } catch (const py::error_already_set& error) {
      return std::make_unique<PythonState>(py::none(), "make_state raised " + told(error));
    }
  }

  Status route(const RouterInput& input, State* state, Routing& routing) const override {
    const py::gil_scoped_acquire acquire;
    try {
      const auto* own = static_cast<const PythonState*>(state);
      if (own != nullptr && !own->failure.empty()) return failed(input, own->failure);
      const py::object hidden = copied(input.hidden, input.tokens, input.width);
      py::object logits = py::none();
      if (input.logits != nullptr) logits = copied(input.logits, input.tokens, input.gate_rows);
      const py::object call = held_.get().attr("route");
      const py::object answer =
          own == nullptr ? call(hidden, logits, input.layer, input.position)
                         : call(hidden, logits, input.layer, input.position, own->held.get());
      return take(input, answer, routing);
    } catch (const py::error_already_set& error) {
      if (error.matches(PyExc_KeyboardInterrupt)) {
        PyErr_SetInterrupt();  // whoever started the work sees it there
        return Status::cancelled("KeyboardInterrupt in token router " + name_);
      }
      return failed(input, "raised " + told(error));
    }
  }

 private:
  Status failed(const RouterInput& input, const std::string& what) const {
    return Status::invalid_argument("token router " + name_ + ", layer " +
                                    std::to_string(input.layer) + ", position " +
                                    std::to_string(input.position) + ": " + what);
  }

  // (ids, weights), each (n, k); an id of -1 is no expert.
  Status take(const RouterInput& input, const py::object& answer, Routing& routing) const {
    if (!py::isinstance<py::tuple>(answer) || py::len(answer) != 2)
      return failed(input, "route() gave " + std::string(py::str(py::type::of(answer))) +
                               ", expected a tuple (ids, weights)");
    const py::tuple pair = answer;
    const py::module_ numpy = py::module_::import("numpy");
    const py::array id_array = numpy.attr("asarray")(pair[0]);
    const py::array weight_array = numpy.attr("asarray")(pair[1]);
    const std::string shapes =
        "ids are " + std::string(py::str(py::object(id_array.attr("shape")))) + ", weights " +
        std::string(py::str(py::object(weight_array.attr("shape"))));
    const auto tokens = static_cast<py::ssize_t>(input.tokens);
    if (id_array.ndim() != 2 || weight_array.ndim() != 2 || id_array.shape(0) != tokens ||
        weight_array.shape(0) != tokens || id_array.shape(1) != weight_array.shape(1))
      return failed(input, shapes + ", expected both (" + std::to_string(tokens) + ", k)");
    const char id_kind = id_array.dtype().kind();
    if (id_kind != 'i' && id_kind != 'u')
      return failed(input, "ids are " + std::string(py::str(py::object(id_array.dtype()))) +
                               ", expected whole numbers");
    const char weight_kind = weight_array.dtype().kind();
    if (weight_kind != 'f' && weight_kind != 'i' && weight_kind != 'u')
      return failed(input, "weights are " + std::string(py::str(py::object(weight_array.dtype()))) +
                               ", expected real numbers");
    const auto ids = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>(id_array);
    const auto weights =
        py::array_t<double, py::array::c_style | py::array::forcecast>(weight_array);
    const auto columns = static_cast<std::size_t>(id_array.shape(1));
    for (std::size_t t = 0; t < input.tokens; ++t) {
      for (std::size_t c = 0; c < columns; ++c) {
        const std::int64_t id = ids.data()[t * columns + c];
        if (id == -1) continue;
        if (id < 0 || id > std::numeric_limits<std::int32_t>::max())
          return failed(input, "expert id " + std::to_string(id) + ", allowed are 0 to " +
                                   std::to_string(input.experts - 1) + ", or -1 for none");
        routing.add(static_cast<std::int32_t>(id), to_float(weights.data()[t * columns + c]));
      }
      routing.end_token();
    }
    return {};
  }

  std::string name_;
  bool whole_prompt_;
  Held held_;
};

}  // namespace

std::shared_ptr<TokenRouter> make_python_router(py::object router) {
  return std::make_shared<PythonRouter>(std::move(router));
}

}  // namespace collegium::python
