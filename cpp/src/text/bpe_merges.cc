#include "text/bpe_merges.h"

#include <algorithm>
#include <bit>

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
}

void BpeMerges::merge(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  auto& heap = scratch.heap_;
  heap.clear();
  const auto consider = [&](std::uint32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const Merge& merge = slot(symbols[left].id, symbols[symbols[left].next].id);
    if (merge.id < 0) return;
    heap.push_back({std::uint64_t{merge.rank} << 32 | left, merge.id});
    std::push_heap(heap.begin(), heap.end());
  };
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i) consider(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const auto best = heap.back();
    heap.pop_back();
    const auto position = static_cast<std::uint32_t>(best.order);
    Symbol& left = symbols[position];
    if (left.id < 0 || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    // The pair may have changed since it was considered.
    if (slot(left.id, right.id).id != best.id) continue;
    left.id = best.id;
    left.end = right.end;
    left.next = right.next;
    right.id = -1;
    if (left.next != kNone) symbols[left.next].previous = position;
    consider(left.previous);
    consider(position);
  }
}

}  // namespace collegium::core
