#include "text/token_table.h"

#include <functional>

namespace collegium::core {

std::size_t TokenTable::slot_of(std::string_view token) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = std::hash<std::string_view>()(token) & mask;
  while (slots_[slot] >= 0 && this->token(slots_[slot]) != token) slot = (slot + 1) & mask;
  return slot;
}

void TokenTable::grow() {
  std::vector<std::int32_t> old(slots_.empty() ? 64 : slots_.size() * 2, -1);
  old.swap(slots_);
  for (const std::int32_t id : old)
    if (id >= 0) slots_[slot_of(token(id))] = id;
}

bool TokenTable::add(std::string_view token, std::int32_t id) {
  const auto at = static_cast<std::size_t>(id);
  if (has(id)) return false;
  if (at >= entries_.size()) entries_.resize(at + 1);
  entries_[at] = {static_cast<std::uint32_t>(bytes_.size()),
                  static_cast<std::uint32_t>(token.size())};
  bytes_ += token;
  if (slots_.size() < 2 * (count_ + 1)) grow();
  slots_[slot_of(token)] = id;
  ++count_;
  return true;
}

std::int32_t TokenTable::find(std::string_view token) const noexcept {
  return slots_.empty() ? -1 : slots_[slot_of(token)];
}

std::string_view TokenTable::token(std::int32_t id) const noexcept {
  if (!has(id)) return {};
  const Entry& entry = entries_[static_cast<std::size_t>(id)];
  return std::string_view(bytes_).substr(entry.begin, entry.size);
}

}  // namespace collegium::core
