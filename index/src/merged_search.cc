#include "merged_search.h"

#include <algorithm>
#include <string>

#include "collegium/index/result_caps.h"
#include "filter_state.h"

namespace collegium::index {
namespace {

// The best `depth` documents of all states by (score descending, id, collection ascending).
Result<std::vector<MergedDocument>> merge_best(
    std::span<const std::shared_ptr<const CollectionState>> states,
    std::span<const CollectionQuery> queries, std::size_t depth, const SearchOptions& options) {
  std::vector<MergedDocument> merged;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const auto found,
        search_documents(*states[i], queries[i].query, depth, queries[i].shift, options));
    for (const DocumentScore& document : found) merged.push_back({document, i});
  }
  std::sort(merged.begin(), merged.end(), [&](const auto& a, const auto& b) {
    if (a.score.score != b.score.score) return a.score.score > b.score.score;
    const int by_id = a.score.id().compare(b.score.id());
    return by_id != 0 ? by_id < 0 : queries[a.query].collection < queries[b.query].collection;
  });
  if (merged.size() > depth) merged.resize(depth);
  return merged;
}

// Offers the document to the caps.
bool keep(ResultCaps& caps, const DocumentScore& found, const SearchOptions& options) {
  const std::size_t dim = found.segment->block->dim();
  return caps.keep(source_of(found, options.source_field),
                   found.segment->block->vectors().subspan(found.position * dim, dim));
}

}  // namespace

std::string source_of(const DocumentScore& found, std::string_view field) {
  const Segment& segment = *found.segment;
  if (field.empty() || segment.metadata == nullptr) return "";
  return segment.metadata->value(segment.document[found.position], field);
}

Result<std::vector<MergedDocument>> search_states(
    std::span<const std::shared_ptr<const CollectionState>> states,
    std::span<const CollectionQuery> queries, std::size_t k, const SearchOptions& options) {
  std::vector<std::shared_ptr<const CollectionState>> filtered;
  std::size_t num_live = 0;
  for (const auto& state : states) {
    filtered.push_back(filter_state(state, options.filter));
    num_live += filtered.back()->num_live();
  }
  if (!ResultCaps::wanted(options)) return merge_best(filtered, queries, k, options);
  // The ranking is read further and further down until k documents are kept or it ends.
  for (std::size_t depth = std::min(k, num_live) * 2 + 16;; depth *= 4) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto ranked, merge_best(filtered, queries, depth, options));
    ResultCaps caps(options);
    std::vector<MergedDocument> kept;
    for (const MergedDocument& document : ranked) {
      if (kept.size() == k) break;
      if (keep(caps, document.score, options)) kept.push_back(document);
    }
    if (kept.size() == k || ranked.size() < depth) return kept;
  }
}

}  // namespace collegium::index
