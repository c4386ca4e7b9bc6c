#include "collegium/core/experts/packed_vectors.h"

#include <string>

#include "collegium/core/isa.h"
#include "kernels/kernels.h"

namespace collegium::core {

Result<PackedVectors> PackedVectors::create(std::span<const float> rows, std::size_t dim) {
  if (dim == 0 || rows.size() % dim != 0)
    return Status::invalid_argument("rows: " + std::to_string(rows.size()) +
                                    " floats is not a multiple of dim " + std::to_string(dim));
  PackedVectors packed;
  packed.size_ = rows.size() / dim;
  packed.dim_ = dim;
  packed.panels_ = AlignedBuffer<float>(num_panels(packed.size_) * dim * kPanelWidth);
  if (packed.size_ > 0)
    kernels_for(active_isa())
        .pack_panels(rows.data(), dim, packed.size_, dim, packed.panels_.data());
  return packed;
}

void PackedVectors::scores(const float* queries, std::size_t num_queries, float* out,
                           std::size_t stride) const noexcept {
  if (size_ == 0 || num_queries == 0) return;
  kernels_for(active_isa())
      .gemm_panels(queries, dim_, num_queries, panels_.data(), size_, dim_, nullptr, out, stride);
}

}  // namespace collegium::core
