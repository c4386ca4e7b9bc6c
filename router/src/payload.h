#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"

// The little-endian payloads of what fit learned. The envelope around them has the checksums; the
// reader still believes no size and no number.
namespace collegium::router {

class PayloadWriter {
 public:
  template <typename T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    append(&value, sizeof value);
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    append(value.data(), value.size());
  }
  // The count is the reader's to know.
  template <typename T>
  void numbers(std::span<const T> values) {
    append(values.data(), values.size_bytes());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  std::vector<std::byte> bytes_;
};

// After the first failure every call fails and gives zeros or nothing: check status() at the end,
// and before using a count.
class PayloadReader {
 public:
  PayloadReader(std::string_view what, std::span<const std::byte> bytes)
      : what_(what), bytes_(bytes) {}

  template <typename T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    if (take(sizeof value)) std::memcpy(&value, bytes_.data() + at_ - sizeof value, sizeof value);
    return value;
  }
  std::string text(std::size_t max_bytes = 4096) {
    const auto size = number<std::uint32_t>();
    if (size > max_bytes) fail("a text of " + std::to_string(size) + " bytes");
    if (!take(size)) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + at_ - size, size};
  }
  // `count` numbers, all finite. Nothing is allocated that the payload does not hold.
  template <typename T>
  std::vector<T> numbers(std::uint64_t count) {
    if (count > bytes_.size() / sizeof(T) || !take(count * sizeof(T))) {
      fail("too short");
      return {};
    }
    std::vector<T> values(count);
    if (count > 0)
      std::memcpy(values.data(), bytes_.data() + at_ - count * sizeof(T), count * sizeof(T));
    for (T value : values)
      if (!(value - value == T{})) {  // infinities and NaN
        fail("a number that is not finite");
        return {};
      }
    return values;
  }
  void fail(const std::string& why) {
    if (status_.ok())
      status_ = Status::corruption(what_ + ": " + why + " at byte " + std::to_string(at_) + " of " +
                                   std::to_string(bytes_.size()));
  }
  bool ok() const { return status_.ok(); }
  // corruption if anything failed or bytes are left over.
  Status finish() {
    if (status_.ok() && at_ != bytes_.size()) fail("more than the format has");
    return status_;
  }

 private:
  bool take(std::uint64_t size) {
    if (!status_.ok()) return false;
    if (size > bytes_.size() - at_) {
      fail("too short");
      return false;
    }
    at_ += size;
    return true;
  }
  std::string what_;
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  Status status_;
};

}  // namespace collegium::router
