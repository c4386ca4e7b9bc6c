#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "filter_value.h"

namespace collegium::index {

// A parsed filter: a tree whose leaves test the values of one field.
struct FilterNode {
  enum class Kind : std::uint8_t {
    kAll,  // of `children`
    kAny,
    kNot,  // of the one child
    kIn,   // one of `operands`, which ascend; equality has one
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kPrefix,
    kExists,
  };

  Kind kind = Kind::kAll;
  std::vector<FilterNode> children;
  std::size_t field = 0;  // of FilterProgram::fields
  std::vector<FieldValue> operands;

  bool is_test() const noexcept { return kind >= Kind::kIn; }
  // Whether a field with these values passes; only for a test.
  bool passes(std::span<const FieldValue> values) const noexcept;
};

struct FilterProgram {
  std::vector<std::string> fields;  // each once
  FilterNode root;
  TextPool texts;              // of the operands
  bool accepts_empty = false;  // a document without metadata
};

}  // namespace collegium::index
