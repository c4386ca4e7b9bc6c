#include "io/json_file.h"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "io/in_quotes.h"
#include "io/mapped_file.h"

namespace collegium::core {
namespace {

std::string_view type_name(simdjson::dom::element_type type) {
  using Type = simdjson::dom::element_type;
  switch (type) {
    case Type::ARRAY:
      return "an array";
    case Type::OBJECT:
      return "an object";
    case Type::INT64:
    case Type::UINT64:
    case Type::DOUBLE:
      return "a number";
    case Type::STRING:
      return "a string";
    case Type::BOOL:
      return "a boolean";
    case Type::NULL_VALUE:
      return "null";
  }
  return "an unknown type";
}

// The first key that comes twice in some object under `element`, or none. simdjson bounds the
// depth (1024).
Status check_unique_keys(simdjson::dom::element element, const std::string& name) {
  if (element.is_array()) {
    for (const auto child : simdjson::dom::array(element))
      COLLEGIUM_RETURN_IF_ERROR(check_unique_keys(child, name));
  } else if (element.is_object()) {
    std::vector<std::string_view> keys;
    for (const auto field : simdjson::dom::object(element)) {
      keys.push_back(field.key);
      COLLEGIUM_RETURN_IF_ERROR(check_unique_keys(field.value, name));
    }
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end())
      return Status::corruption(name + ": key " + in_quotes(*twice) + " comes twice in one object");
  }
  return {};
}

// simdjson refuses a whole document for one integer beyond 64 bits, and real ones have them: the
// model_max_length that stands for "no limit" is 1e30 written out. JSON sets no bound, so such
// integers are read as the nearest double: this gives the text with ".0" behind each.
std::string with_wide_integers_as_doubles(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  out.reserve(text.size() + 16);
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    if (in_string || (!is_digit(text[i]) && text[i] != '-')) {
      if (text[i] == '"') in_string = !in_string;
      if (in_string && text[i] == '\\' && i + 1 < text.size()) out += text[i++];
      out += text[i++];
      continue;
    }
    std::size_t end = i + 1;
    while (end < text.size() && is_digit(text[end])) ++end;
    const bool whole = end == text.size() || (text[end] != '.' && (text[end] | 0x20) != 'e');
    const char* first = text.data() + i;
    const char* last = text.data() + end;
    std::uint64_t value = 0;
    std::int64_t negative = 0;
    const std::errc error = text[i] == '-' ? std::from_chars(first, last, negative).ec
                                           : std::from_chars(first, last, value).ec;
    out.append(first, last);
    if (whole && error == std::errc::result_out_of_range) out += ".0";
    i = end;
    // What follows the point or the e is no integer.
    while (!whole && i < text.size() && text[i] != ',' && text[i] != '}' && text[i] != ']')
      out += text[i++];
  }
  return out;
}

}  // namespace

Status JsonValue::wrong_type(std::string_view allowed) const {
  return Status::corruption(where_ + ": is " + std::string(type_name(element_.type())) +
                            ", must be " + std::string(allowed));
}

Result<std::string> JsonValue::as_string() const {
  std::string_view value;
  if (element_.get(value) != simdjson::SUCCESS) return wrong_type("a string");
  return std::string(value);
}

Result<std::uint64_t> JsonValue::as_unsigned() const {
  std::uint64_t value = 0;
  if (element_.get(value) != simdjson::SUCCESS) return wrong_type("a whole number, not negative");
  return value;
}

Result<double> JsonValue::as_number() const {
  double value = 0;
  if (element_.get(value) != simdjson::SUCCESS) return wrong_type("a number");
  return value;
}

Result<bool> JsonValue::as_bool() const {
  bool value = false;
  if (element_.get(value) != simdjson::SUCCESS) return wrong_type("a boolean");
  return value;
}

Result<std::vector<JsonValue>> JsonValue::as_array(std::size_t max_count) const {
  simdjson::dom::array array;
  if (element_.get(array) != simdjson::SUCCESS) return wrong_type("an array");
  std::vector<JsonValue> values;
  for (const auto child : array) {
    if (values.size() == max_count)
      return Status::corruption(where_ + ": has more than " + std::to_string(max_count) +
                                " elements");
    values.emplace_back(child, where_ + "[" + std::to_string(values.size()) + "]");
  }
  return values;
}

Status JsonValue::for_each_field(const FieldFunction& function) const {
  simdjson::dom::object object;
  if (element_.get(object) != simdjson::SUCCESS) return wrong_type("an object");
  for (const auto field : object)
    COLLEGIUM_RETURN_IF_ERROR(
        function(field.key, JsonValue(field.value, where_ + ": " + std::string(field.key))));
  return {};
}

bool JsonValue::has(std::string_view key) const noexcept {
  simdjson::dom::object object;
  simdjson::dom::element value;
  return element_.get(object) == simdjson::SUCCESS &&
         object.at_key(key).get(value) == simdjson::SUCCESS;
}

bool JsonValue::present(std::string_view key) const noexcept {
  simdjson::dom::object object;
  simdjson::dom::element value;
  return element_.get(object) == simdjson::SUCCESS &&
         object.at_key(key).get(value) == simdjson::SUCCESS && !value.is_null();
}

Result<JsonValue> JsonValue::get(std::string_view key) const {
  simdjson::dom::object object;
  if (element_.get(object) != simdjson::SUCCESS) return wrong_type("an object");
  simdjson::dom::element value;
  if (object.at_key(key).get(value) != simdjson::SUCCESS)
    return Status::not_found(where_ + ": has no key " + in_quotes(key));
  return JsonValue(value, where_ + ": " + std::string(key));
}

Result<std::string> JsonValue::get_string(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, get(key));
  return value.as_string();
}

Result<std::uint64_t> JsonValue::get_unsigned(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, get(key));
  return value.as_unsigned();
}

Result<double> JsonValue::get_number(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, get(key));
  return value.as_number();
}

Result<bool> JsonValue::get_bool(std::string_view key) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto value, get(key));
  return value.as_bool();
}

Result<std::string> JsonValue::string_or(std::string_view key, std::string fallback) const {
  if (is_object() && !present(key)) return fallback;
  return get_string(key);
}

Result<std::uint64_t> JsonValue::unsigned_or(std::string_view key, std::uint64_t fallback) const {
  if (is_object() && !present(key)) return fallback;
  return get_unsigned(key);
}

Result<double> JsonValue::number_or(std::string_view key, double fallback) const {
  if (is_object() && !present(key)) return fallback;
  return get_number(key);
}

Result<bool> JsonValue::bool_or(std::string_view key, bool fallback) const {
  if (is_object() && !present(key)) return fallback;
  return get_bool(key);
}

Result<JsonDocument> JsonDocument::open(const std::string& path, std::size_t max_bytes) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
  if (file.bytes().size() > max_bytes)
    return Status::resource_exhausted(path + ": has " + std::to_string(file.bytes().size()) +
                                      " bytes, at most " + std::to_string(max_bytes) +
                                      " are read as JSON");
  return parse(file.bytes(), path);
}

Result<JsonDocument> JsonDocument::parse(std::span<const std::byte> text, std::string name) {
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  document.name_ = std::move(name);
  if (text.empty()) return Status::corruption(document.name_ + ": is not JSON: it is empty");
  // simdjson reads past the end, so the text is copied into a padded buffer.
  const std::string_view chars(reinterpret_cast<const char*>(text.data()), text.size());
  simdjson::error_code error =
      document.parser_->parse(chars.data(), chars.size(), /*realloc=*/true).get(document.root_);
  if (error == simdjson::NUMBER_ERROR) {
    const std::string widened = with_wide_integers_as_doubles(chars);
    error = document.parser_->parse(widened.data(), widened.size(), /*realloc=*/true)
                .get(document.root_);
  }
  if (error != simdjson::SUCCESS)
    return Status::corruption(document.name_ + ": is not JSON: " + simdjson::error_message(error));
  COLLEGIUM_RETURN_IF_ERROR(check_unique_keys(document.root_, document.name_));
  return document;
}

}  // namespace collegium::core
