#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <string>

namespace collegium::python {

inline std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return std::string(text.data(), static_cast<std::size_t>(size));
}

// What collegium.display draws for `self`.
inline pybind11::object draw(const char* function, const pybind11::object& self) {
  return pybind11::module_::import("collegium.display").attr(function)(self);
}

// Counts by split as Python shows them.
inline pybind11::dict split_counts(const std::size_t (&counts)[3]) {
  pybind11::dict out;
  out["train"] = counts[0];
  out["dev"] = counts[1];
  out["test"] = counts[2];
  return out;
}

}  // namespace collegium::python
