#include "kernels/kernels_int8.h"

namespace collegium::core {

extern const Kernels kKernelsScalar;
#ifdef COLLEGIUM_X86_KERNELS
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

const Kernels& kernels_for(Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kVnni) {
    static const Kernels vnni = [] {
      Kernels kernels = kKernelsAvx512;
      kernels.isa = Isa::kVnni;
      kernels.gemm_panels_int8 = gemm_panels_int8_vnni;
      return kernels;
    }();
    return vnni;
  }
  if (isa >= Isa::kAvx512) return kKernelsAvx512;
  if (isa >= Isa::kAvx2) return kKernelsAvx2;
#endif
  (void)isa;
  return kKernelsScalar;
}

}  // namespace collegium::core
