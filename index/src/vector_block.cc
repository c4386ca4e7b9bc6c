#include "vector_block.h"

#include <faiss/IndexHNSW.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/utils/Heap.h>
#include <omp.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "collegium/core/thread_pool.h"
#include "faiss_rows.h"

namespace collegium::index {
namespace {

// FAISS opens OpenMP regions. Inside this scope they have one thread, the caller's; the setting
// belongs to the calling thread alone and is put back.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(before_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

// Runs `work` with what FAISS throws turned into values.
template <typename Work>
auto with_faiss(Work work) -> decltype(work()) {
  try {
    const OneOpenMpThread scope;
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("vector index: out of memory");
  } catch (const std::exception& error) {
    return Status::internal(std::string("vector index: FAISS says: ") + error.what());
  }
}

// Levels of new nodes are drawn from a generator seeded by where they begin, so that a graph that
// was saved and loaded grows as one that stayed in memory.
constexpr std::int64_t kLevelSeed = 12345;

// A graph asked for one row more takes about as long as comparing the query with this many:
// at 128 dimensions a row asked for took 10 us and one compared 0.2.
constexpr std::size_t kRowsPerStep = 64;

}  // namespace

struct VectorBlock::Impl {
  explicit Impl(std::size_t dim) : rows(dim) {}

  FaissRows rows;
  std::unique_ptr<faiss::IndexHNSW> graph;  // over `rows`
  std::uint64_t graph_digest = 0;

  // Of each kind of codes the first search that wants them makes them.
  struct Codes {
    std::once_flag once;
    ScanCodes codes;
  };
  std::array<Codes, 5> codes;

  const ScanCodes& codes_of(ScanKind kind) {
    Codes& of = codes[static_cast<std::size_t>(kind)];
    std::call_once(of.once, [&] {
      of.codes = make_codes(rows.vectors, static_cast<std::size_t>(rows.d), kind);
    });
    return of.codes;
  }

  void make_graph() { graph = std::make_unique<faiss::IndexHNSW>(&rows, kGraphLinks); }

  void digest_graph() {
    const faiss::HNSW& hnsw = graph->hnsw;
    const std::uint64_t parts[] = {
        static_cast<std::uint64_t>(hnsw.entry_point), static_cast<std::uint64_t>(hnsw.max_level),
        XXH3_64bits(hnsw.levels.data(), hnsw.levels.size() * sizeof(hnsw.levels[0])),
        XXH3_64bits(hnsw.neighbors.data(), hnsw.neighbors.size() * sizeof(hnsw.neighbors[0]))};
    graph_digest = XXH3_64bits(parts, sizeof(parts)) | 1;  // never 0
  }
};

VectorBlock::VectorBlock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VectorBlock::~VectorBlock() = default;

Result<std::unique_ptr<VectorBlock>> VectorBlock::create_exact(std::size_t dim) {
  return with_faiss([&]() -> Result<std::unique_ptr<VectorBlock>> {
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::make_unique<Impl>(dim)));
  });
}

Status VectorBlock::reserve(std::size_t rows) {
  return with_faiss([&] {
    impl_->rows.vectors.reserve(rows * dim());
    return Status();
  });
}

Status VectorBlock::append(std::span<const float> rows) {
  return with_faiss([&] {
    if (!rows.empty())
      impl_->rows.add(static_cast<faiss::Index::idx_t>(rows.size() / dim()), rows.data());
    return Status();
  });
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::build_graph(const VectorBlock& base,
                                                              std::span<const float> more) {
  return with_faiss([&]() -> Result<std::unique_ptr<VectorBlock>> {
    using Id = faiss::Index::idx_t;
    auto impl = std::make_unique<Impl>(base.dim());
    impl->make_graph();
    faiss::IndexHNSW& graph = *impl->graph;
    impl->rows.vectors.reserve(base.vectors().size() + more.size());
    const auto add = [&](std::span<const float> rows) {
      if (rows.empty()) return;
      graph.hnsw.efConstruction = kGraphBuildBreadth;
      graph.hnsw.rng = faiss::RandomGenerator(kLevelSeed + graph.ntotal);
      graph.add(static_cast<Id>(rows.size() / base.dim()), rows.data());
    };
    // As a task: products are the same bits as those of searches.
    core::default_pool().parallel_for(1, [&](std::size_t) {
      if (base.has_graph()) {
        graph.hnsw = base.impl_->graph->hnsw;
        impl->rows.add(base.impl_->rows.ntotal, base.impl_->rows.vectors.data());
        graph.ntotal = base.impl_->graph->ntotal;
      } else {
        add(base.vectors());
      }
      add(more);
    });
    impl->digest_graph();
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

std::size_t VectorBlock::dim() const noexcept { return static_cast<std::size_t>(impl_->rows.d); }
std::size_t VectorBlock::size() const noexcept {
  return static_cast<std::size_t>(impl_->rows.ntotal);
}
std::uint64_t VectorBlock::graph_digest() const noexcept { return impl_->graph_digest; }
bool VectorBlock::has_graph() const noexcept { return impl_->graph != nullptr; }
std::span<const float> VectorBlock::vectors() const noexcept { return impl_->rows.vectors; }

ScanKind VectorBlock::scan_kind(ScanKind wanted) const noexcept {
  if (wanted != ScanKind::kAuto) return wanted;
  return size() >= kRowsForCodes ? ScanKind::kInt8 : ScanKind::kFloat32;
}

Result<std::vector<BlockResult>> VectorBlock::search_exact(std::span<const float> queries,
                                                           std::size_t want,
                                                           std::span<const std::uint8_t> live,
                                                           std::size_t num_live,
                                                           ScanKind kind) const {
  const ScanRows rows{vectors(), dim(), live, num_live};
  // Where only few rows count, or most are among the best, codes are one more thing to read.
  const bool few = num_live * 4 < size() || want > num_live / 16;
  std::vector<BlockResult> results;
  if (kind == ScanKind::kAuto && few) kind = ScanKind::kFloat32;
  kind = scan_kind(kind);
  if (kind == ScanKind::kFloat32)
    results = scan_floats(rows, queries, want);
  else
    results = scan_codes(rows, impl_->codes_of(kind), queries, want);
  const std::size_t k = std::min(want, num_live);
  for (const BlockResult& result : results)
    if (result.best.size() != k)  // cannot be: every live row has a finite score
      return Status::internal("vector index: a scan found " + std::to_string(result.best.size()) +
                              " of " + std::to_string(k) + " rows");
  return results;
}

bool VectorBlock::walk_graph(const float* query, std::size_t want, std::size_t ask,
                             std::span<const std::uint8_t> live, std::size_t breadth,
                             BlockResult& result) const {
  // The breadth is given as the number of results: FAISS 1.7.3 widens its queue to that, but
  // not to SearchParametersHNSW::efSearch. HNSW::search and not IndexHNSW::search, because the
  // latter adds to a global counter.
  const faiss::HNSW& hnsw = impl_->graph->hnsw;
  faiss::SearchParametersHNSW parameters;
  parameters.efSearch = static_cast<int>(breadth);
  const auto distance = negated_product(impl_->rows);
  distance->set_query(query);
  faiss::VisitedTable visited(static_cast<int>(size()));
  std::vector<float> distances(breadth);
  std::vector<faiss::Index::idx_t> positions(breadth);
  faiss::maxheap_heapify(breadth, distances.data(), positions.data());
  hnsw.search(*distance, static_cast<int>(breadth), positions.data(), distances.data(), visited,
              &parameters);

  std::size_t found = 0;
  for (std::size_t i = 0; i < breadth; ++i) {
    if (positions[i] < 0) continue;
    const auto position = static_cast<std::uint32_t>(positions[i]);
    const float score = -distances[i];
    result.bound = found++ == 0 ? score : std::min(result.bound, score);
    if (live.empty() || (live[position / 8] >> (position % 8) & 1) != 0)
      result.best.push_back({score, position});
  }
  std::sort(result.best.begin(), result.best.end(), scores_better);
  return found >= ask && result.best.size() >= want;
}

Result<BlockResult> VectorBlock::search(std::span<const float> query, std::size_t want,
                                        std::span<const std::uint8_t> live, std::size_t num_live,
                                        const SearchOptions& options) const {
  COLLEGIUM_ASSIGN_OR_RETURN(auto results, search_batch(query, want, live, num_live, options));
  return std::move(results[0]);
}

Result<std::vector<BlockResult>> VectorBlock::search_batch(std::span<const float> queries,
                                                           std::size_t want,
                                                           std::span<const std::uint8_t> live,
                                                           std::size_t num_live,
                                                           const SearchOptions& options) const {
  if (options.scan < ScanKind::kAuto || options.scan > ScanKind::kBinary)
    return Status::invalid_argument("scan: kind " + std::to_string(static_cast<int>(options.scan)) +
                                    ", allowed are 0 to 4");
  return with_faiss([&]() -> Result<std::vector<BlockResult>> {
    // Rows that died since the graph was built are walked through and dropped afterwards, so as
    // many more are asked for as there are dead ones among those found on average.
    const std::size_t ask = num_live == 0 ? size() : want * size() / num_live + 1;
    // Where a filter leaves few, comparing these is less work than walking past the others.
    const bool few = num_live * 2 < size() && num_live < kRowsPerStep * ask;
    if (!has_graph() || options.exact || few || ask > size() / 8)
      return search_exact(queries, want, live, num_live, options.scan);

    const std::size_t least =
        options.breadth == 0 ? static_cast<std::size_t>(kGraphSearchBreadth) : options.breadth;
    const std::size_t breadth = std::min(size(), std::max(ask, least));
    const std::size_t num_queries = queries.size() / dim();
    std::vector<BlockResult> results(num_queries);
    std::vector<std::uint8_t> found_enough(num_queries);
    core::default_pool().parallel_for(num_queries, [&](std::size_t q) {
      found_enough[q] =
          walk_graph(queries.data() + q * dim(), want, ask, live, breadth, results[q]);
    });
    for (std::size_t q = 0; q < num_queries; ++q) {
      if (found_enough[q] != 0) continue;
      // An unlucky entry point or a run of dead rows: the exact answer is always at hand.
      COLLEGIUM_ASSIGN_OR_RETURN(auto exact, search_exact(queries.subspan(q * dim(), dim()), want,
                                                          live, num_live, options.scan));
      results[q] = std::move(exact[0]);
    }
    return results;
  });
}

// Block, little-endian: u64 rows, u8 graph (0 or 1), f32 vectors[rows][dim]; with a graph then
// u32 links a node, i32 entry point, i32 top level, u64 number of links,
// i32 levels[rows] (1 = ground only), i32 links[...] (-1 = none), node by node, level by level.
void VectorBlock::write(core::ByteWriter& out) const {
  out.write(static_cast<std::uint64_t>(size()));
  out.write(static_cast<std::uint8_t>(has_graph()));
  out.write_numbers(vectors());
  if (!has_graph()) return;
  const faiss::HNSW& hnsw = impl_->graph->hnsw;
  out.write(static_cast<std::uint32_t>(kGraphLinks));
  out.write(static_cast<std::int32_t>(hnsw.entry_point));
  out.write(static_cast<std::int32_t>(hnsw.max_level));
  out.write(static_cast<std::uint64_t>(hnsw.neighbors.size()));
  out.write_numbers(std::span<const std::int32_t>(hnsw.levels));
  out.write_numbers(std::span<const std::int32_t>(hnsw.neighbors));
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::read(core::ByteReader& in, std::size_t dim) {
  return with_faiss([&]() -> Result<std::unique_ptr<VectorBlock>> {
    const auto damaged = [](const std::string& what) {
      return Status::corruption("vector block: " + what);
    };
    std::uint64_t rows = 0;
    std::uint8_t graph_flag = 0;
    std::size_t bytes = 0;
    if (!in.read(rows) || !in.read(graph_flag) || graph_flag > 1 ||
        rows > std::numeric_limits<std::int32_t>::max() ||
        !core::checked_multiply(rows, dim * sizeof(float), bytes))
      return damaged(std::to_string(rows) + " rows, graph " + std::to_string(graph_flag));
    auto impl = std::make_unique<Impl>(dim);
    std::span<const std::byte> raw;
    const bool whole = in.read_bytes(bytes, raw);
    if (whole) {
      impl->rows.vectors.resize(bytes / sizeof(float));
      if (bytes != 0) std::memcpy(impl->rows.vectors.data(), raw.data(), bytes);
      impl->rows.ntotal = static_cast<faiss::Index::idx_t>(rows);
    }
    const auto too_short = [&] {
      return damaged("ends before its " + std::to_string(rows) + " rows do");
    };
    if (!whole) return too_short();
    if (graph_flag == 0) return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
    impl->make_graph();
    impl->graph->ntotal = static_cast<faiss::Index::idx_t>(rows);
    faiss::HNSW& hnsw = impl->graph->hnsw;
    std::uint32_t links = 0;
    std::uint64_t num_neighbors = 0;
    if (!in.read(links) || !in.read(hnsw.entry_point) || !in.read(hnsw.max_level) ||
        !in.read(num_neighbors) || !in.read_numbers(rows, hnsw.levels) ||
        !in.read_numbers(num_neighbors, hnsw.neighbors))
      return too_short();
    if (links != static_cast<std::uint32_t>(kGraphLinks))
      return damaged("graph with " + std::to_string(links) + " links a node, this build makes " +
                     std::to_string(kGraphLinks));

    const int top = static_cast<int>(hnsw.cum_nneighbor_per_level.size()) - 1;
    std::size_t offset = 0;
    int highest = 0;
    hnsw.offsets.assign(1, 0);
    hnsw.offsets.reserve(rows + 1);
    for (const int level : hnsw.levels) {
      if (level < 1 || level > top) return damaged("graph level " + std::to_string(level));
      highest = std::max(highest, level);
      offset += static_cast<std::size_t>(hnsw.cum_nb_neighbors(level));
      hnsw.offsets.push_back(offset);
    }
    const auto entry = static_cast<std::uint64_t>(hnsw.entry_point);
    if (offset != num_neighbors || rows == 0 || hnsw.entry_point < 0 || entry >= rows ||
        hnsw.max_level != highest - 1 || hnsw.levels[entry] != highest)
      return damaged("graph levels and links disagree");
    // A link on a level must lead to a node that has that level, or a walk would leave the table.
    for (std::size_t node = 0; node < rows; ++node) {
      for (int level = 0; level < hnsw.levels[node]; ++level) {
        std::size_t begin = 0;
        std::size_t end = 0;
        hnsw.neighbor_range(static_cast<faiss::Index::idx_t>(node), level, &begin, &end);
        for (std::size_t i = begin; i < end; ++i) {
          const auto neighbor = hnsw.neighbors[i];
          if (neighbor == -1) continue;
          if (neighbor < -1 || static_cast<std::uint64_t>(neighbor) >= rows ||
              hnsw.levels[static_cast<std::size_t>(neighbor)] <= level)
            return damaged("graph link to " + std::to_string(neighbor));
        }
      }
    }
    impl->digest_graph();
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

}  // namespace collegium::index
