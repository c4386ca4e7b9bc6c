// The unit's own source over emulated intrinsics (immintrin.h of this folder).
#define gemm_panels_int8_vnni gemm_panels_int8_vnni_emulated
#include "kernels/kernels_avx512vnni.cc"  // NOLINT(bugprone-suspicious-include)
