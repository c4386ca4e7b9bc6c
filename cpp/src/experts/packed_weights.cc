#include "experts/packed_weights.h"

#include <utility>

#include "io/in_quotes.h"

namespace collegium::core {
namespace {

constexpr FileKind kPackedKind{"encoder", 2};
constexpr std::uint64_t kAlignment = 64;

std::size_t width_of(PackedType type) {
  if (type == PackedType::kI8) return 1;
  return type == PackedType::kBf16 ? 2 : 4;
}

std::uint64_t aligned(std::uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

// With the first array at `begin`; as long whatever that is.
ByteWriter PackedWeightsWriter::header(std::uint64_t begin) const {
  ByteWriter out;
  out.write_string(digest_);
  out.write<std::uint8_t>(published_ ? 1 : 0);
  out.write(static_cast<std::uint32_t>(num_heads_));
  out.write(static_cast<std::uint32_t>(arrays_.size()));
  for (const PackedArray& array : arrays_) {
    out.write_string(array.name);
    out.write(static_cast<std::uint8_t>(array.type));
    out.write(array.count);
    out.write(begin);
    begin = aligned(begin + array.bytes.size());
  }
  return out;
}

Status PackedWeightsWriter::write(const std::string& path) const {
  const std::uint64_t begin = aligned(kEnvelopePayloadBegin + header(0).bytes().size());
  ByteWriter payload = header(begin);
  constexpr std::byte kZeros[kAlignment] = {};
  for (const PackedArray& array : arrays_) {
    const std::uint64_t at = kEnvelopePayloadBegin + payload.bytes().size();
    payload.write_bytes(std::span(kZeros).first(aligned(at) - at));
    payload.write_bytes(array.bytes);
  }
  return write_file_envelope(path, kPackedKind, payload.bytes());
}

Result<PackedWeights> PackedWeights::open(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(MappedEnvelope envelope, map_file_envelope(path, kPackedKind));
  PackedWeights packed(std::move(envelope));
  const auto damaged = [&](const std::string& what) {
    return Status::corruption(path + ": " + what);
  };
  ByteReader in(packed.envelope_.payload);
  std::uint8_t published = 0;
  std::uint32_t count = 0;
  if (!in.read_string(packed.digest_) || !in.read(published) || !in.read(packed.num_heads_) ||
      !in.read(count)) {
    return damaged("its list of arrays is cut off");
  }
  packed.published_ = published != 0;
  const std::span<const std::byte> bytes = packed.envelope_.file.bytes();
  for (std::uint32_t i = 0; i < count; ++i) {
    PackedArray array;
    std::uint8_t type = 0;
    std::uint64_t begin = 0;
    if (!in.read_string(array.name) || !in.read(type) || !in.read(array.count) || !in.read(begin)) {
      return damaged("its list of arrays is cut off");
    }
    if (type > static_cast<std::uint8_t>(PackedType::kBf16)) {
      return damaged("array " + in_quotes(array.name) + " has the type " + std::to_string(type));
    }
    array.type = static_cast<PackedType>(type);
    const std::size_t width = width_of(array.type);
    if (begin % kAlignment != 0 || begin > bytes.size() ||
        array.count > (bytes.size() - begin) / width) {
      return damaged("array " + in_quotes(array.name) + " of " + std::to_string(array.count) +
                     " numbers does not lie at byte " + std::to_string(begin));
    }
    array.bytes = bytes.subspan(begin, array.count * width);
    packed.arrays_.push_back(std::move(array));
  }
  return packed;
}

Result<std::span<const std::byte>> PackedWeights::take(const std::string& name, PackedType type,
                                                       std::size_t count) {
  if (taken_ == arrays_.size()) {
    return Status::corruption(path() + ": has no array " + in_quotes(name));
  }
  const PackedArray& array = arrays_[taken_++];
  if (array.name != name || array.count != count || array.type != type) {
    return Status::corruption(path() + ": has " + std::to_string(array.count) + " numbers " +
                              in_quotes(array.name) + " where this config.json wants " +
                              std::to_string(count) + " " + in_quotes(name));
  }
  return array.bytes;
}

Status PackedWeights::check_all_taken() const {
  if (taken_ == arrays_.size()) return {};
  return Status::corruption(envelope_.file.path() + ": array " + in_quotes(arrays_[taken_].name) +
                            " is none of this config.json");
}

}  // namespace collegium::core
