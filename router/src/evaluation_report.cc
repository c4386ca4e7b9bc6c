#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "collegium/router/evaluation.h"

namespace collegium::router {
namespace {

const char* split_name(Split split) {
  return split == Split::kTrain ? "train" : split == Split::kDev ? "dev" : "test";
}

std::string fixed(double value, int digits = 1) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

struct View {
  const char* title;
  std::map<std::string, Metrics> EvaluationRow::*by_collection;
  Metrics EvaluationRow::*mean;
};
constexpr View kViews[] = {
    {"each collection searched alone", &EvaluationRow::per_collection,
     &EvaluationRow::per_collection_mean},
    {"all collections merged", &EvaluationRow::merged, &EvaluationRow::merged_mean}};

struct Measure {
  const char* title;
  double Metrics::*value;
};
constexpr Measure kMeasures[] = {{"nDCG@10", &Metrics::ndcg_at_10},
                                 {"recall@100", &Metrics::recall_at_100}};

// Characters of a UTF-8 string, so that columns line up.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string pad(std::string_view text, std::size_t to, bool right) {
  const std::string space(to > width(text) ? to - width(text) : 0, ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string markdown_cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::size_t num_queries(const Evaluation& evaluation) {
  std::size_t queries = 0;
  for (const auto& [name, count] : evaluation.num_queries) queries += count;
  return queries;
}

// Questions that need no corpus among the gate's examples: those that are not the table's queries.
std::size_t num_negatives(const Evaluation& evaluation) {
  return evaluation.gate_examples - std::min(evaluation.gate_examples, num_queries(evaluation));
}

// Lines below the tables, each a sentence.
std::vector<std::string> remarks(const Evaluation& evaluation) {
  std::vector<std::string> lines;
  if (!evaluation.router_accuracy.empty()) {
    std::string line = "router accuracy (own collection first, mean over collections):";
    for (const auto& [kind, accuracy] : evaluation.router_accuracy)
      line += " " + kind + " " + fixed(100.0 * accuracy) + " %,";
    line.pop_back();
    lines.push_back(line);
  }
  if (evaluation.gate_examples > 0) {
    const std::string recall = "retrieves for " + fixed(100.0 * evaluation.gate_recall) + " % of ";
    lines.push_back(num_negatives(evaluation) > 0
                        ? "gate: " + fixed(100.0 * evaluation.gate_accuracy) + " % right of " +
                              std::to_string(evaluation.gate_examples) + " questions; " + recall +
                              "those that need the corpus, saves " +
                              fixed(100.0 * evaluation.gate_specificity) + " % of the others"
                        : "gate: " + recall + std::to_string(evaluation.gate_examples) +
                              " questions that need the corpus; the split has none that do not");
  }
  return lines;
}

std::string headline(const Evaluation& evaluation) {
  return std::to_string(num_queries(evaluation)) + " queries of " +
         std::to_string(evaluation.num_queries.size()) + " collections, figures x 100";
}

}  // namespace

std::string Evaluation::to_text() const {
  std::string out = note + "\n" + headline(*this) + "\n";
  std::size_t first = 6;
  for (const auto& row : rows) first = std::max(first, width(row.method));
  for (const View& view : kViews) {
    out += "\nnDCG@10, " + std::string(view.title) + "\n" + pad("", first, false);
    for (const auto& [name, count] : num_queries)
      out += "  " + pad(name, std::max<std::size_t>(5, width(name)), true);
    out += "   mean  R@100\n";
    for (const auto& row : rows) {
      out += pad(row.method, first, false);
      for (const auto& [name, metrics] : row.*view.by_collection)
        out += "  " +
               pad(fixed(100.0 * metrics.ndcg_at_10), std::max<std::size_t>(5, width(name)), true);
      out += "  " + pad(fixed(100.0 * (row.*view.mean).ndcg_at_10), 5, true) + "  " +
             pad(fixed(100.0 * (row.*view.mean).recall_at_100), 5, true) + "\n";
    }
  }
  const auto lines = remarks(*this);
  if (!lines.empty()) out += "\n";
  for (const auto& line : lines) out += line + "\n";
  return out;
}

std::string Evaluation::to_markdown() const {
  std::string out = note + ". " + headline(*this) + ".\n";
  for (const View& view : kViews)
    for (const Measure& measure : kMeasures) {
      out += "\n**" + std::string(measure.title) + ", " + view.title + "**\n\n| method |";
      for (const auto& [name, count] : num_queries)
        out += " " + markdown_cell(name) + " (" + std::to_string(count) + ") |";
      out += " mean |\n| --- |";
      for (std::size_t i = 0; i <= num_queries.size(); ++i) out += " --: |";
      out += "\n";
      for (const auto& row : rows) {
        out += "| " + markdown_cell(row.method) + " |";
        for (const auto& [name, metrics] : row.*view.by_collection)
          out += " " + fixed(100.0 * metrics.*measure.value) + " |";
        out += " " + fixed(100.0 * (row.*view.mean).*measure.value) + " |\n";
      }
    }
  out += "\n";
  for (const auto& row : rows)
    out += "- " + markdown_cell(row.method) + ": " + markdown_cell(row.note) + "\n";
  for (const auto& line : remarks(*this)) out += "- " + line + "\n";
  return out;
}

std::string Evaluation::to_html() const {
  std::string out =
      "<div class=\"collegium-evaluation\" style=\"font-family:sans-serif;font-size:13px\">"
      "<style>.collegium-evaluation table{border-collapse:collapse;margin:8px 0}"
      ".collegium-evaluation th,.collegium-evaluation td{padding:2px 8px;text-align:right;"
      "border-bottom:1px solid #8884}.collegium-evaluation caption{text-align:left;"
      "font-weight:bold}.collegium-evaluation td:first-child,.collegium-evaluation "
      "th:first-child{text-align:left}</style><p>" +
      escaped(note) + ". " + escaped(headline(*this)) + ".</p>";
  for (const View& view : kViews)
    for (const Measure& measure : kMeasures) {
      out += "<table><caption>" + std::string(measure.title) + ", " + view.title +
             "</caption><thead><tr><th>method</th>";
      for (const auto& [name, count] : num_queries)
        out += "<th title=\"" + std::to_string(count) + " queries\">" + escaped(name) + "</th>";
      out += "<th>mean</th></tr></thead><tbody>";
      for (const auto& row : rows) {
        out += "<tr title=\"" + escaped(row.note) + "\"><td>" + escaped(row.method) + "</td>";
        for (const auto& [name, metrics] : row.*view.by_collection)
          out += "<td>" + fixed(100.0 * metrics.*measure.value) + "</td>";
        out += "<td><b>" + fixed(100.0 * (row.*view.mean).*measure.value) + "</b></td></tr>";
      }
      out += "</tbody></table>";
    }
  for (const auto& line : remarks(*this)) out += "<p>" + escaped(line) + "</p>";
  return out + "</div>";
}

std::string Evaluation::to_json() const {
  using Json = nlohmann::ordered_json;
  const auto metrics_json = [](const Metrics& metrics) {
    return Json{{"ndcg_at_10", metrics.ndcg_at_10}, {"recall_at_100", metrics.recall_at_100}};
  };
  Json json;
  json["split"] = split_name(split);
  json["note"] = note;
  json["num_queries"] = num_queries;
  json["rows"] = Json::array();
  for (const auto& row : rows) {
    Json entry{{"method", row.method}, {"note", row.note}};
    for (const auto& [key, view] :
         {std::pair{"per_collection", kViews[0]}, std::pair{"merged", kViews[1]}}) {
      entry[key] = Json::object();
      for (const auto& [name, metrics] : row.*view.by_collection)
        entry[key][name] = metrics_json(metrics);
      entry[std::string(key) + "_mean"] = metrics_json(row.*view.mean);
    }
    json["rows"].push_back(std::move(entry));
  }
  json["router_accuracy"] = router_accuracy;
  json["gate"] = {{"examples", gate_examples},
                  {"accuracy", gate_accuracy},
                  {"recall", gate_recall},
                  {"specificity", num_negatives(*this) > 0 ? Json(gate_specificity) : Json()}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace collegium::router
