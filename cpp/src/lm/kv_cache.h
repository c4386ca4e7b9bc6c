#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/lm/token_router.h"
#include "kernels/kernels.h"
#include "lm/decoder_config.h"

namespace collegium::core {

// The keys and values of the positions seen so far, fp32, and what token routers remember of the
// sequence. They lie in pages of 32 positions, all layers of a page together, laid out as attention
// multiplies by them; a cache forked from another shares its pages (as in arXiv 2309.06180).
// One thread at a time; caches that share pages may be in different threads.
class KvCache {
 public:
  static constexpr std::size_t kPagePositions = 32;
  static_assert(kPagePositions % kPanelWidth == 0);

  explicit KvCache(const DecoderConfig& config);

  std::size_t length() const noexcept { return length_; }
  // Forgets the positions from `length` on. Pre: length <= length(). What routers remember is
  // forgotten altogether where any position is.
  void truncate(std::size_t length);
  // The first `length` positions as another cache, without what routers remember. It shares their
  // pages until one of the two writes behind them. Pre: length <= length(). Throws std::bad_alloc.
  KvCache fork(std::size_t length) const;

  // Of caches with so many positions. 0 for 0.
  static std::size_t bytes(const DecoderConfig& config, std::size_t positions) noexcept;

 private:
  friend class Decoder;
  friend struct DecoderRun;
  using Page = AlignedBuffer<float>;

  // Where a layer's part of a page is, in floats: of each kv head its keys, as panels of 16
  // positions (for each dimension 16 of them), then of each its values, as panels of 16 dimensions
  // (for each position 16 of them, zeros beyond the last). So scores and mixtures are products with
  // panels as Kernels::gemm_panels takes them.
  struct Layout {
    std::size_t layers, kv_heads, head_dim, value_dim;
    explicit Layout(const DecoderConfig& config);
    std::size_t keys_size() const noexcept { return kPagePositions * head_dim; }  // of a head
    std::size_t values_size() const noexcept {
      return kPagePositions * num_panels(value_dim) * kPanelWidth;
    }
    std::size_t keys(std::size_t layer, std::size_t head) const noexcept {
      return layer * kv_heads * (keys_size() + values_size()) + head * keys_size();
    }
    std::size_t values(std::size_t layer, std::size_t head) const noexcept {
      return keys(layer, kv_heads) + head * values_size();
    }
    std::size_t page_size() const noexcept { return keys(layers, 0); }
  };

  explicit KvCache(const Layout& layout) : layout_(layout) {}

  const float* keys(std::size_t page, std::size_t layer, std::size_t head) const noexcept {
    return pages_[page]->data() + layout_.keys(layer, head);
  }
  const float* values(std::size_t page, std::size_t layer, std::size_t head) const noexcept {
    return pages_[page]->data() + layout_.values(layer, head);
  }
  // Pages for so many positions; those from length() on are this cache's own.
  void reserve(std::size_t positions);
  // Puts the keys (rows, kv_heads * head_dim) and values (rows, kv_heads * value_dim) of a layer
  // behind the positions there are. Pre: reserved.
  void store(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
             const float* values) noexcept;

  Layout layout_;
  std::size_t length_ = 0;
  std::vector<std::shared_ptr<Page>> pages_;
  RouterStates router_states_;
};

}  // namespace collegium::core
