#include "errors.h"

#include <string_view>

namespace py = pybind11;

namespace collegium::python {
namespace {

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const StatusError& error) {
    const py::object exception = exception_of(error.status());
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  }
}

}  // namespace

py::object shown(const std::string& text) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
}

py::object exception_of(const Status& status) {
  const std::string_view code = core::status_code_name(status.code());
  return py::module_::import("collegium.errors")
      .attr("error_class")(py::str(code.data(), code.size()))(shown(status.message()));
}

void bind_errors(py::module_&) { py::register_local_exception_translator(&translate); }

}  // namespace collegium::python
