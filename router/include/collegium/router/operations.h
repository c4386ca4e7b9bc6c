#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/index/corpus.h"

// What the operations on a library's folder report: Library::backup, verify and repair.
namespace collegium::router {

// One thing that is wrong, or that was dropped, and where: a file, a document, a record.
using Finding = index::CorpusFinding;

struct COLLEGIUM_API BackupReport {
  std::uint64_t commit_seq = 0;  // which commit the backup is equal to
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::string to_text() const;
  std::string to_json() const;
};

struct COLLEGIUM_API VerifyReport {
  // What was read; zeros for a library whose store does not open.
  std::uint64_t commit_seq = 0;
  std::uint64_t collections = 0, documents = 0, passages = 0, records = 0;
  std::uint64_t learned_files = 0;  // that the current generation names
  std::vector<Finding> findings;    // of the store and indexes, models, pairs, learned files
  bool ok() const noexcept { return findings.empty(); }
  std::string to_text() const;
  std::string to_json() const;
};

struct COLLEGIUM_API RepairReport {
  std::uint64_t documents = 0;  // saved
  std::uint64_t records = 0;    // saved: pairs, questions, settings
  std::vector<Finding> dropped;
  std::string to_text() const;
  std::string to_json() const;
};

}  // namespace collegium::router
