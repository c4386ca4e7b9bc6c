#include "commit_marker.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace collegium::index {
namespace {

constexpr std::size_t kSlotBytes = 32;
constexpr char kMagic[] = "CLGMSEQ1";
using Slot = std::array<char, kSlotBytes>;

Slot make_slot(std::uint64_t commit_seq) {
  Slot slot{};
  std::memcpy(slot.data(), kMagic, 8);
  std::memcpy(slot.data() + 8, &commit_seq, 8);
  const std::uint64_t checksum = XXH3_64bits(slot.data(), 24);
  std::memcpy(slot.data() + 24, &checksum, 8);
  return slot;
}

std::string file_in(const std::string& folder) { return folder + "/COMMITTED"; }

}  // namespace

Result<std::unique_ptr<CommitMarker>> CommitMarker::create(const std::string& folder,
                                                           std::uint64_t commit_seq) {
  // Both slots are there from the start; the file gets its name when it is whole.
  const std::string path = file_in(folder);
  const std::string temporary = path + ".clgm-tmp";
  if (::access(path.c_str(), F_OK) == 0) return Status::already_exists(path);
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return Status::from_errno(errno, temporary);
  std::unique_ptr<CommitMarker> marker(new CommitMarker(path, descriptor));
  const Slot slot = make_slot(commit_seq);
  for (const off_t offset : {off_t{0}, static_cast<off_t>(kSlotBytes)})
    if (::pwrite(descriptor, slot.data(), kSlotBytes, offset) != static_cast<ssize_t>(kSlotBytes))
      return Status::from_errno(errno, temporary);
  if (::fsync(descriptor) != 0) return Status::from_errno(errno, temporary);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return Status::from_errno(errno, path);
  const int parent = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = parent >= 0 && ::fsync(parent) == 0;
  const int error = errno;
  if (parent >= 0) ::close(parent);
  if (!synced) return Status::from_errno(error, folder);
  marker->commit_seq_ = commit_seq;
  return marker;
}

Result<std::unique_ptr<CommitMarker>> CommitMarker::open(const std::string& folder) {
  const std::string path = file_in(folder);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return Status::from_errno(errno, path);
  std::unique_ptr<CommitMarker> marker(new CommitMarker(path, descriptor));
  bool whole = false;
  for (const std::size_t parity : {0u, 1u}) {
    Slot slot{};
    const ssize_t count =
        ::pread(descriptor, slot.data(), kSlotBytes, static_cast<off_t>(parity * kSlotBytes));
    if (count < 0) return Status::from_errno(errno, path);
    std::uint64_t commit_seq = 0;
    std::memcpy(&commit_seq, slot.data() + 8, 8);
    if (count != static_cast<ssize_t>(kSlotBytes) || slot != make_slot(commit_seq)) continue;
    whole = true;
    marker->commit_seq_ = std::max(marker->commit_seq_, commit_seq);
  }
  if (!whole) return Status::corruption(path + ": neither of its two slots is whole");
  return marker;
}

CommitMarker::~CommitMarker() { ::close(descriptor_); }

Status CommitMarker::advance(std::uint64_t commit_seq) {
  const Slot slot = make_slot(commit_seq);
  const auto offset = static_cast<off_t>(commit_seq % 2 * kSlotBytes);
  const ssize_t count = ::pwrite(descriptor_, slot.data(), kSlotBytes, offset);
  if (count != static_cast<ssize_t>(kSlotBytes))
    return Status::from_errno(count < 0 ? errno : EIO, path_);
  if (::fdatasync(descriptor_) != 0) return Status::from_errno(errno, path_);
  commit_seq_ = commit_seq;
  return {};
}

}  // namespace collegium::index
