#include <filesystem>
#include <utility>

#include "engine/learned_files.h"
#include "engine/library_checks.h"
#include "engine/model_files.h"
#include "engine/new_folder.h"

namespace collegium::router {
namespace {

namespace fs = std::filesystem;

// Copies the models that can be read; another becomes a linked one, which has the digest and waits
// for the user to say where a good copy is. True if `settings` changed.
Result<bool> save_models(const std::string& path, const std::string& to, LibrarySettings& settings,
                         std::vector<Finding>& dropped) {
  bool changed = false;
  const auto lose = [&](ModelReference& model, const std::string& option, const Status& status) {
    dropped.push_back({model_path(path, model, ""),
                       status.message() + " (to open the repaired library, say in OpenOptions::" +
                           option + " where a good copy is)"});
    model.linked = true;
    changed = true;
  };
  if (!settings.encoder.linked) {
    const auto encoder = load_encoder(path, settings, "");
    if (encoder.ok())
      COLLEGIUM_RETURN_IF_ERROR(copy_files((*encoder)->folder(), (*encoder)->files(),
                                           (fs::path(to) / kEncoderFolder).string())
                                    .with_context("copying the encoder"));
    else
      lose(settings.encoder, "encoder", encoder.status());
  }
  ModelReference& language_model = settings.language_model;
  if (!language_model.digest.empty() && !language_model.linked) {
    const auto model = load_language_model(path, language_model, "");
    if (model.ok())
      COLLEGIUM_RETURN_IF_ERROR(copy_language_model(path, language_model, to));
    else
      lose(language_model, "language_model", model.status());
  }
  return changed;
}

}  // namespace

Result<RepairReport> Library::repair(const std::string& given, const std::string& to) {
  const std::string path = folder_path(given);
  COLLEGIUM_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::make(folder_path(to)));
  COLLEGIUM_ASSIGN_OR_RETURN(auto saved, index::Corpus::repair(path, folder.path()));
  RepairReport report{saved.documents, saved.records, std::move(saved.dropped)};

  COLLEGIUM_ASSIGN_OR_RETURN(const auto corpus, index::Corpus::open(folder.path()));
  const auto settings_record = corpus->record(kLibraryKey);
  if (!settings_record.ok())
    return Status::corruption(path + ": the settings of the library are lost, and without them " +
                              "nobody knows how its " + std::to_string(report.documents) +
                              " documents were embedded; add them to a new library");
  COLLEGIUM_ASSIGN_OR_RETURN(auto settings, LibrarySettings::parse(*settings_record));

  index::WriteSet writes;
  COLLEGIUM_ASSIGN_OR_RETURN(const bool changed,
                             save_models(path, folder.path(), settings, report.dropped));
  if (changed) writes.put_record(std::string(kLibraryKey), settings.to_json());

  COLLEGIUM_ASSIGN_OR_RETURN(const auto bad, find_bad_records(*corpus));
  for (const BadRecord& record : bad) {
    report.dropped.push_back({"record " + record.key, record.problem});
    writes.remove_record(record.key);
  }
  report.records -= bad.size();

  const auto record = corpus->record(kGenerationKey);
  if (record.ok()) {
    const auto learned = read_learned_files(path, *record, corpus->options().dim);
    if (learned.ok()) {
      COLLEGIUM_RETURN_IF_ERROR(copy_learned_files(path, *learned, folder.path()));
    } else {
      report.dropped.push_back({(fs::path(path) / "learned").string(),
                                learned.status().message() + " (fit() learns anew)"});
      writes.remove_record(std::string(kGenerationKey));
      --report.records;
    }
  } else if (record.status().code() != StatusCode::kNotFound) {
    return record.status();
  }
  COLLEGIUM_RETURN_IF_ERROR(corpus->commit(std::move(writes)));
  COLLEGIUM_RETURN_IF_ERROR(corpus->close());
  COLLEGIUM_RETURN_IF_ERROR(folder.publish());
  return report;
}

}  // namespace collegium::router
