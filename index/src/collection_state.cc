#include "collection_state.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_set>
#include <utility>

namespace collegium::index {

std::size_t CollectionState::num_live() const {
  std::size_t total = 0;
  for (const LiveSegment& segment : segments) total += segment.num_live;
  return total;
}

std::uint64_t CollectionState::index_generation() const {
  if (!has_structure()) return 0;
  const std::uint64_t parts[] = {segments[0].segment->block->structure_digest(), measured.effort};
  return XXH3_64bits(parts, sizeof(parts)) | 1;
}

// State, little-endian: u32 effort, u32 queries, f32 recall, f32 target (MeasuredEffort);
// u64 segments, each followed by u64 living positions and u8 live[(positions + 7) / 8];
// u64 documents without passages, strings ids[...].
void CollectionState::write(core::ByteWriter& out) const {
  out.write(measured.effort);
  out.write(measured.queries);
  out.write(measured.recall);
  out.write(measured.target);
  out.write<std::uint64_t>(segments.size());
  for (const LiveSegment& segment : segments) {
    segment.segment->write(out);
    out.write<std::uint64_t>(segment.num_live);
    const std::size_t size = segment.segment->size();
    for (std::size_t byte = 0; byte * 8 < size; ++byte) {
      std::uint8_t bits = 0;
      for (std::size_t i = byte * 8; i < std::min(size, byte * 8 + 8); ++i)
        bits = static_cast<std::uint8_t>(bits | (segment.alive(i) ? 1 : 0) << (i % 8));
      out.write(bits);
    }
  }
  out.write<std::uint64_t>(without_passages->size());
  for (const std::string& id : *without_passages) out.write_string(id);
}

Result<std::shared_ptr<const CollectionState>> CollectionState::read(core::ByteReader& in,
                                                                     std::size_t dim) {
  const auto damaged = [](const char* what) {
    return Status::corruption(std::string("index: ") + what);
  };
  auto state = std::make_shared<CollectionState>();
  state->dim = dim;
  std::uint64_t num_segments = 0;
  if (!in.read(state->measured.effort) || !in.read(state->measured.queries) ||
      !in.read(state->measured.recall) || !in.read(state->measured.target) ||
      !in.read(num_segments))
    return damaged("shorter than it says");
  std::uint64_t next_row = 0;
  for (std::uint64_t s = 0; s < num_segments; ++s) {
    LiveSegment part;
    COLLEGIUM_ASSIGN_OR_RETURN(part.segment, Segment::read(in, dim));
    const Segment& segment = *part.segment;
    std::uint64_t num_live = 0;
    std::vector<std::uint8_t> live;
    if (!in.read(num_live) || !in.read_numbers((segment.size() + 7) / 8, live))
      return damaged("shorter than it says");
    std::size_t counted = 0;
    for (std::size_t i = 0; i < segment.size(); ++i)
      counted += static_cast<std::size_t>(live[i / 8] >> (i % 8) & 1);
    if (counted != num_live || segment.size() == 0 || segment.rows.front() < next_row ||
        (s > 0 && segment.block->has_structure()))
      return damaged("segments disagree");
    next_row = segment.rows.back() + 1;
    part.num_live = num_live;
    if (counted != segment.size())
      part.live = std::make_shared<const std::vector<std::uint8_t>>(std::move(live));
    state->segments.push_back(std::move(part));
  }
  std::uint64_t num_without = 0;
  std::set<std::string> without;
  if (!in.read(num_without)) return damaged("shorter than it says");
  for (std::uint64_t i = 0; i < num_without; ++i) {
    std::string id;
    if (!in.read_string(id)) return damaged("shorter than it says");
    without.insert(std::move(id));
  }
  state->without_passages = std::make_shared<const std::set<std::string>>(std::move(without));
  return std::shared_ptr<const CollectionState>(std::move(state));
}

namespace {

// The k best documents among the passages that were found, or none if a passage that was not found
// could belong to them. `found` has a result for each of the state's segments.
std::optional<std::vector<DocumentScore>> best_documents(const CollectionState& state,
                                                         std::span<const BlockResult* const> found,
                                                         std::size_t k, float shift) {
  std::vector<DocumentScore> passages;
  bool complete = true;
  float bound = 0.0f;
  for (std::size_t s = 0; s < found.size(); ++s) {
    for (const ScoredPosition& best : found[s]->best)
      passages.push_back({best.score + shift, state.segments[s].segment.get(), best.position});
    if (found[s]->complete) continue;
    bound = complete ? found[s]->bound + shift : std::max(bound, found[s]->bound + shift);
    complete = false;
  }
  std::sort(passages.begin(), passages.end(), [](const auto& a, const auto& b) {
    return a.score != b.score ? a.score > b.score
                              : a.segment->rows[a.position] < b.segment->rows[b.position];
  });
  std::vector<DocumentScore> documents;
  // A document lies in one segment, its passages side by side: its first row names it.
  std::unordered_set<std::uint64_t> seen;
  for (const DocumentScore& passage : passages) {
    // What comes after k documents matters only as a tie with the k-th.
    if (documents.size() >= k && passage.score < documents[k - 1].score) break;
    const Segment& segment = *passage.segment;
    if (seen.insert(segment.rows[segment.first[segment.document[passage.position]]]).second)
      documents.push_back(passage);
  }
  if (!complete && (documents.size() < k || !(documents[k - 1].score > bound))) return std::nullopt;
  std::sort(documents.begin(), documents.end(), [](const auto& a, const auto& b) {
    return a.score != b.score ? a.score > b.score : a.id() < b.id();
  });
  if (documents.size() > k) documents.resize(k);
  return documents;
}

}  // namespace

Result<std::vector<std::vector<DocumentScore>>> search_documents_batch(
    const CollectionState& state, std::span<const float> queries, std::size_t k, float shift,
    const SearchOptions& asked) {
  SearchOptions options = asked;
  if (options.breadth == 0) options.breadth = state.measured.effort;
  if (options.probes == 0) options.probes = state.measured.effort;
  const std::size_t num_live = state.num_live();
  const std::size_t dim = state.dim;
  std::vector<std::vector<DocumentScore>> documents(queries.size() / dim);
  std::vector<std::size_t> open(documents.size());  // queries without an answer yet
  std::iota(open.begin(), open.end(), std::size_t{0});
  std::vector<float> left(queries.begin(), queries.end());  // theirs, side by side
  // Blocks give passages; documents are wanted, and every tie at the boundary. So passages are
  // asked for until the k-th document is better than any passage not seen can be. How many are
  // asked for depends on the query alone, never on the batch.
  for (std::size_t want = std::min(num_live, passages_for(std::min(k, num_live))); !open.empty();
       want = std::min(num_live, 4 * want)) {
    std::vector<std::vector<BlockResult>> found;
    for (const LiveSegment& part : state.segments) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          auto results,
          part.segment->block->search_batch(left, want, part.live_bits(), part.num_live, options));
      found.push_back(std::move(results));
    }
    std::vector<std::size_t> still_open;
    std::vector<const BlockResult*> of_query(found.size());
    for (std::size_t i = 0; i < open.size(); ++i) {
      for (std::size_t s = 0; s < found.size(); ++s) of_query[s] = &found[s][i];
      auto best = best_documents(state, of_query, k, shift);
      if (best.has_value())
        documents[open[i]] = std::move(*best);
      else
        still_open.push_back(open[i]);
    }
    open = std::move(still_open);
    left.clear();
    for (const std::size_t q : open)
      left.insert(left.end(), queries.begin() + static_cast<std::ptrdiff_t>(q * dim),
                  queries.begin() + static_cast<std::ptrdiff_t>((q + 1) * dim));
  }
  return documents;
}

Result<std::vector<DocumentScore>> search_documents(const CollectionState& state,
                                                    std::span<const float> query, std::size_t k,
                                                    float shift, const SearchOptions& options) {
  COLLEGIUM_ASSIGN_OR_RETURN(auto documents,
                             search_documents_batch(state, query, k, shift, options));
  return std::move(documents[0]);
}

std::string_view index_kind(const CollectionState& state) {
  if (state.has_structure()) return index_kind_name(state.segments[0].segment->block->kind());
  for (const LiveSegment& part : state.segments)
    if (part.segment->block->scan_kind() == ScanKind::kInt8) return "exact-int8";
  return "exact";
}

std::string index_parameters(const CollectionState& state) {
  if (!state.has_structure()) return {};
  const VectorBlock& block = *state.segments[0].segment->block;
  const MeasuredEffort& measured = state.measured;
  std::string text;
  if (const Graph* graph = block.graph(); graph != nullptr)
    text = "links " + std::to_string(graph->options().links) + ", build_breadth " +
           std::to_string(graph->options().build_breadth) + ", breadth ";
  else
    text = "lists " + std::to_string(block.lists()->num_lists()) + ", probes ";
  return text + std::to_string(measured.effort);
}

Hit make_hit(std::string_view collection, const DocumentScore& found) {
  const Segment& segment = *found.segment;
  const std::size_t i = found.position;
  Hit hit;
  hit.collection = collection;
  hit.document_id = found.id();
  hit.row = segment.rows[i];
  hit.passage = found.position - segment.first[segment.document[i]];
  hit.bytes = {segment.begin[i], segment.end[i]};
  hit.section = segment.sections[segment.section[i]];
  hit.score = found.score;
  return hit;
}

namespace {

class View final : public CollectionView {
 public:
  explicit View(std::shared_ptr<const CollectionState> state) : state_(std::move(state)) {
    const Segment* segment = state_->segments.empty() ? nullptr : state_->segments[0].segment.get();
    // (id, number within the segment), then by id; documents without passages are in between.
    std::vector<std::pair<std::string_view, std::size_t>> order;
    if (segment != nullptr) {
      vectors_ = segment->block->vectors();
      for (std::size_t i = 0; i < segment->ids.size(); ++i) order.emplace_back(segment->ids[i], i);
    }
    const std::size_t with_passages = order.size();
    for (const std::string& id : *state_->without_passages) order.emplace_back(id, with_passages);
    std::sort(order.begin(), order.end());
    std::vector<std::uint32_t> number(with_passages + 1);
    for (const auto& [id, i] : order) {
      number[i] = static_cast<std::uint32_t>(ids_.size());
      ids_.push_back(id);
    }
    if (segment == nullptr) return;
    passage_document_.reserve(segment->size());
    for (const std::uint32_t document : segment->document)
      passage_document_.push_back(number[document]);
  }

  std::uint64_t commit_seq() const noexcept override { return state_->commit_seq; }
  std::size_t dim() const noexcept override { return state_->dim; }
  std::size_t num_passages() const noexcept override { return passage_document_.size(); }
  std::size_t num_documents() const noexcept override { return ids_.size(); }
  std::span<const float> vectors() const noexcept override { return vectors_; }
  std::span<const std::uint32_t> passage_document() const noexcept override {
    return passage_document_;
  }
  std::string_view document_id(std::size_t document) const override { return ids_.at(document); }
  std::optional<std::size_t> find_document(std::string_view id) const override {
    const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (found == ids_.end() || *found != id) return std::nullopt;
    return static_cast<std::size_t>(found - ids_.begin());
  }

 private:
  std::shared_ptr<const CollectionState> state_;
  std::span<const float> vectors_;               // the index's own storage
  std::vector<std::uint32_t> passage_document_;  // (passages,)
  std::vector<std::string_view> ids_;            // (documents,), ascending
};

}  // namespace

Result<std::shared_ptr<const CollectionView>> make_view(
    std::shared_ptr<const CollectionState> state) {
  return std::shared_ptr<const CollectionView>(std::make_shared<View>(std::move(state)));
}

}  // namespace collegium::index
