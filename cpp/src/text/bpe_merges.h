#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// The merges of a byte pair encoding (arXiv 1508.07909) and how they are made.
class BpeMerges {
 public:
  // Positions and places take 32 bits: a million symbols are in the cache or not.
  struct Symbol {
    std::int32_t id;  // -1: merged into the one before
    std::uint32_t begin;
    std::uint32_t end;
    std::uint32_t previous;
    std::uint32_t next;
  };
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  // Longer text has places beyond 32 bits.
  static constexpr std::size_t kMaxTextBytes = std::size_t{1} << 31;

  // What one piece needs, to be used again for the next.
  class Scratch {
   public:
    // Pre: end <= kMaxTextBytes.
    void add(std::int32_t id, std::size_t begin, std::size_t end) {
      const auto position = static_cast<std::uint32_t>(symbols.size());
      if (position > 0) symbols.back().next = position;
      symbols.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end),
                         position == 0 ? kNone : position - 1, kNone});
    }
    std::vector<Symbol> symbols;

   private:
    friend class BpeMerges;
    struct Candidate {
      std::uint64_t order;  // its rank, then the position of the left symbol
      std::int32_t id;      // of the merged one
      // The heap gives the largest.
      bool operator<(const Candidate& other) const { return order > other.order; }
    };
    std::vector<Candidate> heap_;
    // The candidates of one rank.
    struct Bucket {
      std::int32_t id;  // of the merged symbol
      std::vector<std::uint32_t> positions;
    };
    std::vector<Bucket> buckets_;
    std::vector<std::uint32_t> free_buckets_;
    std::vector<std::uint32_t> bucket_of_rank_;  // kNone: no candidates
    std::vector<std::uint32_t> ranks_;           // a heap of those that have a bucket
  };

  explicit BpeMerges(std::size_t count = 0);
  // The last of two for one pair counts, as in `tokenizers`. At most `count` of them.
  void set(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t id);

  // Merges the best pair of scratch.symbols until none is left: candidate pairs by rank over a
  // linked list, so n symbols take n log n at most. The first symbol stays the first.
  void merge(Scratch& scratch) const;

 private:
  struct Merge {
    std::uint64_t pair = kEmpty;
    std::uint32_t rank = 0;
    std::int32_t id = -1;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  const Merge& slot(std::int32_t left, std::int32_t right) const noexcept;
  // The merge of a symbol with the next; null: there is none.
  const Merge* merge_at(const std::vector<Symbol>& symbols, std::uint32_t left) const noexcept;
  // Makes a candidate's merge. False: it became another pair, or none, since.
  bool make(std::vector<Symbol>& symbols, std::uint32_t position, std::int32_t id) const noexcept;
  void add_to_heap(Scratch& scratch, const Merge& merge, std::uint32_t position) const;
  void add_to_bucket(Scratch& scratch, const Merge& merge, std::uint32_t position) const;
  void merge_by_heap(Scratch& scratch) const;
  void merge_by_bucket(Scratch& scratch) const;

  std::vector<Merge> slots_;  // at most half are used
  std::uint32_t num_ranks_ = 0;
};

}  // namespace collegium::core
