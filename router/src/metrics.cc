#include "collegium/router/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <ostream>

namespace collegium::router {
namespace {

constexpr std::pair<std::string_view, Measure::Kind> kNames[] = {
    {"ndcg", Measure::Kind::kNdcg},
    {"map", Measure::Kind::kMap},
    {"mrr", Measure::Kind::kMrr},
    {"recall", Measure::Kind::kRecall},
    {"precision", Measure::Kind::kPrecision},
    {"success", Measure::Kind::kSuccess},
    {"bpref", Measure::Kind::kBpref}};

Ranking ranked(const Ranking& ranking) {
  Ranking sorted = ranking;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return sorted;
}

}  // namespace

Result<Measure> parse_measure(std::string_view name) {
  const auto fail = [&](const std::string& why) {
    return Status::invalid_argument("measure '" + std::string(name) + "': " + why);
  };
  const std::size_t at = name.find('@');
  const std::string_view kind = name.substr(0, at);
  Measure measure;
  const auto* known = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const auto& entry) { return entry.first == kind; });
  if (known == std::end(kNames))
    return fail("must be ndcg, map, mrr, recall, precision, success (as in ndcg@10) or bpref");
  measure.kind = known->second;
  measure.cutoff = 0;
  if (at == std::string_view::npos) {
    if (measure.kind == Measure::Kind::kPrecision) return fail("needs a cut-off, as precision@10");
    return measure;
  }
  const std::string_view digits = name.substr(at + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), measure.cutoff);
  if (error != std::errc() || end != digits.data() + digits.size() || measure.cutoff == 0)
    return fail("its cut-off must be a whole number from 1 up");
  if (measure.kind == Measure::Kind::kBpref) return fail("bpref has no cut-off");
  return measure;
}

std::string measure_name(const Measure& measure) {
  const auto* known = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const auto& entry) { return entry.second == measure.kind; });
  return std::string(known->first) +
         (measure.cutoff > 0 ? "@" + std::to_string(measure.cutoff) : std::string());
}

double measure_ranking(const Measure& measure, const Ranking& ranking, const Judgments& judgments) {
  std::vector<double> ideal;  // gains, descending
  for (const auto& [id, gain] : judgments)
    if (gain > 0.0) ideal.push_back(gain);
  if (ideal.empty()) return 0.0;
  std::sort(ideal.begin(), ideal.end(), std::greater<>());
  const std::size_t depth =
      measure.cutoff > 0 ? measure.cutoff : std::max(ranking.size(), ideal.size());
  const auto relevant = static_cast<double>(ideal.size());
  const auto irrelevant = static_cast<double>(judgments.size() - ideal.size());

  const Ranking sorted = ranked(ranking);
  double found = 0.0, dcg = 0.0, precisions = 0.0, first = 0.0, preferred = 0.0, above = 0.0;
  for (std::size_t rank = 0; rank < std::min(depth, sorted.size()); ++rank) {
    const auto judged = judgments.find(sorted[rank].first);
    if (judged == judgments.end()) continue;
    if (!(judged->second > 0.0)) {
      above += 1.0;
      continue;
    }
    const double place = static_cast<double>(rank) + 1.0;
    found += 1.0;
    dcg += judged->second / std::log2(place + 1.0);
    precisions += found / place;
    if (first == 0.0) first = 1.0 / place;
    preferred +=
        1.0 - (above > 0.0 ? std::min(above, relevant) / std::min(irrelevant, relevant) : 0.0);
  }
  switch (measure.kind) {
    case Measure::Kind::kNdcg: {
      double best = 0.0;
      for (std::size_t rank = 0; rank < std::min(depth, ideal.size()); ++rank)
        best += ideal[rank] / std::log2(static_cast<double>(rank) + 2.0);
      return dcg / best;
    }
    case Measure::Kind::kMap:
      return precisions / relevant;
    case Measure::Kind::kMrr:
      return first;
    case Measure::Kind::kRecall:
      return found / relevant;
    case Measure::Kind::kPrecision:
      return found / static_cast<double>(depth);
    case Measure::Kind::kSuccess:
      return found > 0.0 ? 1.0 : 0.0;
    case Measure::Kind::kBpref:
      return preferred / relevant;
  }
  return 0.0;
}

double ndcg_at(std::size_t k, const Ranking& ranking, const Judgments& judgments) {
  return k == 0 ? 0.0 : measure_ranking({Measure::Kind::kNdcg, k}, ranking, judgments);
}

double recall_at(std::size_t k, const Ranking& ranking, const Judgments& judgments) {
  return k == 0 ? 0.0 : measure_ranking({Measure::Kind::kRecall, k}, ranking, judgments);
}

Status write_trec_run(std::ostream& out, const std::map<std::string, Ranking>& rankings,
                      std::string_view tag) {
  const auto word = [](std::string_view text) {
    return !text.empty() && std::none_of(text.begin(), text.end(),
                                         [](unsigned char c) { return c <= ' ' || c == 0x7f; });
  };
  if (!word(tag))
    return Status::invalid_argument("TREC run: tag '" + std::string(tag) +
                                    "' is empty or has white space");
  for (const auto& [query, ranking] : rankings) {
    if (!word(query))
      return Status::invalid_argument("TREC run: query id '" + query +
                                      "' is empty or has white space");
    double above = std::numeric_limits<double>::infinity();
    std::size_t rank = 0;
    for (const auto& [id, score] : ranked(ranking)) {
      if (!word(id))
        return Status::invalid_argument("TREC run: document id '" + id +
                                        "' is empty or has white space");
      if (!std::isfinite(score))
        return Status::invalid_argument("TREC run: score of '" + id + "' for query '" + query +
                                        "' is not finite");
      // trec_eval reads scores as float in places and breaks ties by descending id; so scores go
      // down by at least one float at every rank, and no tie is left to break.
      auto written = static_cast<float>(score);
      if (!(written < above))
        written =
            std::nextafter(static_cast<float>(above), -std::numeric_limits<float>::infinity());
      above = written;
      char text[48];
      std::snprintf(text, sizeof text, "%.9g", static_cast<double>(written));
      out << query << " Q0 " << id << ' ' << ++rank << ' ' << text << ' ' << tag << '\n';
    }
  }
  if (!out) return Status::io_error("TREC run: the stream failed");
  return Status();
}

}  // namespace collegium::router
