#include "collegium/core/file_envelope.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "collegium/core/bytes.h"
#include "io/in_quotes.h"
#include "io/mapped_envelope.h"

namespace collegium::core {
namespace {

// Byte 0  char magic[8]       "CLGMFILE"
//      8  u32 version         of the envelope
//     12  char kind[8]        padded with zeros
//     20  u32 kind version
//     24  u64 payload length
//     32  u64 XXH3-64 of bytes 0 to 32
//     40  payload
//   then  u64 XXH3-64 of the payload, and the file ends
// Bytes 0 to 12 and 32 to 40 keep their meaning in every version, so that an old build can tell a
// newer file from a damaged one.
constexpr std::string_view kMagic = "CLGMFILE";
constexpr std::uint32_t kEnvelopeVersion = 1;
constexpr std::size_t kKindBytes = 8;
constexpr std::size_t kHeaderBytes = 32;
constexpr std::size_t kPayloadBegin = kEnvelopePayloadBegin;
constexpr std::size_t kTrailerBytes = 8;

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

// Closes at the end of the scope; close() earlier tells whether that failed.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() { static_cast<void>(close()); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }
  bool ok() const { return descriptor_ >= 0; }
  bool close() {
    const int descriptor = std::exchange(descriptor_, -1);
    return descriptor < 0 || ::close(descriptor) == 0;
  }

 private:
  int descriptor_;
};

Status check_kind(const FileKind& kind) {
  const bool printable =
      std::all_of(kind.name.begin(), kind.name.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (kind.name.empty() || kind.name.size() > kKindBytes || !printable)
    return Status::invalid_argument("file kind " + in_quotes(kind.name) +
                                    " must be 1 to 8 printable ASCII characters");
  if (kind.version == 0)
    return Status::invalid_argument("file kind " + in_quotes(kind.name) + ": versions begin at 1");
  return {};
}

// Everything or an errno.
int write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return 0;
}

int write_temporary(const std::string& temporary, std::span<const std::byte> header,
                    std::span<const std::byte> payload, std::span<const std::byte> trailer) {
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file.ok()) return errno;
  for (const auto part : {header, payload, trailer})
    if (const int error = write_all(file.get(), part); error != 0) return error;
  if (::fsync(file.get()) != 0) return errno;
  return file.close() ? 0 : errno;
}

Status read_all(int descriptor, std::span<std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::read(descriptor, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      return Status::from_errno(errno, path);
    }
    if (count == 0) return Status::corruption(path + ": shrank while it was read");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Status check_size(std::uint64_t size, const std::string& path) {
  if (size < kPayloadBegin + kTrailerBytes)
    return Status::corruption(path + ": has " + std::to_string(size) +
                              " bytes, the smallest file of ours has " +
                              std::to_string(kPayloadBegin + kTrailerBytes));
  return {};
}

// What a file of `size` bytes begins with; the payload's length.
struct Header {
  std::uint32_t version = 0;
  std::uint64_t payload_bytes = 0;
};

Result<Header> parse_header(std::span<const std::byte, kPayloadBegin> head, std::uint64_t size,
                            const std::string& path, const FileKind& kind) {
  if (std::memcmp(head.data(), kMagic.data(), kMagic.size()) != 0)
    return Status::corruption(path + ": does not begin with '" + std::string(kMagic) + "'");

  std::uint32_t envelope_version, kind_version;
  std::uint64_t payload_bytes, head_checksum;
  std::memcpy(&envelope_version, head.data() + 8, sizeof envelope_version);
  std::memcpy(&kind_version, head.data() + 20, sizeof kind_version);
  std::memcpy(&payload_bytes, head.data() + 24, sizeof payload_bytes);
  std::memcpy(&head_checksum, head.data() + 32, sizeof head_checksum);
  if (head_checksum != checksum(head.first(kHeaderBytes)))
    return Status::corruption(path + ": the header's checksum does not match");
  if (envelope_version != kEnvelopeVersion)
    return Status::not_supported(path + ": has envelope version " +
                                 std::to_string(envelope_version) + ", this build reads up to " +
                                 std::to_string(kEnvelopeVersion));

  const std::string_view padded(reinterpret_cast<const char*>(head.data()) + 12, kKindBytes);
  const std::string_view name = padded.substr(0, padded.find('\0'));
  if (name != kind.name)
    return Status::corruption(path + ": is a file of kind " + in_quotes(name) + ", not " +
                              in_quotes(kind.name));
  if (kind_version > kind.version)
    return Status::not_supported(path + ": has " + std::string(kind.name) + " version " +
                                 std::to_string(kind_version) + ", this build reads up to " +
                                 std::to_string(kind.version));
  if (payload_bytes != size - kPayloadBegin - kTrailerBytes)
    return Status::corruption(path + ": has " + std::to_string(size) + " bytes, its header says " +
                              std::to_string(payload_bytes) + " of payload and " +
                              std::to_string(kPayloadBegin + kTrailerBytes) + " around it");
  return Header{kind_version, payload_bytes};
}

}  // namespace

Status write_file_envelope(const std::string& path, const FileKind& kind,
                           std::span<const std::byte> payload) {
  COLLEGIUM_RETURN_IF_ERROR(check_kind(kind));
  ByteWriter header;
  header.write_bytes(std::as_bytes(std::span(kMagic)));
  header.write(kEnvelopeVersion);
  std::array<char, kKindBytes> name{};
  std::copy(kind.name.begin(), kind.name.end(), name.begin());
  header.write_bytes(std::as_bytes(std::span(name)));
  header.write(kind.version);
  header.write<std::uint64_t>(payload.size());
  header.write(checksum(header.bytes()));
  const std::uint64_t trailer = checksum(payload);

  // The folder first: if it cannot be opened, nothing has happened yet.
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor folder_descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_descriptor.ok()) return Status::from_errno(errno, folder);

  static std::atomic<std::uint64_t> counter{0};
  const std::string temporary = path + "." + std::to_string(::getpid()) + "-" +
                                std::to_string(counter.fetch_add(1)) +
                                std::string(kTemporarySuffix);
  int error =
      write_temporary(temporary, header.bytes(), payload, std::as_bytes(std::span(&trailer, 1)));
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    if (error != EEXIST) ::unlink(temporary.c_str());
    return Status::from_errno(error, path);
  }
  if (::fsync(folder_descriptor.get()) != 0) return Status::from_errno(errno, folder);
  return {};
}

Result<FileEnvelope> read_file_envelope(const std::string& path, const FileKind& kind) {
  COLLEGIUM_RETURN_IF_ERROR(check_kind(kind));
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.ok()) return Status::from_errno(errno, path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return Status::from_errno(errno, path);
  if (!S_ISREG(info.st_mode)) return Status::io_error(path + ": is not a regular file");
  const auto size = static_cast<std::uint64_t>(info.st_size);

  COLLEGIUM_RETURN_IF_ERROR(check_size(size, path));
  std::array<std::byte, kPayloadBegin> head{};
  COLLEGIUM_RETURN_IF_ERROR(read_all(file.get(), head, path));
  COLLEGIUM_ASSIGN_OR_RETURN(const Header header, parse_header(head, size, path, kind));

  FileEnvelope envelope;
  envelope.version = header.version;
  try {
    envelope.payload.resize(header.payload_bytes);
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted(path + ": no memory for " +
                                      std::to_string(header.payload_bytes) + " bytes");
  }
  COLLEGIUM_RETURN_IF_ERROR(read_all(file.get(), envelope.payload, path));
  std::uint64_t payload_checksum = 0;
  COLLEGIUM_RETURN_IF_ERROR(
      read_all(file.get(), std::as_writable_bytes(std::span(&payload_checksum, 1)), path));
  if (payload_checksum != checksum(envelope.payload))
    return Status::corruption(path + ": the payload's checksum does not match");
  return envelope;
}

Result<MappedEnvelope> map_file_envelope(const std::string& path, const FileKind& kind) {
  COLLEGIUM_RETURN_IF_ERROR(check_kind(kind));
  COLLEGIUM_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  COLLEGIUM_RETURN_IF_ERROR(check_size(bytes.size(), path));
  COLLEGIUM_ASSIGN_OR_RETURN(const Header header,
                             parse_header(bytes.first<kPayloadBegin>(), bytes.size(), path, kind));
  const auto payload = bytes.subspan(kPayloadBegin, static_cast<std::size_t>(header.payload_bytes));
  std::uint64_t payload_checksum = 0;
  std::memcpy(&payload_checksum, payload.data() + payload.size(), sizeof payload_checksum);
  if (payload_checksum != checksum(payload))
    return Status::corruption(path + ": the payload's checksum does not match");
  return MappedEnvelope{std::move(file), header.version, payload};
}

struct Digest::State {
  XXH3_state_t* xxh = XXH3_createState();
  State() {
    if (xxh == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Digest::Digest() : state_(std::make_unique<State>()) {}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

std::string Digest::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  std::string hex;
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const unsigned char byte : canonical.digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string digest_hex(std::span<const std::byte> bytes) {
  Digest digest;
  digest.update(bytes);
  return digest.hex();
}

}  // namespace collegium::core
