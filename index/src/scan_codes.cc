#include <atomic>
#include <cmath>
#include <limits>

#include "scan_candidates.h"
#include "scan_coding.h"
#include "scan_kernels.h"
#include "scan_parts.h"

namespace collegium::index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Codes that tell rows apart too badly leave more rows than this: reading all floats in order is
// faster then.
std::size_t most_candidates(const ScanRows& rows, std::size_t k) {
  return std::max(2 * k, rows.size() / 8);
}

// One pass of queries over a stripe of the rows.
class StripeScan {
 public:
  // `hopeless` (n,): queries whose candidates nobody needs. One becomes so when a stripe has too
  // many for it, by its own share or by what all the queries of a pass may take.
  StripeScan(const ScanRows& rows, const ScanCodes& codes, const CodedQueries& queries,
             std::size_t k, std::span<std::atomic<bool>> hopeless,
             std::vector<Candidates>& candidates)
      : rows_(rows),
        codes_(codes),
        queries_(queries),
        hopeless_(hopeless),
        candidates_(candidates),
        most_(std::max(2 * k, std::min(most_candidates(rows, k), kMaxOfAll / hopeless.size()))),
        num_left_(hopeless.size()),
        given_up_(hopeless.size()),
        limit_(std::max(hopeless.size(), queries.reach.size()), kInfinity) {
    candidates.assign(hopeless.size(), Candidates(k));
    for (std::size_t q = 0; q < hopeless.size(); ++q)
      if (hopeless[q])
        give_up(q);
      else
        limit_[q] = -kInfinity;
  }

  // Queries one by one.
  void scan_queries(std::size_t begin, std::size_t end, std::size_t chunk_rows) {
    constexpr std::size_t kBlock = ScanParts::kQueriesAtOnce;
    std::vector<float> scores(kBlock * chunk_rows);
    std::vector<std::uint32_t> selected(chunk_rows);
    for (std::size_t at = begin; at < end && num_left_ != 0; at += chunk_rows) {
      const std::size_t n = std::min(chunk_rows, end - at);
      const std::size_t ahead = std::min(chunk_rows, end - at - n);
      for (std::size_t q = 0; q < candidates_.size(); q += kBlock) {
        const std::size_t count = std::min(kBlock, candidates_.size() - q);
        score(at, n, ahead, q, count, scores.data(), chunk_rows);
        for (std::size_t j = q; j < q + count; ++j) {
          const std::size_t num_selected = kernels_.select_possible(
              scores.data() + (j - q) * chunk_rows, codes_.error.data() + at, n, queries_.length[j],
              limit_[j] * queries_.scale[j], selected.data());
          for (std::size_t s = 0; s < num_selected; ++s) offer(at + selected[s], j);
        }
      }
    }
  }

  // Queries in panels. The first parts are short: they find thresholds for the others.
  void scan_panels(std::size_t begin, std::size_t end, std::size_t part_rows) {
    constexpr std::size_t kFirst = 24;
    const PanelQueries panels{queries_.bytes.data(), queries_.num_panels, queries_.reach.data(),
                              limit_.data()};
    std::vector<Survivor> survivors(part_rows * panels.num_panels * kPanelWidth);
    for (std::size_t at = begin, n; at < end && num_left_ != 0; at += n) {
      n = std::min({part_rows, std::max(at - begin, kFirst), end - at});
      const std::size_t count =
          select(at, n, std::min(part_rows, end - at - n), panels, survivors.data());
      for (std::size_t s = 0; s < count; ++s) offer(at + survivors[s].row, survivors[s].query);
    }
  }

 private:
  static constexpr std::size_t kMaxOfAll = std::size_t{1} << 22;

  void score(std::size_t at, std::size_t n, std::size_t ahead, std::size_t q, std::size_t count,
             float* scores, std::size_t scores_stride) const {
    const std::size_t stride = codes_.stride;
    if (codes_.kind == ScanKind::kInt8) {
      const std::int8_t* chunk = codes_.bytes.data() + at * stride;
      kernels_.score_rows_int8(
          chunk, codes_.scale.data() + at, codes_.sum.data() + at, n, stride,
          queries_.bytes.data() + q * stride, queries_.scale.data() + q, count, scores,
          scores_stride, share_of_next(chunk + n * stride, ahead * stride, q, candidates_.size()));
    } else {
      const std::uint16_t* chunk = codes_.halves.data() + at * stride;
      kernels_.score_rows_bf16(
          chunk, n, stride, queries_.floats.data() + q * stride, count, scores, scores_stride,
          share_of_next(chunk + n * stride, 2 * ahead * stride, q, candidates_.size()));
    }
  }

  std::size_t select(std::size_t at, std::size_t n, std::size_t ahead, const PanelQueries& panels,
                     Survivor* survivors) const {
    const std::size_t stride = codes_.stride;
    const float* error = codes_.error.data() + at;
    if (codes_.kind == ScanKind::kInt8) {
      const std::int8_t* part = codes_.bytes.data() + at * stride;
      return kernels_.select_int8(part, codes_.scale.data() + at, codes_.sum.data() + at, error, n,
                                  stride, panels, survivors, {part + n * stride, ahead * stride});
    }
    if (codes_.kind == ScanKind::kBfloat16) {
      const std::uint16_t* part = codes_.halves.data() + at * stride;
      return kernels_.select_bf16(part, error, n, stride, panels, survivors,
                                  {part + n * stride, 2 * ahead * stride});
    }
    const float* part = rows_.vectors.data() + at * stride;
    return kernels_.select_floats(part, error, n, stride, panels, survivors,
                                  {part + n * stride, sizeof(float) * ahead * stride});
  }

  // Looks at the row more closely, while its code is near.
  void offer(std::size_t position, std::size_t q) {
    if (given_up_[q] || !rows_.alive(position)) return;
    const float* query = queries_.floats.data() + q * codes_.stride;
    float score = 0.0f, off = 0.0f;
    if (codes_.kind == ScanKind::kFloat32) {
      score = kernels_.product(rows_.vectors.data() + position * rows_.dim, query, rows_.dim);
    } else {
      off = codes_.error[position] * queries_.length[q] + queries_.slack[q];
      if (codes_.kind == ScanKind::kInt8)
        score = codes_.scale[position] *
                kernels_.product_int8(codes_.bytes.data() + position * codes_.stride, query,
                                      codes_.stride);
      else
        kernels_.score_rows_bf16(codes_.halves.data() + position * codes_.stride, 1, codes_.stride,
                                 query, 1, &score, 1, {});
    }
    Candidates& all = candidates_[q];
    if (!(score + off >= all.threshold())) return;
    if (!all.offer({score - off, score + off, static_cast<std::uint32_t>(position)})) return;
    if (hopeless_[q].load(std::memory_order_relaxed) || all.found().size() > most_)
      give_up(q);
    else
      limit_[q] = (all.threshold() - queries_.coarse_slack[q]) / queries_.scale[q];
  }

  void give_up(std::size_t q) {
    hopeless_[q].store(true, std::memory_order_relaxed);
    candidates_[q].give_up();
    given_up_[q] = true;
    limit_[q] = kInfinity;
    --num_left_;
  }

  const ScanKernels& kernels_ = scan_kernels();
  const ScanRows& rows_;
  const ScanCodes& codes_;
  const CodedQueries& queries_;
  std::span<std::atomic<bool>> hopeless_;
  std::vector<Candidates>& candidates_;
  const std::size_t most_;
  std::size_t num_left_;
  std::vector<bool> given_up_;
  std::vector<float> limit_;  // as in PanelQueries
};

// Fewer queries than this are scanned one by one.
constexpr std::size_t kFewQueries = 8;

bool in_panels(ScanKind kind, std::size_t num_queries) {
  if (kind == ScanKind::kFloat32) return true;
  return num_queries >= kFewQueries &&
         (kind != ScanKind::kBfloat16 || scan_kernels().select_bf16 != nullptr);
}

std::vector<BlockResult> scan_bounded(const ScanRows& rows, const ScanCodes& codes,
                                      std::span<const float> all_queries, std::size_t k) {
  const std::size_t dim = rows.dim;
  const std::size_t num_queries = all_queries.size() / dim;
  constexpr std::size_t kPass = 256;
  const std::size_t row_bytes = codes.stride * (codes.kind == ScanKind::kInt8       ? 1
                                                : codes.kind == ScanKind::kBfloat16 ? 2
                                                                                    : 4);
  std::vector<BlockResult> results(num_queries);
  auto& pool = core::default_pool();
  for (std::size_t first = 0; first < num_queries; first += kPass) {
    const std::size_t count = std::min(kPass, num_queries - first);
    const auto queries = all_queries.subspan(first * dim, count * dim);
    const bool panels = in_panels(codes.kind, count);
    const CodedQueries coded(queries, dim, codes, panels);
    const ScanParts parts(rows.size(), row_bytes, count);
    std::vector<std::atomic<bool>> hopeless(count);
    for (std::size_t q = 0; q < count; ++q) hopeless[q] = !coded.usable[q];
    std::vector<std::vector<Candidates>> candidates(parts.num_stripes);
    pool.parallel_for(parts.num_stripes, [&](std::size_t stripe) {
      const std::size_t begin = stripe * parts.stripe_rows;
      const std::size_t end = std::min(rows.size(), begin + parts.stripe_rows);
      StripeScan scan(rows, codes, coded, k, hopeless, candidates[stripe]);
      if (panels)
        scan.scan_panels(begin, end, ScanParts::panel_rows(row_bytes));
      else
        scan.scan_queries(begin, end, parts.chunk_rows);
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
      if (codes.kind == ScanKind::kFloat32) {
        std::vector<ScoredPosition> best;
        for (const Candidate& one : all.found()) best.push_back({one.lower, one.position});
        results[first + q] = best_of(rows, std::move(best), k);
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

bool uses_codes(const ScanRows& rows, ScanKind kind, std::size_t num_queries, std::size_t want) {
  const std::size_t k = std::min(want, rows.num_live);
  if (kind == ScanKind::kAuto || k == 0) return false;
  // A scan of floats reads none of the dead, and has every score at hand.
  return kind != ScanKind::kFloat32 || (num_queries >= kFewQueries && k <= rows.num_live / 16 &&
                                        rows.num_live >= rows.size() / 4 * 3);
}

std::vector<BlockResult> scan_codes(const ScanRows& rows, const ScanCodes& codes,
                                    std::span<const float> queries, std::size_t want) {
  const std::size_t num_queries = queries.size() / rows.dim;
  const std::size_t k = std::min(want, rows.num_live);
  if (!uses_codes(rows, codes.kind, num_queries, want)) return scan_floats(rows, queries, want);
  if (codes.kind != ScanKind::kBinary) return scan_bounded(rows, codes, queries, k);
  std::vector<BlockResult> results(num_queries);
  core::default_pool().parallel_for(num_queries, [&](std::size_t q) {
    results[q] = scan_signs(rows, codes, queries.data() + q * rows.dim, k);
  });
  return results;
}

}  // namespace collegium::index
