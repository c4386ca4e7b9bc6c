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
#include "lm/packed_kernels_amx.inc"

}  // namespace

extern const PackedKernels kPackedKernelsAmx;
const PackedKernels kPackedKernelsAmx = {kFusedRows + 1, round_rows, multiply};

}  // namespace collegium::core
