#include "lm/packed_model.h"

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "collegium/core/bytes.h"
#include "io/mapped_envelope.h"

namespace collegium::core {
namespace {

constexpr FileKind kKind = {"lmpacked", 1};
constexpr std::size_t kAlignment = 64;

// Where what comes behind `end` begins, both from the file's first byte.
std::size_t aligned(std::size_t end) { return (end + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Status write_packed_model(const std::string& path, const std::string& digest,
                          const DecoderWeights& weights) {
  const auto linears = weights.packed_linears();
  constexpr std::size_t kEntryBytes = sizeof(std::uint32_t) + 3 * sizeof(std::uint64_t);
  std::size_t end = kEnvelopePayloadBegin + sizeof(std::uint64_t) + digest.size() +
                    sizeof(std::uint32_t) + linears.size() * kEntryBytes;
  ByteWriter payload;
  payload.write_string(digest);
  payload.write(static_cast<std::uint32_t>(linears.size()));
  for (const QuantizedLinear* linear : linears) {
    payload.write(static_cast<std::uint32_t>(linear->packed_type()));
    payload.write<std::uint64_t>(linear->inputs());
    payload.write<std::uint64_t>(linear->outputs());
    payload.write<std::uint64_t>(aligned(end));
    end = aligned(end) + linear->packed().size();
  }
  for (const QuantizedLinear* linear : linears) {
    const std::size_t at = kEnvelopePayloadBegin + payload.bytes().size();
    payload.write_bytes(std::vector<std::byte>(aligned(at) - at));
    payload.write_bytes(linear->packed());
  }
  return write_file_envelope(path, kKind, payload.bytes());
}

Status use_packed_model(const std::string& path, const std::string& digest,
                        DecoderWeights& weights) {
  COLLEGIUM_ASSIGN_OR_RETURN(MappedEnvelope envelope, map_file_envelope(path, kKind));
  const auto damage = [&](const std::string& what) {
    return Status::corruption(path + ": " + what);
  };
  ByteReader reader(envelope.payload);
  std::string of;
  std::uint32_t count = 0;
  if (!reader.read_string(of) || !reader.read(count)) return damage("ends within its header");
  if (of != digest)
    return Status::invalid_argument(path + ": was packed from the model with the digest " + of +
                                    ", this one has " + digest);
  const std::span<const std::byte> file = envelope.file.bytes();
  const auto linears = weights.packed_linears();
  struct Panels {
    GgmlType type;
    std::span<const std::byte> bytes;
  };
  std::vector<Panels> panels;
  for (const QuantizedLinear* linear : linears) {
    std::uint32_t type = 0;
    std::uint64_t inputs = 0, outputs = 0, begin = 0;
    if (!reader.read(type) || !reader.read(inputs) || !reader.read(outputs) || !reader.read(begin))
      return damage("ends within its header");
    const auto packed_type = static_cast<GgmlType>(type);
    if (!linear->may_pack_as(packed_type) || inputs != linear->inputs() ||
        outputs != linear->outputs())
      return damage("product " + std::to_string(panels.size()) + " is of type " +
                    std::to_string(type) + " with " + std::to_string(inputs) + " inputs and " +
                    std::to_string(outputs) + " outputs, the model has type " +
                    std::to_string(static_cast<std::uint32_t>(linear->type())) + " with " +
                    std::to_string(linear->inputs()) + " and " + std::to_string(linear->outputs()));
    const std::size_t size = linear->packed_size(packed_type);
    const std::size_t end = kEnvelopePayloadBegin + envelope.payload.size();
    if (begin % kAlignment != 0 || begin < kEnvelopePayloadBegin || begin > end ||
        size > end - begin)
      return damage("product " + std::to_string(panels.size()) + " begins at byte " +
                    std::to_string(begin) + " and has " + std::to_string(size) +
                    ", which is not within the file");
    panels.push_back({packed_type, file.subspan(begin, size)});
  }
  if (panels.size() != count)
    return damage("has " + std::to_string(count) + " products, the model " +
                  std::to_string(panels.size()));
  const auto owner = std::make_shared<const MappedFile>(std::move(envelope.file));
  weights.packed_bytes = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    weights.packed_bytes += panels[i].bytes.size();
    linears[i]->use_packed(panels[i].type, panels[i].bytes, owner);
  }
  return {};
}

}  // namespace collegium::core
