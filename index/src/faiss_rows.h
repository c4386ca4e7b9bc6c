#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <memory>
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

// The rows of a block as FAISS sees them: the storage under its graph. Products are our kernels',
// so that a row has the same score however it is found.
class FaissRows final : public faiss::Index {
 public:
  explicit FaissRows(std::size_t dim)
      : faiss::Index(static_cast<idx_t>(dim), faiss::METRIC_INNER_PRODUCT) {}

  void add(idx_t n, const float* x) override;
  void reset() override;
  void reconstruct(idx_t key, float* out) const override;
  // Throws: our own scans search rows.
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* parameters = nullptr) const override;
  // The caller owns it.
  faiss::DistanceComputer* get_distance_computer() const override;

  std::vector<float, AlignedAllocator<float>> vectors;  // (ntotal, d)
};

// The graph is walked by ascending distance: the negated inner product. The caller owns it.
std::unique_ptr<faiss::DistanceComputer> negated_product(const FaissRows& rows);

}  // namespace collegium::index
