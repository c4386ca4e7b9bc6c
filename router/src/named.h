#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "collegium/core/status.h"

namespace collegium::router {

// The one of `known` that `name_of` calls `name`. invalid_argument begins with `what` and names
// them all.
template <typename T, typename NameOf>
Result<T> parse_named(std::string_view what, std::string_view name, std::initializer_list<T> known,
                      NameOf name_of) {
  std::string allowed;
  for (const T* one = known.begin(); one != known.end(); ++one) {
    if (name_of(*one) == name) return *one;
    if (one != known.begin()) allowed += one + 1 == known.end() ? " or " : ", ";
    allowed += "'" + std::string(name_of(*one)) + "'";
  }
  return Status::invalid_argument(std::string(what) + " '" + std::string(name) + "', must be " +
                                  allowed);
}

}  // namespace collegium::router
