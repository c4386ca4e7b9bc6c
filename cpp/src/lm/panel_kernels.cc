#include "lm/panel_kernels.h"

namespace collegium::core {

// In the order of slot().
extern const PanelKernels kPanelKernelsScalar[8];
#ifdef COLLEGIUM_X86_KERNELS
extern const PanelKernels kPanelKernelsAvx2[8];
#endif

namespace {

int slot(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0:
      return 0;
    case GgmlType::kQ4_1:
      return 1;
    case GgmlType::kQ8_0:
      return 2;
    case GgmlType::kQ5_0:
      return 3;
    case GgmlType::kQ5_1:
      return 4;
    case GgmlType::kQ4_K:
      return 5;
    case GgmlType::kQ5_K:
      return 6;
    case GgmlType::kQ6_K:
      return 7;
    default:
      return -1;
  }
}

}  // namespace

const PanelKernels* panel_kernels_for(Isa isa, GgmlType type) noexcept {
  const int position = slot(type);
  if (position < 0) return nullptr;
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kAvx2) return &kPanelKernelsAvx2[position];
#endif
  static_cast<void>(isa);
  return &kPanelKernelsScalar[position];
}

}  // namespace collegium::core
