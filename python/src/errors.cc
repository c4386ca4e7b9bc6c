#include "errors.h"

#include <string_view>

namespace py = pybind11;

namespace collegium::python {
namespace {

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const StatusError& error) {
    const std::string_view code = core::status_code_name(error.status().code());
    py::object type = py::module_::import("collegium.errors")
                          .attr("error_class")(py::str(code.data(), code.size()));
    PyErr_SetObject(type.ptr(), shown(error.status().message()).ptr());
  }
}

}  // namespace

py::object shown(const std::string& text) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
}

void bind_errors(py::module_&) { py::register_local_exception_translator(&translate); }

}  // namespace collegium::python
