// The unit's own source over emulated intrinsics and tiles (immintrin.h and kernels/ of this
// folder).
#define gemm_panels_int8_amx gemm_panels_int8_amx_emulated
#define round_rows_bf16_amx round_rows_bf16_amx_emulated
#define gemm_panels_bf16_amx gemm_panels_bf16_amx_emulated
#define attend_bf16_amx attend_bf16_amx_emulated
#include "kernels/kernels_amx.cc"  // NOLINT(bugprone-suspicious-include)

namespace collegium::core {

bool emulated_tiles_are_released() { return !configured; }

}  // namespace collegium::core
