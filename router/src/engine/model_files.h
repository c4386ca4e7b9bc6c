#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"
#include "engine/records.h"

// The models a library holds: copied into its folder, or linked where they are.
namespace collegium::router {

// Where copies lie in a library's folder.
inline constexpr char kEncoderFolder[] = "encoder";
inline constexpr char kLanguageModelFolder[] = "language-model";

// Copies `files` (relative to `from`, folders made as needed) to `to`; every file and folder is
// fsynced before this returns.
Status copy_files(const std::string& from, const std::vector<std::string>& files,
                  const std::string& to);
Status sync_folder(const std::string& folder);

// Where the model is: in the library if copied, else where it was linked or has `moved_to`.
std::string model_path(const std::string& library_path, const ModelReference& reference,
                       const std::string& moved_to);

// Load what the settings refer to, the encoder as they say. `moved_to` replaces the path of a
// linked model. corruption if a copy no longer has the digest it was made with, failed_precondition
// if a linked model has another.
Result<std::shared_ptr<const core::Encoder>> load_encoder(const std::string& library_path,
                                                          const LibrarySettings& settings,
                                                          const std::string& moved_to);
// Null if the library has none.
Result<std::shared_ptr<const core::LanguageModel>> load_language_model(
    const std::string& library_path, const ModelReference& reference, const std::string& moved_to,
    core::LmCompute compute = core::LmCompute::kExact);

}  // namespace collegium::router
