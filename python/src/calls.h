#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/progress.h"
#include "errors.h"

namespace collegium::python {

// The UTF-8 of a Python str, not copied: it lives as long as the str. A str with a lone surrogate
// has none; `what` names it in the error.
std::string_view utf8_of(pybind11::handle text, const std::string& what);

// A str argument, borrowed for the length of the call. See the type_caster below.
struct Utf8 {
  std::string_view view;
  operator std::string() const { return std::string(view); }
};

// An int argument whose range is not checked yet, because what converts it does not know its name.
// See the type_caster below.
struct WholeNumber {
  pybind11::object number;
  // invalid_argument if it is negative or takes more than 64 bits; `name` is the argument's.
  std::uint64_t value(const char* name) const;
};

// A file name as Python spells it (os.fsdecode): it need not be UTF-8.
pybind11::object path_of(const std::string& path);

// Views of a sequence of str. Holds the strings, so that another thread may change the sequence
// while the GIL is away.
class TextList {
 public:
  TextList(pybind11::handle sequence, const std::string& what);
  std::span<const std::string_view> views() const noexcept { return views_; }
  std::vector<std::string> strings() const { return {views_.begin(), views_.end()}; }

 private:
  pybind11::tuple holder_;
  std::vector<std::string_view> views_;
};

// With the GIL: gives `piece` to `on_token`; whether to go on. What it raises goes to `error`.
bool give_piece(const pybind11::object& on_token, std::string_view piece,
                std::exception_ptr& error);

// Carries Python's wishes into a long call that runs without the GIL: Ctrl-C, a progress callable
// and whatever it raises. Make and destroy it with the GIL held.
class Watch {
 public:
  // `progress`: None or callable(stage: str, done: int, total: int) -> bool | None; False cancels.
  explicit Watch(pybind11::object progress) : progress_(std::move(progress)) {}

  core::ProgressCallback progress();
  // For LanguageModel's pieces: calls `on_token` (or None) and looks for Ctrl-C.
  bool on_token(const pybind11::object& callable, std::string_view piece);
  // With the GIL: throws what a callback raised, or KeyboardInterrupt.
  void rethrow();

 private:
  bool report(const core::Progress& progress);

  pybind11::object progress_;
  std::exception_ptr error_;
  std::string stage_;
  std::chrono::steady_clock::time_point last_{};
};

// Runs `work(progress callback)`, a Result, without the GIL; Ctrl-C and Python callbacks work.
template <typename Work>
auto run_watched(pybind11::object progress, Work&& work) {
  Watch watch(std::move(progress));
  auto result = [&] {
    pybind11::gil_scoped_release release;
    return work(watch.progress());
  }();
  watch.rethrow();
  return unwrap(std::move(result));
}

// Runs `work()`, a Status or Result, without the GIL.
template <typename Work>
auto run_released(Work&& work) {
  auto result = [&] {
    pybind11::gil_scoped_release release;
    return work();
  }();
  return unwrap(std::move(result));
}

// An array that owns `values` without copying them. shape must have values.size() elements.
template <typename T>
pybind11::array_t<T> to_array(std::vector<T> values, std::vector<pybind11::ssize_t> shape) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  const T* data = owner->data();
  pybind11::capsule base(owner.get(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  owner.release();
  return pybind11::array_t<T>(shape, data, base);
}

// The elements of a C-contiguous float32 array of shape (rows, dim), not copied. Any other type
// or layout is invalid_argument: a copy would be hidden. `dim` 0 allows any.
struct Matrix {
  std::span<const float> values;
  std::size_t rows = 0, dim = 0;
};
Matrix matrix_of(const pybind11::array& array, std::size_t dim, const std::string& what);

}  // namespace collegium::python

namespace pybind11::detail {
template <>
struct type_caster<collegium::python::Utf8> {
  PYBIND11_TYPE_CASTER(collegium::python::Utf8, const_name("str"));
  bool load(handle source, bool) {
    if (!source || !PyUnicode_Check(source.ptr())) return false;
    value.view = collegium::python::utf8_of(source, "text");
    return true;
  }
};
template <>
struct type_caster<collegium::python::WholeNumber> {
  PYBIND11_TYPE_CASTER(collegium::python::WholeNumber, const_name("int"));
  bool load(handle source, bool) {
    if (!source || !PyIndex_Check(source.ptr())) return false;
    value.number = reinterpret_steal<object>(PyNumber_Index(source.ptr()));
    if (!value.number) PyErr_Clear();
    return static_cast<bool>(value.number);
  }
};
}  // namespace pybind11::detail
