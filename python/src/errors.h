#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <utility>

#include "collegium/core/status.h"

namespace collegium::python {

// A failed Status on its way to Python, where it becomes the class of collegium.errors that has
// its code. Thrown only inside this module.
class StatusError : public std::exception {
 public:
  explicit StatusError(Status status) : status_(std::move(status)) {}
  const Status& status() const noexcept { return status_; }
  const char* what() const noexcept override { return status_.message().c_str(); }

 private:
  Status status_;
};

// The one border: a value, or the exception.
inline void unwrap(const Status& status) {
  if (!status.ok()) throw StatusError(status);
}
template <typename T>
T unwrap(Result<T>&& result) {
  if (!result.ok()) throw StatusError(result.status());
  return std::move(result).value();
}

// Text that should be UTF-8 but may quote what is not (a file name, a damaged text), as a str in
// which such bytes are escaped.
pybind11::object shown(const std::string& text);

// The exception that `status`, a failure, becomes, for results that stand beside others.
pybind11::object exception_of(const Status& status);

// Teaches pybind11 to raise StatusError as collegium.errors does.
void bind_errors(pybind11::module_& module);

}  // namespace collegium::python
