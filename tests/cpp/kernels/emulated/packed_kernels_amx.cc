// The unit's own source over emulated intrinsics and tiles (immintrin.h and kernels/ of this
// folder).
#define kPackedKernelsAmx kPackedKernelsAmxEmulated
#include "lm/packed_kernels_amx.cc"  // NOLINT(bugprone-suspicious-include)
