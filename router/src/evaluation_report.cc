#include "evaluation_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace collegium::router {
namespace {

constexpr std::size_t kWorstInText = 10;

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

std::string markdown_cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

const char* mark(const Comparison& comparison) {
  const int sign = verdict(comparison);
  return sign > 0 ? "+" : sign < 0 ? "-" : " ";
}

// A cost as text, or nothing where it is not known.
std::string cost_text(double value, double scale, int digits) {
  return value > 0.0 ? fixed(value / scale, digits) : std::string("-");
}

struct CostLine {
  std::string mflop, times_plain, ms, regret, share, share_over_noise;
};

CostLine cost_line(const Evaluation& evaluation, const EvaluationRow& row) {
  const EvaluationRow* plain = evaluation.row("plain");
  CostLine line;
  line.mflop = cost_text(row.cost.flops, 1e6, 2);
  line.times_plain = plain != nullptr && plain->cost.flops > 0.0
                         ? cost_text(row.cost.flops, plain->cost.flops, 2)
                         : std::string("-");
  line.ms = cost_text(row.cost.ms, 1.0, 2);
  const bool oracle = evaluation.row("oracle per query") != nullptr;
  line.regret = oracle ? fixed(100.0 * row.merged.regret) : "-";
  line.share = oracle ? fixed(100.0 * row.merged.gain_share, 0) : "-";
  line.share_over_noise = oracle ? fixed(100.0 * row.merged.gain_share_over_noise, 0) : "-";
  return line;
}

void add_text_table(const Evaluation& evaluation, const ReportView& view, std::size_t first,
                    std::string& out) {
  const std::vector<std::string> groups = group_names(evaluation);
  out += "\nnDCG@10, " + std::string(view.title) + "\n" + pad("", first, false);
  const auto column = [](const std::string& name) { return std::max<std::size_t>(5, width(name)); };
  for (const auto& [name, count] : evaluation.num_queries)
    out += "  " + pad(name, column(name), true) + " ";
  for (const std::string& group : groups) out += "  " + pad(group, column(group), true);
  out += "   mean  R@100  mean against plain\n";
  for (const EvaluationRow& row : evaluation.rows) {
    const EvaluationView& figures = row.*view.view;
    out += pad(row.method, first, false);
    for (const auto& [name, metrics] : figures.by_collection) {
      const auto compared = figures.against_plain.find(name);
      out += "  " + pad(fixed(100.0 * metrics.ndcg_at_10), column(name), true) +
             (compared != figures.against_plain.end() ? mark(compared->second) : " ");
    }
    for (const std::string& group : groups)
      out +=
          "  " + pad(fixed(100.0 * figures.groups.at(group).mean.ndcg_at_10), column(group), true);
    out += "  " + pad(fixed(100.0 * figures.mean.ndcg_at_10), 5, true) + "  " +
           pad(fixed(100.0 * figures.mean.recall_at_100), 5, true);
    if (row.method != "plain") out += "  " + against_plain(figures.mean_against_plain);
    out += "\n";
  }
}

std::string worst_line(const Evaluation& evaluation, const WorstQuery& worst) {
  const EvaluationQuery& query = evaluation.queries[worst.query];
  return query.collection + "/" + query.id + "  " + fixed(100.0 * worst.ndcg_at_10) + " (plain " +
         fixed(100.0 * worst.plain) + ", best " + fixed(100.0 * worst.best) + ")  " + worst.why;
}

using Json = nlohmann::ordered_json;

Json metrics_json(const Metrics& metrics) {
  Json json;
  for (const ReportMeasure& measure : kReportMeasures) json[measure.key] = metrics.*measure.value;
  return json;
}

Json comparison_json(const Comparison& comparison) {
  return {{"difference", comparison.difference},
          {"low", comparison.low},
          {"high", comparison.high},
          {"p", comparison.p},
          {"p_holm", comparison.p_holm},
          {"queries", comparison.queries}};
}

Json curve_json(const std::map<std::string, std::vector<CoveragePoint>>& curves) {
  Json json = Json::object();
  for (const auto& [signal, points] : curves)
    for (const CoveragePoint& point : points)
      json[signal].push_back({{"coverage", point.coverage},
                              {"threshold", point.threshold},
                              {"ndcg_at_10", point.quality},
                              {"accuracy", point.accuracy}});
  return json;
}

Json router_json(const RouterReport& router) {
  Json bins = Json::array();
  for (const ReliabilityBin& bin : router.calibration.bins)
    bins.push_back({{"low", bin.low},
                    {"high", bin.high},
                    {"count", bin.count},
                    {"confidence", bin.confidence},
                    {"accuracy", bin.accuracy}});
  return {{"kind", router.kind},
          {"accuracy", router.accuracy},
          {"confusion", router.confusion},
          {"ece", router.calibration.ece},
          {"reliability", std::move(bins)},
          {"coverage_per_collection", curve_json(router.coverage_alone)},
          {"coverage_merged", curve_json(router.coverage_merged)}};
}

Json worst_json(const Evaluation& evaluation, const WorstQuery& worst) {
  const EvaluationQuery& query = evaluation.queries[worst.query];
  return {{"collection", query.collection},
          {"id", query.id},
          {"text", query.text},
          {"ndcg_at_10", worst.ndcg_at_10},
          {"plain", worst.plain},
          {"best", worst.best},
          {"best_method", worst.best_method},
          {"relevant", worst.relevant},
          {"rank", worst.rank},
          {"plain_rank", worst.plain_rank},
          {"first_collection", worst.first_collection},
          {"first_document", worst.first_document},
          {"routed_to", worst.routed_to},
          {"probability", worst.probability},
          {"why", worst.why}};
}

Json row_json(const EvaluationRow& row) {
  Json entry{{"method", row.method}, {"note", row.note}};
  for (const ReportView& view : kReportViews) {
    const EvaluationView& figures = row.*view.view;
    const std::string key = view.key;
    entry[key] = Json::object();
    for (const auto& [name, metrics] : figures.by_collection)
      entry[key][name] = metrics_json(metrics);
    entry[key + "_mean"] = metrics_json(figures.mean);
    entry[key + "_against_plain"] = Json::object();
    for (const auto& [name, comparison] : figures.against_plain)
      entry[key + "_against_plain"][name] = comparison_json(comparison);
    entry[key + "_mean_against_plain"] = comparison_json(figures.mean_against_plain);
    entry[key + "_groups"] = Json::object();
    for (const auto& [name, group] : figures.groups)
      entry[key + "_groups"][name] = {{"mean", metrics_json(group.mean)},
                                      {"against_plain", comparison_json(group.against_plain)}};
    entry[key + "_regret"] = figures.regret;
    entry[key + "_gain_share"] = figures.gain_share;
    entry[key + "_gain_share_over_noise"] = figures.gain_share_over_noise;
    Json& queries = entry[key + "_queries"] = Json::array();
    for (const Metrics& metrics : figures.queries) queries.push_back(metrics.ndcg_at_10);
  }
  entry["cost"] = {{"flops", row.cost.flops}, {"ms", row.cost.ms}};
  return entry;
}

}  // namespace

std::string with_sign(double value, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%+.*f", digits, value);
  return text;
}

const char* split_name(Split split) {
  return split == Split::kTrain ? "train" : split == Split::kDev ? "dev" : "test";
}

std::string headline(const Evaluation& evaluation) {
  std::size_t queries = 0;
  for (const auto& [name, count] : evaluation.num_queries) queries += count;
  return std::to_string(queries) + " queries of " + std::to_string(evaluation.num_queries.size()) +
         " collections, figures x 100";
}

std::size_t num_negatives(const Evaluation& evaluation) {
  std::size_t queries = 0;
  for (const auto& [name, count] : evaluation.num_queries) queries += count;
  return evaluation.gate_examples - std::min(evaluation.gate_examples, queries);
}

int verdict(const Comparison& comparison) {
  if (comparison.queries == 0 || comparison.p_holm >= kSignificant) return 0;
  return comparison.difference > 0.0 ? 1 : -1;
}

std::string against_plain(const Comparison& comparison) {
  return with_sign(100.0 * comparison.difference) + " [" + with_sign(100.0 * comparison.low) +
         ", " + with_sign(100.0 * comparison.high) + "] p " +
         (comparison.p < 0.001 ? std::string("< 0.001") : fixed(comparison.p, 3));
}

std::vector<std::string> group_names(const Evaluation& evaluation) {
  std::vector<std::string> names;
  if (!evaluation.rows.empty())
    for (const auto& [name, group] : evaluation.rows[0].merged.groups) names.push_back(name);
  return names;
}

std::vector<std::string> remarks(const Evaluation& evaluation) {
  std::vector<std::string> lines;
  if (!evaluation.routers.empty()) {
    std::string line = "router accuracy (own collection first, mean over collections):";
    for (const RouterReport& router : evaluation.routers)
      line += " " + router.kind + " " + fixed(100.0 * router.accuracy) + " % (ECE " +
              fixed(100.0 * router.calibration.ece) + "),";
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
  if (evaluation.encode_flops > 0.0)
    lines.push_back("encoding a query takes " + fixed(evaluation.encode_flops / 1e6, 0) +
                    " MFLOP and " + fixed(evaluation.encode_ms, 2) +
                    " ms beside what is listed, whatever the method");
  std::string shared;
  for (const auto& [name, share] : evaluation.shares_training_documents)
    if (share > 0.0)
      shared += (shared.empty() ? "" : ", ") + name + " " + fixed(100.0 * share, 0) + " %";
  if (!shared.empty())
    lines.push_back("queries with a relevant document that a training query has too: " + shared);
  return lines;
}

std::string Evaluation::to_text() const {
  std::string out = note + "\n" + headline(*this) +
                    "; + and -: better and worse than plain, p < 0.05 by paired bootstrap with "
                    "Holm's correction over collections; [95 % interval]\n";
  if (!served.empty()) out += "a library answers with: " + served + "\n";
  std::size_t first = 6;
  for (const auto& row : rows) first = std::max(first, width(row.method));
  for (const ReportView& view : kReportViews) add_text_table(*this, view, first, out);
  out +=
      "\nmerged, one query: cost beside encoding; nDCG@10 below the oracle per query, and per "
      "cent of its gain won, over plain and over its noise control\n" +
      pad("", first, false) + "    MFLOP  x plain       ms  regret   gain  over noise\n";
  for (const EvaluationRow& row : rows) {
    const CostLine line = cost_line(*this, row);
    out += pad(row.method, first, false) + pad(line.mflop, 9, true) +
           pad(line.times_plain, 9, true) + pad(line.ms, 9, true) + pad(line.regret, 8, true) +
           pad(line.share, 7, true) + pad(line.share_over_noise, 12, true) + "\n";
  }
  const auto lines = remarks(*this);
  if (!lines.empty()) out += "\n";
  for (const auto& line : lines) out += line + "\n";
  if (!worst.empty())
    out += "\nworst queries of " + served + ", merged (the first " +
           std::to_string(std::min(kWorstInText, worst.size())) + " of " +
           std::to_string(worst.size()) + " listed in JSON and HTML)\n";
  for (std::size_t i = 0; i < std::min(kWorstInText, worst.size()); ++i)
    out += worst_line(*this, worst[i]) + "\n";
  return out;
}

std::string Evaluation::to_markdown() const {
  std::string out = note + ". " + headline(*this) + ".\n";
  const std::vector<std::string> group_list = group_names(*this);
  for (const ReportView& view : kReportViews)
    for (const ReportMeasure& measure : kReportMeasures) {
      const bool ndcg = measure.value == &Metrics::ndcg_at_10;
      if (!ndcg && measure.value != &Metrics::recall_at_100) continue;
      out += "\n**" + std::string(measure.title) + ", " + view.title + "**\n\n| method |";
      for (const auto& [name, count] : num_queries)
        out += " " + markdown_cell(name) + " (" + std::to_string(count) + ") |";
      for (const std::string& group : group_list) out += " " + group + " |";
      out += std::string(" mean |") + (ndcg ? " against plain |" : "") + "\n| --- |";
      for (std::size_t i = 0; i <= num_queries.size() + group_list.size(); ++i) out += " --: |";
      out += ndcg ? " --- |\n" : "\n";
      for (const auto& row : rows) {
        const EvaluationView& figures = row.*view.view;
        out += "| " + markdown_cell(row.method) + " |";
        for (const auto& [name, metrics] : figures.by_collection) {
          const auto compared = figures.against_plain.find(name);
          const int sign =
              ndcg && compared != figures.against_plain.end() ? verdict(compared->second) : 0;
          out += " " + fixed(100.0 * metrics.*measure.value) +
                 (sign > 0   ? "⁺"
                  : sign < 0 ? "⁻"
                             : "") +
                 " |";
        }
        for (const std::string& group : group_list)
          out += " " + fixed(100.0 * figures.groups.at(group).mean.*measure.value) + " |";
        out += " " + fixed(100.0 * figures.mean.*measure.value) + " |";
        if (ndcg)
          out +=
              " " +
              (row.method == "plain" ? std::string() : against_plain(figures.mean_against_plain)) +
              " |";
        out += "\n";
      }
    }
  out +=
      "\n⁺ and ⁻: better and worse than plain, p < 0.05 by paired bootstrap with Holm's "
      "correction over collections; [95 % interval].\n";
  out +=
      "\n**Merged, one query: cost beside encoding, regret and share of the oracle's gain**\n\n"
      "| method | MFLOP | x plain | regret | gain won, % | over noise, % |\n"
      "| --- | --: | --: | --: | --: | --: |\n";
  for (const auto& row : rows) {
    const CostLine line = cost_line(*this, row);
    out += "| " + markdown_cell(row.method) + " | " + line.mflop + " | " + line.times_plain +
           " | " + line.regret + " | " + line.share + " | " + line.share_over_noise + " |\n";
  }
  out += "\n";
  for (const auto& row : rows)
    out += "- " + markdown_cell(row.method) + ": " + markdown_cell(row.note) + "\n";
  for (const auto& line : remarks(*this)) out += "- " + line + "\n";
  return out;
}

std::string Evaluation::to_json() const {
  Json json;
  json["split"] = split_name(split);
  json["note"] = note;
  json["num_queries"] = num_queries;
  json["groups"] = groups;
  json["served"] = served;
  json["encode"] = {{"flops", encode_flops}, {"ms", encode_ms}};
  json["shares_training_documents"] = shares_training_documents;
  json["queries"] = Json::array();
  for (const EvaluationQuery& query : queries)
    json["queries"].push_back({{"collection", query.collection}, {"id", query.id}});
  json["rows"] = Json::array();
  for (const auto& row : rows) json["rows"].push_back(row_json(row));
  json["router_accuracy"] = Json::object();
  json["routers"] = Json::array();
  for (const RouterReport& router : routers) {
    json["router_accuracy"][router.kind] = router.accuracy;
    json["routers"].push_back(router_json(router));
  }
  json["gate"] = {{"examples", gate_examples},
                  {"accuracy", gate_accuracy},
                  {"recall", gate_recall},
                  {"specificity", num_negatives(*this) > 0 ? Json(gate_specificity) : Json()}};
  json["worst"] = Json::array();
  for (const WorstQuery& query : worst) json["worst"].push_back(worst_json(*this, query));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace collegium::router
