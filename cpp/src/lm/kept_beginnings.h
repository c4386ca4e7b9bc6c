#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "lm/kv_cache.h"

namespace collegium::core {

class LmLora;

// How many tokens both begin with.
std::size_t common_beginning(std::span<const std::int32_t> a,
                             std::span<const std::int32_t> b) noexcept;

// Keys and values of sequences that are done, for those that begin in the same way (prefix caching,
// as in arXiv 2309.06180); of more than fit, those go that were not used for longest. One thread at
// a time.
class KeptBeginnings {
 public:
  // Keeps at most so many bytes.
  explicit KeptBeginnings(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  // Counted as if nothing were shared among them.
  std::size_t bytes() const noexcept { return bytes_; }
  // Forgets until at most so many bytes are left.
  void shrink(std::size_t bytes);

  // Keeps `cache`, which has read exactly `tokens`, unless there is another that begins so. Those
  // that this one begins with go.
  void keep(std::span<const std::int32_t> tokens, std::shared_ptr<const LmLora> lora, KvCache cache,
            std::size_t bytes);

  struct Found {
    const KvCache* cache = nullptr;  // until this changes
    std::size_t tokens = 0;          // that both begin with
  };
  // Of what was read with `lora`, what has most of the first of `tokens`.
  Found find(std::span<const std::int32_t> tokens, const LmLora* lora);

 private:
  struct Entry {
    std::vector<std::int32_t> tokens;
    std::shared_ptr<const LmLora> lora;
    KvCache cache;
    std::size_t bytes;
  };
  std::size_t most_bytes_;
  std::size_t bytes_ = 0;
  std::list<Entry> entries_;  // the last used first
};

}  // namespace collegium::core
