#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lexical_postings.h"

namespace collegium::index {

// Postings of words that were asked for, of one corpus, as of its last published commit. Any number
// of threads may use it; publish() and clear() come from one at a time.
//
// An entry serves readers of every commit since it was last changed. Whoever reads an older one
// reads the store, and leaves no entry.
class LexicalCache {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

  // Postings that take more than a quarter of it are read again for every query.
  explicit LexicalCache(std::size_t max_bytes = kMaxBytes) : max_bytes_(max_bytes) {}

  // What a reader of commit `seq` may use; null: not here.
  std::shared_ptr<const TermPostings> find(std::uint32_t collection, std::string_view term,
                                           std::uint64_t seq);
  // As read from the store by a reader of commit `seq`.
  void insert(std::uint32_t collection, std::string_view term, std::uint64_t seq,
              std::shared_ptr<const TermPostings> postings);

  // Whether there is an entry, of whatever commit.
  bool holds(std::uint32_t collection, std::string_view term) const;

  // What commits do to the entries, worked out while readers go on.
  class Update {
   public:
    explicit Update(LexicalCache& cache) : cache_(cache) {}
    void add(std::uint32_t collection, std::span<const TermChange> changes);

   private:
    friend class LexicalCache;
    LexicalCache& cache_;
    // By key; null: the entry goes.
    std::unordered_map<std::string, std::shared_ptr<const TermPostings>> changed_;
  };
  // Pre: no reader of `seq` yet.
  void publish(std::uint64_t seq, Update& update) noexcept;
  // Forgets everything; the corpus is at commit `seq`.
  void clear(std::uint64_t seq) noexcept;
  // Roughly what it holds.
  std::size_t bytes() const;

 private:
  struct Entry {
    std::shared_ptr<const TermPostings> postings;
    std::uint64_t since = 0;
    std::list<const std::string*>::iterator used;  // in used_
  };
  using Entries = std::unordered_map<std::string, Entry>;
  static std::size_t cost(const Entries::value_type& entry);
  void erase(Entries::iterator entry);
  void make_room();

  const std::size_t max_bytes_;
  mutable std::mutex mutex_;
  std::uint64_t seq_ = 0;               // of the last published commit
  Entries entries_;                     // by term_key
  std::list<const std::string*> used_;  // keys of entries_, the last used first
  std::size_t bytes_ = 0;
};

}  // namespace collegium::index
