#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

// Everything we persist outside the store is one payload in this envelope (docs/formats.md):
//   magic "CLGMFILE", u32 envelope version, char kind[8], u32 kind version, u64 payload length,
//   u64 XXH3-64 of the header before it, payload, u64 XXH3-64 of the payload; little-endian.
// A reader believes nothing before the header's checksum matches, and hands out nothing before the
// payload's does. Write payloads with bytes.h.

struct FileKind {
  std::string_view name;  // at most 8 ASCII characters: "adapter", "router", "gate", "index"
  std::uint32_t version;  // from 1; what this build writes and the newest it reads
};

// Writes to `path` + a suffix that ends in kTemporarySuffix, fsyncs, renames over `path`, fsyncs
// the folder. On failure `path` is as before and no temporary file stays (only if the last fsync
// fails has `path` its new content, not known to survive a power cut). A killed process can leave
// the temporary file; who owns the folder may delete it. invalid_argument for a malformed kind,
// not_found for a missing folder, resource_exhausted when the disk is full, io_error.
inline constexpr std::string_view kTemporarySuffix = ".clgm-tmp";
COLLEGIUM_API Status write_file_envelope(const std::string& path, const FileKind& kind,
                                         std::span<const std::byte> payload);

struct FileEnvelope {
  std::uint32_t version = 0;  // the kind version found, <= FileKind::version
  std::vector<std::byte> payload;
};

// not_found; io_error; corruption if magic, kind, length or a checksum is wrong; not_supported if
// the file is newer than `kind.version`. Never allocates more than the file's own size.
COLLEGIUM_API Result<FileEnvelope> read_file_envelope(const std::string& path,
                                                      const FileKind& kind);

// 32 lower-case hex digits of XXH3-128: how learned files and encoders are named. It guards
// against mistakes and damage, not against an adversary.
COLLEGIUM_API std::string digest_hex(std::span<const std::byte> bytes);

// digest_hex of all bytes given to update(), in order, however they were cut.
class COLLEGIUM_API Digest {
 public:
  Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();
  void update(std::span<const std::byte> bytes);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace collegium::core
