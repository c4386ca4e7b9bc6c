#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/index/corpus.h"

// What the operations on a library's folder report: Library::backup, verify, repair and tune.
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

struct TuneOptions {
  index::IndexKind kind = index::IndexKind::kAuto;
  double target_recall = 0.99;  // of the `k` best passages that exact search finds, (0, 1]
  std::size_t k = 10;           // [1, 1000]
  // What is measured with, as users would ask; encoded without an expert. Empty: passages of the
  // collection, perturbed.
  std::vector<std::string> questions;
  std::size_t num_samples = 200;  // of these, [1, 100000]
};

// What an approximate index finds, and what was chosen (index::TuneReport).
struct COLLEGIUM_API TuneReport : index::TuneReport {
  std::string collection;
  std::string to_text() const;
  std::string to_json() const;
};

}  // namespace collegium::router
