// The portable set, and the oracle of the others' structure: eight running sums a product.
#include <bit>

#include "scan_kernels.h"

namespace collegium::index {
namespace {

constexpr std::size_t kLanes = 8;
constexpr int kQueryOffset = 128;

// In pairs four, two and one apart, as the vector units do it.
inline float sum_lanes(const float* sum) {
  const float low = (sum[0] + sum[2]) + (sum[1] + sum[3]);
  const float high = (sum[4] + sum[6]) + (sum[5] + sum[7]);
  return low + high;
}

float product(const float* a, const float* b, std::size_t dim) noexcept {
  float sum[kLanes] = {};
  std::size_t d = 0;
  for (; d + kLanes <= dim; d += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum[lane] += a[d + lane] * b[d + lane];
  for (std::size_t lane = 0; d + lane < dim; ++lane) sum[lane] += a[d + lane] * b[d + lane];
  return sum_lanes(sum);
}

float squared_distance(const float* a, const float* b, std::size_t dim) noexcept {
  float sum[kLanes] = {};
  for (std::size_t d = 0; d < dim; ++d) {
    const float difference = a[d] - b[d];
    sum[d % kLanes] += difference * difference;
  }
  return sum_lanes(sum);
}

void score_rows(const float* rows, const std::uint32_t* positions, std::size_t n, std::size_t dim,
                const float* queries, std::size_t num_queries, float* out, std::size_t out_stride,
                FetchAhead) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = rows + (positions == nullptr ? i : positions[i]) * dim;
    for (std::size_t q = 0; q < num_queries; ++q)
      out[q * out_stride + i] = product(row, queries + q * dim, dim);
  }
}

void score_rows_bf16(const std::uint16_t* rows, std::size_t n, std::size_t dim,
                     const float* queries, std::size_t num_queries, float* out,
                     std::size_t out_stride, FetchAhead) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t q = 0; q < num_queries; ++q) {
      float sum[kLanes] = {};
      for (std::size_t d = 0; d < dim; ++d)
        sum[d % kLanes] +=
            std::bit_cast<float>(std::uint32_t{rows[i * dim + d]} << 16) * queries[q * dim + d];
      out[q * out_stride + i] = sum_lanes(sum);
    }
  }
}

void score_rows_int8(const std::int8_t* rows, const float* row_scale, const std::int32_t* row_sum,
                     std::size_t n, std::size_t dim, const std::uint8_t* queries,
                     const float* query_scale, std::size_t num_queries, float* out,
                     std::size_t out_stride, FetchAhead) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t q = 0; q < num_queries; ++q) {
      std::int32_t sum = 0;
      for (std::size_t d = 0; d < dim; ++d) sum += rows[i * dim + d] * queries[q * dim + d];
      sum -= kQueryOffset * row_sum[i];
      out[q * out_stride + i] = row_scale[i] * (query_scale[q] * static_cast<float>(sum));
    }
  }
}

// Every (row, query) whose score(row, panel, lane) and error reach the query's limit.
template <typename Score>
std::size_t select(const float* error, std::size_t n, const PanelQueries& queries, Survivor* out,
                   Score score) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t q = 0; q < queries.num_panels * kPanelWidth; ++q) {
      const float highest =
          score(i, q / kPanelWidth, q % kPanelWidth) + error[i] * queries.reach[q];
      if (highest >= queries.limit[q])
        out[count++] = {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(q)};
    }
  }
  return count;
}

std::size_t select_floats(const float* rows, const float* error, std::size_t n, std::size_t dim,
                          const PanelQueries& queries, Survivor* out, FetchAhead) noexcept {
  const auto* panels = static_cast<const float*>(queries.panels);
  return select(error, n, queries, out, [&](std::size_t i, std::size_t panel, std::size_t lane) {
    float sum = 0.0f;
    for (std::size_t d = 0; d < dim; ++d)
      sum += rows[i * dim + d] * panels[(panel * dim + d) * kPanelWidth + lane];
    return sum;
  });
}

std::size_t select_int8(const std::int8_t* rows, const float* row_scale,
                        const std::int32_t* row_sum, const float* error, std::size_t n,
                        std::size_t dim, const PanelQueries& queries, Survivor* out,
                        FetchAhead) noexcept {
  const auto* panels = static_cast<const std::uint8_t*>(queries.panels);
  return select(error, n, queries, out, [&](std::size_t i, std::size_t panel, std::size_t lane) {
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < dim; ++d) {
      const std::size_t group = panel * dim / 4 + d / 4;
      sum += rows[i * dim + d] * panels[(group * kPanelWidth + lane) * 4 + d % 4];
    }
    return row_scale[i] * static_cast<float>(sum - kQueryOffset * row_sum[i]);
  });
}

float product_int8(const std::int8_t* codes, const float* query, std::size_t dim) noexcept {
  float sum[kLanes] = {};
  for (std::size_t d = 0; d < dim; ++d) sum[d % kLanes] += static_cast<float>(codes[d]) * query[d];
  return sum_lanes(sum);
}

void count_differences(const std::uint64_t* rows, std::size_t n, std::size_t words,
                       const std::uint64_t* query, std::uint32_t* out) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    int bits = 0;
    for (std::size_t w = 0; w < words; ++w) bits += std::popcount(rows[i * words + w] ^ query[w]);
    out[i] = static_cast<std::uint32_t>(bits);
  }
}

std::size_t select_above(const float* values, std::size_t n, float threshold,
                         std::uint32_t* out) noexcept {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (values[i] > threshold) out[count++] = static_cast<std::uint32_t>(i);
  return count;
}

std::size_t select_possible(const float* values, const float* error, std::size_t n, float factor,
                            float threshold, std::uint32_t* out) noexcept {
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (values[i] + error[i] * factor >= threshold) out[count++] = static_cast<std::uint32_t>(i);
  return count;
}

}  // namespace

extern const ScanKernels kScanKernelsScalar;
const ScanKernels kScanKernelsScalar = {
    score_rows,      score_rows_bf16,  score_rows_int8, count_differences, select_above,
    select_possible, select_floats,    select_int8,     nullptr,           product_int8,
    product,         squared_distance, kQueryOffset};

}  // namespace collegium::index
