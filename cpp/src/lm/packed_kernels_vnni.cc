// Compiled with -mavx512bw -mavx512vnni, and run only where the machine has them.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

#include "lm/packed_kernels_vnni.inc"

constexpr std::size_t kFusedRows = 8, kTileRows = 12;

#include "lm/packed_kernels_rows.inc"

}  // namespace

extern const PackedKernels kPackedKernelsVnni;
const PackedKernels kPackedKernelsVnni = {SIZE_MAX, round_rows, multiply};

}  // namespace collegium::core
