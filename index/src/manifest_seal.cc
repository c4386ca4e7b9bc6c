#include "manifest_seal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

namespace collegium::index {
namespace {

constexpr std::string_view kPrefix = "MANIFEST-";

// A file open for reading.
class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), error_(errno) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool missing() const { return descriptor_ < 0 && error_ == ENOENT; }
  Status opened() const { return descriptor_ >= 0 ? Status() : Status::from_errno(error_, path_); }
  Result<std::uint64_t> size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) return Status::from_errno(errno, path_);
    return static_cast<std::uint64_t>(status.st_size);
  }
  Status sync() const {
    return ::fdatasync(descriptor_) == 0 ? Status() : Status::from_errno(errno, path_);
  }
  // Up to `size` bytes from where the last read ended; fewer only at the end.
  Result<std::size_t> read(char* bytes, std::size_t size) const {
    std::size_t done = 0;
    while (done < size) {
      const ssize_t count = ::read(descriptor_, bytes + done, size - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Status::from_errno(errno, path_);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

 private:
  const std::string path_;
  const int descriptor_;
  const int error_;
};

std::string manifest_path(const std::string& folder, std::uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, digits.size() < 6 ? 6 - digits.size() : 0, '0');
  return folder + "/" + std::string(kPrefix) + digits;
}

// The number of the MANIFEST that CURRENT names.
Result<std::uint64_t> current_number(const std::string& folder) {
  const File file(folder + "/CURRENT");
  if (file.missing()) return Status::corruption("store " + folder + ": CURRENT is missing");
  COLLEGIUM_RETURN_IF_ERROR(file.opened());
  char bytes[64];
  COLLEGIUM_ASSIGN_OR_RETURN(const std::size_t size, file.read(bytes, sizeof(bytes)));
  std::string_view name(bytes, size);
  std::uint64_t number = 0;
  if (name.starts_with(kPrefix) && name.ends_with('\n')) {
    name = name.substr(kPrefix.size(), name.size() - kPrefix.size() - 1);
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size()) number = 0;
  }
  if (number == 0) return Status::corruption("store " + folder + ": CURRENT is malformed");
  return number;
}

// Of the first `size` bytes; corruption when the file is shorter.
Result<std::uint64_t> digest_of(const File& file, std::uint64_t size, const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t there, file.size());
  if (there < size)
    return Status::corruption(path + " has " + std::to_string(there) + " bytes, but " +
                              std::to_string(size) + " were acknowledged: data is lost");
  std::vector<char> bytes(size);  // about max_manifest_file_size
  COLLEGIUM_ASSIGN_OR_RETURN(const std::size_t got, file.read(bytes.data(), size));
  return XXH3_64bits(bytes.data(), got);
}

}  // namespace

Result<ManifestSeal> seal_manifest(const std::string& folder, const ManifestSeal& previous) {
  // RocksDB may start a new file between the look at CURRENT and the opening.
  for (int attempt = 0;; ++attempt) {
    ManifestSeal seal;
    COLLEGIUM_ASSIGN_OR_RETURN(seal.number, current_number(folder));
    const std::string path = manifest_path(folder, seal.number);
    const File file(path);
    if (file.missing() && attempt < 3) continue;
    COLLEGIUM_RETURN_IF_ERROR(file.opened());
    COLLEGIUM_ASSIGN_OR_RETURN(seal.size, file.size());
    if (seal.number == previous.number && seal.size == previous.size) return previous;
    COLLEGIUM_RETURN_IF_ERROR(file.sync());
    COLLEGIUM_ASSIGN_OR_RETURN(seal.digest, digest_of(file, seal.size, path));
    return seal;
  }
}

Result<ManifestSeal> look_at_manifest(const std::string& folder) {
  ManifestSeal seal;
  COLLEGIUM_ASSIGN_OR_RETURN(seal.number, current_number(folder));
  const File file(manifest_path(folder, seal.number));
  COLLEGIUM_RETURN_IF_ERROR(file.opened());
  COLLEGIUM_ASSIGN_OR_RETURN(seal.size, file.size());
  return seal;
}

Status check_manifest(const std::string& folder, const ManifestSeal& seal) {
  if (seal.number == 0) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t number, current_number(folder));
  // A process that was killed right after RocksDB opened the store could not seal the new file.
  if (number > seal.number) return {};
  const std::string path = manifest_path(folder, seal.number);
  if (number < seal.number)
    return Status::corruption("store " + folder + ": CURRENT names MANIFEST " +
                              std::to_string(number) + ", but " + std::to_string(seal.number) +
                              " was acknowledged: data is lost");
  const File file(path);
  if (file.missing()) return Status::corruption(path + " is missing");
  COLLEGIUM_RETURN_IF_ERROR(file.opened());
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t digest, digest_of(file, seal.size, path));
  return digest == seal.digest ? Status() : Status::corruption(path + ": a byte has changed");
}

}  // namespace collegium::index
