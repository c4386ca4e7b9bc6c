#include <pybind11/pybind11.h>

#include "bind.h"
#include "errors.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled part of collegium. Use the package's own names instead.";
  collegium::python::bind_errors(module);
  collegium::python::bind_core(module);
  collegium::python::bind_experts(module);
  collegium::python::bind_expert_set(module);
  collegium::python::bind_lm_routing(module);
  collegium::python::bind_lm(module);
  collegium::python::bind_lm_scheduler(module);
  collegium::python::bind_routing(module);
  collegium::python::bind_evaluation(module);
  collegium::python::bind_library(module);
  collegium::python::bind_operations(module);
  module.attr("__version__") = COLLEGIUM_VERSION;
}
