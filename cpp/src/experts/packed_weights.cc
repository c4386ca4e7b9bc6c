#include "experts/packed_weights.h"

#include <utility>

#include "io/in_quotes.h"

namespace collegium::core {
namespace {

constexpr FileKind kPackedKind{"encoder", 1};
constexpr std::uint64_t kAlignment = 64;

std::uint64_t aligned(std::uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void PackedWeightsWriter::add(std::string name, std::span<const float> numbers) {
  arrays_.push_back({std::move(name), numbers});
}

// With the first array at `begin`; as long whatever that is.
ByteWriter PackedWeightsWriter::header(std::uint64_t begin) const {
  ByteWriter out;
  out.write_string(digest_);
  out.write<std::uint8_t>(published_ ? 1 : 0);
  out.write(static_cast<std::uint32_t>(arrays_.size()));
  for (const Array& array : arrays_) {
    out.write_string(array.name);
    out.write<std::uint64_t>(array.numbers.size());
    out.write(begin);
    begin = aligned(begin + array.numbers.size_bytes());
  }
  return out;
}

Status PackedWeightsWriter::write(const std::string& path) const {
  const std::uint64_t begin = aligned(kEnvelopePayloadBegin + header(0).bytes().size());
  ByteWriter payload = header(begin);
  constexpr std::byte kZeros[kAlignment] = {};
  for (const Array& array : arrays_) {
    const std::uint64_t at = kEnvelopePayloadBegin + payload.bytes().size();
    payload.write_bytes(std::span(kZeros).first(aligned(at) - at));
    payload.write_numbers(array.numbers);
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
  if (!in.read_string(packed.digest_) || !in.read(published) || !in.read(count)) {
    return damaged("its list of arrays is cut off");
  }
  packed.published_ = published != 0;
  const std::span<const std::byte> bytes = packed.envelope_.file.bytes();
  for (std::uint32_t i = 0; i < count; ++i) {
    Array array;
    std::uint64_t numbers = 0, begin = 0;
    if (!in.read_string(array.name) || !in.read(numbers) || !in.read(begin)) {
      return damaged("its list of arrays is cut off");
    }
    if (begin % kAlignment != 0 || begin > bytes.size() ||
        numbers > (bytes.size() - begin) / sizeof(float)) {
      return damaged("array " + in_quotes(array.name) + " of " + std::to_string(numbers) +
                     " numbers does not lie at byte " + std::to_string(begin));
    }
    array.numbers = {reinterpret_cast<const float*>(bytes.data() + begin),
                     static_cast<std::size_t>(numbers)};
    packed.arrays_.push_back(std::move(array));
  }
  return packed;
}

Result<std::span<const float>> PackedWeights::take(const std::string& name, std::size_t count) {
  const std::string& path = envelope_.file.path();
  if (taken_ == arrays_.size()) {
    return Status::corruption(path + ": has no array " + in_quotes(name));
  }
  const Array& array = arrays_[taken_++];
  if (array.name != name || array.numbers.size() != count) {
    return Status::corruption(path + ": has " + std::to_string(array.numbers.size()) + " numbers " +
                              in_quotes(array.name) + " where this config.json wants " +
                              std::to_string(count) + " " + in_quotes(name));
  }
  return array.numbers;
}

Status PackedWeights::check_all_taken() const {
  if (taken_ == arrays_.size()) return {};
  return Status::corruption(envelope_.file.path() + ": array " + in_quotes(arrays_[taken_].name) +
                            " is none of this config.json");
}

}  // namespace collegium::core
