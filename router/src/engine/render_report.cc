#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "collegium/router/library.h"
#include "engine/render.h"

namespace collegium::router {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string policy_line(const PolicyParameters& policy) {
  std::string text(policy_name(policy.policy));
  if (policy.policy == Policy::kBound)
    return text + ", " + std::to_string(policy.research) + " searched again, prior weight " +
           fixed(policy.prior_weight, 3) + ", " +
           (policy.comparability == Comparability::kTopMean
                ? "shift depth " + std::to_string(policy.shift_depth)
                : std::string(comparability_name(policy.comparability)) + " scores");
  return text + ", abstains" +
         (policy.abstain_to_mixture && policy.policy == Policy::kRouted ? " to the mixture" : "") +
         " below margin " + fixed(policy.min_margin, 2) + " or familiarity " +
         fixed(policy.min_familiarity, 2);
}

ordered_json policy_json(const PolicyParameters& policy) {
  return {{"policy", std::string(policy_name(policy.policy))},
          {"research", policy.research},
          {"prior_weight", policy.prior_weight},
          {"routed_prior_weight", policy.routed_prior_weight},
          {"comparability", std::string(comparability_name(policy.comparability))},
          {"shift_depth", policy.shift_depth},
          {"min_margin", policy.min_margin},
          {"min_familiarity", policy.min_familiarity},
          {"abstain_to_mixture", policy.abstain_to_mixture}};
}

std::string by_kind(const std::map<std::string, double>& values) {
  std::string text;
  for (const auto& [kind, value] : values)
    text += (text.empty() ? "" : ", ") + kind + " " + fixed(value, 3);
  return text;
}

// What the router was chosen by, and how often each sent a dev query to its own collection.
std::string router_figures(const FitReport& report) {
  std::string text;
  if (!report.router_dev_ndcg.empty())
    text += " (dev nDCG@10: " + by_kind(report.router_dev_ndcg) + ")";
  if (!report.router_dev_accuracy.empty())
    text += " (dev accuracy: " + by_kind(report.router_dev_accuracy) + ")";
  return text;
}

std::string origins_text(const std::vector<VectorOrigin>& origins) {
  std::string text;
  for (const VectorOrigin& origin : origins)
    text += (text.empty() ? "" : ", ") + origin.compute + " on " + origin.isa;
  return text;
}

ordered_json gain_json(const core::NdcgGain& gain) {
  return {{"queries", gain.queries}, {"plain", gain.plain}, {"adapted", gain.adapted}};
}

// "12 with pairs in training 0.412 -> 0.480, 188 without 0.391 -> 0.402": what an expert does to
// documents that somebody asked about, and to the others.
std::string pairs_text(const FitReport::Expert& expert) {
  if (expert.strength == 0.0f || expert.dev_paired.queries == 0 || expert.dev_unpaired.queries == 0)
    return "";
  const auto part = [](const core::NdcgGain& gain, const char* what) {
    return std::to_string(gain.queries) + what + fixed(gain.plain, 3) + " -> " +
           fixed(gain.adapted, 3);
  };
  return "dev questions on documents asked for in training: " + part(expert.dev_paired, ", ") +
         "; on others: " + part(expert.dev_unpaired, ", ");
}

// "pairs made in train: 800 headings, 40 judged; in dev: 90 headings"; empty if all are judged.
std::string kinds_text(const FitReport::Expert& expert) {
  if (expert.pair_kinds.empty() ||
      (expert.pair_kinds.size() == 1 && expert.pair_kinds.contains("judged")))
    return "";
  constexpr const char* kNames[] = {"train", "dev", "test"};
  std::string text;
  for (std::size_t split = 0; split < 3; ++split) {
    std::string counts;
    for (const auto& [kind, numbers] : expert.pair_kinds)
      if (numbers[split] > 0)
        counts += (counts.empty() ? "" : ", ") + std::to_string(numbers[split]) + " " + kind;
    if (!counts.empty())
      text += (text.empty() ? "pairs in " : "; in ") + std::string(kNames[split]) + ": " + counts;
  }
  return text;
}

ordered_json kinds_json(const FitReport::Expert& expert) {
  ordered_json json = ordered_json::object();
  for (const auto& [kind, numbers] : expert.pair_kinds)
    json[kind] = {{"train", numbers[0]}, {"dev", numbers[1]}, {"test", numbers[2]}};
  return json;
}

std::string shape_text(const FitReport::Expert& expert) {
  return (expert.rank == 0 ? std::string("whole") : "rank " + std::to_string(expert.rank)) +
         ", pushed from " + std::string(core::negative_pool_name(expert.pool));
}

std::string strength_text(const FitReport::Expert& expert) {
  return expert.strength > 0.0f ? fixed(static_cast<double>(expert.strength), 2) : "none";
}

// What merges the collections, and what that is worth.
std::string merge_line(const FitReport& report) {
  if (report.fusion_dev_ndcg == 0.0) return "by vectors; words within each collection";
  return std::string(report.ranked ? "by the ranker" : "by vectors; words within each collection") +
         " (dev nDCG@10: ranker " + fixed(report.ranker_dev_ndcg, 3) + ", else " +
         fixed(report.fusion_dev_ndcg, 3) + ")";
}

}  // namespace

std::string FitReport::to_text() const {
  std::size_t width = 10;
  for (const Expert& expert : experts) width = std::max(width, expert.collection.size());
  std::string text =
      padded("collection", width) +
      "  train   dev  test  strength  epochs  dev nDCG@10 plain -> expert, with words (weight)\n";
  for (const Expert& expert : experts) {
    char line[160];
    std::snprintf(line, sizeof line, "  %5zu %5zu %5zu  %8s  %6zu  ", expert.train, expert.dev,
                  expert.test, strength_text(expert).c_str(), expert.epochs);
    text += padded(expert.collection, width) + line;
    text += expert.dev > 0 && expert.train > 0
                ? fixed(expert.dev_ndcg_plain, 3) + " -> " + fixed(expert.dev_ndcg, 3)
                : std::string("-");
    text += ", " + (expert.dev > 0 ? fixed(expert.dev_ndcg_hybrid, 3) : std::string("-")) + " (" +
            fixed(expert.lexical_weight, 2) + ")";
    if (!expert.note.empty()) text += "  " + expert.note;
    text += "\n";
    if (expert.strength > 0.0f) {
      text += std::string(width, ' ') + "  " + shape_text(expert) + "; chosen on " +
              std::to_string(expert.chosen_on.queries) +
              " queries: " + fixed(expert.chosen_on.adapted - expert.chosen_on.plain, 3) + " +- " +
              fixed(expert.standard_error, 3);
      for (std::size_t epoch = 0; epoch < expert.curve.size(); ++epoch)
        text += (epoch == 0 ? "; by epoch " : " ") + fixed(expert.curve[epoch], 3);
      text += "\n";
      if (const std::string pairs = pairs_text(expert); !pairs.empty())
        text += std::string(width, ' ') + "  " + pairs + "\n";
    }
    if (const std::string kinds = kinds_text(expert); !kinds.empty())
      text += std::string(width, ' ') + "  " + kinds + "\n";
  }
  text += "router  " + router + router_figures(*this);
  text += "\npolicy  " + policy_line(policy) + "\nmerge   " + merge_line(*this) + "\ngate    " +
          gate_note + "\nin      " + fixed(seconds, 1) + " s, generation " + generation + "\n";
  return text;
}

std::string FitReport::to_json() const {
  ordered_json list = ordered_json::array();
  for (const Expert& expert : experts)
    list.push_back({{"collection", expert.collection},
                    {"train", expert.train},
                    {"dev", expert.dev},
                    {"test", expert.test},
                    {"strength", expert.strength},
                    {"epochs", expert.epochs},
                    {"dev_ndcg_plain", expert.dev_ndcg_plain},
                    {"dev_ndcg", expert.dev_ndcg},
                    {"rank", expert.rank},
                    {"pool", core::negative_pool_name(expert.pool)},
                    {"chosen_on", gain_json(expert.chosen_on)},
                    {"standard_error", expert.standard_error},
                    {"dev_paired", gain_json(expert.dev_paired)},
                    {"dev_unpaired", gain_json(expert.dev_unpaired)},
                    {"loss", expert.loss},
                    {"curve", expert.curve},
                    {"lexical_weight", expert.lexical_weight},
                    {"dev_ndcg_hybrid", expert.dev_ndcg_hybrid},
                    {"kept", expert.kept},
                    {"note", expert.note},
                    {"pair_kinds", kinds_json(expert)}});
  return dump({{"generation", generation},
               {"experts", std::move(list)},
               {"router", router},
               {"router_dev_ndcg", router_dev_ndcg},
               {"router_dev_accuracy", router_dev_accuracy},
               {"policy", policy_json(policy)},
               {"ranked", ranked},
               {"ranker_dev_ndcg", ranker_dev_ndcg},
               {"fusion_dev_ndcg", fusion_dev_ndcg},
               {"gate_note", gate_note},
               {"seconds", seconds}});
}

std::string FitReport::to_html() const {
  std::string html =
      "<div style=\"font-family:sans-serif\"><table style=\"border-collapse:collapse\"><thead><tr>";
  for (const char* head : {"collection", "train", "dev", "test", "strength", "epochs",
                           "dev nDCG@10 plain", "expert", "with words", "weight of words", ""})
    html += std::string("<th style=\"padding:.2em .6em\">") + head + "</th>";
  html += "</tr></thead><tbody>";
  for (const Expert& expert : experts) {
    const bool measured = expert.dev > 0 && expert.train > 0;
    const std::string kinds = kinds_text(expert);
    html += "<tr>";
    for (const std::string& cell :
         {expert.collection, std::to_string(expert.train), std::to_string(expert.dev),
          std::to_string(expert.test), strength_text(expert), std::to_string(expert.epochs),
          measured ? fixed(expert.dev_ndcg_plain, 3) : std::string("-"),
          measured ? fixed(expert.dev_ndcg, 3) : std::string("-"),
          expert.dev > 0 ? fixed(expert.dev_ndcg_hybrid, 3) : std::string("-"),
          fixed(expert.lexical_weight, 2),
          expert.note + (expert.note.empty() || kinds.empty() ? "" : "; ") + kinds})
      html += "<td style=\"padding:.2em .6em\">" + html_escape(cell) + "</td>";
    html += "</tr>";
  }
  html += "</tbody></table><p>router <b>" + html_escape(router) + "</b>" +
          html_escape(router_figures(*this));
  return html + "<br>policy " + html_escape(policy_line(policy)) + "<br>merge " +
         html_escape(merge_line(*this)) + "<br>gate " + html_escape(gate_note) + "<br>" +
         fixed(seconds, 1) + " s, generation <code>" + html_escape(generation) +
         "</code></p></div>";
}

std::string LibraryInfo::to_text() const {
  std::string text = "library     " + path + " (format " + std::to_string(format_version) +
                     ", commit " + std::to_string(commit_seq) + ")\n";
  text += "collegium   " + version + ", " + isa + "\n";
  text += "encoder     " + encoder_folder + " (dimension " + std::to_string(dim) + ", " +
          std::to_string(max_tokens) + " tokens, " + compute + ", " + encoder_digest + ")\n";
  text += "language    " + (language_model.empty() ? "none" : language_model) + "\n";
  text += "learned     " + (generation.empty() ? "nothing yet" : generation) + "\n";
  text += "router      " + router + "\npolicy      " + policy_line(policy) + "\n";
  text += "gate        " + gate_note + " (" + std::to_string(negatives) +
          " questions that need no corpus)\n";
  for (const Collection& collection : collections) {
    text += "  " + collection.index.name + ": " + std::to_string(collection.index.documents) +
            " documents, " + std::to_string(collection.index.passages) + " passages (" +
            collection.index.index_kind + "), pairs " + std::to_string(collection.pairs[0]) +
            " train / " + std::to_string(collection.pairs[1]) + " dev / " +
            std::to_string(collection.pairs[2]) + " test, expert " + collection.expert;
    if (!collection.vectors_made.empty())
      text += ", vectors made in " + origins_text(collection.vectors_made);
    if (collection.index.index_rebuilt) text += "; index rebuilt: " + collection.index.index_note;
    text += "\n";
  }
  return text;
}

std::string LibraryInfo::to_json() const {
  ordered_json list = ordered_json::array();
  for (const Collection& collection : collections) {
    ordered_json origins = ordered_json::array();
    for (const VectorOrigin& origin : collection.vectors_made)
      origins.push_back({{"compute", origin.compute}, {"isa", origin.isa}});
    list.push_back({{"name", collection.index.name},
                    {"documents", collection.index.documents},
                    {"passages", collection.index.passages},
                    {"index_kind", collection.index.index_kind},
                    {"index_parameters", collection.index.index_parameters},
                    {"index_reason", collection.index.index_reason},
                    {"index_rebuilt", collection.index.index_rebuilt},
                    {"index_note", collection.index.index_note},
                    {"pairs",
                     {{"train", collection.pairs[0]},
                      {"dev", collection.pairs[1]},
                      {"test", collection.pairs[2]}}},
                    {"expert", collection.expert},
                    {"index_generation", collection.index.index_generation},
                    {"vectors_made", std::move(origins)}});
  }
  return dump({{"path", path},
               {"version", version},
               {"isa", isa},
               {"format_version", format_version},
               {"commit_seq", commit_seq},
               {"encoder_folder", encoder_folder},
               {"encoder_digest", encoder_digest},
               {"dim", dim},
               {"max_tokens", max_tokens},
               {"language_model", language_model},
               {"generation", generation},
               {"router", router},
               {"gate_note", gate_note},
               {"policy", policy_json(policy)},
               {"collections", std::move(list)},
               {"negatives", negatives},
               {"compute", compute},
               {"truncate_dim", truncate_dim}});
}

}  // namespace collegium::router
