#pragma once

#include <pybind11/pybind11.h>

#include <utility>

namespace collegium::python {

// A Python object that may be let go of by a thread without the GIL.
class Held {
 public:
  explicit Held(pybind11::object object) : object_(std::move(object)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    if (Py_IsInitialized() == 0) {
      object_.release();  // the interpreter is gone, and the object with it
      return;
    }
    const pybind11::gil_scoped_acquire acquire;
    object_ = pybind11::object();
  }
  const pybind11::object& get() const noexcept { return object_; }

 private:
  pybind11::object object_;
};

}  // namespace collegium::python
