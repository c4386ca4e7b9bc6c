#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "collegium/core/status.h"

namespace collegium::index {

// The last acknowledged commit_seq, kept durable outside RocksDB, because RocksDB cannot tell a
// write that was torn before it was acknowledged from one that was damaged after. A store that
// comes back behind its marker has lost acknowledged data.
//
// COMMITTED, little-endian, two slots of 32 bytes; commit n is written to slot n % 2, so that a
// torn write leaves the other whole:
//   char magic[8] "CLGMSEQ1", u64 commit_seq, u64 0, u64 XXH3-64 of the 24 bytes before
class CommitMarker {
 public:
  // Whole and durable, at commit_seq. already_exists, resource_exhausted, io_error.
  static Result<std::unique_ptr<CommitMarker>> create(const std::string& folder,
                                                      std::uint64_t commit_seq);
  // not_found; corruption if no slot is whole.
  static Result<std::unique_ptr<CommitMarker>> open(const std::string& folder);
  ~CommitMarker();
  CommitMarker(const CommitMarker&) = delete;
  CommitMarker& operator=(const CommitMarker&) = delete;

  std::uint64_t commit_seq() const noexcept { return commit_seq_; }
  // Durable when it returns ok. The file does not grow: a full disk does not stop it.
  Status advance(std::uint64_t commit_seq);

 private:
  CommitMarker(std::string path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
  std::uint64_t commit_seq_ = 0;
};

}  // namespace collegium::index
