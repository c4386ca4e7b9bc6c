#include "lm/kept_beginnings.h"

#include <algorithm>
#include <utility>

namespace collegium::core {

std::size_t common_beginning(std::span<const std::int32_t> a,
                             std::span<const std::int32_t> b) noexcept {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

void KeptBeginnings::shrink(std::size_t bytes) {
  while (bytes_ > bytes) {
    bytes_ -= entries_.back().bytes;
    entries_.pop_back();
  }
}

void KeptBeginnings::keep(std::span<const std::int32_t> tokens, std::shared_ptr<const LmLora> lora,
                          KvCache cache, std::size_t bytes) {
  if (bytes > most_bytes_ || tokens.empty()) return;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const std::size_t both = entry->lora == lora ? common_beginning(entry->tokens, tokens) : 0;
    if (both == tokens.size()) {
      entries_.splice(entries_.begin(), entries_, entry);
      return;
    }
    if (both != entry->tokens.size()) {
      ++entry;
      continue;
    }
    bytes_ -= entry->bytes;
    entry = entries_.erase(entry);
  }
  shrink(most_bytes_ - bytes);
  entries_.push_front({{tokens.begin(), tokens.end()}, std::move(lora), std::move(cache), bytes});
  bytes_ += bytes;
}

KeptBeginnings::Found KeptBeginnings::find(std::span<const std::int32_t> tokens,
                                           const LmLora* lora) {
  Found best;
  auto found = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->lora.get() != lora) continue;
    const std::size_t both = common_beginning(entry->tokens, tokens);
    if (both <= best.tokens) continue;
    best = {&entry->cache, both};
    found = entry;
  }
  if (found != entries_.end()) entries_.splice(entries_.begin(), entries_, found);
  return best;
}

}  // namespace collegium::core
