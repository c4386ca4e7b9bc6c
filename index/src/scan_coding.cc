#include "scan_coding.h"

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "collegium/core/thread_pool.h"
#include "scan_kernels.h"

namespace collegium::index {
namespace {

// A float that is not below `x`.
float rounded_up(double x) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return x == 0.0
             ? 0.0f
             : std::max(std::nextafter(static_cast<float>(x * (1.0 + 1e-7)), kInfinity), FLT_MIN);
}

double length(const float* x, std::size_t dim) {
  double squares = 0.0;
  for (std::size_t d = 0; d < dim; ++d) squares += static_cast<double>(x[d]) * x[d];
  return std::sqrt(squares);
}

float largest_value(const float* x, std::size_t dim) {
  float largest = 0.0f;
  for (std::size_t d = 0; d < dim; ++d) largest = std::max(largest, std::abs(x[d]));
  return largest;
}

// The scale of a query's codes, of at most `most`.
float scale_of_query(const float* x, std::size_t dim, float most) {
  return largest_value(x, dim) / most;
}

// The scale of a row's codes, of at most 127. Where bytes are multiplied in pairs (levels without
// VNNI), two pairs' products with a query's bytes, which are at most 127, are added up in 16 bits:
// so the four codes add up to no more than 258. Rounding adds a half to each.
float scale_of_row(const float* x, std::size_t dim) {
  float largest_sum = 0.0f;
  std::size_t d = 0;
  for (; d + 8 <= dim; d += 8) {
    float sum[4];
    for (std::size_t i = 0; i < 4; ++i) sum[i] = std::abs(x[d + i]) + std::abs(x[d + 4 + i]);
    largest_sum = std::max({largest_sum, sum[0] + sum[1], sum[2] + sum[3]});
  }
  float rest = 0.0f;
  for (; d < dim; ++d) rest += std::abs(x[d]);
  return std::max({largest_value(x, dim) / 127.0f, largest_sum / 255.5f, rest / 255.5f});
}

// Writes x = scale * code + rest with |code| <= `most`; returns the scale, 0 where that is too
// small a number, and in `rest` the length of the rest. A scale of 0 has codes of 0.
float quantise(const float* x, std::size_t dim, float scale, float most, std::int8_t* code,
               double& rest) {
  if (!(scale >= FLT_MIN)) {
    std::fill_n(code, dim, std::int8_t{0});
    rest = length(x, dim);
    return 0.0f;
  }
  const float inverse = 1.0f / scale;
  constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: added, it leaves no fraction
  constexpr std::size_t kSums = 4;
  double squares[kSums] = {};
  const auto code_one = [&](std::size_t d, double& sum) {
    const float rounded = std::clamp((x[d] * inverse + kToInteger) - kToInteger, -most, most);
    code[d] = static_cast<std::int8_t>(rounded);
    const double off = x[d] - static_cast<double>(scale) * rounded;
    sum += off * off;
  };
  std::size_t d = 0;
  for (; d + kSums <= dim; d += kSums)
    for (std::size_t i = 0; i < kSums; ++i) code_one(d + i, squares[i]);
  for (; d < dim; ++d) code_one(d, squares[0]);
  rest = std::sqrt(squares[0] + squares[1] + squares[2] + squares[3]);
  return scale;
}

// The next bfloat16, ties to even.
std::uint16_t to_bfloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double halve(const float* x, std::size_t dim, std::uint16_t* half) {
  double squares = 0.0;
  for (std::size_t d = 0; d < dim; ++d) {
    half[d] = to_bfloat16(x[d]);
    const double off =
        static_cast<double>(x[d]) - std::bit_cast<float>(std::uint32_t{half[d]} << 16);
    squares += off * off;
  }
  return std::sqrt(squares);
}

// Puts number d of query q where the kernels of a batch look for it: of a query's numbers, as many
// as make four bytes are neighbours.
template <typename T>
void put_in_panel(std::uint8_t* panels, std::size_t stride, std::size_t q, std::size_t d, T value) {
  constexpr std::size_t kGroup = 4 / sizeof(T);
  const std::size_t group = q / kPanelWidth * (stride / kGroup) + d / kGroup;
  std::memcpy(panels + ((group * kPanelWidth + q % kPanelWidth) * kGroup + d % kGroup) * sizeof(T),
              &value, sizeof(T));
}

}  // namespace

void set_signs(const float* x, std::size_t dim, std::uint64_t* words) {
  for (std::size_t d = 0; d < dim; ++d)
    words[d / 64] |= std::uint64_t{x[d] > 0.0f ? 1u : 0u} << (d % 64);
}

CodedQueries::CodedQueries(std::span<const float> queries, std::size_t dim, const ScanCodes& codes,
                           bool in_panels)
    : stride(codes.stride) {
  const std::size_t n = queries.size() / dim;
  const bool coded = codes.kind == ScanKind::kInt8;
  const int offset = scan_kernels().query_offset;
  num_panels = in_panels ? (n + kPanelWidth - 1) / kPanelWidth : 0;
  const std::size_t padded = in_panels ? num_panels * kPanelWidth : n;
  floats = core::AlignedBuffer<float>(n * stride);
  if (coded || in_panels) {
    const std::size_t element = coded ? 1 : codes.kind == ScanKind::kBfloat16 ? 2 : 4;
    bytes = core::AlignedBuffer<std::uint8_t>(padded * stride * element);
  }
  scale.assign(n, 1.0f);
  coarse_slack.resize(n);
  slack.resize(n);
  length.resize(n);
  usable.resize(n);
  reach.assign(padded, 0.0f);
  std::vector<std::int8_t> code(coded ? dim : 0);
  std::vector<std::uint16_t> half(coded ? 0 : dim);
  for (std::size_t q = 0; q < n; ++q) {
    const float* query = queries.data() + q * dim;
    std::copy_n(query, dim, floats.data() + q * stride);
    double rest = 0.0;
    if (coded) {
      const auto most = static_cast<float>(offset - 1);
      scale[q] = quantise(query, dim, scale_of_query(query, dim, most), most, code.data(), rest);
      for (std::size_t d = 0; d < dim; ++d) {
        const auto byte = static_cast<std::uint8_t>(code[d] + offset);
        if (in_panels)
          put_in_panel(bytes.data(), stride, q, d, byte);
        else
          bytes[q * stride + d] = byte;
      }
    } else if (in_panels && codes.kind == ScanKind::kBfloat16) {
      rest = halve(query, dim, half.data());
      for (std::size_t d = 0; d < dim; ++d) put_in_panel(bytes.data(), stride, q, d, half[d]);
    } else if (in_panels) {
      for (std::size_t d = 0; d < dim; ++d) put_in_panel(bytes.data(), stride, q, d, query[d]);
    }
    // Rounding: each of two sums of dim products is off by at most dim * 2^-24 of the product of
    // the lengths; a few more for scaling and comparing. Then what is flushed to zero.
    const double size = index::length(query, dim);
    const double longest = codes.longest;
    const double rounding = 2.2 * static_cast<double>(dim + 16) * 0x1p-24 * size;
    const double flushed =
        4.0 * static_cast<double>(dim) * FLT_MIN * (1.0 + size) * (1.0 + longest);
    length[q] = rounded_up(size);
    if (codes.kind == ScanKind::kFloat32) {
      reach[q] = rounded_up(rounding);
      coarse_slack[q] = rounded_up(flushed);
    } else {
      slack[q] = rounded_up(rounding * longest + flushed);
      coarse_slack[q] = rounded_up(rest * longest + rounding * longest + flushed);
      reach[q] = scale[q] > 0.0f ? rounded_up(size / scale[q]) : 0.0f;
    }
    usable[q] = size > 1e-12 && size < 1e12 && longest < 1e12;
  }
}

ScanCodes make_codes(std::span<const float> rows, std::size_t dim, ScanKind kind) {
  const std::size_t size = rows.size() / dim;
  ScanCodes codes;
  codes.kind = kind;
  if (kind == ScanKind::kAuto) return codes;
  const bool binary = kind == ScanKind::kBinary;
  codes.stride = kind == ScanKind::kFloat32 ? dim : binary ? (dim + 63) / 64 : (dim + 63) / 64 * 64;
  if (binary) codes.words = core::AlignedBuffer<std::uint64_t>(size * codes.stride);
  if (kind == ScanKind::kInt8) {
    codes.bytes = core::AlignedBuffer<std::int8_t>(size * codes.stride);
    codes.scale = core::AlignedBuffer<float>(size);
    codes.sum = core::AlignedBuffer<std::int32_t>(size);
  }
  if (kind == ScanKind::kBfloat16)
    codes.halves = core::AlignedBuffer<std::uint16_t>(size * codes.stride);
  if (!binary) codes.error = core::AlignedBuffer<float>(size);
  constexpr std::size_t kStripe = 4096;
  std::vector<float> longest((size + kStripe - 1) / kStripe, 0.0f);
  core::default_pool().parallel_for(longest.size(), [&](std::size_t stripe) {
    const std::size_t end = std::min(size, (stripe + 1) * kStripe);
    for (std::size_t i = stripe * kStripe; i < end; ++i) {
      const float* row = rows.data() + i * dim;
      if (binary) {
        set_signs(row, dim, codes.words.data() + i * codes.stride);
        continue;
      }
      const double row_length = length(row, dim);
      double rest = 0.0;
      if (kind == ScanKind::kInt8) {
        std::int8_t* code = codes.bytes.data() + i * codes.stride;
        codes.scale[i] = quantise(row, dim, scale_of_row(row, dim), 127.0f, code, rest);
        codes.sum[i] = std::accumulate(code, code + dim, std::int32_t{0});
      } else if (kind == ScanKind::kBfloat16) {
        rest = halve(row, dim, codes.halves.data() + i * codes.stride);
      }
      codes.error[i] = rounded_up(kind == ScanKind::kFloat32 ? row_length : rest);
      longest[stripe] = std::max(longest[stripe], rounded_up(row_length + rest));
    }
  });
  for (const float one : longest) codes.longest = std::max(codes.longest, one);
  return codes;
}

}  // namespace collegium::index
