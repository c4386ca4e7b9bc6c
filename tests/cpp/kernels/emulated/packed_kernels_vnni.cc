// What packed_kernels_vnni.cc is made of over emulated intrinsics (immintrin.h of this folder),
// with fewer rows at once, as a compiler takes minutes for all of them emulated.
#include <immintrin.h>

#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

#include "lm/packed_kernels_vnni.inc"

constexpr std::size_t kFusedRows = 4, kTileRows = 3;

#include "lm/packed_kernels_rows.inc"

}  // namespace

extern const PackedKernels kPackedKernelsVnniEmulated;
const PackedKernels kPackedKernelsVnniEmulated = {SIZE_MAX, round_rows, multiply};

}  // namespace collegium::core
