// Compiled with -mavx2 -mfma -mf16c, and run only where the machine has all three.
#include <bit>

#include "kernels/kernels.h"
#include "lm/kv_kernels.h"

namespace collegium::core {
namespace {

#include "lm/kv_kernels_body.inc"

}  // namespace

extern const KvKernels kKvKernelsAvx2;
const KvKernels kKvKernelsAvx2 = {widen_bf16, widen_columns, widen_rows};

}  // namespace collegium::core
