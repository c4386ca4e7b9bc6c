#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "collection_state.h"
#include "collegium/index/lexical.h"
#include "lexical_tables.h"

namespace collegium::index {

// What a query's words are in one collection at one commit, for saying why a passage matched.
struct LexicalTerm {
  std::string term;
  double weight = 0.0;  // how often the query has it, times its idf
};

struct LexicalResult {
  std::vector<DocumentScore> documents;
  std::vector<LexicalTerm> terms;  // by descending weight, term
};

// The `k` best documents of those alive in `state` by (best passage descending, id bytewise
// ascending), also across the k boundary. `state` and `lexical` are of the same commit; the result
// points into `state`. Scores are sums in double, in the order of `terms`, rounded to float: a
// function of (commit, query), whatever was skipped on the way.
// Rows are walked in windows no longer than a block of the words that can still lift a passage into
// the result (MaxScore, and the block maxima of "Faster top-k document retrieval using block-max
// indexes", SIGIR 2011); others are looked up only for passages that need them.
Result<LexicalResult> search_postings(const LexicalTables& tables, std::uint32_t collection,
                                      const LexicalState& lexical, const CollectionState& state,
                                      const LexicalQuery& query, std::size_t k);

// Which of `terms` are in a passage of a document, where, and what they give.
std::vector<LexicalMatch> explain_passage(const LexicalState& lexical,
                                          std::span<const LexicalTerm> terms,
                                          std::string_view title, std::string_view text,
                                          core::ByteSpan passage);

}  // namespace collegium::index
