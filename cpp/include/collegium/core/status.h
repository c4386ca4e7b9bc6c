#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "collegium/core/export.h"

namespace collegium::core {

// What kind of failure. Python has one exception class for each; values are never renumbered.
enum class StatusCode : std::uint8_t {
  kOk = 0,
  kInvalidArgument = 1,     // malformed whatever the state of the object
  kNotFound = 2,            // a file, id, collection or model that is not there
  kAlreadyExists = 3,       // would overwrite what must be unique
  kFailedPrecondition = 4,  // well-formed, but not in this state (closed, no adapter fitted, ...)
  kCorruption = 5,          // a file or a store is damaged: checksum, bounds, truncated
  kNotSupported = 6,        // newer format, or a model part this build does not run
  kBusy = 7,                // someone else holds it; the message says who
  kIoError = 8,             // the operating system refused a read or write
  kResourceExhausted = 9,   // disk full, memory bound reached
  kCancelled = 10,          // a progress callback asked to stop
  kInternal = 11,           // a bug of ours
};

COLLEGIUM_API std::string_view status_code_name(StatusCode code) noexcept;

// The outcome of an operation. A message says what, the value seen, what is allowed, and where.
// Copyable; cheap when ok. Thread-compatible.
class [[nodiscard]] COLLEGIUM_API Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status invalid_argument(std::string m) {
    return {StatusCode::kInvalidArgument, std::move(m)};
  }
  static Status not_found(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
  static Status already_exists(std::string m) { return {StatusCode::kAlreadyExists, std::move(m)}; }
  static Status failed_precondition(std::string m) {
    return {StatusCode::kFailedPrecondition, std::move(m)};
  }
  static Status corruption(std::string m) { return {StatusCode::kCorruption, std::move(m)}; }
  static Status not_supported(std::string m) { return {StatusCode::kNotSupported, std::move(m)}; }
  static Status busy(std::string m) { return {StatusCode::kBusy, std::move(m)}; }
  static Status io_error(std::string m) { return {StatusCode::kIoError, std::move(m)}; }
  static Status resource_exhausted(std::string m) {
    return {StatusCode::kResourceExhausted, std::move(m)};
  }
  static Status cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
  static Status internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }
  // not_found (ENOENT), resource_exhausted (ENOSPC, EDQUOT, EFBIG, ENOMEM), else io_error.
  static Status from_errno(int error, std::string_view what);

  bool ok() const noexcept { return code_ == StatusCode::kOk; }
  explicit operator bool() const noexcept { return ok(); }
  StatusCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  // "not_found: no collection 'law' in /data/mylib"
  std::string to_string() const;
  // The same failure with "context: " put before its message; ok stays ok.
  Status with_context(std::string_view context) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// A value or the reason there is none. `value()` on a failure is a programming error and throws
// std::bad_variant_access, so that it cannot pass unseen.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<1>, std::move(value)) {}  // NOLINT(implicit)
  Result(Status status)                                                  // NOLINT(implicit)
      : state_(std::in_place_index<0>, status.ok()
                                           ? Status::internal("Result made from an ok Status")
                                           : std::move(status)) {}

  bool ok() const noexcept { return state_.index() == 1; }
  explicit operator bool() const noexcept { return ok(); }
  Status status() const { return ok() ? Status() : std::get<0>(state_); }

  T& value() & { return std::get<1>(state_); }
  const T& value() const& { return std::get<1>(state_); }
  T&& value() && { return std::get<1>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace collegium::core

namespace collegium {
using core::Result;
using core::Status;
using core::StatusCode;
}  // namespace collegium

// Leaves the function with the failure of `expression` (a Status or Result).
#define COLLEGIUM_RETURN_IF_ERROR(expression)                                    \
  do {                                                                           \
    if (auto collegium_status_ = (expression); !collegium_status_.ok())          \
      return ::collegium::core::detail::to_status(std::move(collegium_status_)); \
  } while (false)

// COLLEGIUM_ASSIGN_OR_RETURN(auto file, open(path)): the value, or leaves with the failure.
#define COLLEGIUM_CONCAT_INNER_(a, b) a##b
#define COLLEGIUM_CONCAT_(a, b) COLLEGIUM_CONCAT_INNER_(a, b)
#define COLLEGIUM_ASSIGN_OR_RETURN(declaration, expression)                                \
  COLLEGIUM_ASSIGN_OR_RETURN_(COLLEGIUM_CONCAT_(collegium_result_, __LINE__), declaration, \
                              expression)
#define COLLEGIUM_ASSIGN_OR_RETURN_(name, declaration, expression) \
  auto name = (expression);                                        \
  if (!name.ok()) return name.status();                            \
  declaration = std::move(name).value()

namespace collegium::core::detail {
inline Status to_status(Status status) { return status; }
template <typename T>
Status to_status(const Result<T>& result) {
  return result.status();
}
}  // namespace collegium::core::detail
