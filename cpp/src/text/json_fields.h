#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "io/in_quotes.h"
#include "io/json_file.h"

namespace collegium::core {

// not_supported, naming the first field of an object that is not in `known`; corruption if `value`
// is no object.
inline Status only_fields(const JsonValue& value, std::initializer_list<std::string_view> known) {
  return value.for_each_field([&](std::string_view key, const JsonValue& field) -> Status {
    if (std::find(known.begin(), known.end(), key) != known.end()) return {};
    return Status::not_supported(field.where() + ": this field is unknown and might change ids");
  });
}

// A field that must be there: its absence is damage of the file.
inline Result<JsonValue> required(const JsonValue& value, std::string_view key) {
  auto found = value.get(key);
  if (found.ok() || found.status().code() != StatusCode::kNotFound) return found;
  return Status::corruption(found.status().message());
}

inline Result<std::string> required_string(const JsonValue& value, std::string_view key) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue found, required(value, key));
  return found.as_string();
}

inline Result<bool> required_bool(const JsonValue& value, std::string_view key) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue found, required(value, key));
  return found.as_bool();
}

// "file: normalizer 'X' is not run here".
inline Status kind_not_run(const JsonValue& value, std::string_view kind, std::string_view name) {
  return Status::not_supported(value.where() + ": " + std::string(kind) + " " + in_quotes(name) +
                               " is not run here");
}

}  // namespace collegium::core
