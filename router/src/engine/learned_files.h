#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/router/learning.h"

// What fit learned is truth: files named by the digest of their content in <library>/learned/, and
// one record ("generation") that points to them. Files are written first and are not seen until the
// record is switched; files that no record points to are leftovers.
namespace collegium::router {

struct Generation {
  Learned learned;
  std::string digest;  // over the record's content; empty: nothing was learned yet
  // By collection: digests of the data and of the options its adapter was trained with, joined by
  // "-", so that unchanged collections keep theirs. Also for those with queries for which dev chose
  // no adapter.
  std::map<std::string, std::string> data_digest;
  std::vector<std::string> files;                     // of this generation, in learned/
  std::map<std::string, std::string> adapter_digest;  // by collection, for `info`
};

// Writes the files that are not there yet, fsynced; fills `files`, `digest` and `adapter_digest`.
// Returns the record's value. On failure the old generation is untouched.
Result<std::string> write_learned_files(const std::string& library_path, Generation& generation);

// corruption names the file that is damaged or missing.
Result<Generation> read_learned_files(const std::string& library_path, const std::string& record,
                                      std::size_t dim);

// Copies the files of `generation`, fsynced, to the folder of another library.
Status copy_learned_files(const std::string& library_path, const Generation& generation,
                          const std::string& to);

// One adapter as the bytes of a record: what a fit has trained before it is through. `data_digest`
// is Generation::data_digest's of its collection. corruption.
struct FinishedTraining {
  std::string data_digest;
  core::TrainedHeadAdapter trained;
  std::string serialize() const;
  static Result<FinishedTraining> parse(std::string_view bytes, std::size_t dim);
};

// Deletes what is in learned/ and not in `keep`. Best effort: a leftover does no harm.
void remove_leftovers(const std::string& library_path, const std::vector<std::string>& keep);

}  // namespace collegium::router
