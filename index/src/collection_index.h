#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "collection_state.h"
#include "collegium/core/status.h"
#include "collegium/index/index_settings.h"

namespace collegium::index {

// What one commit does to a collection's index.
struct CollectionChange {
  struct Added {
    std::string id;
    std::uint64_t first_row = 0;
    std::vector<core::PassageSpan> passages;
    std::vector<float> vectors;  // (passages, dim)
    std::string metadata;        // as in Document
  };
  std::uint64_t commit_seq = 0;
  std::vector<Added> added;  // by ascending row
  // Documents that go, replaced ones too: their ids, first rows and numbers of passages.
  struct Removed {
    std::string id;
    std::uint64_t first_row = 0;
    std::uint64_t passages = 0;
  };
  std::vector<Removed> removed;
};

// The living index of one collection: the current state, and the changes that no reader has asked
// for yet. Changes are folded in by the first reader after them, all at once, and neighbouring
// segments are merged when the newer is at least half the older, so that a row is copied
// O(log rows) times however many commits it took to add them.
class CollectionIndex {
 public:
  CollectionIndex(std::shared_ptr<const CollectionState> state, std::uint64_t hnsw_threshold,
                  IndexSettings settings = {})
      : hnsw_threshold_(hnsw_threshold), settings_(std::move(settings)), state_(std::move(state)) {}

  // Called in the order of the commits.
  void apply(CollectionChange change);

  // The state after the last apply().
  Result<std::shared_ptr<const CollectionState>> state();

  // The same in at most one segment, all alive, which a view can show without a copy.
  Result<std::shared_ptr<const CollectionState>> flat_state();

  // What settle() makes of the collection; valid ones.
  IndexSettings settings() const;
  void set_settings(IndexSettings settings);
  // Which kind the settings mean for so many passages; never kAuto.
  IndexKind kind_for(const IndexSettings& settings, std::size_t passages) const;

  // The state as an index file should hold it: one segment, or a graph or lists over nearly all
  // rows where the settings want them, with a measured effort. A graph over 100,000 rows takes some
  // ten seconds; readers and writers go on meanwhile.
  Result<std::shared_ptr<const CollectionState>> settle();

 private:
  Status fold_locked();
  Result<std::shared_ptr<const CollectionState>> merged_locked();

  const std::uint64_t hnsw_threshold_;
  std::mutex settle_mutex_;  // one build at a time; taken before mutex_
  mutable std::mutex mutex_;
  IndexSettings settings_;
  std::shared_ptr<const CollectionState> state_;
  std::vector<CollectionChange> pending_;
};

}  // namespace collegium::index
