#include "evaluation_plots.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace collegium::router {
namespace {

constexpr const char* kBetter = "#1a7f4b";
constexpr const char* kWorse = "#c0392b";
constexpr const char* kNeither = "#8a8f98";
constexpr const char* kSignals[] = {"#2563a8", "#c77d11"};

std::string number(double value) { return fixed(value, 1); }

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) +
         "\" y2=\"" + number(y2) + "\" " + style + "/>";
}

std::string text(double x, double y, const char* anchor, std::string_view what) {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" +
         html_escape(what) + "</text>";
}

std::string dot(double x, double y, double radius, const char* colour, std::string_view title) {
  return "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"" + number(radius) +
         "\" fill=\"" + colour + "\"><title>" + html_escape(title) + "</title></circle>";
}

std::string open_svg(double width, double height, const std::string& label) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + number(width) + " " +
         number(height) + "\" width=\"" + number(width) + "\" height=\"" + number(height) +
         "\" role=\"img\" aria-label=\"" + html_escape(label) +
         "\" font-size=\"11\" fill=\"currentColor\" style=\"max-width:100%\">";
}

constexpr const char* kGrid = "stroke=\"currentColor\" stroke-opacity=\"0.15\"";
constexpr const char* kAxis = "stroke=\"currentColor\" stroke-opacity=\"0.6\"";

// A round step that divides `span` into about five.
double step_of(double span) {
  if (!(span > 0.0)) return 1.0;
  const double power = std::pow(10.0, std::floor(std::log10(span / 5.0)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (span / (factor * power) <= 6.0) return factor * power;
  return 10.0 * power;
}

int digits_of(double step) { return step < 0.1 ? 2 : step < 1.0 ? 1 : 0; }

struct Range {
  double low = 0.0, high = 0.0;
  void hold(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct Whisker {
  std::string label, group;  // attribute of its <g>
  Comparison comparison;
  bool significant = false;
};

// Differences x 100 with their intervals, one below the other.
std::string whisker_plot(const std::vector<Whisker>& whiskers, const std::string& label) {
  std::size_t longest = 4;
  Range range;
  for (const Whisker& whisker : whiskers) {
    longest = std::max(longest, whisker.label.size());
    range.hold(100.0 * whisker.comparison.low);
    range.hold(100.0 * whisker.comparison.high);
  }
  const double step = step_of(range.high - range.low);
  range.low = std::floor(range.low / step) * step;
  range.high = std::ceil(range.high / step) * step;
  if (range.high <= range.low) range.high = range.low + step;
  const double left = 16.0 + 6.3 * static_cast<double>(std::min<std::size_t>(longest, 40));
  const double plot = 380.0, row = 18.0, top = 8.0;
  const double bottom = top + row * static_cast<double>(whiskers.size());
  const auto x = [&](double value) {
    return left + plot * (value - range.low) / (range.high - range.low);
  };
  std::string svg = open_svg(left + plot + 70.0, bottom + 34.0, label);
  for (int i = 0; range.low + i * step <= range.high + step / 2.0; ++i) {
    const double value = range.low + i * step;
    svg += line(x(value), top, x(value), bottom, std::abs(value) < step / 2.0 ? kAxis : kGrid);
    svg += text(x(value), bottom + 14.0, "middle", with_sign(value, digits_of(step)));
  }
  svg += text(left + plot / 2.0, bottom + 29.0, "middle", label);
  for (std::size_t i = 0; i < whiskers.size(); ++i) {
    const Whisker& whisker = whiskers[i];
    const Comparison& c = whisker.comparison;
    const double y = top + row * (static_cast<double>(i) + 0.5);
    const char* colour = !whisker.significant ? kNeither : c.difference > 0.0 ? kBetter : kWorse;
    svg += "<g " + whisker.group + ">" + text(left - 8.0, y + 4.0, "end", whisker.label) +
           line(x(100.0 * c.low), y, x(100.0 * c.high), y,
                std::string("stroke-width=\"2\" stroke=\"") + colour + "\"") +
           dot(x(100.0 * c.difference), y, 4.0, colour, whisker.label + ": " + against_plain(c)) +
           text(left + plot + 8.0, y + 4.0, "start", with_sign(100.0 * c.difference)) + "</g>";
  }
  return svg + "</svg>";
}

// A square of [0, 1] x [low, high] with axes.
struct Frame {
  double width = 250.0, height = 210.0, left = 44.0, top = 10.0;
  double low = 0.0, high = 1.0;
  double x(double share) const { return left + width * share; }
  double y(double value) const { return top + height * (high - value) / (high - low); }
  std::string open(const std::string& label, const std::string& x_label) const {
    std::string svg = open_svg(left + width + 14.0, top + height + 36.0, label);
    for (int i = 0; i <= 5; ++i)
      svg += line(x(i / 5.0), top, x(i / 5.0), top + height, kGrid) +
             text(x(i / 5.0), top + height + 14.0, "middle", fixed(20.0 * i, 0));
    const double step = step_of(high - low);
    for (int i = 0; low + i * step <= high + step / 1000.0; ++i) {
      const double value = low + i * step;
      svg += line(left, y(value), left + width, y(value), kGrid) +
             text(left - 5.0, y(value) + 4.0, "end", fixed(100.0 * value, digits_of(100.0 * step)));
    }
    return svg + text(left + width / 2.0, top + height + 30.0, "middle", x_label);
  }
};

}  // namespace

std::string gains_plot(const Evaluation& evaluation, const ReportView& view) {
  std::vector<Whisker> whiskers;
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m) {
    const EvaluationRow& row = evaluation.rows[m];
    if (row.method == "plain") continue;
    const Comparison& compared = (row.*view.view).mean_against_plain;
    whiskers.push_back(
        {row.method, "data-m=\"" + std::to_string(m) + "\"", compared, compared.p < kSignificant});
  }
  return whisker_plot(whiskers, "nDCG@10 less plain's, mean over collections");
}

std::string served_plot(const Evaluation& evaluation, const ReportView& view) {
  const EvaluationRow* row = evaluation.row(evaluation.served);
  if (row == nullptr) return "";
  std::vector<Whisker> whiskers;
  std::size_t c = 0;
  for (const auto& [name, compared] : (row->*view.view).against_plain) {
    whiskers.push_back(
        {name, "data-c=\"" + std::to_string(c++) + "\"", compared, verdict(compared) != 0});
  }
  return whisker_plot(whiskers, "nDCG@10 less plain's, " + evaluation.served);
}

std::string reliability_plot(const RouterReport& router) {
  const Frame frame;
  std::string svg =
      frame.open("reliability of " + router.kind, "probability of the first choice, %");
  svg += line(frame.x(0.0), frame.y(0.0), frame.x(1.0), frame.y(1.0),
              std::string(kAxis) + " stroke-dasharray=\"4 3\"");
  std::size_t all = 0;
  for (const ReliabilityBin& bin : router.calibration.bins) all += bin.count;
  for (const ReliabilityBin& bin : router.calibration.bins) {
    if (bin.count == 0) continue;
    const double share = static_cast<double>(bin.count) / static_cast<double>(all);
    svg += line(frame.x(bin.confidence), frame.y(bin.confidence), frame.x(bin.confidence),
                frame.y(bin.accuracy), std::string("stroke=\"") + kNeither + "\"") +
           dot(frame.x(bin.confidence), frame.y(bin.accuracy), 3.0 + 7.0 * std::sqrt(share),
               kSignals[0],
               std::to_string(bin.count) + " queries: probability " + fixed(bin.confidence, 2) +
                   ", right " + fixed(bin.accuracy, 2));
  }
  return svg + "</svg>";
}

std::string coverage_plot(const RouterReport& router) {
  Frame frame;
  bool first = true;
  for (const auto& [signal, points] : router.coverage_merged)
    for (const CoveragePoint& point : points) {
      frame.low = first ? point.quality : std::min(frame.low, point.quality);
      frame.high = first ? point.quality : std::max(frame.high, point.quality);
      first = false;
    }
  const double step = step_of(frame.high - frame.low + 0.01);
  frame.low = std::floor(frame.low / step) * step;
  frame.high = std::ceil(frame.high / step + 1e-9) * step;
  std::string svg = frame.open("coverage of " + router.kind, "queries routed, surest first, %");
  std::size_t colour = 0;
  for (const auto& [signal, points] : router.coverage_merged) {
    std::string path;
    for (const CoveragePoint& point : points)
      path += number(frame.x(point.coverage)) + "," + number(frame.y(point.quality)) + " ";
    svg += "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" +
           std::string(kSignals[colour % 2]) + "\" points=\"" + path + "\"/>";
    for (const CoveragePoint& point : points)
      svg += dot(frame.x(point.coverage), frame.y(point.quality), 2.5, kSignals[colour % 2],
                 signal + " from " + fixed(point.threshold, 3) + ": " +
                     fixed(100.0 * point.coverage, 0) + " % routed, nDCG@10 " +
                     fixed(100.0 * point.quality) + ", routes right " +
                     fixed(100.0 * point.accuracy) + " %");
    svg += "<g fill=\"" + std::string(kSignals[colour % 2]) + "\">" +
           text(frame.left + 6.0, frame.top + 14.0 + 14.0 * static_cast<double>(colour), "start",
                signal) +
           "</g>";
    ++colour;
  }
  return svg + "</svg>";
}

std::string cost_plot(const Evaluation& evaluation) {
  const EvaluationRow* plain = evaluation.row("plain");
  if (plain == nullptr || !(plain->cost.flops > 0.0)) return "";
  double most = 1.0, low = 1.0, high = 0.0;
  for (const EvaluationRow& row : evaluation.rows) {
    if (!(row.cost.flops > 0.0)) continue;
    most = std::max(most, row.cost.flops / plain->cost.flops);
    low = std::min(low, row.merged.mean.ndcg_at_10);
    high = std::max(high, row.merged.mean.ndcg_at_10);
  }
  Frame frame;
  frame.width = 420.0;
  frame.height = 240.0;
  const double step = step_of(high - low + 0.01);
  frame.low = std::floor(low / step) * step;
  frame.high = std::ceil(high / step + 1e-9) * step;
  const double reach = std::max(2.5, std::ceil(most * 2.0 + 0.5) / 2.0);
  std::string svg = open_svg(frame.left + frame.width + 14.0, frame.top + frame.height + 36.0,
                             "quality over cost");
  const double x_step = step_of(reach);
  for (int i = 0; i * x_step <= reach; ++i)
    svg += line(frame.x(i * x_step / reach), frame.top, frame.x(i * x_step / reach),
                frame.top + frame.height, kGrid) +
           text(frame.x(i * x_step / reach), frame.top + frame.height + 14.0, "middle",
                fixed(i * x_step, digits_of(x_step)));
  for (int i = 0; frame.low + i * step <= frame.high + step / 1000.0; ++i) {
    const double value = frame.low + i * step;
    svg += line(frame.left, frame.y(value), frame.left + frame.width, frame.y(value), kGrid) +
           text(frame.left - 5.0, frame.y(value) + 4.0, "end",
                fixed(100.0 * value, digits_of(100.0 * step)));
  }
  svg += text(frame.left + frame.width / 2.0, frame.top + frame.height + 30.0, "middle",
              "FLOPs of a merged search, x plain");
  for (std::size_t m = 0; m < evaluation.rows.size(); ++m) {
    const EvaluationRow& row = evaluation.rows[m];
    if (!(row.cost.flops > 0.0)) continue;
    const double times = row.cost.flops / plain->cost.flops;
    const double at_x = frame.x(times / reach), at_y = frame.y(row.merged.mean.ndcg_at_10);
    const bool served = row.method == evaluation.served;
    const bool named = served || row.method == "plain";
    svg += "<g data-m=\"" + std::to_string(m) + "\">" +
           dot(at_x, at_y, served ? 6.0 : 4.0,
               served                  ? kBetter
               : row.method == "plain" ? kSignals[1]
                                       : kSignals[0],
               row.method + ": " + fixed(100.0 * row.merged.mean.ndcg_at_10) + " at " +
                   fixed(times, 2) + " x plain") +
           (named ? text(at_x + 9.0, at_y + 4.0, "start", row.method) : std::string()) + "</g>";
  }
  return svg + "</svg>";
}

}  // namespace collegium::router
