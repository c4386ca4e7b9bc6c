#include <algorithm>
#include <nlohmann/json.hpp>

#include "collegium/router/library.h"
#include "engine/render.h"

namespace collegium::router {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kTextEntries = 3;    // collections named in the route line
constexpr double kTextProbability = 0.05;  // below this only the first is named
constexpr std::size_t kTextWidth = 100;
constexpr std::size_t kSnippetBytes = 600;  // of a passage in HTML

std::string passage_name(const CitedPassage& passage) {
  std::string name = passage.collection;
  if (!passage.title.empty()) name += " › " + passage.title;
  if (!passage.section.empty() && passage.section != passage.title) name += " › " + passage.section;
  if (passage.title.empty() && passage.section.empty()) name += " › " + passage.document_id;
  return name;
}

std::string route_line(const Route& route) {
  if (route.entries.empty()) return "none";
  std::string text;
  if (route.router == "none") {
    text = route.entries.size() == 1 ? route.entries.front().collection
                                     : "all " + std::to_string(route.entries.size()) +
                                           " collections, plain (no router yet)";
  } else {
    for (std::size_t i = 0; i < std::min(route.entries.size(), kTextEntries); ++i) {
      if (i > 0 && route.entries[i].probability < kTextProbability) break;
      text += (i == 0 ? "" : " · ") + route.entries[i].collection + " " +
              fixed(route.entries[i].probability, 2);
    }
    text += " · margin " + fixed(route.margin, 2);
  }
  text += " · " + route.policy;
  if (route.abstained) text += " (abstained)";
  return text;
}

std::string gate_line(const GateOutcome& gate) {
  std::string text(gate_decision_name(gate.decision));
  if (gate.stage == GateStage::kAlways) return text + " (" + gate.reason + ")";
  return text + " " + fixed(gate.probability, 2) +
         (gate.stage == GateStage::kBeforeSearch ? " (before search" : " (after search") +
         ", threshold " + fixed(gate.threshold, 2) + ")";
}

double cost_ms(const std::vector<StageCost>& cost, std::string_view stage) {
  for (const StageCost& entry : cost)
    if (entry.stage == stage) return entry.ms;
  return -1.0;
}

std::string cost_line(const std::vector<StageCost>& cost) {
  std::string text;
  for (const char* stage : {"encode", "gate", "search"}) {
    const double ms = cost_ms(cost, stage);
    if (ms >= 0.05) text += std::string(stage) + " " + milliseconds(ms) + " · ";
  }
  const double read = cost_ms(cost, "read"), answer = cost_ms(cost, "answer");
  if (read >= 0.0 && answer >= 0.0) {
    text += "read+answer " + milliseconds(read + answer) + " · ";
  } else if (read >= 0.0) {
    text += "read " + milliseconds(read) + " · ";
  } else if (answer >= 0.0) {
    text += "answer " + milliseconds(answer) + " · ";
  }
  return text + "0 network";
}

// The collections that were not searched exactly.
std::string graphs_line(const std::map<std::string, std::uint64_t>& generations) {
  std::string text;
  for (const auto& [collection, generation] : generations) {
    if (generation == 0) continue;
    text += (text.empty() ? "approximate in " : ", ") + collection + " (generation " +
            std::to_string(generation) + ")";
  }
  return text;
}

// What is said when there is no text: why, in words.
std::string no_answer(const Answer& answer) {
  if (answer.gate.decision == GateDecision::kRefuse) return "no answer: " + answer.gate.reason;
  return answer.passages.empty() ? "nothing was found" : "";
}

ordered_json or_null(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

// "expert law", "plain", "plain + words 0.30".
std::string entry_name(const RouteEntry& entry) {
  std::string name = entry.searched_again ? "expert " + entry.expert : std::string("plain");
  if (entry.lexical_weight > 0.0) name += " + words " + fixed(entry.lexical_weight, 2);
  return name;
}

ordered_json route_json(const Route& route) {
  ordered_json entries = ordered_json::array();
  for (const RouteEntry& entry : route.entries)
    entries.push_back({{"collection", entry.collection},
                       {"expert", entry.expert},
                       {"probability", entry.probability},
                       {"searched_again", entry.searched_again},
                       {"scale", entry.scale},
                       {"shift", entry.shift},
                       {"lexical_weight", entry.lexical_weight},
                       {"prior", entry.prior}});
  return {
      {"entries", std::move(entries)}, {"margin", route.margin}, {"familiarity", route.familiarity},
      {"abstained", route.abstained},  {"router", route.router}, {"policy", route.policy},
      {"reason", route.reason}};
}

ordered_json gate_json(const GateOutcome& gate) {
  ordered_json features = ordered_json::object();
  for (const GateFeature& feature : gate.features) features[feature.name] = feature.value;
  return {{"decision", std::string(gate_decision_name(gate.decision))},
          {"probability", gate.probability},
          {"threshold", gate.threshold},
          {"stage", std::string(gate_stage_name(gate.stage))},
          {"features", std::move(features)},
          {"reason", gate.reason}};
}

std::string bar(double share, std::string_view color) {
  const double percent = std::clamp(share, 0.0, 1.0) * 100.0;
  return "<div style=\"background:#8883;width:9em;height:.7em;border-radius:.2em\">"
         "<div style=\"background:" +
         std::string(color) + ";width:" + fixed(percent, 1) +
         "%;height:100%;border-radius:.2em\"></div></div>";
}

std::string snippet(const std::string& text) {
  if (text.size() <= kSnippetBytes) return text;
  std::size_t end = kSnippetBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + " …";
}

}  // namespace

std::string Answer::to_text() const {
  std::string result = "  route    " + route_line(route) + "    gate  " + gate_line(gate) + "\n";
  const std::string body = text.empty() ? no_answer(*this) : text;
  if (!body.empty()) result += "  answer   " + wrap(body, kTextWidth, 11) + "\n";
  for (const CitedPassage& passage : passages)
    result += "  [" + std::to_string(passage.number) + "] " + passage_name(passage) + "  score " +
              fixed(passage.score, 2) + "\n";
  if (!note.empty()) result += "  note     " + wrap(note, kTextWidth, 11) + "\n";
  return result + "  cost     " + cost_line(cost) + "\n";
}

std::string Answer::to_json() const {
  ordered_json cited = ordered_json::array();
  for (const CitedPassage& passage : passages) {
    cited.push_back({{"number", passage.number},
                     {"collection", passage.collection},
                     {"document_id", passage.document_id},
                     {"title", passage.title},
                     {"section", passage.section},
                     {"bytes", {passage.bytes.begin, passage.bytes.end}},
                     {"text", passage.text},
                     {"score", passage.score},
                     {"dense_score", or_null(passage.dense_score)},
                     {"lexical_score", or_null(passage.lexical_score)},
                     {"similarity", passage.similarity},
                     {"index_generation", passage.index_generation}});
    if (!passage.ranking.empty()) {
      ordered_json& ranking = cited.back()["ranking"] = ordered_json::object();
      for (const RankerContribution& part : passage.ranking)
        ranking[std::string(part.feature)] = {{"value", part.value}, {"given", part.given}};
    }
    if (!passage.source.empty())
      cited.back()["source"] =
          ordered_json::parse(passage.source, nullptr, /*allow_exceptions=*/false);
  }
  ordered_json costs = ordered_json::array();
  for (const StageCost& entry : cost)
    costs.push_back({{"stage", entry.stage}, {"ms", entry.ms}, {"flops", entry.flops}});
  const ordered_json result{{"question", question},
                            {"text", text},
                            {"reader", reader},
                            {"note", note},
                            {"route", route_json(route)},
                            {"gate", gate_json(gate)},
                            {"passages", std::move(cited)},
                            {"cost", std::move(costs)},
                            {"generation", generation},
                            {"commit_seq", commit_seq},
                            {"index_generations", index_generations}};
  // A language model may end within a character: such bytes are replaced, not thrown at.
  return result.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string Answer::to_html() const {
  std::string html =
      "<div style=\"font-family:sans-serif;max-width:60em;line-height:1.4\">"
      "<p style=\"margin:.2em 0;opacity:.7\">" +
      html_escape(question) + "</p>";
  const std::string body = text.empty() ? no_answer(*this) : text;
  html += "<p style=\"margin:.4em 0;font-size:1.1em\">" + html_escape(body) + "</p>";
  if (!note.empty()) html += "<p style=\"margin:.2em 0;opacity:.7\">" + html_escape(note) + "</p>";
  html +=
      "<table style=\"border-collapse:collapse;font-size:.9em\"><tbody>"
      "<tr><td style=\"vertical-align:top;padding-right:1em;text-align:left\">route</td>"
      "<td style=\"text-align:left\"><table style=\"border-collapse:collapse\">";
  for (const RouteEntry& entry : route.entries)
    html += "<tr><td style=\"text-align:left\">" + html_escape(entry.collection) + "</td><td>" +
            bar(entry.probability, "#4a7fb5") + "</td><td>" + fixed(entry.probability, 2) +
            "</td><td style=\"text-align:left\">" + html_escape(entry_name(entry)) + "</td></tr>";
  html += "</table>margin " + fixed(route.margin, 2) + " · " + html_escape(route.policy) + " · " +
          html_escape(route.reason) +
          "</td></tr><tr><td style=\"text-align:left\">gate</td><td style=\"text-align:left\">";
  if (gate.stage != GateStage::kAlways) html += bar(gate.probability, "#5a9a5a");
  html += html_escape(gate_line(gate)) +
          "</td></tr><tr><td style=\"text-align:left\">cost</td><td style=\"text-align:left\">" +
          html_escape(cost_line(cost)) + "</td></tr>";
  const std::string graphs = graphs_line(index_generations);
  if (!graphs.empty())
    html += "<tr><td style=\"text-align:left\">index</td><td style=\"text-align:left\">" +
            html_escape(graphs) + "</td></tr>";
  html += "</tbody></table>";
  for (const CitedPassage& passage : passages)
    html += "<details><summary>[" + std::to_string(passage.number) + "] " +
            html_escape(passage_name(passage)) + " <small>score " + fixed(passage.score, 2) +
            "</small></summary><p style=\"white-space:pre-wrap;margin:.2em 1.5em\">" +
            html_escape(snippet(passage.text)) + "</p></details>";
  return html + "</div>";
}

}  // namespace collegium::router
