#include "kernels/kernels.h"

namespace collegium::core {

extern const Kernels kKernelsScalar;
#ifdef COLLEGIUM_X86_KERNELS
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

const Kernels& kernels_for(Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kAvx512) return kKernelsAvx512;
  if (isa >= Isa::kAvx2) return kKernelsAvx2;
#endif
  (void)isa;
  return kKernelsScalar;
}

}  // namespace collegium::core
