#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "collegium/core/export.h"

namespace collegium::core {

namespace internal {
// kHugePage aligned memory of so many bytes; where the system can, in huge pages, which save a
// product over tens of megabytes of weights most of its address translations.
COLLEGIUM_API void* allocate_large(std::size_t bytes);
COLLEGIUM_API void free_large(void* memory) noexcept;
inline constexpr std::size_t kHugePage = std::size_t{1} << 21;
// Whether a buffer fills its last huge page well enough, or has one anyway.
inline constexpr bool is_large(std::size_t bytes) { return bytes >= kHugePage / 4 * 3; }
}  // namespace internal

// A fixed-size array of trivial elements on a 64-byte boundary (a cache line, an AVX-512 register).
// Zero-filled. Movable, not copyable. Throws std::bad_alloc like any container.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivial_v<T>);

 public:
  static constexpr std::size_t kAlignment = 64;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : data_(allocate(size)), size_(size) {
    for (std::size_t i = 0; i < size_; ++i) data_[i] = T{};
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() {
    if (internal::is_large(size_ * sizeof(T))) {
      internal::free_large(data_);
    } else {
      ::operator delete(data_, std::align_val_t(kAlignment));
    }
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }

 private:
  static T* allocate(std::size_t size) {
    if (size == 0) return nullptr;
    if (size > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = size * sizeof(T);
    return static_cast<T*>(internal::is_large(bytes)
                               ? internal::allocate_large(bytes)
                               : ::operator new(bytes, std::align_val_t(kAlignment)));
  }
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace collegium::core
