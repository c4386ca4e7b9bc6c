#include "calls.h"

#include <limits>

namespace py = pybind11;

namespace collegium::python {
namespace {

// How often a progress callback may take the GIL: another Python thread may be slow to give it.
constexpr std::chrono::milliseconds kReportInterval{50};

}  // namespace

std::string_view utf8_of(py::handle text, const std::string& what) {
  if (!PyUnicode_Check(text.ptr())) {
    throw StatusError(
        Status::invalid_argument(what + " is " + Py_TYPE(text.ptr())->tp_name + ", expected str"));
  }
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) throw py::error_already_set();
    const py::error_already_set reason;
    throw StatusError(Status::invalid_argument(
        what + " cannot be written as UTF-8: " + std::string(py::str(reason.value()))));
  }
  return {data, static_cast<std::size_t>(size)};
}

std::uint64_t WholeNumber::value(const char* name) const {
  const std::uint64_t value = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred() == nullptr) return value;
  PyErr_Clear();
  // The digits of a long one would be an error of their own.
  const bool is_long = number.attr("bit_length")().cast<std::size_t>() > 128;
  const std::string seen = is_long ? "too long to show" : std::string(py::str(number));
  throw StatusError(
      Status::invalid_argument(std::string(name) + " is " + seen + "; allowed are 0 to " +
                               std::to_string(std::numeric_limits<std::uint64_t>::max())));
}

py::object path_of(const std::string& path) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

TextList::TextList(py::handle sequence, const std::string& what) {
  if (PyUnicode_Check(sequence.ptr()) || PyBytes_Check(sequence.ptr())) {
    throw StatusError(Status::invalid_argument(
        what + " is one " + Py_TYPE(sequence.ptr())->tp_name + ", expected a list of str"));
  }
  holder_ = py::tuple(py::reinterpret_borrow<py::object>(sequence));
  views_.reserve(holder_.size());
  for (std::size_t i = 0; i < holder_.size(); ++i) {
    views_.push_back(utf8_of(holder_[i], what + "[" + std::to_string(i) + "]"));
  }
}

core::ProgressCallback Watch::progress() {
  return [this](const core::Progress& progress) { return report(progress); };
}

bool Watch::report(const core::Progress& progress) {
  if (error_) return false;
  const auto now = std::chrono::steady_clock::now();
  const bool milestone = progress.stage != stage_ || progress.done == progress.total;
  if (!milestone && now - last_ < kReportInterval) return true;
  last_ = now;
  stage_ = progress.stage;
  py::gil_scoped_acquire acquire;
  try {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (progress_.is_none()) return true;
    const py::object go_on = progress_(py::str(progress.stage.data(), progress.stage.size()),
                                       progress.done, progress.total);
    return go_on.is_none() || py::bool_(go_on);
  } catch (...) {
    error_ = std::current_exception();
    return false;
  }
}

bool give_piece(const py::object& on_token, std::string_view piece, std::exception_ptr& error) {
  try {
    const py::object go_on = on_token(py::str(piece.data(), piece.size()));
    return go_on.is_none() || py::bool_(go_on);
  } catch (...) {
    error = std::current_exception();
    return false;
  }
}

bool Watch::on_token(const py::object& callable, std::string_view piece) {
  if (error_) return false;
  py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) {
    error_ = std::make_exception_ptr(py::error_already_set());
    return false;
  }
  return callable.is_none() || give_piece(callable, piece, error_);
}

void Watch::rethrow() {
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

Matrix matrix_of(const py::array& array, std::size_t dim, const std::string& what) {
  const std::string expected = what + " must be C-contiguous float32 of shape (n, " +
                               (dim == 0 ? "dim" : std::to_string(dim)) + "), not ";
  if (!py::isinstance<py::array_t<float>>(array)) {
    throw StatusError(
        Status::invalid_argument(expected + std::string(py::str(py::object(array.dtype())))));
  }
  const std::string shape = py::str(py::object(array.attr("shape")));
  if (array.ndim() != 2 || (dim != 0 && static_cast<std::size_t>(array.shape(1)) != dim)) {
    throw StatusError(Status::invalid_argument(expected + "shape " + shape));
  }
  if ((array.flags() & py::array::c_style) == 0) {
    throw StatusError(Status::invalid_argument(expected + "strided (numpy.ascontiguousarray)"));
  }
  return {{static_cast<const float*>(array.data()), static_cast<std::size_t>(array.size())},
          static_cast<std::size_t>(array.shape(0)),
          static_cast<std::size_t>(array.shape(1))};
}

}  // namespace collegium::python
