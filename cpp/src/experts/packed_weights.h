#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "io/mapped_envelope.h"

namespace collegium::core {

// A trunk's weights as the kernels want them: what `collegium convert` writes, to be mapped.
// File kind "encoder", version 1, in the envelope; little-endian:
//   string digest      of the weights as the checkpoint had them
//   u8 published       NomicBERT in its makers' naming
//   u32 arrays; for each: string name, u64 numbers, u64 begin (bytes from the file's first)
//   the arrays, f32, each at a multiple of 64 bytes from the file's first; zeros between
// Strings as in bytes.h. A checkpoint's array is named as Trunk::visit_arrays names it.
class PackedWeightsWriter {
 public:
  PackedWeightsWriter(std::string digest, bool published)
      : digest_(std::move(digest)), published_(published) {}
  // `numbers` must live until write().
  void add(std::string name, std::span<const float> numbers);
  // The errors of write_file_envelope().
  Status write(const std::string& path) const;

 private:
  struct Array {
    std::string name;
    std::span<const float> numbers;
  };
  ByteWriter header(std::uint64_t begin) const;
  std::string digest_;
  bool published_;
  std::vector<Array> arrays_;
};

class PackedWeights {
 public:
  // not_found, corruption (damage of any kind: checksums, bounds, alignment), not_supported
  // (newer).
  static Result<PackedWeights> open(const std::string& path);

  const std::string& digest() const noexcept { return digest_; }
  bool published() const noexcept { return published_; }
  // The next array, which must have that name, and count, else corruption. The numbers
  // live as long as the file.
  Result<std::span<const float>> take(const std::string& name, std::size_t count);
  Status check_all_taken() const;
  MappedFile file() && { return std::move(envelope_.file); }

 private:
  struct Array {
    std::string name;
    std::span<const float> numbers;
  };
  explicit PackedWeights(MappedEnvelope envelope) : envelope_(std::move(envelope)) {}
  MappedEnvelope envelope_;
  std::string digest_;
  bool published_ = false;
  std::vector<Array> arrays_;
  std::size_t taken_ = 0;
};

}  // namespace collegium::core
