// Compiled with -mavx512f -mavx512bw -mavx512vl -mavx512vnni, and run only where the machine has
// them.
#include <immintrin.h>

#include "graph_kernels.h"

namespace collegium::index {
namespace {

using B = __m512i;
using D = __m512i;
constexpr std::size_t kBytes = 64;
constexpr std::size_t kRowsAtOnce = 8;

// Products are of unsigned and signed bytes: the query's codes get 128 added, and the row's sum
// takes that share away again.
using Query = __m512i;
inline B load_bytes(const std::int8_t* p) { return _mm512_loadu_si512(p); }
inline Query load_query(const std::int8_t* p) {
  return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
}
inline D zero_sums() { return _mm512_setzero_si512(); }
inline D multiply_add(Query query, B row, D sum) { return _mm512_dpbusd_epi32(sum, query, row); }
inline std::int32_t whole_sum(D sum, std::int32_t row_sum) {
  return _mm512_reduce_add_epi32(sum) - 128 * row_sum;
}

#include "graph_body.inc"

}  // namespace

void score_codes_vnni(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                      const std::int8_t* query, float query_scale, float* out) noexcept {
  score_all(rows, positions, n, query, query_scale, out);
}

}  // namespace collegium::index
