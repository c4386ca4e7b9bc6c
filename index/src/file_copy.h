#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "collegium/core/status.h"

namespace collegium::index {

// Its owner's alone, and known to its parent. One that is there already keeps what it has.
Status make_folder(const std::string& path);
Status sync_folder(const std::string& path);
// already_exists unless `path` is missing or an empty folder.
Status check_empty(const std::string& path);

// A new file that gets its bytes from beginning to end, readable by its owner alone.
class FileWriter {
 public:
  // already_exists; not_found (the folder), resource_exhausted, io_error.
  static Result<std::unique_ptr<FileWriter>> create(const std::string& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  Status write(std::string_view bytes);
  Status close();  // synced when it returns ok

 private:
  FileWriter(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  const std::string path_;
  int descriptor_;
  std::string buffer_;
};

// The first `size` bytes of `from`, synced; corruption when there are fewer.
Status copy_file(const std::string& from, const std::string& to, std::uint64_t size);

}  // namespace collegium::index
