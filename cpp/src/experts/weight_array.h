#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "collegium/core/aligned_buffer.h"

namespace collegium::core {

// Numbers of a model, on a 64-byte boundary: its own, or borrowed from a mapped file that outlives
// them.
template <typename T>
class WeightArray {
 public:
  WeightArray() = default;
  explicit WeightArray(AlignedBuffer<T> own) : own_(std::move(own)) {
    view_ = {own_.data(), own_.size()};
  }
  explicit WeightArray(std::span<const T> copied) : own_(copied.size()) {
    std::copy(copied.begin(), copied.end(), own_.data());
    view_ = {own_.data(), own_.size()};
  }
  static WeightArray borrowed(std::span<const T> numbers) {
    WeightArray array;
    array.view_ = numbers;
    return array;
  }

  const T* data() const noexcept { return view_.data(); }
  std::size_t size() const noexcept { return view_.size(); }
  bool empty() const noexcept { return view_.empty(); }
  std::span<const T> span() const noexcept { return view_; }

 private:
  AlignedBuffer<T> own_;
  std::span<const T> view_;
};

}  // namespace collegium::core
