// Run only where the machine has AMX and Linux lets this process use it (isa.cc).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

constexpr std::size_t kFusedRows = 8;
constexpr std::size_t kTileRows = 1;  // none: the tiles of AMX take what is not fused

#include "lm/packed_kernels_vnni.inc"

// Signed numbers, as they are meant.
template <typename F>
inline Bytes opened_bytes(Bytes bytes);

#include "kernels/amx_instructions.inc"

// Signed bytes by signed ones.
template <int kSums, int kRows, int kWeights>
inline void multiply_bytes() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kWeights));
}

#include "lm/packed_kernels_amx.inc"

}  // namespace

extern const PackedKernels kPackedKernelsAmx;
const PackedKernels kPackedKernelsAmx = {kFusedRows + 1, round_rows, multiply};

}  // namespace collegium::core
