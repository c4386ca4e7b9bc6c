#include "file_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

namespace collegium::index {
namespace {

constexpr std::size_t kBufferBytes = 1 << 18;

Status write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, path);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace

Status sync_folder(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return Status::from_errno(errno, path);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return error == 0 ? Status() : Status::from_errno(error, path);
}

Status make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Status::from_errno(errno, path);
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return sync_folder(parent.empty() ? "." : parent.string());
}

Status check_empty(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr)
    return errno == ENOENT    ? Status()
           : errno == ENOTDIR ? Status::already_exists(path + " is not a folder")
                              : Status::from_errno(errno, path);
  std::size_t entries = 0;
  while (::readdir(folder) != nullptr) ++entries;
  ::closedir(folder);
  return entries <= 2 ? Status() : Status::already_exists(path + " is not empty");
}

Result<std::unique_ptr<FileWriter>> FileWriter::create(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0)
    return errno == EEXIST ? Status::already_exists(path) : Status::from_errno(errno, path);
  return std::unique_ptr<FileWriter>(new FileWriter(path, descriptor));
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status FileWriter::write(std::string_view bytes) {
  buffer_.append(bytes);
  if (buffer_.size() < kBufferBytes) return {};
  const std::string full = std::exchange(buffer_, {});
  return write_all(descriptor_, full, path_);
}

Status FileWriter::close() {
  COLLEGIUM_RETURN_IF_ERROR(write_all(descriptor_, std::exchange(buffer_, {}), path_));
  if (::fsync(descriptor_) != 0) return Status::from_errno(errno, path_);
  return ::close(std::exchange(descriptor_, -1)) == 0 ? Status() : Status::from_errno(errno, path_);
}

Status copy_file(const std::string& from, const std::string& to, std::uint64_t size) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto file, FileWriter::create(to));
  const int source = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (source < 0) return Status::from_errno(errno, from);
  const auto copy = [&]() -> Status {
    std::vector<char> buffer(kBufferBytes);
    while (size > 0) {
      const ssize_t count =
          ::read(source, buffer.data(), std::min<std::uint64_t>(size, buffer.size()));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Status::from_errno(errno, from);
      if (count == 0)
        return Status::corruption(from + " lacks its last " + std::to_string(size) + " bytes");
      COLLEGIUM_RETURN_IF_ERROR(
          file->write(std::string_view(buffer.data(), static_cast<std::size_t>(count))));
      size -= static_cast<std::uint64_t>(count);
    }
    return file->close();
  };
  const Status status = copy();
  ::close(source);
  return status;
}

}  // namespace collegium::index
