#include "graph_kernels.h"

#include "collegium/core/isa.h"

namespace collegium::index {

void score_codes_scalar(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                        const std::int8_t* query, float query_scale, float* out) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int8_t* row = rows.codes + positions[i] * rows.stride;
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < rows.stride; ++d) sum += row[d] * query[d];
    out[i] = rows.scale[positions[i]] * (query_scale * static_cast<float>(sum));
  }
}

ScoreCodes score_codes_for(core::Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= core::Isa::kVnni) return score_codes_vnni;
  if (isa >= core::Isa::kAvx2) return score_codes_avx2;
#endif
  (void)isa;
  return score_codes_scalar;
}

}  // namespace collegium::index
