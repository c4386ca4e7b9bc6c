#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "collegium/index/corpus.h"
#include "measured_effort.h"
#include "segment.h"

namespace collegium::index {

// What one commit made of a collection: its segments, oldest rows first. Immutable and shared:
// readers go on with theirs while writers publish the next one.
struct CollectionState {
  std::uint64_t commit_seq = 0;  // of the last commit that changed this collection
  std::size_t dim = 0;
  std::vector<LiveSegment> segments;  // only the first can have a graph or lists
  MeasuredEffort measured;            // of the first's; meaningless if it has neither
  // Documents that have no passage: they are in no segment and cannot be found by a search.
  std::shared_ptr<const std::set<std::string>> without_passages;

  std::size_t num_live() const;
  bool has_structure() const {
    return !segments.empty() && segments[0].segment->block->has_structure();
  }

  // What an answer depends on besides commit, query and options: 0, or a digest of the graph or the
  // lists and of the default effort.
  std::uint64_t index_generation() const;

  void write(core::ByteWriter& out) const;
  static Result<std::shared_ptr<const CollectionState>> read(core::ByteReader& in, std::size_t dim);
};

// A document's best passage.
struct DocumentScore {
  float score = 0.0f;  // shift included
  const Segment* segment = nullptr;
  std::uint32_t position = 0;
  std::string_view id() const { return segment->ids[segment->document[position]]; }
};

// The `k` best documents of `state` for `query` (dim,) by (best passage + shift descending, id
// bytewise ascending), also across the k boundary. A document's best passage is the first of its
// passages with the best score. Points into `state`.
Result<std::vector<DocumentScore>> search_documents(const CollectionState& state,
                                                    std::span<const float> query, std::size_t k,
                                                    float shift, const SearchOptions& options);

// The same for each of `queries` (n, dim): to the bit what search_documents() gives for it alone.
Result<std::vector<std::vector<DocumentScore>>> search_documents_batch(
    const CollectionState& state, std::span<const float> queries, std::size_t k, float shift,
    const SearchOptions& options);

// How its rows are searched when nothing else is asked for, and with which parameters, as in
// CollectionInfo.
std::string_view index_kind(const CollectionState& state);
std::string index_parameters(const CollectionState& state);

Hit make_hit(std::string_view collection, const DocumentScore& found);

// A view of `state`, which must have at most one segment, all of it alive.
Result<std::shared_ptr<const CollectionView>> make_view(
    std::shared_ptr<const CollectionState> state);

}  // namespace collegium::index
