#pragma once

#include <cstdint>
#include <string>

#include "collegium/core/status.h"

namespace collegium::index {

// What RocksDB's MANIFEST, the log that says which table files belong to the store, was known to
// begin with. RocksDB takes a MANIFEST whose end is missing, or whose last records cannot be
// reached because a bit of a length flipped, for one that was torn while it was written: it
// forgets the tables named there and deletes them. A MANIFEST only ever grows, and a new one gets
// a higher number, so its sealed beginning must be found again.
struct ManifestSeal {
  std::uint64_t number = 0;  // of the file; 0: nothing is sealed
  std::uint64_t size = 0;    // of the beginning, in bytes
  std::uint64_t digest = 0;  // XXH3-64 of them

  bool operator==(const ManifestSeal&) const = default;
};

// Seals what the store in `folder` has now, and makes it durable; `previous` spares reading what
// has not changed. Any thread, while RocksDB runs. corruption, io_error.
Result<ManifestSeal> seal_manifest(const std::string& folder, const ManifestSeal& previous);

// Number and size of the MANIFEST now, digest 0. As long as they stay the same the files that
// belong to the store do too: RocksDB removes none before it wrote so there. corruption, io_error.
Result<ManifestSeal> look_at_manifest(const std::string& folder);

// corruption when the sealed beginning is not there. Before RocksDB opens the folder.
Status check_manifest(const std::string& folder, const ManifestSeal& seal);

}  // namespace collegium::index
