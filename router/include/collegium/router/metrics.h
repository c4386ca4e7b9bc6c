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
using Judgments = std::map<std::string, double>;  // document id -> gain > 0

// nDCG with log2 discount and linear gains, as trec_eval's ndcg_cut; 0 if nothing is relevant.
COLLEGIUM_API double ndcg_at(std::size_t k, const Ranking& ranking, const Judgments& judgments);
// Share of the relevant documents that are among the first k; 0 if nothing is relevant.
COLLEGIUM_API double recall_at(std::size_t k, const Ranking& ranking, const Judgments& judgments);

// "query Q0 document rank score tag" lines, queries ascending. Scores are strictly decreasing
// floats (equal ones are lowered by the least that shows), so that trec_eval's tie rule, which is
// not ours, never acts. invalid_argument on ids with white space or scores that are not finite;
// io_error.
COLLEGIUM_API Status write_trec_run(std::ostream& out,
                                    const std::map<std::string, Ranking>& rankings,
                                    std::string_view tag);

}  // namespace collegium::router
