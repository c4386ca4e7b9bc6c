#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "corpus_impl.h"
#include "document_store_layout.h"

namespace collegium::index {
namespace {

Status does_not_fit(const std::string& what) {
  return Status::corruption("the change log does not fit: " + what);
}

// What happened to a document since the index file was written.
struct Fate {
  std::optional<LogEntry> left;  // as the file has it, and it went
  std::optional<LogEntry> came;  // and is there now
};

// What the commits in (after, upto] leave of it: a document that came and went is in neither list.
Result<std::map<std::string, Fate>> read_fates(const DocumentStore& store, std::uint32_t collection,
                                               std::uint64_t after, std::uint64_t upto) {
  std::map<std::string, Fate> fates;
  COLLEGIUM_RETURN_IF_ERROR(store.visit_log(after, upto, [&](LogEntry& entry) -> Status {
    if (entry.collection != collection) return {};
    Fate& fate = fates[entry.id];
    if (entry.kind == 1) {
      if (fate.came.has_value()) return does_not_fit("document '" + entry.id + "' was put twice");
      fate.came = std::move(entry);
    } else if (fate.came.has_value()) {
      fate.came.reset();
    } else if (!fate.left.has_value()) {
      fate.left = std::move(entry);
    } else {
      return does_not_fit("document '" + entry.id + "' was removed twice");
    }
    return {};
  }));
  return fates;
}

// Whether `state` holds just this document where `entry` says.
bool holds(const CollectionState& state, const LogEntry& entry) {
  if (entry.passages == 0) return state.without_passages->contains(entry.id);
  const auto after = std::upper_bound(
      state.segments.begin(), state.segments.end(), entry.first_row,
      [](std::uint64_t row, const LiveSegment& part) { return row < part.segment->rows.front(); });
  if (after == state.segments.begin()) return false;
  const LiveSegment& part = *(after - 1);
  const Segment& segment = *part.segment;
  const auto row = std::lower_bound(segment.rows.begin(), segment.rows.end(), entry.first_row);
  if (row == segment.rows.end() || *row != entry.first_row) return false;
  const auto position = static_cast<std::size_t>(row - segment.rows.begin());
  const std::uint32_t document = segment.document[position];
  return part.alive(position) && segment.first[document] == position &&
         segment.first[document + 1] - position == entry.passages &&
         segment.ids[document] == entry.id;
}

std::uint64_t count_documents(const CollectionState& state) {
  std::uint64_t count = state.without_passages->size();
  for (const LiveSegment& part : state.segments)
    for (std::size_t d = 0; d < part.segment->ids.size(); ++d)
      count += part.alive(part.segment->first[d]) ? 1 : 0;
  return count;
}

}  // namespace

Result<std::shared_ptr<const CollectionState>> replay_state(
    const DocumentStore& store, const CollectionRecord& record,
    std::shared_ptr<const CollectionState> state) {
  if (state->commit_seq > record.changed_seq)
    return Status::failed_precondition("nothing leads back");
  COLLEGIUM_ASSIGN_OR_RETURN(
      auto fates, read_fates(store, record.number, state->commit_seq, record.changed_seq));
  CollectionChange change;
  change.commit_seq = record.changed_seq;
  std::uint64_t passages = 0;
  for (auto& [id, fate] : fates) {
    if (fate.left.has_value()) {
      if (!holds(*state, *fate.left))
        return does_not_fit("document '" + id + "' was not in the index as it says");
      change.removed.push_back({id, fate.left->first_row, fate.left->passages});
    }
    if (!fate.came.has_value()) continue;
    change.added.push_back({id, fate.came->first_row, {}, {}, {}});
    passages += fate.came->passages;
  }
  // Reading all of the store in its order is then quicker. A graph takes far longer to make anew.
  if (passages > state->num_live() && !state->has_structure())
    return Status::failed_precondition("most of it came since");
  for (CollectionChange::Added& added : change.added) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto entry, store.entry(record.number, added.id));
    COLLEGIUM_ASSIGN_OR_RETURN(auto stored, store.stored_document(record.number, added.id));
    if (!entry.has_value() || !stored.has_value() || entry->first_row != added.first_row ||
        entry->passages.size() != fates[added.id].came->passages)
      return does_not_fit("document '" + added.id + "' is not in the store as it says");
    added.passages = std::move(stored->passages);
    added.vectors = std::move(stored->vectors);
    added.metadata = std::move(stored->document.metadata);
  }
  std::sort(change.added.begin(), change.added.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first_row, a.passages.size()) < std::pair(b.first_row, b.passages.size());
  });
  CollectionIndex index(std::move(state), 0);
  index.apply(std::move(change));
  COLLEGIUM_ASSIGN_OR_RETURN(auto replayed, index.state());
  if (replayed->num_live() != record.passages || count_documents(*replayed) != record.documents)
    return does_not_fit("it leaves " + std::to_string(count_documents(*replayed)) +
                        " documents and " + std::to_string(replayed->num_live()) +
                        " passages, the store has " + std::to_string(record.documents) + " and " +
                        std::to_string(record.passages));
  return replayed;
}

}  // namespace collegium::index
