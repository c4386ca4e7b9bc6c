#include <algorithm>
#include <cstdio>
#include <string>

#include "evaluation_plots.h"
#include "evaluation_report.h"

namespace collegium::router {
namespace {

constexpr const char* kStyle =
    "<style>"
    ".collegium-evaluation{font:13px/1.45 system-ui,sans-serif;color:inherit}"
    ".collegium-evaluation table{border-collapse:collapse;margin:4px 0 16px}"
    ".collegium-evaluation th,.collegium-evaluation td{padding:2px 8px;text-align:right;"
    "border-bottom:1px solid #8883;font-variant-numeric:tabular-nums;vertical-align:top}"
    ".collegium-evaluation thead th{border-bottom:1px solid #888a;vertical-align:bottom}"
    ".collegium-evaluation .l{text-align:left}"
    ".collegium-evaluation tbody tr:hover{background:#8881}"
    ".collegium-evaluation .served td{font-weight:600}"
    ".collegium-evaluation .scroll{overflow-x:auto}"
    ".collegium-evaluation .note{padding:6px 10px;border-left:4px solid #8a8f98;background:#8881}"
    ".collegium-evaluation .flatters{border-color:#c77d11;background:#c77d1122}"
    ".collegium-evaluation .up{color:#1a7f4b}.collegium-evaluation .down{color:#c0392b}"
    ".collegium-evaluation h2{font-size:16px;margin:20px 0 4px}"
    ".collegium-evaluation h3{font-size:13px;margin:10px 0 2px}"
    ".collegium-evaluation .plots{display:flex;flex-wrap:wrap;gap:8px 28px;align-items:flex-start}"
    ".collegium-evaluation .off{display:none}"
    "</style>";

// Hides by the classes of what the user ticked; everything is there without it.
constexpr const char* kScript =
    "<script>(function(){"
    "var root=document.querySelector('.collegium-evaluation');"
    "function set(attribute,value,on){root.querySelectorAll('['+attribute+'=\"'+value+'\"]')"
    ".forEach(function(e){e.classList.toggle('off-'+attribute,!on)})}"
    "root.querySelectorAll('input[data-filter]').forEach(function(box){"
    "box.addEventListener('change',function(){set(box.dataset.filter,box.value,box.checked)})});"
    "root.querySelectorAll('button[data-all]').forEach(function(button){"
    "button.addEventListener('click',function(){"
    "root.querySelectorAll('input[data-filter=\"'+button.dataset.all+'\"]').forEach(function(box){"
    "box.checked=button.value==='1';box.dispatchEvent(new Event('change'))})})});"
    "var find=root.querySelector('input[type=search]');"
    "if(find)find.addEventListener('input',function(){var want=find.value.toLowerCase();"
    "root.querySelectorAll('tr.worst').forEach(function(row){"
    "row.classList.toggle('off',row.textContent.toLowerCase().indexOf(want)<0)})});"
    "})()</script>";

constexpr const char* kPageStyle =
    "<style>body{margin:24px auto;max-width:1240px;padding:0 20px;color:#1c2024;background:#fff}"
    ".collegium-evaluation .off-data-m,.collegium-evaluation .off-data-c{display:none}"
    ".collegium-evaluation fieldset{border:1px solid #8884;margin:8px 0;padding:4px 10px}"
    ".collegium-evaluation label{display:inline-block;margin-right:12px;white-space:nowrap}"
    ".collegium-evaluation button{font:inherit;margin-right:6px}</style>";

std::string row_of(std::size_t m) { return "data-m=\"" + std::to_string(m) + "\""; }
std::string column_of(std::size_t c) { return "data-c=\"" + std::to_string(c) + "\""; }

std::string open_row(const Evaluation& evaluation, std::size_t m) {
  const EvaluationRow& row = evaluation.rows[m];
  return "<tr " + row_of(m) + (row.method == evaluation.served ? " class=\"served\"" : "") +
         " title=\"" + html_escape(row.note) + "\"><td class=\"l\">" + html_escape(row.method) +
         "</td>";
}

std::string difference_cell(const Comparison& comparison) {
  const bool significant = comparison.queries > 0 && comparison.p < kSignificant;
  return std::string("<td class=\"l") +
         (!significant                  ? ""
          : comparison.difference > 0.0 ? " up"
                                        : " down") +
         "\">" + html_escape(against_plain(comparison)) + "</td>";
}

// A figure with the share of its column's range as background, and a sign where it is significant.
std::string figure_cell(double value, double low, double high, int sign, const std::string& title,
                        std::size_t c) {
  const double share = high > low ? (value - low) / (high - low) : 0.0;
  char colour[16];
  std::snprintf(colour, sizeof colour, "%02x", static_cast<unsigned>(share * 70.0));
  return "<td " + column_of(c) + " style=\"background:#1a7f4b" + colour + "\" title=\"" +
         html_escape(title) + "\">" + fixed(100.0 * value) +
         (sign > 0   ? "<span class=\"up\">&#9650;</span>"
          : sign < 0 ? "<span class=\"down\">&#9660;</span>"
                     : "") +
         "</td>";
}

std::string measure_table(const Evaluation& evaluation, const ReportView& view,
                          const ReportMeasure& measure) {
  const bool ndcg = measure.value == &Metrics::ndcg_at_10;
  const std::vector<std::string> groups = group_names(evaluation);
  std::string out = "<div class=\"scroll\"><table><thead><tr><th class=\"l\">" +
                    std::string(measure.title) + "</th>";
  std::size_t c = 0;
  for (const auto& [name, count] : evaluation.num_queries)
    out += "<th " + column_of(c++) + " title=\"" + std::to_string(count) + " queries\">" +
           html_escape(name) + "</th>";
  for (const std::string& group : groups) out += "<th>" + group + "</th>";
  out += std::string("<th>mean</th>") + (ndcg ? "<th class=\"l\">against plain</th>" : "") +
         "</tr></thead><tbody>";
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m) {
    const EvaluationView& figures = evaluation.rows[m].*view.view;
    out += open_row(evaluation, m);
    c = 0;
    for (const auto& [name, metrics] : figures.by_collection) {
      const double value = metrics.*measure.value;
      double low = value, high = value;
      for (const EvaluationRow& other : evaluation.rows) {
        const double theirs = (other.*view.view).by_collection.at(name).*measure.value;
        low = std::min(low, theirs);
        high = std::max(high, theirs);
      }
      const auto compared = figures.against_plain.find(name);
      const bool known = ndcg && compared != figures.against_plain.end();
      out += figure_cell(value, low, high, known ? verdict(compared->second) : 0,
                         known ? "against plain " + against_plain(compared->second) +
                                     ", corrected " + fixed(compared->second.p_holm, 3)
                               : std::string(),
                         c++);
    }
    for (const std::string& group : groups) {
      const EvaluationGroup& part = figures.groups.at(group);
      out += "<td title=\"against plain " + html_escape(against_plain(part.against_plain)) + "\">" +
             fixed(100.0 * part.mean.*measure.value) + "</td>";
    }
    out += "<td><b>" + fixed(100.0 * figures.mean.*measure.value) + "</b></td>";
    if (ndcg)
      out += evaluation.rows[m].method == "plain" ? "<td></td>"
                                                  : difference_cell(figures.mean_against_plain);
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string view_section(const Evaluation& evaluation, const ReportView& view) {
  std::string title = view.title;
  title[0] = static_cast<char>(title[0] - 'a' + 'A');
  std::string out = "<h2>" + title + "</h2><div class=\"plots\">" + gains_plot(evaluation, view) +
                    served_plot(evaluation, view) + "</div>";
  for (const ReportMeasure& measure : kReportMeasures) {
    const bool first = measure.value == &Metrics::ndcg_at_10;
    out += first ? measure_table(evaluation, view, measure)
                 : "<details><summary>" + std::string(measure.title) + "</summary>" +
                       measure_table(evaluation, view, measure) + "</details>";
  }
  return out;
}

std::string cost_section(const Evaluation& evaluation) {
  const EvaluationRow* plain = evaluation.row("plain");
  const bool oracle = evaluation.row("oracle per query") != nullptr;
  std::string out =
      "<h2>Cost, and what choosing could win</h2><p>One merged query beside encoding it. Regret: "
      "nDCG@10 below the oracle per query. Gain won: per cent of what that oracle gains over "
      "plain, and over its noise control.</p><div class=\"plots\"><div><table><thead><tr>"
      "<th class=\"l\">method</th><th>MFLOP</th><th>x plain</th><th>ms</th><th>regret</th>"
      "<th>gain won, %</th><th>over noise, %</th></tr></thead><tbody>";
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m) {
    const EvaluationRow& row = evaluation.rows[m];
    const bool counted = row.cost.flops > 0.0;
    out += open_row(evaluation, m) + "<td>" + (counted ? fixed(row.cost.flops / 1e6, 2) : "-") +
           "</td><td>" +
           (counted && plain != nullptr && plain->cost.flops > 0.0
                ? fixed(row.cost.flops / plain->cost.flops, 2)
                : "-") +
           "</td><td>" + (row.cost.ms > 0.0 ? fixed(row.cost.ms, 2) : "-") + "</td>";
    for (const auto& [value, digits] :
         {std::pair{row.merged.regret, 1}, std::pair{row.merged.gain_share, 0},
          std::pair{row.merged.gain_share_over_noise, 0}})
      out += "<td>" + (oracle ? fixed(100.0 * value, digits) : std::string("-")) + "</td>";
    out += "</tr>";
  }
  return out + "</tbody></table></div>" + cost_plot(evaluation) + "</div>";
}

std::string confusion_table(const RouterReport& router) {
  std::vector<std::string> chosen;
  for (const auto& [own, row] : router.confusion)
    for (const auto& [name, count] : row) chosen.push_back(name);
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th class=\"l\">queries of \\ routed to</th>";
  for (const std::string& name : chosen) out += "<th>" + html_escape(name) + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& [own, row] : router.confusion) {
    double all = 0.0;
    for (const auto& [name, count] : row) all += static_cast<double>(count);
    out += "<tr><td class=\"l\">" + html_escape(own) + "</td>";
    for (const std::string& name : chosen) {
      const auto found = row.find(name);
      if (found == row.end()) {
        out += "<td></td>";
        continue;
      }
      char colour[16];
      std::snprintf(colour, sizeof colour, "%02x",
                    static_cast<unsigned>(20.0 + 110.0 * static_cast<double>(found->second) / all));
      out += std::string("<td style=\"background:") + (name == own ? "#1a7f4b" : "#c0392b") +
             colour + "\">" + std::to_string(found->second) + "</td>";
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string router_section(const Evaluation& evaluation) {
  if (evaluation.routers.empty()) return "";
  std::string out =
      "<h2>Routers</h2><p>Left: how often the first choice is the query's own collection, by its "
      "probability (on the dashed line: as often as it says). Right: nDCG@10 when only the surest "
      "queries are searched under the first choice's expert and the others plainly.</p>";
  for (const RouterReport& router : evaluation.routers)
    out += "<h3>" + html_escape(router.kind) + ": right " + fixed(100.0 * router.accuracy) +
           " % (mean over collections), ECE " + fixed(100.0 * router.calibration.ece) +
           "</h3><div class=\"plots\">" + reliability_plot(router) + coverage_plot(router) +
           confusion_table(router) + "</div>";
  return out;
}

std::string worst_section(const Evaluation& evaluation) {
  if (evaluation.worst.empty()) return "";
  std::string out = "<h2>The " + std::to_string(evaluation.worst.size()) + " worst queries of " +
                    html_escape(evaluation.served) +
                    ", merged</h2><p>Lowest nDCG@10 first, among equals those that a choice of "
                    "expert could help most.</p><p><input type=\"search\" placeholder=\"find\" "
                    "aria-label=\"find in the worst queries\"></p>"
                    "<div class=\"scroll\"><table><thead><tr><th class=\"l\">query</th>"
                    "<th>nDCG@10</th><th>plain</th><th>best</th><th>rank</th><th>plainly</th>"
                    "<th class=\"l\">relevant</th><th class=\"l\">stood first</th>"
                    "<th class=\"l\">why</th></tr></thead><tbody>";
  const auto rank = [](std::size_t value) {
    return value == 0 ? std::string("&gt; 100") : std::to_string(value);
  };
  for (const WorstQuery& worst : evaluation.worst) {
    const EvaluationQuery& query = evaluation.queries[worst.query];
    const auto c = static_cast<std::size_t>(std::distance(
        evaluation.num_queries.begin(), evaluation.num_queries.find(query.collection)));
    std::string relevant;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, worst.relevant.size()); ++i)
      relevant += (i > 0 ? ", " : "") + worst.relevant[i];
    if (worst.relevant.size() > 3)
      relevant += " and " + std::to_string(worst.relevant.size() - 3) + " more";
    out += "<tr class=\"worst\" " + column_of(c) + "><td class=\"l\"><b>" +
           html_escape(query.collection) + "</b> " +
           html_escape(query.text.empty() ? query.id : query.text) + "</td><td>" +
           fixed(100.0 * worst.ndcg_at_10) + "</td><td>" + fixed(100.0 * worst.plain) +
           "</td><td title=\"" + html_escape(worst.best_method) + "\">" +
           fixed(100.0 * worst.best) + "</td><td>" + rank(worst.rank) + "</td><td>" +
           rank(worst.plain_rank) + "</td><td class=\"l\">" + html_escape(relevant) +
           "</td><td class=\"l\">" +
           html_escape(worst.first_collection.empty()
                           ? std::string("nothing")
                           : worst.first_collection + "/" + worst.first_document) +
           "</td><td class=\"l\">" + html_escape(worst.why) + "</td></tr>";
  }
  return out + "</tbody></table></div>";
}

std::string filters(const Evaluation& evaluation) {
  const auto box = [](const char* filter, std::size_t value, std::string_view label) {
    return std::string("<label><input type=\"checkbox\" checked data-filter=\"") + filter +
           "\" value=\"" + std::to_string(value) + "\"> " + html_escape(label) + "</label>";
  };
  const auto buttons = [](const char* filter) {
    return std::string("<button type=\"button\" data-all=\"") + filter +
           "\" value=\"1\">all</button><button type=\"button\" data-all=\"" + filter +
           "\" value=\"0\">none</button>";
  };
  std::string out = "<fieldset><legend>methods</legend>" + buttons("data-m");
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m)
    out += box("data-m", m, evaluation.rows[m].method);
  out += "</fieldset><fieldset><legend>collections</legend>" + buttons("data-c");
  std::size_t c = 0;
  for (const auto& [name, count] : evaluation.num_queries)
    out += box("data-c", c++, name + " (" + std::to_string(count) + ")");
  return out + "</fieldset>";
}

std::string body(const Evaluation& evaluation, bool page) {
  std::string out = "<div class=\"collegium-evaluation\">" + std::string(kStyle) +
                    (page ? std::string(kPageStyle) + "<h1>Evaluation</h1>" : std::string()) +
                    "<p class=\"note" + (evaluation.may_flatter ? " flatters" : "") + "\">" +
                    html_escape(evaluation.note) + ".</p><p>" + html_escape(headline(evaluation)) +
                    ".";
  if (const EvaluationRow* served = evaluation.row(evaluation.served); served != nullptr)
    out += " A library answers with <b>" + html_escape(served->method) + "</b>: nDCG@10 " +
           fixed(100.0 * served->merged.mean.ndcg_at_10) + " merged, against plain " +
           html_escape(against_plain(served->merged.mean_against_plain)) + ".";
  out +=
      " &#9650; &#9660;: better and worse than plain (p &lt; 0.05, paired bootstrap, Holm over "
      "collections); in brackets 95 % intervals.</p>";
  if (page) out += filters(evaluation);
  for (const ReportView& view : kReportViews) out += view_section(evaluation, view);
  out += cost_section(evaluation) + router_section(evaluation);
  if (page) out += worst_section(evaluation);
  out += "<h2>What the rows are</h2><table><tbody>";
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m)
    out += "<tr " + row_of(m) + "><td class=\"l\">" + html_escape(evaluation.rows[m].method) +
           "</td><td class=\"l\">" + html_escape(evaluation.rows[m].note) + "</td></tr>";
  out += "</tbody></table>";
  for (const auto& line : remarks(evaluation)) out += "<p>" + html_escape(line) + ".</p>";
  return out + (page ? kScript : "") + "</div>";
}

}  // namespace

std::string Evaluation::to_html() const { return body(*this, false); }

std::string Evaluation::to_html_page() const {
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width, initial-scale=1\"><title>Collegium evaluation</title>"
         "</head><body>" +
         body(*this, true) + "</body></html>\n";
}

}  // namespace collegium::router
