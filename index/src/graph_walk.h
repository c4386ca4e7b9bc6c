#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/isa.h"
#include "graph.h"

namespace collegium::index {

// The best rows seen so far, best first, and which of them were left for their neighbours already.
class WalkPool {
 public:
  void start(std::size_t breadth) {
    breadth_ = breadth;
    next_ = 0;
    found_.clear();
    found_.reserve(breadth + 1);
  }

  void offer(ScoredPosition one) {
    if (found_.size() == breadth_) {
      if (!better(one, found_.back())) return;
      found_.pop_back();
    }
    std::size_t at = found_.size();
    while (at > 0 && better(one, found_[at - 1])) --at;
    found_.insert(found_.begin() + static_cast<std::ptrdiff_t>(at), one);
    next_ = std::min(next_, at);
  }

  // The best row that was not left yet; false when there is none.
  bool leave_next(std::uint32_t& position) {
    while (next_ < found_.size() && (found_[next_].position & kLeft) != 0) ++next_;
    if (next_ == found_.size()) return false;
    position = found_[next_].position;
    found_[next_++].position |= kLeft;
    return true;
  }

  // Ends the walk.
  std::vector<ScoredPosition>& finish() {
    for (ScoredPosition& one : found_) one.position &= ~kLeft;
    return found_;
  }

 private:
  static constexpr std::uint32_t kLeft = 1u << 31;  // rows are fewer
  static bool better(const ScoredPosition& a, const ScoredPosition& b) {
    return a.score != b.score ? a.score > b.score : (a.position & ~kLeft) < (b.position & ~kLeft);
  }

  std::size_t breadth_ = 0;
  std::size_t next_ = 0;
  std::vector<ScoredPosition> found_;
};

// What a walk needs besides the graph; used again for the next one.
struct WalkSpace {
  std::vector<std::uint64_t> visited;  // a bit a row
  std::vector<std::uint32_t> fresh;
  std::vector<float> scores;
  WalkPool pool;

  void start(std::size_t rows, std::size_t most_links) {
    visited.assign((rows + 63) / 64, 0);
    fresh.resize(most_links);
    scores.resize(most_links);
  }
  bool visit(std::uint32_t row) {  // false: was there already
    std::uint64_t& word = visited[row / 64];
    const std::uint64_t bit = std::uint64_t{1} << (row % 64);
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }
};

// Walks `links_of(row)`, a span of rows that ends at `none`, from `entry`; the result is in
// space.pool. Only rows below `rows` are reached.
template <typename LinksOf>
void walk_level(const CodeRows& codes, ScoreCodes score, const std::int8_t* query, float scale,
                ScoredPosition entry, std::size_t breadth, std::size_t rows, std::size_t most_links,
                std::uint32_t none, LinksOf links_of, WalkSpace& space) {
  space.start(rows, most_links);
  space.pool.start(breadth);
  space.visit(entry.position);
  space.pool.offer(entry);
  std::uint32_t node = 0;
  while (space.pool.leave_next(node)) {
    std::size_t n = 0;
    for (const std::uint32_t to : links_of(node)) {
      if (to == none) break;
      space.fresh[n] = to;
      n += space.visit(to) ? 1 : 0;
    }
    score(codes, space.fresh.data(), n, query, scale, space.scores.data());
    for (std::size_t i = 0; i < n; ++i) space.pool.offer({space.scores[i], space.fresh[i]});
  }
}

// Goes from row to better row until none of its links is.
template <typename LinksOf>
void descend(const CodeRows& codes, ScoreCodes score, const std::int8_t* query, float scale,
             ScoredPosition& at, std::uint32_t none, LinksOf links_of, std::vector<float>& scores) {
  for (bool better = true; better;) {
    better = false;
    const std::span<const std::uint32_t> links = links_of(at.position);
    const auto n =
        static_cast<std::size_t>(std::find(links.begin(), links.end(), none) - links.begin());
    scores.resize(std::max(scores.size(), n));
    score(codes, links.data(), n, query, scale, scores.data());
    for (std::size_t i = 0; i < n; ++i) {
      if (!scores_better({scores[i], links[i]}, at)) continue;
      at = {scores[i], links[i]};
      better = true;
    }
  }
}

}  // namespace collegium::index
