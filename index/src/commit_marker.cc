#include "commit_marker.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace collegium::index {
namespace {

constexpr std::size_t kSlotBytes = 64;
constexpr char kMagic[] = "CLGMSEQ1";
using Slot = std::array<char, kSlotBytes>;

Slot make_slot(std::uint64_t write, std::uint64_t commit_seq, const ManifestSeal& manifest) {
  Slot slot{};
  const std::uint64_t fields[] = {write, commit_seq, manifest.number, manifest.size,
                                  manifest.digest};
  std::memcpy(slot.data(), kMagic, 8);
  std::memcpy(slot.data() + 8, fields, sizeof(fields));
  const std::uint64_t checksum = XXH3_64bits(slot.data(), kSlotBytes - 8);
  std::memcpy(slot.data() + kSlotBytes - 8, &checksum, 8);
  return slot;
}

std::string file_in(const std::string& folder) { return folder + "/COMMITTED"; }

}  // namespace

Result<std::unique_ptr<CommitMarker>> CommitMarker::create(const std::string& folder,
                                                           std::uint64_t commit_seq,
                                                           const ManifestSeal& manifest) {
  // Both slots are there from the start; the file gets its name when it is whole.
  const std::string path = file_in(folder);
  const std::string temporary = path + ".clgm-tmp";
  if (::access(path.c_str(), F_OK) == 0) return Status::already_exists(path);
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) return Status::from_errno(errno, temporary);
  std::unique_ptr<CommitMarker> marker(new CommitMarker(path, descriptor));
  const Slot slot = make_slot(0, commit_seq, manifest);
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
  marker->manifest_ = manifest;
  return marker;
}

Result<std::unique_ptr<CommitMarker>> CommitMarker::open(const std::string& folder) {
  return open_with(folder, O_RDWR);
}

Result<std::unique_ptr<CommitMarker>> CommitMarker::open_read_only(const std::string& folder) {
  return open_with(folder, O_RDONLY);
}

Result<std::unique_ptr<CommitMarker>> CommitMarker::open_with(const std::string& folder,
                                                              int flags) {
  const std::string path = file_in(folder);
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) return Status::from_errno(errno, path);
  std::unique_ptr<CommitMarker> marker(new CommitMarker(path, descriptor));
  bool whole = false;
  for (const std::size_t parity : {0u, 1u}) {
    Slot slot{};
    const ssize_t count =
        ::pread(descriptor, slot.data(), kSlotBytes, static_cast<off_t>(parity * kSlotBytes));
    if (count < 0) return Status::from_errno(errno, path);
    std::uint64_t fields[5];
    std::memcpy(fields, slot.data() + 8, sizeof(fields));
    const ManifestSeal manifest{fields[2], fields[3], fields[4]};
    if (count != static_cast<ssize_t>(kSlotBytes) ||
        slot != make_slot(fields[0], fields[1], manifest) || (whole && fields[0] < marker->write_))
      continue;
    whole = true;
    marker->write_ = fields[0];
    marker->commit_seq_ = fields[1];
    marker->manifest_ = manifest;
  }
  if (!whole) return Status::corruption(path + ": neither of its two slots is whole");
  return marker;
}

CommitMarker::~CommitMarker() { ::close(descriptor_); }

Status CommitMarker::advance(std::uint64_t commit_seq, const ManifestSeal& manifest) {
  const Slot slot = make_slot(write_ + 1, commit_seq, manifest);
  const auto offset = static_cast<off_t>((write_ + 1) % 2 * kSlotBytes);
  const ssize_t count = ::pwrite(descriptor_, slot.data(), kSlotBytes, offset);
  if (count != static_cast<ssize_t>(kSlotBytes))
    return Status::from_errno(count < 0 ? errno : EIO, path_);
  if (::fdatasync(descriptor_) != 0) return Status::from_errno(errno, path_);
  ++write_;
  commit_seq_ = commit_seq;
  manifest_ = manifest;
  return {};
}

}  // namespace collegium::index
