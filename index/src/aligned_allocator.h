#pragma once

#include <cstddef>
#include <new>
#include <vector>

#include "collegium/core/aligned_buffer.h"

namespace collegium::index {

// Memory of std::vector on a 64-byte boundary, a whole number of cache lines a row of 16 floats;
// large ones in huge pages.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)

  T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = n * sizeof(T);
    return static_cast<T*>(core::internal::is_large(bytes)
                               ? core::internal::allocate_large(bytes)
                               : ::operator new(bytes, std::align_val_t(64)));
  }
  void deallocate(T* memory, std::size_t n) noexcept {
    if (core::internal::is_large(n * sizeof(T)))
      core::internal::free_large(memory);
    else
      ::operator delete(memory, std::align_val_t(64));
  }
  template <typename U>
  bool operator==(const AlignedAllocator<U>&) const noexcept {
    return true;
  }
};

template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace collegium::index
