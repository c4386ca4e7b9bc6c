#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace collegium::core {

// Reading and writing the payloads of our files: little-endian, unaligned, strings and arrays
// after a u64 count. Values, not thread-safe.

static_assert(std::endian::native == std::endian::little,
              "files are little-endian and read by copying");

// False when a * b does not fit; `product` is then unspecified.
[[nodiscard]] inline bool checked_multiply(std::size_t a, std::size_t b,
                                           std::size_t& product) noexcept {
  return !__builtin_mul_overflow(a, b, &product);
}

// A cursor over bytes nobody trusts. Each read says whether enough was left and moves only then;
// nothing is allocated before that is known.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  std::size_t position() const noexcept { return position_; }
  std::size_t remaining() const noexcept { return bytes_.size() - position_; }

  template <typename T>
  [[nodiscard]] bool read(T& value) noexcept {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (remaining() < sizeof(T)) return false;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  // The next `count` bytes, in place.
  [[nodiscard]] bool read_bytes(std::uint64_t count, std::span<const std::byte>& bytes) noexcept {
    if (remaining() < count) return false;
    bytes = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += bytes.size();
    return true;
  }

  [[nodiscard]] bool skip(std::uint64_t count) noexcept {
    std::span<const std::byte> ignored;
    return read_bytes(count, ignored);
  }

  // `count` numbers without a count before them.
  template <typename T>
  [[nodiscard]] bool read_numbers(std::uint64_t count, std::vector<T>& values) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (count > remaining() / sizeof(T)) return false;
    values.resize(static_cast<std::size_t>(count));
    if (count != 0) std::memcpy(values.data(), bytes_.data() + position_, count * sizeof(T));
    position_ += static_cast<std::size_t>(count) * sizeof(T);
    return true;
  }

  // A u64 count and that many bytes. Whether they are UTF-8 is not looked at.
  [[nodiscard]] bool read_string(std::string& text) {
    const std::size_t before = position_;
    std::uint64_t count = 0;
    std::span<const std::byte> bytes;
    if (!read(count) || !read_bytes(count, bytes)) {
      position_ = before;
      return false;
    }
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

// Appends what ByteReader reads.
class ByteWriter {
 public:
  template <typename T>
  void write(T value) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    write_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void write_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <typename T>
  void write_numbers(std::span<const T> values) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    write_bytes(std::as_bytes(values));
  }
  void write_string(std::string_view text) {
    write<std::uint64_t>(text.size());
    write_bytes(std::as_bytes(std::span(text)));
  }

  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace collegium::core
