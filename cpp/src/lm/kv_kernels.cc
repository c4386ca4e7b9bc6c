#include "lm/kv_kernels.h"

#include <bit>

#include "kernels/kernels.h"

namespace collegium::core {

#ifdef COLLEGIUM_X86_KERNELS
extern const KvKernels kKvKernelsAvx2;
#endif

namespace {

#include "lm/kv_kernels_body.inc"

constexpr KvKernels kKvKernelsScalar = {widen_bf16, widen_columns, widen_rows};

}  // namespace

const KvKernels& kv_kernels_for(Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kAvx2) return kKvKernelsAvx2;
#endif
  static_cast<void>(isa);
  return kKvKernelsScalar;
}

}  // namespace collegium::core
