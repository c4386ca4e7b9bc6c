#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "io/mapped_envelope.h"

namespace collegium::core {

enum class PackedType : std::uint8_t { kF32 = 0, kI8 = 1, kI32 = 2, kBf16 = 3 };

template <typename T>
constexpr PackedType packed_type() {
  if constexpr (std::is_same_v<T, float>) return PackedType::kF32;
  if constexpr (std::is_same_v<T, std::int8_t>) return PackedType::kI8;
  if constexpr (std::is_same_v<T, std::int32_t>) return PackedType::kI32;
  if constexpr (std::is_same_v<T, std::uint16_t>) return PackedType::kBf16;
}

struct PackedArray {
  std::string name;
  PackedType type = PackedType::kF32;
  std::uint64_t count = 0;
  std::span<const std::byte> bytes;
};

// A trunk's weights as the kernels want them: what `collegium convert` writes, to be mapped.
// File kind "encoder", version 2, in the envelope; little-endian:
//   string digest      of the weights as the checkpoint had them
//   u8 published       NomicBERT in its makers' naming
//   u32 heads          the scale of their scores is in the queries' weights
//   u32 arrays; for each: string name, u8 type (0 f32, 1 i8, 2 i32, 3 bf16), u64 numbers, u64
//   begin (in bytes from the file's first)
//   the arrays, each at a multiple of 64 bytes from the file's first; zeros between
// Version 1 had no type 3. Strings as in bytes.h. A checkpoint's array is named as
// Trunk::visit_arrays names it.
class PackedWeightsWriter {
 public:
  PackedWeightsWriter(std::string digest, bool published, std::size_t num_heads)
      : digest_(std::move(digest)), published_(published), num_heads_(num_heads) {}
  // `numbers` must live until write().
  template <typename T>
  void add(std::string name, std::span<const T> numbers) {
    arrays_.push_back({std::move(name), packed_type<T>(), numbers.size(), std::as_bytes(numbers)});
  }
  // The errors of write_file_envelope().
  Status write(const std::string& path) const;

 private:
  ByteWriter header(std::uint64_t begin) const;
  std::string digest_;
  bool published_;
  std::size_t num_heads_;
  std::vector<PackedArray> arrays_;
};

class PackedWeights {
 public:
  // not_found, corruption (damage of any kind: checksums, bounds, alignment), not_supported
  // (newer).
  static Result<PackedWeights> open(const std::string& path);

  const std::string& digest() const noexcept { return digest_; }
  bool published() const noexcept { return published_; }
  std::size_t num_heads() const noexcept { return num_heads_; }
  const std::string& path() const noexcept { return envelope_.file.path(); }
  // Name of the next array, "" behind the last.
  std::string_view next() const noexcept {
    return taken_ < arrays_.size() ? std::string_view(arrays_[taken_].name) : std::string_view();
  }
  // The next array, which must have that name, type and count, else corruption. The numbers live as
  // long as the file.
  template <typename T>
  Result<std::span<const T>> take(const std::string& name, std::size_t count) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto bytes, take(name, packed_type<T>(), count));
    return std::span<const T>(reinterpret_cast<const T*>(bytes.data()), count);
  }
  Status check_all_taken() const;
  MappedFile file() && { return std::move(envelope_.file); }

 private:
  Result<std::span<const std::byte>> take(const std::string& name, PackedType type,
                                          std::size_t count);
  explicit PackedWeights(MappedEnvelope envelope) : envelope_(std::move(envelope)) {}
  MappedEnvelope envelope_;
  std::string digest_;
  bool published_ = false;
  std::uint32_t num_heads_ = 0;
  std::vector<PackedArray> arrays_;
  std::size_t taken_ = 0;
};

}  // namespace collegium::core
