#pragma once

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"

namespace collegium::core {

// A value inside a JsonDocument, which must outlive it. `where()` names file and place:
// "model/config.json: id2label". A value of another type than asked for is `corruption`; a number
// with a fraction or out of range is not an integer. The get_* functions look a key up in an
// object and give not_found when it is absent; the *_or functions give the fallback when it is
// absent or null.
class JsonValue {
 public:
  JsonValue(simdjson::dom::element element, std::string where)
      : element_(element), where_(std::move(where)) {}

  const std::string& where() const noexcept { return where_; }
  const simdjson::dom::element& element() const noexcept { return element_; }
  bool is_object() const noexcept { return element_.is_object(); }
  bool is_array() const noexcept { return element_.is_array(); }
  bool is_string() const noexcept { return element_.is_string(); }
  bool is_null() const noexcept { return element_.is_null(); }

  Result<std::string> as_string() const;
  Result<std::uint64_t> as_unsigned() const;
  Result<double> as_number() const;
  Result<bool> as_bool() const;
  // corruption when it is longer than `max_count`.
  Result<std::vector<JsonValue>> as_array(std::size_t max_count) const;

  // Calls `function` for each field of an object in file order; ends with the first failure.
  // For an object of many keys: looking them up one by one takes quadratic time.
  using FieldFunction = std::function<Status(std::string_view key, const JsonValue& value)>;
  Status for_each_field(const FieldFunction& function) const;

  // False when this is no object.
  bool has(std::string_view key) const noexcept;
  Result<JsonValue> get(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::uint64_t> get_unsigned(std::string_view key) const;
  Result<double> get_number(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;

  Result<std::string> string_or(std::string_view key, std::string fallback) const;
  Result<std::uint64_t> unsigned_or(std::string_view key, std::uint64_t fallback) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> bool_or(std::string_view key, bool fallback) const;

 private:
  Status wrong_type(std::string_view allowed) const;
  // True when `key` is there and not null.
  bool present(std::string_view key) const noexcept;
  simdjson::dom::element element_;
  std::string where_;
};

// One JSON text, parsed strictly: UTF-8, nothing after the value, no key twice in one object.
class JsonDocument {
 public:
  static constexpr std::size_t kMaxFileBytes = 256u << 20;

  // not_found, io_error; corruption when the file is not JSON, resource_exhausted when it is
  // larger than `max_bytes`.
  static Result<JsonDocument> open(const std::string& path, std::size_t max_bytes = kMaxFileBytes);
  // The same for bytes; `name` stands for the file in messages.
  static Result<JsonDocument> parse(std::span<const std::byte> text, std::string name);

  JsonValue root() const { return {root_, name_}; }

 private:
  JsonDocument() = default;
  // Owns what the elements point to; at one address, whoever owns the document.
  std::unique_ptr<simdjson::dom::parser> parser_;
  simdjson::dom::element root_;
  std::string name_;
};

}  // namespace collegium::core
