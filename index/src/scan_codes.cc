#include <atomic>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>

#include "scan_kernels.h"
#include "scan_parts.h"

namespace collegium::index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A float that is not below `x`.
float rounded_up(double x) {
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

// Writes x = scale * code + rest with |code| <= `most`; returns the scale and, in `rest`, the
// length of the rest. A scale of 0 has codes of 0.
float quantise(const float* x, std::size_t dim, float most, std::int8_t* code, double& rest) {
  const float scale = largest_value(x, dim) / most;
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

// Queries as a scan of codes needs them, and the bound of what a code's score is off: at most
// error[row] * length + slack, from the exact product to the fp32 score and the code's score.
struct CodedQueries {
  std::size_t stride;
  core::AlignedBuffer<float> floats;        // (n, stride)
  core::AlignedBuffer<std::uint8_t> bytes;  // (n, stride)
  std::vector<float> scale, length, slack;  // (n,)
  std::vector<bool> usable;                 // else too long or short for the bound to be of use

  CodedQueries(std::span<const float> queries, std::size_t dim, const ScanCodes& codes)
      : stride(codes.stride) {
    const std::size_t n = queries.size() / dim;
    const bool coded = codes.kind == ScanKind::kInt8;
    if (coded)
      bytes = core::AlignedBuffer<std::uint8_t>(n * stride);
    else
      floats = core::AlignedBuffer<float>(n * stride);
    scale.resize(n);
    length.resize(n);
    slack.resize(n);
    usable.resize(n);
    std::vector<std::int8_t> code(dim);
    for (std::size_t q = 0; q < n; ++q) {
      const float* query = queries.data() + q * dim;
      double rest = 0.0;
      if (coded) {
        scale[q] = quantise(query, dim, kQueryOffset - 1, code.data(), rest);
        for (std::size_t d = 0; d < dim; ++d)
          bytes[q * stride + d] = static_cast<std::uint8_t>(code[d] + kQueryOffset);
      } else {
        std::copy_n(query, dim, floats.data() + q * stride);
      }
      const double size = index::length(query, dim);
      length[q] = rounded_up(size);
      // Rounding: each of two sums of dim products is off by at most dim * 2^-24 of the product of
      // the lengths; a few more for scaling and comparing. Then what is flushed to zero.
      const double longest = codes.longest;
      const double rounding = 2.2 * static_cast<double>(dim + 16) * 0x1p-24 * size * longest;
      const double flushed =
          4.0 * static_cast<double>(dim) * FLT_MIN * (1.0 + size) * (1.0 + longest);
      slack[q] = rounded_up(rest * longest + rounding + flushed);
      usable[q] = size > 1e-12 && size < 1e12 && longest < 1e12;
    }
  }
};

struct Candidate {
  float lower, upper;  // bounds of the fp32 score
  std::uint32_t position;
};

// Rows that may be among the best k of those offered so far.
class Candidates {
 public:
  explicit Candidates(std::size_t k) : k_(k), limit_(4 * k + 256) {}

  // A row whose upper bound is below this is not among the best k.
  float threshold() const { return threshold_; }

  // How many there are at the least; 0 as long as that is not looked into.
  std::size_t offer(const Candidate& candidate) {
    found_.push_back(candidate);
    if (found_.size() < limit_) return 0;
    drop();
    limit_ = std::max(limit_, 2 * found_.size());
    return found_.size();
  }

  void give_up() { found_ = {}; }

  void drop() {
    if (found_.size() > k_) {
      const auto last = found_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
      std::nth_element(found_.begin(), last, found_.end(),
                       [](const auto& a, const auto& b) { return a.lower > b.lower; });
      threshold_ = std::max(threshold_, last->lower);
    }
    std::erase_if(found_, [this](const auto& one) { return one.upper < threshold_; });
  }

  void join(const Candidates& other) {
    threshold_ = std::max(threshold_, other.threshold_);
    found_.insert(found_.end(), other.found_.begin(), other.found_.end());
  }

  const std::vector<Candidate>& found() const { return found_; }

 private:
  std::size_t k_;
  std::size_t limit_;
  float threshold_ = -kInfinity;
  std::vector<Candidate> found_;
};

// Codes that tell rows apart too badly leave more rows than this: reading all floats in order is
// faster then.
std::size_t most_candidates(const ScanRows& rows, std::size_t k) {
  return std::max(2 * k, rows.size() / 8);
}

// `hopeless` (queries,): those whose candidates nobody needs; a query becomes so when a stripe has
// too many for it, by its own share or by what all the queries of a pass may take.
void scan_stripe(const ScanRows& rows, const ScanCodes& codes, std::size_t begin, std::size_t end,
                 std::size_t chunk_rows, const CodedQueries& queries, std::size_t k,
                 std::span<std::atomic<bool>> hopeless, std::span<Candidates> candidates) {
  const ScanKernels& kernels = scan_kernels();
  constexpr std::size_t kBlock = ScanParts::kQueriesAtOnce;
  const std::size_t stride = codes.stride;
  constexpr std::size_t kMaxOfAll = std::size_t{1} << 22;
  const std::size_t most =
      std::max(2 * k, std::min(most_candidates(rows, k), kMaxOfAll / candidates.size()));
  std::vector<float> scores(kBlock * chunk_rows);
  std::vector<std::uint32_t> selected(chunk_rows);
  for (std::size_t at = begin; at < end; at += chunk_rows) {
    const std::size_t n = std::min(chunk_rows, end - at);
    const float* error = codes.error.data() + at;
    for (std::size_t q = 0; q < candidates.size(); q += kBlock) {
      const std::size_t count = std::min(kBlock, candidates.size() - q);
      if (std::all_of(hopeless.begin() + static_cast<std::ptrdiff_t>(q),
                      hopeless.begin() + static_cast<std::ptrdiff_t>(q + count),
                      [](const auto& one) { return one.load(std::memory_order_relaxed); }))
        continue;
      const std::size_t left = std::min(chunk_rows, end - at - n) * stride;
      if (codes.kind == ScanKind::kInt8) {
        const std::int8_t* chunk = codes.bytes.data() + at * stride;
        kernels.score_rows_int8(chunk, codes.scale.data() + at, codes.sum.data() + at, n, stride,
                                queries.bytes.data() + q * stride, queries.scale.data() + q, count,
                                scores.data(), chunk_rows,
                                share_of_next(chunk + n * stride, left, q, candidates.size()));
      } else {
        const std::uint16_t* chunk = codes.halves.data() + at * stride;
        kernels.score_rows_bf16(chunk, n, stride, queries.floats.data() + q * stride, count,
                                scores.data(), chunk_rows,
                                share_of_next(chunk + n * stride, 2 * left, q, candidates.size()));
      }
      for (std::size_t j = 0; j < count; ++j) {
        Candidates& one = candidates[q + j];
        if (hopeless[q + j].load(std::memory_order_relaxed)) {
          one.give_up();
          continue;
        }
        const float* row_scores = scores.data() + j * chunk_rows;
        const float size = queries.length[q + j];
        const float slack = queries.slack[q + j];
        const std::size_t num_selected = kernels.select_possible(
            row_scores, error, n, size, one.threshold() - slack, selected.data());
        for (std::size_t s = 0; s < num_selected; ++s) {
          const std::uint32_t i = selected[s];
          const float off = error[i] * size + slack;
          const auto position = static_cast<std::uint32_t>(at + i);
          if (!(row_scores[i] + off >= one.threshold()) || !rows.alive(position)) continue;
          if (one.offer({row_scores[i] - off, row_scores[i] + off, position}) > most) {
            hopeless[q + j].store(true, std::memory_order_relaxed);
            one.give_up();
            break;
          }
        }
      }
    }
  }
}

std::vector<BlockResult> scan_bounded(const ScanRows& rows, const ScanCodes& codes,
                                      std::span<const float> all_queries, std::size_t k) {
  const std::size_t dim = rows.dim;
  const std::size_t num_queries = all_queries.size() / dim;
  constexpr std::size_t kPass = 256;
  std::vector<BlockResult> results(num_queries);
  auto& pool = core::default_pool();
  for (std::size_t first = 0; first < num_queries; first += kPass) {
    const std::size_t count = std::min(kPass, num_queries - first);
    const auto queries = all_queries.subspan(first * dim, count * dim);
    const CodedQueries coded(queries, dim, codes);
    const std::size_t row_bytes = codes.stride * (codes.kind == ScanKind::kInt8 ? 1 : 2);
    const ScanParts parts(rows.size(), row_bytes, count);
    std::vector<std::atomic<bool>> hopeless(count);
    for (std::size_t q = 0; q < count; ++q) hopeless[q] = !coded.usable[q];
    std::vector<std::vector<Candidates>> candidates(parts.num_stripes);
    pool.parallel_for(parts.num_stripes, [&](std::size_t stripe) {
      candidates[stripe].assign(count, Candidates(k));
      const std::size_t begin = stripe * parts.stripe_rows;
      scan_stripe(rows, codes, begin, std::min(rows.size(), begin + parts.stripe_rows),
                  parts.chunk_rows, coded, k, hopeless, candidates[stripe]);
    });
    pool.parallel_for(count, [&](std::size_t q) {
      if (hopeless[q]) return;
      Candidates& all = candidates[0][q];
      for (std::size_t stripe = 1; stripe < candidates.size(); ++stripe)
        all.join(candidates[stripe][q]);
      all.drop();
      if (all.found().size() > most_candidates(rows, k)) {
        hopeless[q] = true;
        return;
      }
      std::vector<std::uint32_t> positions;
      positions.reserve(all.found().size());
      for (const Candidate& one : all.found()) positions.push_back(one.position);
      std::sort(positions.begin(), positions.end());  // in the order of memory
      results[first + q] = rescore(rows, queries.data() + q * dim, positions, k);
    });
    std::vector<float> others;
    for (std::size_t q = 0; q < count; ++q)
      if (hopeless[q])
        others.insert(others.end(), queries.data() + q * dim, queries.data() + (q + 1) * dim);
    if (others.empty()) continue;
    std::vector<BlockResult> exact = scan_floats(rows, others, k);
    for (std::size_t q = 0, next = 0; q < count; ++q)
      if (hopeless[q]) results[first + q] = std::move(exact[next++]);
  }
  return results;
}

void set_signs(const float* x, std::size_t dim, std::uint64_t* words) {
  for (std::size_t d = 0; d < dim; ++d)
    words[d / 64] |= std::uint64_t{x[d] > 0.0f ? 1u : 0u} << (d % 64);
}

BlockResult scan_signs(const ScanRows& rows, const ScanCodes& codes, const float* query,
                       std::size_t k) {
  const std::size_t size = rows.size();
  std::vector<std::uint64_t> signs(codes.stride);
  set_signs(query, rows.dim, signs.data());
  std::vector<std::uint32_t> differences(size);
  const ScanParts parts(size, codes.stride * sizeof(std::uint64_t), 1);
  core::default_pool().parallel_for(parts.num_stripes, [&](std::size_t stripe) {
    const std::size_t begin = stripe * parts.stripe_rows;
    scan_kernels().count_differences(codes.words.data() + begin * codes.stride,
                                     std::min(size, begin + parts.stripe_rows) - begin,
                                     codes.stride, signs.data(), differences.data() + begin);
  });
  // The nearest in whole classes of equal distance, so that no choice has to be made.
  const std::size_t enough = std::min(rows.num_live, std::max(16 * k, size / 64));
  std::vector<std::size_t> rows_at(rows.dim + 1, 0);
  for (std::size_t i = 0; i < size; ++i)
    if (rows.alive(i)) ++rows_at[differences[i]];
  std::size_t farthest = 0;
  for (std::size_t seen = rows_at[0]; seen < enough;) seen += rows_at[++farthest];
  std::vector<std::uint32_t> positions;
  for (std::size_t i = 0; i < size; ++i)
    if (differences[i] <= farthest && rows.alive(i))
      positions.push_back(static_cast<std::uint32_t>(i));
  return rescore(rows, query, positions, k);
}

}  // namespace

ScanCodes make_codes(std::span<const float> rows, std::size_t dim, ScanKind kind) {
  const std::size_t size = rows.size() / dim;
  ScanCodes codes;
  codes.kind = kind;
  if (kind == ScanKind::kAuto || kind == ScanKind::kFloat32) return codes;
  const bool binary = kind == ScanKind::kBinary;
  codes.stride = binary ? (dim + 63) / 64 : (dim + 63) / 64 * 64;
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
      double rest = 0.0;
      if (kind == ScanKind::kInt8) {
        std::int8_t* code = codes.bytes.data() + i * codes.stride;
        codes.scale[i] = quantise(row, dim, 127.0f, code, rest);
        codes.sum[i] = std::accumulate(code, code + dim, std::int32_t{0});
      } else
        rest = halve(row, dim, codes.halves.data() + i * codes.stride);
      codes.error[i] = rounded_up(rest);
      longest[stripe] = std::max(longest[stripe], rounded_up(length(row, dim) + rest));
    }
  });
  for (const float one : longest) codes.longest = std::max(codes.longest, one);
  return codes;
}

std::vector<BlockResult> scan_codes(const ScanRows& rows, const ScanCodes& codes,
                                    std::span<const float> queries, std::size_t want) {
  const std::size_t k = std::min(want, rows.num_live);
  if (codes.kind == ScanKind::kAuto || codes.kind == ScanKind::kFloat32 || k == 0)
    return scan_floats(rows, queries, want);
  if (codes.kind != ScanKind::kBinary) return scan_bounded(rows, codes, queries, k);
  const std::size_t num_queries = queries.size() / rows.dim;
  std::vector<BlockResult> results(num_queries);
  core::default_pool().parallel_for(num_queries, [&](std::size_t q) {
    results[q] = scan_signs(rows, codes, queries.data() + q * rows.dim, k);
  });
  return results;
}

}  // namespace collegium::index
