// Compiled with -mavx512bw -mavx512vnni, and run only where the machine has them.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

constexpr std::size_t kFusedRows = 8, kTileRows = 12;

#include "lm/packed_kernels_vnni.inc"

template <typename F>
inline Bytes opened_bytes(Bytes bytes) {
  return bytes;
}

#include "lm/packed_kernels_body.inc"

template <typename F>
void multiply_opened(const Opened& opened, const PackedRows& x, std::size_t k, std::size_t first,
                     std::size_t rows, float* totals) {
  multiply_tiles<F>(opened, rows_in_work<F>(x, k, 0, first), rows, totals,
                    std::make_index_sequence<kTileRows>());
}

}  // namespace

extern const PackedKernels kPackedKernelsVnni;
const PackedKernels kPackedKernelsVnni = {SIZE_MAX, round_rows, multiply};

}  // namespace collegium::core
