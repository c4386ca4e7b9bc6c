#pragma once

#include <compare>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace collegium::index {

// One value of a metadata field. Numbers are kept in one form each, so that equal numbers are equal
// values: int64_t if it fits, then uint64_t, else double. Does not own its text.
struct FieldValue {
  enum class Kind : std::uint8_t { kNull, kBool, kInt, kUnsigned, kDouble, kString, kOther };

  static FieldValue null() { return {}; }
  static FieldValue boolean(bool value);
  static FieldValue integer(std::int64_t value);
  static FieldValue unsigned_integer(std::uint64_t value);
  static FieldValue number(double value);  // finite
  static FieldValue string(std::string_view value);
  static FieldValue other();  // an object or array: there, and equal to nothing

  bool is_number() const noexcept {
    return kind == Kind::kInt || kind == Kind::kUnsigned || kind == Kind::kDouble;
  }
  std::string_view text() const noexcept { return {data.text, length}; }
  std::string to_json() const;  // empty for kOther

  union {
    std::int64_t integer;  // kInt, kBool
    std::uint64_t unsigned_integer;
    double number;
    const char* text;
  } data = {0};
  std::uint32_t length = 0;  // of text
  Kind kind = Kind::kNull;
};

// Whether the two are of one type: null, booleans, numbers, strings.
bool comparable(const FieldValue& a, const FieldValue& b) noexcept;

// By type, then exactly by value.
std::strong_ordering compare(const FieldValue& a, const FieldValue& b) noexcept;

// Owns the texts of values, each once, at addresses that stay.
class TextPool {
 public:
  std::string_view keep(std::string_view text);

 private:
  std::set<std::string, std::less<>> texts_;
};

// The value of a JSON scalar, its text kept in `pool`; an object or array is `other`.
FieldValue to_field_value(const nlohmann::json& value, TextPool& pool);

// Appends the values that field `path` has in `object`; none if it is not there. At least one if it
// is: an empty array counts as `other`.
void collect_field(const nlohmann::json& object, std::string_view path, TextPool& pool,
                   std::vector<FieldValue>& values);

// The same for metadata as it is stored, without parsing what lies beside the field: of a document
// with a few hundred bytes that is ten times as fast. Nothing is found in what is no JSON object.
void collect_stored_field(std::string_view metadata, std::string_view path, TextPool& pool,
                          std::vector<FieldValue>& values);

// How deep the brackets of a JSON text are nested; of other text some number.
std::size_t nesting(std::string_view text);

// Metadata as JSON; an object without fields when there is none.
nlohmann::json parse_metadata(std::string_view metadata);

}  // namespace collegium::index
