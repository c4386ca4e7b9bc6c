#include "text/token_table.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace collegium::core {
namespace {

std::uint32_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }

}  // namespace

std::uint64_t TokenTable::hash(std::string_view token) noexcept {
  return XXH3_64bits(token.data(), token.size());
}

std::size_t TokenTable::slot_of(std::string_view token, std::uint64_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].next_id != 0 &&
         (slots_[at].tag != tag_of(hash) || this->token(slots_[at].next_id - 1) != token))
    at = (at + 1) & mask;
  return at;
}

void TokenTable::resize(std::size_t slots) {
  AlignedBuffer<Slot> old(slots);
  std::swap(old, slots_);
  for (const Slot& slot : old) {
    if (slot.next_id == 0) continue;
    const std::string_view text = token(slot.next_id - 1);
    slots_[slot_of(text, hash(text))] = slot;
  }
}

void TokenTable::reserve(std::size_t tokens) {
  entries_.reserve(tokens);
  const std::size_t slots = std::bit_ceil(2 * tokens);
  if (slots > slots_.size()) resize(slots);
}

bool TokenTable::add(std::string_view token, std::int32_t id) {
  const auto at = static_cast<std::size_t>(id);
  if (has(id)) return false;
  if (at >= entries_.size()) entries_.resize(at + 1);
  entries_[at] = {static_cast<std::uint32_t>(bytes_.size()),
                  static_cast<std::uint32_t>(token.size())};
  bytes_ += token;
  if (slots_.size() < 2 * (count_ + 1)) resize(std::max<std::size_t>(64, 2 * slots_.size()));
  const std::uint64_t hashed = hash(token);
  slots_[slot_of(token, hashed)] = {tag_of(hashed), id + 1};
  ++count_;
  return true;
}

std::string_view TokenTable::token(std::int32_t id) const noexcept {
  if (!has(id)) return {};
  const Entry& entry = entries_[static_cast<std::size_t>(id)];
  return std::string_view(bytes_).substr(entry.begin, entry.size);
}

}  // namespace collegium::core
