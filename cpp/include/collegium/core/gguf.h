#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

// How a tensor's numbers are stored, by GGML's own numbering. A file may name others; they are
// carried as the number and refused only when their numbers are asked for.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,  // 32 numbers in 18 bytes: f16 d, then 4-bit q; d * (q - 8)
  kQ4_1 = 3,  // 32 numbers in 20 bytes: f16 d, f16 m, then 4-bit q; d * q + m
  kQ5_0 = 6,  // 32 numbers in 22 bytes: f16 d, u32 fifth bits, then 4 bits; d * (q - 16)
  kQ5_1 = 7,  // 32 numbers in 24 bytes: f16 d, f16 m, u32 fifth bits, then 4 bits; d * q + m
  kQ8_0 = 8,  // 32 numbers in 34 bytes: f16 d, then int8 q; d * q
  // 256 numbers in 144, 176 and 210 bytes: a scale d of the whole block times a scale s of each 32
  // numbers (Q6_K: 16); d * s * q - m * t, with t like s, and for Q6_K d * s * (q - 32).
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};
// In the 4-bit and 5-bit types of 32 numbers byte j of a block holds number j in its low and number
// j + 16 in its high half.

COLLEGIUM_API std::string ggml_type_name(GgmlType type);  // "Q4_1"; "type 17" where not known
// Those named above.
COLLEGIUM_API bool can_dequantize(GgmlType type) noexcept;
// Numbers in a block, and its bytes: 32 and 20 for Q4_1, 1 and 4 for F32. 0 where not known.
COLLEGIUM_API std::size_t ggml_block_numbers(GgmlType type) noexcept;
COLLEGIUM_API std::size_t ggml_block_bytes(GgmlType type) noexcept;

// out (n,) = the numbers of `n / ggml_block_numbers(type)` blocks, each multiplication and
// addition in fp32 (bit-equal to the `gguf` Python package). Pre: can_dequantize(type), n a
// multiple of the block. `blocks` need not be aligned.
COLLEGIUM_API void dequantize(GgmlType type, const std::byte* blocks, std::size_t n,
                              float* out) noexcept;

struct GgufTensor {
  GgmlType type = GgmlType::kF32;
  // Slowest first, as numpy would have it (the file has it the other way round). At most 4.
  std::vector<std::size_t> shape;
  // Row-major blocks, into the mapped file, on a multiple of GgufFile::alignment(). Empty where
  // ggml_block_bytes(type) is 0.
  std::span<const std::byte> bytes;

  // A row is the last dimension; a block never straddles two.
  std::size_t row_numbers() const noexcept { return shape.empty() ? 1 : shape.back(); }
  std::size_t num_rows() const noexcept;
  // Pre: row < num_rows().
  std::span<const std::byte> row(std::size_t row) const noexcept;
};

enum class GgufValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

COLLEGIUM_API std::string_view gguf_value_type_name(GgufValueType type) noexcept;  // "uint32"

struct GgufValue {
  GgufValueType type = GgufValueType::kUint8;
  GgufValueType element_type = GgufValueType::kUint8;  // of an array
  std::size_t count = 1;                               // of an array's elements
  std::span<const std::byte> bytes;                    // as stored, without type and count
};

// A GGUF file of version 2 or 3, little-endian, mapped read-only. open() walks the whole of
// metadata and tensor table: lengths, counts, types, alignment, offsets and overlaps are checked
// and memory is used for what is there, never for what a count claims. Immutable; any number of
// threads may read. The file may be replaced (renamed over) meanwhile, but not truncated.
//
// The getters: not_found names file and key; invalid_argument says which type is there and which
// was asked for. Strings from the metadata's arrays are bytes as they are; a single string is
// checked to be UTF-8 (corruption).
class COLLEGIUM_API GgufFile {
 public:
  // not_found, corruption, not_supported (another version, big-endian).
  static Result<GgufFile> open(const std::string& path);
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::string& path() const noexcept;
  std::uint32_t version() const noexcept;
  std::size_t alignment() const noexcept;             // of the tensors' bytes, a power of two
  std::span<const std::byte> bytes() const noexcept;  // the whole file, for a digest

  const std::map<std::string, GgufValue, std::less<>>& metadata() const noexcept;
  bool has(std::string_view key) const noexcept;
  Result<GgufValue> value(std::string_view key) const;
  // Any integer type whose value fits.
  Result<std::uint64_t> get_unsigned(std::string_view key) const;
  Result<std::int64_t> get_integer(std::string_view key) const;
  // float32, float64 or any integer type.
  Result<double> get_number(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;  // into the file
  // Arrays of any integer type, of any number type, of strings.
  Result<std::vector<std::int64_t>> get_integers(std::string_view key) const;
  Result<std::vector<double>> get_numbers(std::string_view key) const;
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;  // into the file

  const std::map<std::string, GgufTensor, std::less<>>& tensors() const noexcept;
  Result<GgufTensor> find(std::string_view name) const;
  // As find(), and invalid_argument unless the shape is `shape` (slowest first), not_supported
  // unless can_dequantize().
  Result<GgufTensor> find(std::string_view name, std::span<const std::size_t> shape) const;
  // The whole tensor in fp32.
  Result<std::vector<float>> read_float(std::string_view name,
                                        std::span<const std::size_t> shape) const;

 private:
  struct Impl;
  explicit GgufFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::core
