#pragma once

#include <cstddef>
#include <span>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

// Rows laid out for many inner products at once: what training and evaluation score with.
// Movable; const methods are thread-safe and run on the caller's thread, so callers split the work.
// Takes size() * dim() * 4 bytes, rows rounded up to a multiple of 16.
class COLLEGIUM_API PackedVectors {
 public:
  PackedVectors() = default;
  // `rows` (n, dim), row-major. invalid_argument if the sizes disagree or dim is 0.
  static Result<PackedVectors> create(std::span<const float> rows, std::size_t dim);

  std::size_t size() const noexcept { return size_; }
  std::size_t dim() const noexcept { return dim_; }

  // out[i * stride + j] = dot(queries[i], row j) for i < num_queries, j < size(). queries
  // (num_queries, dim); stride >= size(). A score's bits depend on its two vectors alone.
  void scores(const float* queries, std::size_t num_queries, float* out,
              std::size_t stride) const noexcept;

 private:
  std::size_t size_ = 0;
  std::size_t dim_ = 0;
  AlignedBuffer<float> panels_;
};

}  // namespace collegium::core
