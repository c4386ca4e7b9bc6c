#include "collegium/router/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>

namespace collegium::router {
namespace {

Ranking ranked(const Ranking& ranking) {
  Ranking sorted = ranking;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return sorted;
}

}  // namespace

double ndcg_at(std::size_t k, const Ranking& ranking, const Judgments& judgments) {
  std::vector<double> gains;
  for (const auto& [id, gain] : judgments)
    if (gain > 0.0) gains.push_back(gain);
  std::sort(gains.begin(), gains.end(), std::greater<>());
  double ideal = 0.0;
  for (std::size_t rank = 0; rank < std::min(k, gains.size()); ++rank)
    ideal += gains[rank] / std::log2(static_cast<double>(rank) + 2.0);
  if (ideal == 0.0) return 0.0;
  const Ranking sorted = ranked(ranking);
  double dcg = 0.0;
  for (std::size_t rank = 0; rank < std::min(k, sorted.size()); ++rank) {
    const auto found = judgments.find(sorted[rank].first);
    if (found != judgments.end() && found->second > 0.0)
      dcg += found->second / std::log2(static_cast<double>(rank) + 2.0);
  }
  return dcg / ideal;
}

double recall_at(std::size_t k, const Ranking& ranking, const Judgments& judgments) {
  std::size_t relevant = 0, found = 0;
  for (const auto& [id, gain] : judgments) relevant += gain > 0.0 ? 1 : 0;
  if (relevant == 0) return 0.0;
  const Ranking sorted = ranked(ranking);
  for (std::size_t rank = 0; rank < std::min(k, sorted.size()); ++rank) {
    const auto at = judgments.find(sorted[rank].first);
    found += at != judgments.end() && at->second > 0.0 ? 1 : 0;
  }
  return static_cast<double>(found) / static_cast<double>(relevant);
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
