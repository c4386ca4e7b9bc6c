// Compiled with -mavx2, and run only where the machine has it.
#include <immintrin.h>

#include "graph_kernels.h"

namespace collegium::index {
namespace {

using B = __m256i;
using D = __m256i;
constexpr std::size_t kBytes = 32;
constexpr std::size_t kRowsAtOnce = 4;

// Products of bytes are of unsigned and signed ones: the query's signs go to the row. Two products
// of at most 127 * 127 fit 16 bits.
struct Query {
  B size, sign;
};
inline B load_bytes(const std::int8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline Query load_query(const std::int8_t* p) {
  const B codes = load_bytes(p);
  return {_mm256_abs_epi8(codes), codes};
}
inline D zero_sums() { return _mm256_setzero_si256(); }
inline D multiply_add(const Query& query, B row, D sum) {
  const __m256i pairs = _mm256_maddubs_epi16(query.size, _mm256_sign_epi8(row, query.sign));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline std::int32_t whole_sum(D sum, std::int32_t) {
  const __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  const __m128i quarter = _mm_add_epi32(half, _mm_shuffle_epi32(half, _MM_SHUFFLE(1, 0, 3, 2)));
  return _mm_cvtsi128_si32(
      _mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, _MM_SHUFFLE(2, 3, 0, 1))));
}

#include "graph_body.inc"

}  // namespace

void score_codes_avx2(const CodeRows& rows, const std::uint32_t* positions, std::size_t n,
                      const std::int8_t* query, float query_scale, float* out) noexcept {
  score_all(rows, positions, n, query, query_scale, out);
}

}  // namespace collegium::index
