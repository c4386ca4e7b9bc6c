#include "lm/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace collegium::core {
namespace {

#include "kernels/kernels_bf16.inc"

// Numbers that are all smaller are zeros of int8.
constexpr float kInt8Smallest = 0x1p-100f;

std::uint16_t to_bf16(float x) {
  return static_cast<std::uint16_t>(rounded_to_bf16(__builtin_bit_cast(std::uint32_t, x)) >> 16);
}

std::size_t pages_for(std::size_t positions) {
  return (positions + KvCache::kPagePositions - 1) / KvCache::kPagePositions;
}

}  // namespace

KvCache::Layout::Layout(const DecoderConfig& config, KvCacheType kept)
    : layers(config.layers.size()),
      kv_heads(config.kv_heads),
      head_dim(config.head_dim),
      value_dim(config.value_dim),
      type(kept) {}

std::size_t KvCache::Layout::bytes(std::size_t numbers) const noexcept {
  switch (type) {
    case KvCacheType::kFp32:
      break;
    case KvCacheType::kBf16:
      return numbers * sizeof(std::uint16_t);
    case KvCacheType::kInt8:
      return numbers + kPagePositions * sizeof(float);
  }
  return numbers * sizeof(float);
}

KvCache::KvCache(const DecoderConfig& config, KvCacheType type) : layout_(config, type) {}

void KvCache::truncate(std::size_t length) {
  if (length == length_) return;
  length_ = length;
  pages_.resize(std::min(pages_.size(), pages_for(length)));
  router_states_.clear();
}

KvCache KvCache::fork(std::size_t length) const {
  KvCache other(layout_);
  other.length_ = length;
  other.pages_.assign(pages_.begin(),
                      pages_.begin() + static_cast<std::ptrdiff_t>(pages_for(length)));
  return other;
}

std::size_t KvCache::bytes(const DecoderConfig& config, KvCacheType type,
                           std::size_t positions) noexcept {
  return pages_for(positions) * Layout(config, type).page_size();
}

void KvCache::reserve(std::size_t positions) {
  const std::size_t first = length_ / kPagePositions;  // that is written to
  if (first < pages_.size() && pages_[first].use_count() > 1) {
    auto own = std::make_shared<Page>(layout_.page_size());
    std::copy(pages_[first]->begin(), pages_[first]->end(), own->begin());
    pages_[first] = std::move(own);
  }
  while (pages_.size() < pages_for(positions))
    pages_.push_back(std::make_shared<Page>(layout_.page_size()));
}

// `round(in, size, put)` puts the `size` numbers of `in` as Number, put(i, number) each, and
// returns what they are multiplied by.
template <typename Number, typename Round>
void KvCache::store_as(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
                       const float* values, Round round) noexcept {
  const std::size_t head_dim = layout_.head_dim, value_dim = layout_.value_dim;
  const std::size_t key_width = layout_.kv_heads * head_dim;
  const std::size_t value_width = layout_.kv_heads * value_dim;
  const auto scale_of = [](std::byte* panels, std::size_t numbers, std::size_t place) {
    return reinterpret_cast<float*>(panels + numbers * sizeof(Number)) + place;
  };
  for (std::size_t r = 0; r < rows; ++r) {
    std::byte* page = pages_[(position + r) / kPagePositions]->data();
    const std::size_t place = (position + r) % kPagePositions;
    for (std::size_t head = 0; head < layout_.kv_heads; ++head) {
      const float* key = keys + r * key_width + head * head_dim;
      std::byte* key_panels = page + layout_.keys(layer, head);
      Number* key_out = reinterpret_cast<Number*>(key_panels) +
                        place / kPanelWidth * head_dim * kPanelWidth + place % kPanelWidth;
      const float* value = values + r * value_width + head * value_dim;
      std::byte* value_panels = page + layout_.values(layer, head);
      Number* value_out = reinterpret_cast<Number*>(value_panels) + place * kPanelWidth;
      const auto put_key = [&](std::size_t i, Number number) { key_out[i * kPanelWidth] = number; };
      const auto put_value = [&](std::size_t i, Number number) {
        value_out[i / kPanelWidth * kPanelWidth * kPagePositions + i % kPanelWidth] = number;
      };
      const float key_scale = round(key, head_dim, put_key);
      const float value_scale = round(value, value_dim, put_value);
      if constexpr (sizeof(Number) == 1) {
        *scale_of(key_panels, layout_.key_numbers(), place) = key_scale;
        *scale_of(value_panels, layout_.value_numbers(), place) = value_scale;
      }
    }
  }
}

void KvCache::store(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
                    const float* values) noexcept {
  switch (layout_.type) {
    case KvCacheType::kFp32:
      store_as<float>(layer, position, rows, keys, values,
                      [](const float* in, std::size_t size, auto put) {
                        for (std::size_t i = 0; i < size; ++i) put(i, in[i]);
                        return 1.0f;
                      });
      return;
    case KvCacheType::kBf16:
      store_as<std::uint16_t>(layer, position, rows, keys, values,
                              [](const float* in, std::size_t size, auto put) {
                                for (std::size_t i = 0; i < size; ++i) put(i, to_bf16(in[i]));
                                return 1.0f;
                              });
      return;
    case KvCacheType::kInt8:
      store_as<std::int8_t>(
          layer, position, rows, keys, values, [](const float* in, std::size_t size, auto put) {
            float largest = 0.0f;
            bool finite = true;
            for (std::size_t i = 0; i < size; ++i) {
              finite = finite && std::isfinite(in[i]);
              largest = std::max(largest, std::abs(in[i]));
            }
            const bool zero = !finite || largest < kInt8Smallest;
            const float to_bytes = zero ? 0.0f : 127.0f / largest;
            for (std::size_t i = 0; i < size; ++i)
              put(i, static_cast<std::int8_t>(zero ? 0.0f : std::nearbyint(in[i] * to_bytes)));
            if (!finite) return std::numeric_limits<float>::quiet_NaN();
            return zero ? 0.0f : largest / 127.0f;
          });
      return;
  }
}

std::size_t KvCache::opened_size() const noexcept {
  if (layout_.type == KvCacheType::kFp32) return 0;
  return std::max(layout_.key_numbers(), layout_.value_numbers());
}

template <typename Widen>
const float* KvCache::open(const std::byte* panels, std::size_t numbers, const KvKernels& kernels,
                           float* opened, Widen widen_bytes) const noexcept {
  switch (layout_.type) {
    case KvCacheType::kFp32:
      return reinterpret_cast<const float*>(panels);
    case KvCacheType::kBf16:
      kernels.widen_bf16(reinterpret_cast<const std::uint16_t*>(panels), numbers, opened);
      break;
    case KvCacheType::kInt8:
      widen_bytes(reinterpret_cast<const std::int8_t*>(panels),
                  reinterpret_cast<const float*>(panels + numbers));
      break;
  }
  return opened;
}

const float* KvCache::keys(std::size_t page, std::size_t layer, std::size_t head,
                           const KvKernels& kernels, float* opened) const noexcept {
  return open(pages_[page]->data() + layout_.keys(layer, head), layout_.key_numbers(), kernels,
              opened, [&](const std::int8_t* bytes, const float* scales) {
                const std::size_t panel = layout_.head_dim * kPanelWidth;
                for (std::size_t p = 0; p < kPagePositions / kPanelWidth; ++p)
                  kernels.widen_columns(bytes + p * panel, layout_.head_dim,
                                        scales + p * kPanelWidth, opened + p * panel);
              });
}

const float* KvCache::values(std::size_t page, std::size_t layer, std::size_t head,
                             const KvKernels& kernels, float* opened) const noexcept {
  return open(pages_[page]->data() + layout_.values(layer, head), layout_.value_numbers(), kernels,
              opened, [&](const std::int8_t* bytes, const float* scales) {
                constexpr std::size_t kPanel = kPagePositions * kPanelWidth;
                for (std::size_t p = 0; p < num_panels(layout_.value_dim); ++p)
                  kernels.widen_rows(bytes + p * kPanel, kPagePositions, scales,
                                     opened + p * kPanel);
              });
}

}  // namespace collegium::core
