#pragma once

#include <cstddef>
#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::router {

// Ids with scores, in any order: metrics rank them by (score descending, id bytewise ascending).
using Ranking = std::vector<std::pair<std::string, double>>;
// Document id -> gain. A gain of 0 or less: judged, and not relevant.
using Judgments = std::map<std::string, double>;

// What is measured of a ranking, as trec_eval defines it. By name: "ndcg@10", "map@100", "mrr@10",
// "recall@100", "precision@10", "success@5", "bpref"; without "@" over the whole ranking.
//   ndcg       log2 discount, linear gains (ndcg, ndcg_cut)
//   map        of one query: average precision over all its relevant documents (map, map_cut)
//   mrr        1 / rank of the first relevant document (recip_rank); 0 beyond the cut-off
//   recall     share of the relevant documents found (recall)
//   precision  share of `cutoff` places that hold a relevant one, empty places too (P)
//   success    1 if any relevant document was found (success)
//   bpref      of judged documents alone: how few that are not relevant stand above each relevant
//              one (Buckley and Voorhees, SIGIR 2004); no cut-off
struct Measure {
  enum class Kind { kNdcg, kMap, kMrr, kRecall, kPrecision, kSuccess, kBpref };
  Kind kind = Kind::kNdcg;
  std::size_t cutoff = 10;  // 0: none
};
// invalid_argument: no such measure; a cut-off of 0, on bpref, or missing on precision.
COLLEGIUM_API Result<Measure> parse_measure(std::string_view name);
COLLEGIUM_API std::string measure_name(const Measure& measure);

// 0 if nothing is relevant.
COLLEGIUM_API double measure_ranking(const Measure& measure, const Ranking& ranking,
                                     const Judgments& judgments);
COLLEGIUM_API double ndcg_at(std::size_t k, const Ranking& ranking, const Judgments& judgments);
COLLEGIUM_API double recall_at(std::size_t k, const Ranking& ranking, const Judgments& judgments);

// "query Q0 document rank score tag" lines, queries ascending. Scores are strictly decreasing
// floats (equal ones are lowered by the least that shows), so that trec_eval's tie rule, which is
// not ours, never acts. invalid_argument on ids with white space or scores that are not finite;
// io_error.
COLLEGIUM_API Status write_trec_run(std::ostream& out,
                                    const std::map<std::string, Ranking>& rankings,
                                    std::string_view tag);

}  // namespace collegium::router
