#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "collection_state.h"

namespace collegium::index {

// Finds rows in a state; they are asked for in ascending order.
class LiveRows {
 public:
  explicit LiveRows(const CollectionState& state) : state_(state) {}

  struct Place {
    const Segment* segment = nullptr;  // null: the row is nowhere
    std::uint32_t position = 0;
    bool alive = false;
  };
  Place find(std::uint64_t row) {
    const auto& segments = state_.segments;
    while (segment_ < segments.size() && segments[segment_].segment->rows.back() < row) {
      ++segment_;
      position_ = 0;
    }
    if (segment_ == segments.size()) return {};
    const LiveSegment& part = segments[segment_];
    const std::vector<std::uint64_t>& rows = part.segment->rows;
    if (rows[position_] > row) return {};
    // Mostly rows follow one another without a gap.
    const std::uint64_t guess = position_ + (row - rows[position_]);
    if (guess < rows.size() && rows[guess] == row) {
      position_ = guess;
    } else {
      const auto from = rows.begin() + static_cast<std::ptrdiff_t>(position_);
      position_ = static_cast<std::size_t>(std::lower_bound(from, rows.end(), row) - rows.begin());
      if (rows[position_] != row) return {};
    }
    return {part.segment.get(), static_cast<std::uint32_t>(position_), part.alive(position_)};
  }

 private:
  const CollectionState& state_;
  std::size_t segment_ = 0;
  std::size_t position_ = 0;
};

// The k best documents of passages that come by ascending row.
class TopDocuments {
 public:
  explicit TopDocuments(std::size_t k) : k_(k) {}

  // Whether k documents are there; then least() is the score a passage must reach.
  bool full() const noexcept { return heap_.size() == k_; }
  float least() const noexcept { return heap_.front().score; }

  void add(const DocumentScore& passage) {
    // A document's passages follow one another; the first of the best ones stands for it.
    if (last_.has_value() && last_->segment == passage.segment &&
        document(*last_) == document(passage)) {
      if (passage.score > last_->score) last_ = passage;
      return;
    }
    flush();
    last_ = passage;
  }

  std::vector<DocumentScore> finish() {
    flush();
    std::sort(heap_.begin(), heap_.end(), better);
    return std::move(heap_);
  }

 private:
  static std::uint32_t document(const DocumentScore& passage) {
    return passage.segment->document[passage.position];
  }
  static bool better(const DocumentScore& a, const DocumentScore& b) {
    return a.score != b.score ? a.score > b.score : a.id() < b.id();
  }
  void flush() {
    if (!last_.has_value()) return;
    const DocumentScore document = *last_;
    last_.reset();
    if (full()) {
      if (!better(document, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), better);
      heap_.back() = document;
    } else {
      heap_.push_back(document);
    }
    std::push_heap(heap_.begin(), heap_.end(), better);
  }

  std::size_t k_;
  std::vector<DocumentScore> heap_;  // the worst on top
  std::optional<DocumentScore> last_;
};

}  // namespace collegium::index
