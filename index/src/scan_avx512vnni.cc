// Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512vnni, and run only where the machine has
// them.
#include <immintrin.h>

#include "scan_int8.h"
#include "scan_kernels.h"

namespace collegium::index {
namespace {

constexpr int kQueryOffset = kWideQueryOffset;
constexpr std::size_t kCodeRows = 12, kCodePanels = 2;

#include "scan_512.inc"
#include "scan_ahead.inc"
#include "scan_bytes512.inc"

inline D multiply_add(B query, B codes, D sum) { return _mm512_dpbusd_epi32(sum, query, codes); }
inline D multiply_add_two(B q0, B x0, B q1, B x1, D sum) {
  return multiply_add(q1, x1, multiply_add(q0, x0, sum));
}

#include "scan_batch.inc"
#include "scan_int8_body.inc"
#include "scan_int8_panels.inc"

}  // namespace

void score_rows_int8_vnni(const std::int8_t* rows, const float* row_scale,
                          const std::int32_t* row_sum, std::size_t n, std::size_t dim,
                          const std::uint8_t* queries, const float* query_scale,
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead ahead) noexcept {
  score_rows_of_codes(rows, row_scale, row_sum, n, dim, queries, query_scale, num_queries, out,
                      out_stride, ahead);
}

std::size_t select_int8_vnni(const std::int8_t* rows, const float* row_scale,
                             const std::int32_t* row_sum, const float* error, std::size_t n,
                             std::size_t dim, const PanelQueries& queries, Survivor* out,
                             FetchAhead ahead) noexcept {
  return select_codes(rows, row_scale, row_sum, error, n, dim, queries, out, ahead);
}

}  // namespace collegium::index
