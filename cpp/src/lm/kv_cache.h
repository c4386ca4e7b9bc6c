#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/lm/language_model.h"
#include "collegium/core/lm/token_router.h"
#include "kernels/kernels.h"
#include "lm/decoder_config.h"
#include "lm/kv_kernels.h"

namespace collegium::core {

// The keys and values of the positions seen so far, and what token routers remember of the
// sequence. Of bf16 each number is rounded by itself, to nearest even; of int8 those of a position
// and head share a scale, their largest over 127: so a position is the same bits however it came.
// They lie in pages of 32 positions, all layers of a page together, laid out as attention
// multiplies by them; a cache forked from another shares its pages (as in arXiv 2309.06180). One
// thread at a time; caches that share pages may be in different threads.
class KvCache {
 public:
  static constexpr std::size_t kPagePositions = 32;
  static_assert(kPagePositions % kPanelWidth == 0);

  KvCache(const DecoderConfig& config, KvCacheType type);

  std::size_t length() const noexcept { return length_; }
  // Forgets the positions from `length` on. Pre: length <= length(). What routers remember is
  // forgotten altogether where any position is.
  void truncate(std::size_t length);
  // The first `length` positions as another cache, without what routers remember. It shares their
  // pages until one of the two writes behind them. Pre: length <= length(). Throws std::bad_alloc.
  KvCache fork(std::size_t length) const;

  // Of caches with so many positions. 0 for 0.
  static std::size_t bytes(const DecoderConfig& config, KvCacheType type,
                           std::size_t positions) noexcept;

  // For who runs the layers.
  // Floats that keys() and values() want to widen into; 0 of fp32.
  std::size_t opened_size() const noexcept;
  // A head's panels of a page: (positions / 16, head_dim, 16), and (value_dim / 16, positions, 16).
  const float* keys(std::size_t page, std::size_t layer, std::size_t head, const KvKernels& kernels,
                    float* opened) const noexcept;
  const float* values(std::size_t page, std::size_t layer, std::size_t head,
                      const KvKernels& kernels, float* opened) const noexcept;
  // Pages for so many positions; those from length() on are this cache's own.
  void reserve(std::size_t positions);
  // Puts the keys (rows, kv_heads * head_dim) and values (rows, kv_heads * value_dim) of a layer
  // behind the positions there are. Pre: reserved.
  void store(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
             const float* values) noexcept;

 private:
  friend class Decoder;
  friend struct DecoderRun;
  using Page = AlignedBuffer<std::byte>;

  // Where a layer's part of a page is, in bytes: of each kv head its keys, as panels of 16
  // positions (for each dimension 16 of them), then of each its values, as panels of 16 dimensions
  // (for each position 16 of them, zeros beyond the last). So scores and mixtures are products with
  // panels as Kernels::gemm_panels takes them. Of int8 the scales of the positions stand behind.
  struct Layout {
    std::size_t layers, kv_heads, head_dim, value_dim;
    KvCacheType type;
    Layout(const DecoderConfig& config, KvCacheType kept);
    std::size_t key_numbers() const noexcept { return kPagePositions * head_dim; }  // of a head
    std::size_t value_numbers() const noexcept {
      return kPagePositions * num_panels(value_dim) * kPanelWidth;
    }
    std::size_t bytes(std::size_t numbers) const noexcept;
    std::size_t keys(std::size_t layer, std::size_t head) const noexcept {
      return layer * kv_heads * (bytes(key_numbers()) + bytes(value_numbers())) +
             head * bytes(key_numbers());
    }
    std::size_t values(std::size_t layer, std::size_t head) const noexcept {
      return keys(layer, kv_heads) + head * bytes(value_numbers());
    }
    std::size_t page_size() const noexcept { return keys(layers, 0); }
  };

  explicit KvCache(const Layout& layout) : layout_(layout) {}

  template <typename Number, typename Round>
  void store_as(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
                const float* values, Round round) noexcept;
  // fp32 numbers of a head's panels; widen_bytes(bytes, scales) widens those of int8.
  template <typename Widen>
  const float* open(const std::byte* panels, std::size_t numbers, const KvKernels& kernels,
                    float* opened, Widen widen_bytes) const noexcept;

  Layout layout_;
  std::size_t length_ = 0;
  std::vector<std::shared_ptr<Page>> pages_;
  RouterStates router_states_;
};

}  // namespace collegium::core
