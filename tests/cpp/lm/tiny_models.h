#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "io/json_file.h"
#include "scratch_folder.h"

namespace collegium::core {

// The random models of tests/oracles/make_tiny_llama.py.
inline const std::vector<std::string>& tiny_models() {
  static const std::vector<std::string> names = {"tiny_llama", "tiny_llama_mixed"};
  return names;
}

template <typename T>
std::vector<T> json_numbers(const JsonValue& value) {
  std::vector<T> numbers;
  for (const auto element : value.element().get_array())
    numbers.push_back(static_cast<T>(element.get<double>().value()));
  return numbers;
}

}  // namespace collegium::core
