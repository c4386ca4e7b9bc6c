#include "lm/kv_cache.h"

#include <algorithm>

namespace collegium::core {
namespace {

std::size_t pages_for(std::size_t positions) {
  return (positions + KvCache::kPagePositions - 1) / KvCache::kPagePositions;
}

}  // namespace

KvCache::Layout::Layout(const DecoderConfig& config)
    : layers(config.layers.size()),
      kv_heads(config.kv_heads),
      head_dim(config.head_dim),
      value_dim(config.value_dim) {}

KvCache::KvCache(const DecoderConfig& config) : layout_(config) {}

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

std::size_t KvCache::bytes(const DecoderConfig& config, std::size_t positions) noexcept {
  return pages_for(positions) * Layout(config).page_size() * sizeof(float);
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

void KvCache::store(std::size_t layer, std::size_t position, std::size_t rows, const float* keys,
                    const float* values) noexcept {
  const std::size_t head_dim = layout_.head_dim, value_dim = layout_.value_dim;
  const std::size_t key_width = layout_.kv_heads * head_dim;
  const std::size_t value_width = layout_.kv_heads * value_dim;
  for (std::size_t r = 0; r < rows; ++r) {
    float* page = pages_[(position + r) / kPagePositions]->data();
    const std::size_t place = (position + r) % kPagePositions;
    for (std::size_t head = 0; head < layout_.kv_heads; ++head) {
      const float* key = keys + r * key_width + head * head_dim;
      float* key_out = page + layout_.keys(layer, head) +
                       place / kPanelWidth * head_dim * kPanelWidth + place % kPanelWidth;
      for (std::size_t i = 0; i < head_dim; ++i) key_out[i * kPanelWidth] = key[i];
      const float* value = values + r * value_width + head * value_dim;
      float* value_out = page + layout_.values(layer, head) + place * kPanelWidth;
      for (std::size_t i = 0; i < value_dim; i += kPanelWidth)
        std::copy_n(value + i, std::min(kPanelWidth, value_dim - i),
                    value_out + i * kPagePositions);
    }
  }
}

}  // namespace collegium::core
