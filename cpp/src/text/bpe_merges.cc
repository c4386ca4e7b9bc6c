#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

namespace collegium::core {

BpeMerges::BpeMerges(std::size_t count) : slots_(std::bit_ceil(2 * count + 2)) {}

const BpeMerges::Merge& BpeMerges::slot(std::int32_t left, std::int32_t right) const noexcept {
  const std::uint64_t pair = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                             static_cast<std::uint32_t>(right);
  const std::size_t mask = slots_.size() - 1;
  std::uint64_t hash = pair * 0x9e3779b97f4a7c15u;
  hash ^= hash >> 32;
  std::size_t at = hash & mask;
  while (slots_[at].pair != kEmpty && slots_[at].pair != pair) at = (at + 1) & mask;
  return slots_[at];
}

void BpeMerges::set(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t id) {
  const std::uint64_t pair = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                             static_cast<std::uint32_t>(right);
  const_cast<Merge&>(slot(left, right)) = {pair, rank, id};
  num_ranks_ = std::max(num_ranks_, rank + 1);
}

const BpeMerges::Merge* BpeMerges::merge_at(const std::vector<Symbol>& symbols,
                                            std::uint32_t left) const noexcept {
  if (left == kNone || symbols[left].next == kNone) return nullptr;
  const Merge& merge = slot(symbols[left].id, symbols[symbols[left].next].id);
  return merge.id < 0 ? nullptr : &merge;
}

bool BpeMerges::make(std::vector<Symbol>& symbols, std::uint32_t position,
                     std::int32_t id) const noexcept {
  Symbol& left = symbols[position];
  if (left.id < 0 || left.next == kNone) return false;
  Symbol& right = symbols[left.next];
  if (slot(left.id, right.id).id != id) return false;
  left.id = id;
  left.end = right.end;
  left.next = right.next;
  right.id = -1;
  if (left.next != kNone) symbols[left.next].previous = position;
  return true;
}

void BpeMerges::merge(Scratch& scratch) const {
  constexpr std::size_t kManySymbols = 512;
  scratch.heap_.clear();
  if (scratch.symbols.size() >= kManySymbols) {
    merge_by_bucket(scratch);
  } else {
    for (std::uint32_t i = 0; i + 1 < scratch.symbols.size(); ++i)
      if (const Merge* merge = merge_at(scratch.symbols, i)) add_to_heap(scratch, *merge, i);
    merge_by_heap(scratch);
  }
}

void BpeMerges::add_to_heap(Scratch& scratch, const Merge& merge, std::uint32_t position) const {
  scratch.heap_.push_back({std::uint64_t{merge.rank} << 32 | position, merge.id});
  std::push_heap(scratch.heap_.begin(), scratch.heap_.end());
}

void BpeMerges::merge_by_heap(Scratch& scratch) const {
  auto& heap = scratch.heap_;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const auto best = heap.back();
    heap.pop_back();
    const auto position = static_cast<std::uint32_t>(best.order);
    if (!make(scratch.symbols, position, best.id)) continue;
    for (const std::uint32_t left : {scratch.symbols[position].previous, position})
      if (const Merge* merge = merge_at(scratch.symbols, left)) add_to_heap(scratch, *merge, left);
  }
}

void BpeMerges::add_to_bucket(Scratch& scratch, const Merge& merge, std::uint32_t position) const {
  std::uint32_t& bucket = scratch.bucket_of_rank_[merge.rank];
  if (bucket == kNone) {
    if (scratch.free_buckets_.empty()) {
      scratch.free_buckets_.push_back(static_cast<std::uint32_t>(scratch.buckets_.size()));
      scratch.buckets_.push_back({});
    }
    bucket = scratch.free_buckets_.back();
    scratch.free_buckets_.pop_back();
    scratch.buckets_[bucket].id = merge.id;
    scratch.ranks_.push_back(merge.rank);
    std::push_heap(scratch.ranks_.begin(), scratch.ranks_.end(), std::greater<>());
  }
  scratch.buckets_[bucket].positions.push_back(position);
}

// A long piece has many candidates of few ranks. Their order is by rank, then from left to right,
// and a merge of rank r makes candidates of larger ranks, unless the file is odd: then the heap
// takes over.
void BpeMerges::merge_by_bucket(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  scratch.bucket_of_rank_.resize(num_ranks_, kNone);
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i)
    if (const Merge* merge = merge_at(symbols, i)) add_to_bucket(scratch, *merge, i);
  std::vector<std::uint32_t> positions;
  // Of the next rank, from left to right.
  const auto take = [&] {
    std::pop_heap(scratch.ranks_.begin(), scratch.ranks_.end(), std::greater<>());
    const std::uint32_t rank = scratch.ranks_.back();
    scratch.ranks_.pop_back();
    const std::uint32_t bucket = std::exchange(scratch.bucket_of_rank_[rank], kNone);
    scratch.free_buckets_.push_back(bucket);
    positions.swap(scratch.buckets_[bucket].positions);
    scratch.buckets_[bucket].positions.clear();
    if (!std::ranges::is_sorted(positions)) std::ranges::sort(positions);
    return Merge{kEmpty, rank, scratch.buckets_[bucket].id};
  };
  bool in_order = true;
  while (!scratch.ranks_.empty()) {
    const Merge best = take();
    for (const std::uint32_t position : positions) {
      if (!in_order) {
        add_to_heap(scratch, best, position);
        continue;
      }
      if (!make(symbols, position, best.id)) continue;
      for (const std::uint32_t left : {symbols[position].previous, position}) {
        const Merge* merge = merge_at(symbols, left);
        if (merge == nullptr) continue;
        if (merge->rank > best.rank) {
          add_to_bucket(scratch, *merge, left);
        } else {
          in_order = false;
          add_to_heap(scratch, *merge, left);
        }
      }
    }
  }
  merge_by_heap(scratch);
}

}  // namespace collegium::core
