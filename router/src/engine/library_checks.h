#pragma once

#include <string>
#include <vector>

#include "collegium/index/corpus.h"
#include "collegium/router/library.h"
#include "engine/records.h"

// What backup, verify and repair share.
namespace collegium::router {

struct BadRecord {
  std::string key;
  std::string problem;
};

// Pairs, questions and vector origins that cannot be read, and pairs without their document.
Result<std::vector<BadRecord>> find_bad_records(const index::Corpus& corpus);

// `found` with what is wrong with the models, learned files and records of the library in `path`.
Result<VerifyReport> check_library(const std::string& path, const index::Corpus& corpus,
                                   const OpenOptions& options, index::VerifyReport found);

// Copy what lies in the library's folder, fsynced, into that of another; linked models are not.
Status copy_models(const std::string& path, const LibrarySettings& settings,
                   const core::Encoder& encoder, const std::string& to);
Status copy_language_model(const std::string& path, const ModelReference& model,
                           const std::string& to);

}  // namespace collegium::router
