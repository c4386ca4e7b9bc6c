#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace collegium::core {

// One field of a protocol buffer's wire format.
struct ProtobufField {
  enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  std::uint32_t number = 0;
  Wire wire = Wire::kVarint;
  std::uint64_t value = 0;  // of a varint or fixed field
  std::string_view bytes;   // of a bytes field
};

// Walks the fields of one message that nobody trusts; allocates nothing.
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message) : rest_(message) {}

  bool at_end() const noexcept { return rest_.empty(); }

  // False if what follows is no field that lies within the message.
  [[nodiscard]] bool next(ProtobufField& field) noexcept {
    std::uint64_t key = 0;
    if (!varint(key) || key >> 32 != 0) return false;
    field.number = static_cast<std::uint32_t>(key >> 3);
    field.wire = static_cast<ProtobufField::Wire>(key & 7);
    if (field.number == 0) return false;
    switch (field.wire) {
      case ProtobufField::Wire::kVarint:
        return varint(field.value);
      case ProtobufField::Wire::kFixed64:
        return fixed(8, field.value);
      case ProtobufField::Wire::kFixed32:
        return fixed(4, field.value);
      case ProtobufField::Wire::kBytes: {
        std::uint64_t size = 0;
        if (!varint(size) || size > rest_.size()) return false;
        field.bytes = rest_.substr(0, static_cast<std::size_t>(size));
        rest_.remove_prefix(static_cast<std::size_t>(size));
        return true;
      }
    }
    return false;  // groups, which nobody writes any more
  }

 private:
  bool varint(std::uint64_t& value) noexcept {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool fixed(std::size_t size, std::uint64_t& value) noexcept {
    if (rest_.size() < size) return false;
    value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value |= std::uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
    rest_.remove_prefix(size);
    return true;
  }
  std::string_view rest_;
};

class ProtobufWriter {
 public:
  void put(std::uint32_t number, std::uint64_t value) {
    varint(std::uint64_t{number} << 3);
    varint(value);
  }
  void put(std::uint32_t number, std::string_view bytes) {
    varint(std::uint64_t{number} << 3 | 2);
    varint(bytes.size());
    out_ += bytes;
  }
  void put_float(std::uint32_t number, float value) {
    varint(std::uint64_t{number} << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int i = 0; i < 4; ++i) out_ += static_cast<char>(bits >> (8 * i) & 0xff);
  }
  const std::string& bytes() const noexcept { return out_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }
  std::string out_;
};

}  // namespace collegium::core
