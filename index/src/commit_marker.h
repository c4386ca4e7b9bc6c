#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "collegium/core/status.h"
#include "manifest_seal.h"

namespace collegium::index {

// The last acknowledged commit_seq and what the store's MANIFEST began with then, kept durable
// outside RocksDB, because RocksDB cannot tell a write that was torn before it was acknowledged
// from one that was damaged after. A store that comes back behind its marker has lost
// acknowledged data.
//
// COMMITTED, little-endian, two slots of 64 bytes; write n goes to slot n % 2, so that a torn one
// leaves the other whole:
//   char magic[8] "CLGMSEQ1", u64 write, u64 commit_seq, u64 MANIFEST number, u64 MANIFEST bytes,
//   u64 XXH3-64 of these bytes of it, u64 0, u64 XXH3-64 of the 56 bytes before
class CommitMarker {
 public:
  // Whole and durable. already_exists, resource_exhausted, io_error.
  static Result<std::unique_ptr<CommitMarker>> create(const std::string& folder,
                                                      std::uint64_t commit_seq,
                                                      const ManifestSeal& manifest);
  // not_found; corruption if no slot is whole.
  static Result<std::unique_ptr<CommitMarker>> open(const std::string& folder);
  // What it says, without holding it.
  static Result<std::unique_ptr<CommitMarker>> open_read_only(const std::string& folder);
  ~CommitMarker();
  CommitMarker(const CommitMarker&) = delete;
  CommitMarker& operator=(const CommitMarker&) = delete;

  std::uint64_t commit_seq() const noexcept { return commit_seq_; }
  const ManifestSeal& manifest() const noexcept { return manifest_; }
  // Durable when it returns ok. The file does not grow: a full disk does not stop it.
  Status advance(std::uint64_t commit_seq, const ManifestSeal& manifest);

 private:
  static Result<std::unique_ptr<CommitMarker>> open_with(const std::string& folder, int flags);
  CommitMarker(std::string path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
  std::uint64_t write_ = 0;
  std::uint64_t commit_seq_ = 0;
  ManifestSeal manifest_;
};

}  // namespace collegium::index
