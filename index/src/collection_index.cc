#include "collection_index.h"

#include <algorithm>
#include <limits>

namespace collegium::index {
namespace {

// Marks the positions of rows [first_row, first_row + passages) dead in a copy of the bits.
Status mark_dead(std::vector<LiveSegment>& segments,
                 const std::vector<CollectionChange::Removed>& removed) {
  std::vector<std::shared_ptr<std::vector<std::uint8_t>>> bits(segments.size());
  for (const auto& gone : removed) {
    if (gone.passages == 0) continue;
    // The last segment that begins at or before the row.
    const auto after = std::upper_bound(
        segments.begin(), segments.end(), gone.first_row,
        [](std::uint64_t row, const LiveSegment& s) { return row < s.segment->rows.front(); });
    const auto missing = [&gone] {
      return Status::internal("index: row " + std::to_string(gone.first_row) + " is not there");
    };
    if (after == segments.begin()) return missing();
    const std::size_t s = static_cast<std::size_t>(after - segments.begin()) - 1;
    LiveSegment& part = segments[s];
    const auto& rows = part.segment->rows;
    const auto found = std::lower_bound(rows.begin(), rows.end(), gone.first_row);
    if (found == rows.end() || *found != gone.first_row) return missing();
    if (bits[s] == nullptr)
      bits[s] = part.live != nullptr
                    ? std::make_shared<std::vector<std::uint8_t>>(*part.live)
                    : std::make_shared<std::vector<std::uint8_t>>((rows.size() + 7) / 8, 0xff);
    const auto begin = static_cast<std::size_t>(found - rows.begin());
    for (std::size_t i = begin; i < begin + gone.passages; ++i)
      (*bits[s])[i / 8] = static_cast<std::uint8_t>((*bits[s])[i / 8] & ~(1u << (i % 8)));
    part.num_live -= gone.passages;
    part.live = bits[s];
  }
  return {};
}

Result<LiveSegment> merge(std::size_t dim, std::span<const LiveSegment> parts,
                          std::uint64_t from_row = 0) {
  std::size_t total = 0;
  for (const LiveSegment& part : parts) total += part.num_live;
  COLLEGIUM_ASSIGN_OR_RETURN(SegmentBuilder builder, SegmentBuilder::create(dim));
  if (from_row == 0) COLLEGIUM_RETURN_IF_ERROR(builder.reserve(total));
  for (const LiveSegment& part : parts)
    COLLEGIUM_RETURN_IF_ERROR(builder.add_living(part, from_row));
  return builder.finish();
}

// The metadata of the documents of `a` and then of `b`; null if none has any.
std::shared_ptr<const DocumentMetadata> join_metadata(const Segment& a, const Segment& b) {
  if (a.metadata == nullptr && b.metadata == nullptr) return nullptr;
  auto joined = std::make_shared<DocumentMetadata>();
  for (std::size_t i = 0; i < a.ids.size(); ++i) joined->set(i, a.metadata_of(i));
  for (std::size_t i = 0; i < b.ids.size(); ++i) joined->set(a.ids.size() + i, b.metadata_of(i));
  return joined;
}

// Whether the state's graph or lists are what `kind` and `settings` ask for.
bool fits(const CollectionState& state, IndexKind kind, const IndexSettings& settings) {
  if (!state.has_structure()) return false;
  const VectorBlock& block = *state.segments[0].segment->block;
  if (block.kind() != kind) return false;
  if (block.graph() != nullptr)
    return block.graph()->options() == GraphOptions{settings.links, settings.build_breadth};
  const std::size_t have = block.lists()->num_lists();
  if (settings.lists != 0) return have == std::min<std::size_t>(settings.lists, block.size());
  const std::size_t suits = InvertedLists::default_lists(state.num_live());
  return suits <= 2 * have && have <= 4 * suits;
}

// A graph or lists over the living rows of `state`. An old one with few dead rows is extended,
// which keeps its dead rows as steps on the way; else a new one is built.
Result<LiveSegment> build_structure(const CollectionState& state, IndexKind kind,
                                    const IndexSettings& settings) {
  const bool extend = fits(state, kind, settings) &&
                      state.segments[0].num_live * 5 >= state.segments[0].segment->size() * 4;
  const auto build = [&](const VectorBlock& base, std::span<const float> more) {
    return kind == IndexKind::kHnsw
               ? VectorBlock::build_graph(base, more, {settings.links, settings.build_breadth})
               : VectorBlock::build_lists(base, more, settings.lists);
  };
  auto segment = std::make_shared<Segment>();
  LiveSegment result;
  LiveSegment rest;
  if (extend) {
    const LiveSegment& old = state.segments[0];
    COLLEGIUM_ASSIGN_OR_RETURN(rest, merge(state.dim, std::span(state.segments).subspan(1)));
    COLLEGIUM_ASSIGN_OR_RETURN(auto block,
                               build(*old.segment->block, rest.segment->block->vectors()));
    const Segment& more = *rest.segment;
    *segment = *old.segment;
    const auto join = [](auto& to, const auto& from, auto offset) {
      to.reserve(to.size() + from.size());
      for (const auto value : from)
        to.push_back(static_cast<std::remove_cvref_t<decltype(value)>>(value + offset));
    };
    join(segment->rows, more.rows, 0);
    join(segment->begin, more.begin, 0);
    join(segment->end, more.end, 0);
    join(segment->document, more.document, segment->ids.size());
    join(segment->section, more.section, segment->sections.size());
    const std::size_t before = old.segment->size();
    segment->metadata = join_metadata(*old.segment, more);
    segment->first.pop_back();
    join(segment->first, more.first, before);
    segment->ids.insert(segment->ids.end(), more.ids.begin(), more.ids.end());
    segment->sections.insert(segment->sections.end(), more.sections.begin(), more.sections.end());
    segment->block = std::move(block);
  } else {
    COLLEGIUM_ASSIGN_OR_RETURN(rest, merge(state.dim, state.segments));
    COLLEGIUM_ASSIGN_OR_RETURN(auto block, build(*rest.segment->block, {}));
    *segment = *rest.segment;
    segment->block = std::move(block);
  }
  result.num_live = segment->size();
  result.segment = std::move(segment);
  return result;
}

// `built` was made from an earlier state; this is what is alive of it in `current`, and the rows
// that came after it.
Result<std::shared_ptr<const CollectionState>> adopt(LiveSegment built,
                                                     const MeasuredEffort& measured,
                                                     const CollectionState& current) {
  const std::vector<std::uint64_t>& rows = built.segment->rows;
  auto live = std::make_shared<std::vector<std::uint8_t>>((rows.size() + 7) / 8, 0);
  built.num_live = 0;
  std::size_t at = 0;
  for (const LiveSegment& part : current.segments) {
    for (std::size_t i = 0; i < part.segment->size(); ++i) {
      const std::uint64_t row = part.segment->rows[i];
      if (row > rows.back()) break;
      if (!part.alive(i)) continue;
      while (rows[at] < row) ++at;
      if (rows[at] != row)
        return Status::internal("index: row " + std::to_string(row) + " is not in what was built");
      (*live)[at / 8] = static_cast<std::uint8_t>((*live)[at / 8] | 1u << (at % 8));
      ++built.num_live;
    }
  }
  COLLEGIUM_ASSIGN_OR_RETURN(LiveSegment tail,
                             merge(current.dim, current.segments, rows.back() + 1));
  if (built.num_live != rows.size()) built.live = std::move(live);
  auto next = std::make_shared<CollectionState>(current);
  next->segments.clear();
  next->measured = measured;
  next->segments.push_back(std::move(built));
  if (tail.num_live > 0) next->segments.push_back(std::move(tail));
  return std::shared_ptr<const CollectionState>(std::move(next));
}

bool is_flat(const CollectionState& state) {
  return state.segments.empty() ||
         (state.segments.size() == 1 && state.segments[0].live == nullptr);
}

}  // namespace

void CollectionIndex::apply(CollectionChange change) {
  const std::lock_guard lock(mutex_);
  pending_.push_back(std::move(change));
}

Status CollectionIndex::fold_locked() {
  if (pending_.empty()) return {};
  auto next = std::make_shared<CollectionState>(*state_);
  std::vector<LiveSegment>& segments = next->segments;
  COLLEGIUM_ASSIGN_OR_RETURN(SegmentBuilder builder, SegmentBuilder::create(next->dim));
  std::vector<CollectionChange::Removed> removed;
  auto without = std::make_shared<std::set<std::string>>(*next->without_passages);
  for (const CollectionChange& change : pending_) {
    for (const auto& gone : change.removed) {
      if (gone.passages == 0) without->erase(gone.id);
      removed.push_back(gone);
    }
    for (const auto& added : change.added) {
      if (added.passages.empty())
        without->insert(added.id);
      else
        COLLEGIUM_RETURN_IF_ERROR(builder.add_document(added.id, added.first_row, added.passages,
                                                       added.vectors, added.metadata));
    }
  }
  if (builder.size() > 0) segments.push_back(builder.finish());
  COLLEGIUM_RETURN_IF_ERROR(mark_dead(segments, removed));

  // Merge the newest segments while they are at least half of the one before; a graph is left
  // alone, a segment that is mostly dead is copied without its dead.
  std::erase_if(segments, [](const LiveSegment& part) {
    return part.num_live == 0 && !part.segment->block->has_structure();
  });
  std::size_t begin = segments.size();
  std::size_t total = 0;
  while (begin > 0) {
    const LiveSegment& part = segments[begin - 1];
    const bool mergeable = !part.segment->block->has_structure();
    const bool mostly_dead = part.num_live * 2 < part.segment->size();
    if (!mergeable || !(begin == segments.size() || total * 2 >= part.num_live || mostly_dead))
      break;
    total += part.num_live;
    --begin;
  }
  if (segments.size() - begin > 1 ||
      (segments.size() - begin == 1 &&
       segments.back().num_live * 2 < segments.back().segment->size())) {
    COLLEGIUM_ASSIGN_OR_RETURN(LiveSegment merged,
                               merge(next->dim, std::span(segments).subspan(begin)));
    segments.resize(begin);
    segments.push_back(std::move(merged));
  }
  if (*without != *next->without_passages) next->without_passages = std::move(without);
  next->commit_seq = pending_.back().commit_seq;
  state_ = std::move(next);
  pending_.clear();
  pending_.shrink_to_fit();
  return {};
}

Result<std::shared_ptr<const CollectionState>> CollectionIndex::state() {
  const std::lock_guard lock(mutex_);
  COLLEGIUM_RETURN_IF_ERROR(fold_locked());
  return state_;
}

Result<std::shared_ptr<const CollectionState>> CollectionIndex::merged_locked() {
  if (is_flat(*state_)) return state_;
  auto next = std::make_shared<CollectionState>(*state_);
  COLLEGIUM_ASSIGN_OR_RETURN(LiveSegment merged, merge(next->dim, next->segments));
  next->segments.clear();
  if (merged.num_live > 0) next->segments.push_back(std::move(merged));
  return std::shared_ptr<const CollectionState>(std::move(next));
}

Result<std::shared_ptr<const CollectionState>> CollectionIndex::flat_state() {
  const std::lock_guard lock(mutex_);
  COLLEGIUM_RETURN_IF_ERROR(fold_locked());
  COLLEGIUM_ASSIGN_OR_RETURN(auto merged, merged_locked());
  // With a structure the flat copy is the view's alone, else it serves searches as well.
  if (!state_->has_structure()) state_ = merged;
  return merged;
}

IndexSettings CollectionIndex::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

void CollectionIndex::set_settings(IndexSettings settings) {
  const std::lock_guard lock(mutex_);
  settings_ = std::move(settings);
}

IndexKind CollectionIndex::kind_for(const IndexSettings& settings, std::size_t passages) const {
  if (passages == 0) return IndexKind::kExact;
  if (settings.kind != IndexKind::kAuto) return settings.kind;
  return passages > hnsw_threshold_ ? IndexKind::kHnsw : IndexKind::kExact;
}

Result<std::shared_ptr<const CollectionState>> CollectionIndex::settle() {
  const std::lock_guard settling(settle_mutex_);
  std::shared_ptr<const CollectionState> from;
  IndexSettings settings;
  IndexKind kind = IndexKind::kExact;
  {
    const std::lock_guard lock(mutex_);
    COLLEGIUM_RETURN_IF_ERROR(fold_locked());
    settings = settings_;
    kind = kind_for(settings, state_->num_live());
    if (kind == IndexKind::kExact) {
      COLLEGIUM_ASSIGN_OR_RETURN(state_, merged_locked());
      if (!state_->has_structure()) return state_;
      // Shrunk below the threshold, or wanted so: its rows without the structure.
      auto next = std::make_shared<CollectionState>(*state_);
      COLLEGIUM_ASSIGN_OR_RETURN(next->segments[0], merge(next->dim, state_->segments));
      next->measured = {};
      state_ = std::move(next);
      return state_;
    }
    from = state_;
  }
  LiveSegment built;
  bool covers = false;
  if (fits(*from, kind, settings)) {
    built = from->segments[0];
    const std::size_t outside = from->num_live() - built.num_live;
    covers = outside * 16 <= built.num_live && built.num_live * 5 >= built.segment->size() * 4;
  }
  MeasuredEffort measured = from->measured;
  const bool has_effort =
      settings.effort != 0
          ? measured.effort == settings.effort && measured.queries == 0
          : measured.queries != 0 && measured.target == static_cast<float>(settings.target_recall);
  if (covers && has_effort) return from;
  if (!covers) {
    COLLEGIUM_ASSIGN_OR_RETURN(built, build_structure(*from, kind, settings));
  }
  if (settings.effort != 0) {
    measured = {settings.effort, 0, 0.0f, static_cast<float>(settings.target_recall)};
  } else {
    EffortQuestion question;
    question.target = settings.target_recall;
    COLLEGIUM_ASSIGN_OR_RETURN(const EffortAnswer answer,
                               measure_effort(*built.segment->block, question));
    measured = answer.measured;
  }
  COLLEGIUM_ASSIGN_OR_RETURN(auto settled, adopt(built, measured, *from));
  const std::lock_guard lock(mutex_);
  COLLEGIUM_RETURN_IF_ERROR(fold_locked());
  if (state_ == from) {
    state_ = settled;
  } else {
    COLLEGIUM_ASSIGN_OR_RETURN(state_, adopt(std::move(built), measured, *state_));
  }
  return settled;
}

}  // namespace collegium::index
