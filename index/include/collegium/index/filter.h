#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::index {

struct FilterProgram;

// A condition on documents' metadata (Document::metadata), written as a JSON object:
//   {"lang": "en"}                            the field is this string, number, boolean or null
//   {"year": {"$gte": 2020, "$lt": 2024}}     $eq $ne $gt $gte $lt $lte
//   {"tag": {"$in": ["a", "b"]}}              one of these; $nin: none of these
//   {"path": {"$prefix": "a/"}}               a string that begins so, byte for byte
//   {"page": {"$exists": true}}               the field is there, whatever its value
//   {"year": {"$not": {"$gte": 2020}}}        the operators do not hold
//   {"$or": [{...}, {...}]}                   also $and; {"$not": {...}} takes one filter
// Several fields, or several operators of a field, must all hold; {} accepts every document.
//
// A dotted name reaches into nested objects, and into each object of an array: "a.b" is the field
// "a.b" where there is one, else field "b" of "a". A field whose value is an array passes a test
// when one of its elements does, each test for itself, so {"$gte": 1, "$lt": 3} accepts [0, 9].
// Elements that are objects or arrays equal nothing.
// A number never equals a string, nor true 1; integers and fractions compare by their exact values,
// strings byte by byte, and a range holds only within one type.
// A field that is not there fails every test except {"$exists": false} and the negations $ne, $nin
// and $not, which accept exactly what the test they negate does not. null is a value that is there.
//
// Immutable; any number of threads may use it at once.
class COLLEGIUM_API Filter {
 public:
  // Of the text; of nested objects and arrays; of tests; of objects, lists and tests together; of
  // one field's name. An `$in` list counts as one test.
  static constexpr std::size_t kMaxBytes = 16u << 20;
  static constexpr std::size_t kMaxDepth = 64;
  static constexpr std::size_t kMaxTests = 1000;
  static constexpr std::size_t kMaxNodes = 4 * kMaxTests;
  static constexpr std::size_t kMaxFieldBytes = 1024;

  // invalid_argument, with the place in the filter: not JSON (NaN and infinity are none), a key
  // twice in one object, an unknown operator, an operand of the wrong type, an empty $and or $or,
  // or beyond the limits. An empty $in is no error: it accepts nothing.
  static Result<std::shared_ptr<const Filter>> parse(std::string_view json);
  ~Filter();
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  // Whether a document with this metadata (a JSON object; empty: it has no field) is accepted.
  bool accepts(std::string_view metadata) const;

  // The filter as JSON with keys in order: equal texts accept the same documents.
  const std::string& text() const noexcept { return text_; }

  // How segments evaluate it; for this library's own use.
  const FilterProgram& program() const noexcept { return *program_; }

 private:
  Filter(std::string text, std::unique_ptr<const FilterProgram> program);
  std::string text_;
  std::unique_ptr<const FilterProgram> program_;
};

}  // namespace collegium::index
