#include <limits>
#include <utility>

#include "scan_kernels.h"
#include "scan_parts.h"

namespace collegium::index {
namespace {

// The best k of the rows offered so far, and now and then some more.
class Best {
 public:
  explicit Best(std::size_t k) : k_(k) { found_.reserve(2 * k + 64); }

  // A row can be among the best only if it scores above this: those offered earlier have lower
  // positions, and win a tie.
  float threshold() const { return threshold_; }

  void offer(float score, std::uint32_t position) {
    found_.push_back({score, position});
    if (found_.size() < 2 * k_ + 64) return;
    const auto last = found_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(found_.begin(), last, found_.end(), scores_better);
    threshold_ = last->score;
    found_.resize(k_);
  }

  const std::vector<ScoredPosition>& found() const { return found_; }

 private:
  std::size_t k_;
  float threshold_ = -std::numeric_limits<float>::infinity();
  std::vector<ScoredPosition> found_;
};

std::vector<std::uint32_t> live_positions(const ScanRows& rows) {
  std::vector<std::uint32_t> positions;
  positions.reserve(rows.num_live);
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows.alive(i)) positions.push_back(static_cast<std::uint32_t>(i));
  return positions;
}

// Offers every row of the stripe to each of the queries.
void scan_stripe(const ScanRows& rows, std::span<const std::uint32_t> positions, std::size_t begin,
                 std::size_t end, std::size_t chunk_rows, const float* queries,
                 std::span<Best> best) {
  const ScanKernels& kernels = scan_kernels();
  constexpr std::size_t kBlock = ScanParts::kQueriesAtOnce;
  std::vector<float> scores(kBlock * chunk_rows);
  std::vector<std::uint32_t> selected(chunk_rows);
  for (std::size_t at = begin; at < end; at += chunk_rows) {
    const std::size_t n = std::min(chunk_rows, end - at);
    const std::uint32_t* picked = positions.empty() ? nullptr : positions.data() + at;
    std::size_t first = at;
    if (picked != nullptr && picked[n - 1] - picked[0] == n - 1) {  // none of these rows is dead
      first = picked[0];
      picked = nullptr;
    }
    const float* from = rows.vectors.data() + (picked == nullptr ? first * rows.dim : 0);
    const std::size_t left = std::min(chunk_rows, end - at - n);
    const std::size_t next = left == 0 || positions.empty() ? at + n : positions[at + n];
    for (std::size_t q = 0; q < best.size(); q += kBlock) {
      const std::size_t count = std::min(kBlock, best.size() - q);
      const FetchAhead ahead = share_of_next(rows.vectors.data() + next * rows.dim,
                                             left * rows.dim * sizeof(float), q, best.size());
      kernels.score_rows(from, picked, n, rows.dim, queries + q * rows.dim, count, scores.data(),
                         chunk_rows, ahead);
      for (std::size_t j = 0; j < count; ++j) {
        Best& one = best[q + j];
        const float* row_scores = scores.data() + j * chunk_rows;
        const std::size_t num_selected =
            kernels.select_above(row_scores, n, one.threshold(), selected.data());
        for (std::size_t s = 0; s < num_selected; ++s) {
          const std::uint32_t i = selected[s];
          if (row_scores[i] > one.threshold())  // which rises meanwhile
            one.offer(row_scores[i],
                      picked == nullptr ? static_cast<std::uint32_t>(first) + i : picked[i]);
        }
      }
    }
  }
}

// Few enough that their collectors take some megabytes.
std::size_t queries_a_pass(std::size_t k) {
  return std::clamp<std::size_t>((std::size_t{1} << 18) / (2 * k + 64), 8, 256);
}

}  // namespace

BlockResult best_of(const ScanRows& rows, std::vector<ScoredPosition> found, std::size_t k) {
  BlockResult result;
  result.best = std::move(found);
  keep_best(result.best, k);
  result.complete = k == rows.num_live;
  if (!result.best.empty()) result.bound = result.best.back().score;
  return result;
}

BlockResult rescore(const ScanRows& rows, const float* query,
                    std::span<const std::uint32_t> positions, std::size_t k) {
  std::vector<float> scores(positions.size());
  scan_kernels().score_rows(rows.vectors.data(), positions.data(), positions.size(), rows.dim,
                            query, 1, scores.data(), scores.size(), {});
  std::vector<ScoredPosition> found;
  found.reserve(positions.size());
  for (std::size_t i = 0; i < positions.size(); ++i) found.push_back({scores[i], positions[i]});
  return best_of(rows, std::move(found), k);
}

std::vector<BlockResult> scan_floats(const ScanRows& rows, std::span<const float> queries,
                                     std::size_t want) {
  const std::size_t dim = rows.dim;
  const std::size_t num_queries = queries.size() / dim;
  const std::size_t k = std::min(want, rows.num_live);
  std::vector<BlockResult> results(num_queries);
  for (BlockResult& result : results) result.complete = k == rows.num_live;
  if (k == 0) return results;

  const std::vector<std::uint32_t> positions =
      rows.live.empty() ? std::vector<std::uint32_t>() : live_positions(rows);
  const std::size_t num_rows = rows.live.empty() ? rows.size() : positions.size();
  const std::size_t pass = queries_a_pass(k);
  for (std::size_t first = 0; first < num_queries; first += pass) {
    const std::size_t count = std::min(pass, num_queries - first);
    core::AlignedBuffer<float> block(count * dim);
    std::copy_n(queries.data() + first * dim, count * dim, block.data());
    const ScanParts parts(num_rows, dim * sizeof(float), count);
    std::vector<std::vector<Best>> best(parts.num_stripes);
    auto& pool = core::default_pool();
    pool.parallel_for(parts.num_stripes, [&](std::size_t stripe) {
      best[stripe].assign(count, Best(k));
      const std::size_t begin = stripe * parts.stripe_rows;
      scan_stripe(rows, positions, begin, std::min(num_rows, begin + parts.stripe_rows),
                  parts.chunk_rows, block.data(), best[stripe]);
    });
    pool.parallel_for(count, [&](std::size_t q) {
      BlockResult& result = results[first + q];
      for (const auto& stripe : best)
        result.best.insert(result.best.end(), stripe[q].found().begin(), stripe[q].found().end());
      keep_best(result.best, k);
      if (!result.best.empty()) result.bound = result.best.back().score;
    });
  }
  return results;
}

}  // namespace collegium::index
