#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "collegium/core/status.h"

namespace collegium::core {

// A whole regular file mapped read-only. Movable; unmapped at the end. Renaming another file over
// it or deleting it does no harm; truncating it while mapped ends the process (SIGBUS), as with
// every mapping.
class MappedFile {
 public:
  // not_found, io_error (also for a folder or a device).
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  const std::string& path() const noexcept { return path_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes);
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace collegium::core
