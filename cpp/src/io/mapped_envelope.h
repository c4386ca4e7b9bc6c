#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "collegium/core/file_envelope.h"
#include "collegium/core/status.h"
#include "io/mapped_file.h"

namespace collegium::core {

// Where in a file of ours the payload begins.
inline constexpr std::size_t kEnvelopePayloadBegin = 40;

// A file in our envelope, mapped and verified: what read_file_envelope() gives, without a copy.
struct MappedEnvelope {
  MappedFile file;
  std::uint32_t version = 0;
  std::span<const std::byte> payload;  // into the file
};

// The errors of read_file_envelope().
Result<MappedEnvelope> map_file_envelope(const std::string& path, const FileKind& kind);

}  // namespace collegium::core
