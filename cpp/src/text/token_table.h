#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/aligned_buffer.h"

namespace collegium::core {

// Tokens by id and ids by token, in little room: tokens lie one behind another. Ids may have gaps.
// While merges are built a vocabulary is looked up millions of times, mostly in vain: the table has
// 32 bits of each hash, so that a text that is not there costs one cache miss.
class TokenTable {
 public:
  // Room for so many tokens without growing.
  void reserve(std::size_t tokens);
  // False if the id is taken. An equal token of another id loses its id to this one.
  bool add(std::string_view token, std::int32_t id);
  // -1 if there is none.
  std::int32_t find(std::string_view token) const noexcept { return find(token, hash(token)); }
  // The same in two steps, for many at once: while one waits for memory others are hashed.
  static std::uint64_t hash(std::string_view token) noexcept;
  void prefetch(std::uint64_t hash) const noexcept {
    if (!slots_.empty()) __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  }
  std::int32_t find(std::string_view token, std::uint64_t hash) const noexcept {
    return slots_.empty() ? -1 : slots_[slot_of(token, hash)].next_id - 1;
  }
  // "" for a gap and beyond.
  std::string_view token(std::int32_t id) const noexcept;
  bool has(std::int32_t id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < entries_.size() &&
           entries_[static_cast<std::size_t>(id)].size != kGap;
  }
  // What is added from here on is not of the model.
  void end_model() noexcept { model_bytes_ = bytes_.size(); }
  // As find(), but of the model's tokens alone.
  std::int32_t find_model(std::string_view token) const noexcept {
    const std::int32_t id = find(token);
    return id >= 0 && entries_[static_cast<std::size_t>(id)].begin < model_bytes_ ? id : -1;
  }
  // One more than the largest id.
  std::size_t size() const noexcept { return entries_.size(); }
  std::size_t count() const noexcept { return count_; }

 private:
  static constexpr std::uint32_t kGap = ~std::uint32_t{0};
  struct Entry {
    std::uint32_t begin = 0;
    std::uint32_t size = kGap;
  };
  struct Slot {
    std::uint32_t tag;
    std::int32_t next_id;  // one more than the id; 0: empty
  };
  std::size_t slot_of(std::string_view token, std::uint64_t hash) const noexcept;
  void resize(std::size_t slots);

  std::string bytes_;
  std::size_t model_bytes_ = ~std::size_t{0};
  std::vector<Entry> entries_;
  AlignedBuffer<Slot> slots_;  // a power of two; at most half are used
  std::size_t count_ = 0;
};

}  // namespace collegium::core
