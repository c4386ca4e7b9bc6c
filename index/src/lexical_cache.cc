#include "lexical_cache.h"

#include <utility>

namespace collegium::index {

std::size_t LexicalCache::cost(const Entries::value_type& entry) {
  constexpr std::size_t kNodes = 160;  // of map and list, and the two shared counts
  return entry.second.postings->memory() + entry.first.capacity() + kNodes;
}

std::shared_ptr<const TermPostings> LexicalCache::find(std::uint32_t collection,
                                                       std::string_view term, std::uint64_t seq) {
  const std::string key = term_key(collection, term);
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.since > seq) return nullptr;
  used_.splice(used_.begin(), used_, found->second.used);
  return found->second.postings;
}

void LexicalCache::insert(std::uint32_t collection, std::string_view term, std::uint64_t seq,
                          std::shared_ptr<const TermPostings> postings) {
  if (postings->memory() > max_bytes_ / 4) return;
  std::string key = term_key(collection, term);
  std::list<const std::string*> use(1);
  const std::lock_guard lock(mutex_);
  if (seq != seq_) return;
  const auto [entry, fresh] = entries_.try_emplace(std::move(key));
  if (!fresh) return;  // another reader was faster
  use.front() = &entry->first;
  entry->second = {std::move(postings), seq, use.begin()};
  used_.splice(used_.begin(), use);
  bytes_ += cost(*entry);
  make_room();
}

bool LexicalCache::holds(std::uint32_t collection, std::string_view term) const {
  const std::string key = term_key(collection, term);
  const std::lock_guard lock(mutex_);
  return entries_.contains(key);
}

void LexicalCache::Update::add(std::uint32_t collection, std::span<const TermChange> changes) {
  for (const TermChange& change : changes) {
    std::string key = term_key(collection, change.term);
    std::shared_ptr<const TermPostings> before;
    if (const auto earlier = changed_.find(key); earlier != changed_.end()) {
      before = earlier->second;
    } else {
      const std::lock_guard lock(cache_.mutex_);
      const auto entry = cache_.entries_.find(key);
      // One that a reader brings until publish() must go: it lacks this change.
      if (entry != cache_.entries_.end()) before = entry->second.postings;
    }
    changed_[std::move(key)] =
        before == nullptr || !change.complete ? nullptr : before->with(change);
  }
}

void LexicalCache::publish(std::uint64_t seq, Update& update) noexcept {
  const std::lock_guard lock(mutex_);
  seq_ = seq;
  for (auto& [key, postings] : update.changed_) {
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) continue;
    if (postings == nullptr) {
      erase(entry);
      continue;
    }
    bytes_ -= cost(*entry);
    entry->second.postings = std::move(postings);
    entry->second.since = seq;
    bytes_ += cost(*entry);
  }
  make_room();
}

void LexicalCache::clear(std::uint64_t seq) noexcept {
  const std::lock_guard lock(mutex_);
  seq_ = seq;
  entries_.clear();
  used_.clear();
  bytes_ = 0;
}

std::size_t LexicalCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void LexicalCache::erase(Entries::iterator entry) {
  bytes_ -= cost(*entry);
  used_.erase(entry->second.used);
  entries_.erase(entry);
}

void LexicalCache::make_room() {
  while (bytes_ > max_bytes_ && !used_.empty()) erase(entries_.find(*used_.back()));
}

}  // namespace collegium::index
