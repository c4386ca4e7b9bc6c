#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace collegium::index {

struct Candidate {
  float lower, upper;  // bounds of the fp32 score
  std::uint32_t position;
};

// Rows that may be among the best k of those offered so far.
class Candidates {
 public:
  explicit Candidates(std::size_t k) : k_(k), limit_(2 * k + 16) {}

  // A row whose upper bound is below this is not among the best k.
  float threshold() const { return threshold_; }

  // Whether the threshold may have risen.
  bool offer(const Candidate& candidate) {
    found_.push_back(candidate);
    if (found_.size() < limit_) return false;
    drop();
    limit_ = std::max(limit_, 2 * found_.size());
    return true;
  }

  void give_up() { found_ = {}; }

  // Those that are not among the best k.
  void drop() {
    if (found_.size() > k_) {
      const auto last = found_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
      std::nth_element(found_.begin(), last, found_.end(),
                       [](const auto& a, const auto& b) { return a.lower > b.lower; });
      threshold_ = std::max(threshold_, last->lower);
    }
    std::erase_if(found_, [this](const auto& one) { return one.upper < threshold_; });
  }

  void join(const Candidates& other) {
    threshold_ = std::max(threshold_, other.threshold_);
    found_.insert(found_.end(), other.found_.begin(), other.found_.end());
  }

  const std::vector<Candidate>& found() const { return found_; }

 private:
  std::size_t k_;
  std::size_t limit_;
  float threshold_ = -std::numeric_limits<float>::infinity();
  std::vector<Candidate> found_;
};

}  // namespace collegium::index
