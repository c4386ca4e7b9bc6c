#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "scan.h"
#include "scan_kernels.h"

namespace collegium::index {

// How a scan is cut: stripes of rows for the threads, chunks of a stripe for the caches, blocks of
// queries. No result depends on it.
struct ScanParts {
  static constexpr std::size_t kQueriesAtOnce = 12;  // beside a few rows they fit the first cache

  static constexpr std::size_t kChunkBytes = 65536;  // this chunk and the next fit the second cache

  std::size_t stripe_rows;
  std::size_t num_stripes;
  std::size_t chunk_rows;

  ScanParts(std::size_t num_rows, std::size_t row_bytes, std::size_t num_queries) {
    chunk_rows = std::clamp<std::size_t>(kChunkBytes / row_bytes / 8 * 8, 8, 1536);
    // Waking a thread costs as much as reading half a megabyte.
    constexpr std::size_t kStripeWork = 1 << 20;
    const std::size_t threads = core::default_pool().num_threads();
    const std::size_t most = num_rows * row_bytes / kStripeWork * ((num_queries + 7) / 8) + 1;
    const std::size_t wanted = threads == 1 ? 1 : std::min(most, 2 * threads);
    const std::size_t chunks = (num_rows + chunk_rows - 1) / chunk_rows;
    stripe_rows = std::max<std::size_t>((chunks + wanted - 1) / wanted, 1) * chunk_rows;
    num_stripes = (num_rows + stripe_rows - 1) / stripe_rows;
  }

  // Rows of a part that all panels of queries are compared with: a whole number of every level's
  // tiles, and few enough that they stay in the second cache with the next part.
  static std::size_t panel_rows(std::size_t row_bytes) {
    const std::size_t rows = kChunkBytes / row_bytes;
    return rows >= 96 ? 96 : rows >= 48 ? 48 : std::max<std::size_t>(rows / 12 * 12, 12);
  }
};

// The part of the next chunk to ask for while block `q` of the queries is scored, so that all of it
// is near when its turn comes.
inline FetchAhead share_of_next(const void* next, std::size_t bytes, std::size_t q,
                                std::size_t num_queries) {
  const auto* begin = static_cast<const char*>(next);
  const std::size_t from = bytes * q / num_queries;
  const std::size_t to = bytes * std::min(q + ScanParts::kQueriesAtOnce, num_queries) / num_queries;
  return {begin + from, to - from};
}

// Keeps the `k` best of `found`, in order.
inline void keep_best(std::vector<ScoredPosition>& found, std::size_t k) {
  if (found.size() > k) {
    std::nth_element(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(k - 1), found.end(),
                     scores_better);
    found.resize(k);
  }
  std::sort(found.begin(), found.end(), scores_better);
}

// The best `k` of `found`, which holds them.
BlockResult best_of(const ScanRows& rows, std::vector<ScoredPosition> found, std::size_t k);

// The best `k` of `positions`, ascending, scored one query alone.
BlockResult rescore(const ScanRows& rows, const float* query,
                    std::span<const std::uint32_t> positions, std::size_t k);

}  // namespace collegium::index
