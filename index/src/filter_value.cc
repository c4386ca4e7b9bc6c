#include "filter_value.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace collegium::index {
namespace {

using Kind = FieldValue::Kind;

// Of the order of types; all numbers are one.
int type_rank(Kind kind) noexcept {
  switch (kind) {
    case Kind::kNull:
      return 0;
    case Kind::kBool:
      return 1;
    case Kind::kInt:
    case Kind::kUnsigned:
    case Kind::kDouble:
      return 2;
    case Kind::kString:
      return 3;
    case Kind::kOther:
      return 4;
  }
  return 4;
}

// A double here is no integer of 64 bits: it has a fraction or lies beyond them all.
std::strong_ordering compare_to_double(const FieldValue& integer, double number) noexcept {
  if (number >= 0x1p63)  // beyond uint64_t; within it, it would be one
    return std::strong_ordering::less;
  if (number < -0x1p63 || integer.kind == Kind::kUnsigned) return std::strong_ordering::greater;
  return integer.data.integer <= static_cast<std::int64_t>(std::floor(number))
             ? std::strong_ordering::less
             : std::strong_ordering::greater;
}

std::strong_ordering compare_numbers(const FieldValue& a, const FieldValue& b) noexcept {
  if (a.kind == Kind::kDouble && b.kind == Kind::kDouble) {
    if (a.data.number == b.data.number) return std::strong_ordering::equal;
    return a.data.number < b.data.number ? std::strong_ordering::less
                                         : std::strong_ordering::greater;
  }
  if (b.kind == Kind::kDouble) return compare_to_double(a, b.data.number);
  if (a.kind == Kind::kDouble) return 0 <=> compare_to_double(b, a.data.number);
  if (a.kind != b.kind)  // an unsigned one is beyond int64_t
    return a.kind == Kind::kInt ? std::strong_ordering::less : std::strong_ordering::greater;
  return a.kind == Kind::kInt ? a.data.integer <=> b.data.integer
                              : a.data.unsigned_integer <=> b.data.unsigned_integer;
}

void add_values(const nlohmann::json& value, TextPool& pool, std::vector<FieldValue>& values) {
  if (!value.is_array()) {
    values.push_back(to_field_value(value, pool));
    return;
  }
  for (const auto& element : value) values.push_back(to_field_value(element, pool));
  if (value.empty()) values.push_back(FieldValue::other());
}

}  // namespace

FieldValue FieldValue::boolean(bool value) {
  FieldValue made;
  made.kind = Kind::kBool;
  made.data.integer = value ? 1 : 0;
  return made;
}

FieldValue FieldValue::integer(std::int64_t value) {
  FieldValue made;
  made.kind = Kind::kInt;
  made.data.integer = value;
  return made;
}

FieldValue FieldValue::unsigned_integer(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return integer(static_cast<std::int64_t>(value));
  FieldValue made;
  made.kind = Kind::kUnsigned;
  made.data.unsigned_integer = value;
  return made;
}

FieldValue FieldValue::number(double value) {
  if (value == std::floor(value)) {
    if (value >= -0x1p63 && value < 0x1p63) return integer(static_cast<std::int64_t>(value));
    if (value > 0 && value < 0x1p64) return unsigned_integer(static_cast<std::uint64_t>(value));
  }
  FieldValue made;
  made.kind = Kind::kDouble;
  made.data.number = value;
  return made;
}

FieldValue FieldValue::string(std::string_view value) {
  FieldValue made;
  made.kind = Kind::kString;
  made.data.text = value.data();
  made.length = static_cast<std::uint32_t>(value.size());
  return made;
}

FieldValue FieldValue::other() {
  FieldValue made;
  made.kind = Kind::kOther;
  return made;
}

std::string FieldValue::to_json() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return data.integer != 0 ? "true" : "false";
    case Kind::kInt:
      return std::to_string(data.integer);
    case Kind::kUnsigned:
      return std::to_string(data.unsigned_integer);
    case Kind::kDouble:
      return nlohmann::json(data.number).dump();
    case Kind::kString:
      return nlohmann::json(text()).dump();
    case Kind::kOther:
      return "";
  }
  return "";
}

bool comparable(const FieldValue& a, const FieldValue& b) noexcept {
  return type_rank(a.kind) == type_rank(b.kind);
}

std::strong_ordering compare(const FieldValue& a, const FieldValue& b) noexcept {
  if (!comparable(a, b)) return type_rank(a.kind) <=> type_rank(b.kind);
  if (a.is_number()) return compare_numbers(a, b);
  if (a.kind == Kind::kBool) return a.data.integer <=> b.data.integer;
  if (a.kind == Kind::kString) return a.text().compare(b.text()) <=> 0;
  return std::strong_ordering::equal;
}

std::string_view TextPool::keep(std::string_view text) {
  const auto at = texts_.lower_bound(text);
  if (at != texts_.end() && *at == text) return *at;
  return *texts_.emplace_hint(at, text);
}

FieldValue to_field_value(const nlohmann::json& value, TextPool& pool) {
  switch (value.type()) {
    case nlohmann::json::value_t::null:
      return FieldValue::null();
    case nlohmann::json::value_t::boolean:
      return FieldValue::boolean(value.get<bool>());
    case nlohmann::json::value_t::number_integer:
      return FieldValue::integer(value.get<std::int64_t>());
    case nlohmann::json::value_t::number_unsigned:
      return FieldValue::unsigned_integer(value.get<std::uint64_t>());
    case nlohmann::json::value_t::number_float:
      return FieldValue::number(value.get<double>());
    case nlohmann::json::value_t::string:
      return FieldValue::string(pool.keep(value.get_ref<const std::string&>()));
    default:
      return FieldValue::other();
  }
}

// As deep as `path` has dots, of which there are few: arrays within arrays are not entered.
void collect_field(const nlohmann::json& object, std::string_view path, TextPool& pool,
                   std::vector<FieldValue>& values) {
  if (const auto whole = object.find(path); whole != object.end()) {
    add_values(*whole, pool, values);
    return;
  }
  const std::size_t dot = path.find('.');
  if (dot == std::string_view::npos) return;
  const auto head = object.find(path.substr(0, dot));
  if (head == object.end()) return;
  const std::string_view tail = path.substr(dot + 1);
  if (head->is_object()) collect_field(*head, tail, pool, values);
  if (!head->is_array()) return;
  for (const auto& element : *head)
    if (element.is_object()) collect_field(element, tail, pool, values);
}

std::size_t nesting(std::string_view text) {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

nlohmann::json parse_metadata(std::string_view metadata) {
  if (metadata.empty()) return nlohmann::json::object();
  auto parsed = nlohmann::json::parse(metadata, nullptr, /*allow_exceptions=*/false);
  // A commit takes nothing but objects. Moved, not copied: copying recurses.
  if (!parsed.is_object()) parsed = nlohmann::json::object();
  return parsed;
}

}  // namespace collegium::index
