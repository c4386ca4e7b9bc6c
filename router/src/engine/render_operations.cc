#include <nlohmann/json.hpp>

#include "collegium/router/operations.h"
#include "engine/render.h"

namespace collegium::router {
namespace {

using nlohmann::ordered_json;

// Names of files need not be UTF-8.
std::string dump(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json list(const std::vector<Finding>& findings) {
  ordered_json array = ordered_json::array();
  for (const Finding& finding : findings)
    array.push_back({{"where", finding.where}, {"problem", finding.problem}});
  return array;
}

std::string lines(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings)
    text += "  " + finding.where + ": " + finding.problem + "\n";
  return text;
}

}  // namespace

std::string BackupReport::to_text() const {
  return "commit " + std::to_string(commit_seq) + ", " + std::to_string(files) + " files, " +
         std::to_string(bytes) + " bytes\n";
}

std::string BackupReport::to_json() const {
  return dump({{"commit_seq", commit_seq}, {"files", files}, {"bytes", bytes}});
}

std::string VerifyReport::to_text() const {
  return (ok() ? "sound" : std::to_string(findings.size()) + " findings") + " at commit " +
         std::to_string(commit_seq) + ": " + std::to_string(collections) + " collections, " +
         std::to_string(documents) + " documents, " + std::to_string(passages) + " passages, " +
         std::to_string(records) + " records, " + std::to_string(learned_files) +
         " learned files read\n" + lines(findings);
}

std::string VerifyReport::to_json() const {
  return dump({{"ok", ok()},
               {"commit_seq", commit_seq},
               {"collections", collections},
               {"documents", documents},
               {"passages", passages},
               {"records", records},
               {"learned_files", learned_files},
               {"findings", list(findings)}});
}

std::string RepairReport::to_text() const {
  return std::to_string(documents) + " documents and " + std::to_string(records) +
         " records saved, " + std::to_string(dropped.size()) + " things dropped\n" + lines(dropped);
}

std::string RepairReport::to_json() const {
  return dump({{"documents", documents}, {"records", records}, {"dropped", list(dropped)}});
}

std::string TuneReport::to_text() const {
  std::string text = collection + ": " + settings.reason + "\n";
  if (trials.empty()) return text;
  const char* name = kind == index::IndexKind::kHnsw ? "breadth " : "probes ";
  for (const index::TuneTrial& trial : trials)
    text += "  " + (name + std::to_string(trial.effort)) + ": recall " + fixed(trial.recall, 4) +
            ", " + fixed(trial.query_us, 0) + " us a query\n";
  return text + "  exact: " + fixed(exact_query_us, 0) + " us a query\n";
}

std::string TuneReport::to_json() const {
  ordered_json tried = ordered_json::array();
  for (const index::TuneTrial& trial : trials)
    tried.push_back(
        {{"effort", trial.effort}, {"recall", trial.recall}, {"query_us", trial.query_us}});
  return dump({{"collection", collection},
               {"kind", index::index_kind_name(kind)},
               {"effort", settings.effort},
               {"links", settings.links},
               {"build_breadth", settings.build_breadth},
               {"lists", settings.lists},
               {"target_recall", settings.target_recall},
               {"reached", reached},
               {"recall", recall},
               {"passages", passages},
               {"queries", queries},
               {"exact_query_us", exact_query_us},
               {"reason", settings.reason},
               {"trials", std::move(tried)}});
}

}  // namespace collegium::router
