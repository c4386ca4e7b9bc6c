// Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512vnni, and run only where the machine has
// them.
#include <immintrin.h>

#include "scan_int8.h"
#include "scan_kernels.h"

namespace collegium::index {
namespace {

#include "scan_bytes512.inc"
#include "scan_fetch.inc"

inline D multiply_add(B query, B codes, D sum) { return _mm512_dpbusd_epi32(sum, query, codes); }

#include "scan_int8_body.inc"

}  // namespace

void score_rows_int8_vnni(const std::int8_t* rows, const float* row_scale,
                          const std::int32_t* row_sum, std::size_t n, std::size_t dim,
                          const std::uint8_t* queries, const float* query_scale,
                          std::size_t num_queries, float* out, std::size_t out_stride,
                          FetchAhead ahead) noexcept {
  score_rows_of_codes(rows, row_scale, row_sum, n, dim, queries, query_scale, num_queries, out,
                      out_stride, ahead);
}

}  // namespace collegium::index
