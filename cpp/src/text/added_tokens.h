#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/status.h"

namespace collegium::core {

class JsonValue;

// A token that is found in a text as it stands, before the model sees the rest.
struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;
  bool normalized = false;   // looked for in the normalised text, itself normalised
  bool single_word = false;  // only where no letter or digit touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it

  bool plain() const noexcept { return !normalized && !single_word && !lstrip && !rstrip; }
};

// The `added_tokens` of a tokenizer.json; null: none. corruption, not_supported by name.
Result<std::vector<AddedToken>> read_added_tokens(const JsonValue& value);

}  // namespace collegium::core
