#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {

extern const Kernels kKernelsScalar;
#ifdef COLLEGIUM_X86_KERNELS
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

const Kernels& kernels_for(Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kAmx) {
    static const Kernels amx = [] {
      Kernels kernels = kKernelsAvx512;
      kernels.isa = Isa::kAmx;
      kernels.gemm_panels_int8 = gemm_panels_int8_amx;
      kernels.round_rows_bf16 = round_rows_bf16_amx;
      kernels.gemm_panels_bf16 = gemm_panels_bf16_amx;
      kernels.attend_bf16 = attend_bf16_amx;
      return kernels;
    }();
    return amx;
  }
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
