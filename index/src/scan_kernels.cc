#include "scan_kernels.h"

#include "collegium/core/isa.h"
#include "scan_int8.h"

namespace collegium::index {

extern const ScanKernels kScanKernelsScalar;
#ifdef COLLEGIUM_X86_KERNELS
extern const ScanKernels kScanKernelsAvx2;
extern const ScanKernels kScanKernelsAvx512;
#endif

const ScanKernels& scan_kernels_for(core::Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= core::Isa::kVnni) {
    static const ScanKernels vnni = [] {
      ScanKernels kernels = kScanKernelsAvx512;
      kernels.score_rows_int8 = score_rows_int8_vnni;
      kernels.select_int8 = select_int8_vnni;
      kernels.query_offset = kWideQueryOffset;
      return kernels;
    }();
    static const ScanKernels amx = [] {
      ScanKernels kernels = vnni;
      kernels.select_int8 = select_int8_amx;
      kernels.select_bf16 = select_bf16_amx;
      return kernels;
    }();
    return isa >= core::Isa::kAmx ? amx : vnni;
  }
  if (isa >= core::Isa::kAvx512) return kScanKernelsAvx512;
  if (isa >= core::Isa::kAvx2) return kScanKernelsAvx2;
#endif
  (void)isa;
  return kScanKernelsScalar;
}

const ScanKernels& scan_kernels() noexcept { return scan_kernels_for(core::active_isa()); }

}  // namespace collegium::index
