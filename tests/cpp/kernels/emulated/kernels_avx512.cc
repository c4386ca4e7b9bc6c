// The unit's own source over emulated intrinsics (immintrin.h of this folder).
#define kKernelsAvx512 kKernelsAvx512Emulated
#include "kernels/kernels_avx512.cc"  // NOLINT(bugprone-suspicious-include)
