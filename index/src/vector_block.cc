#include "vector_block.h"

#include <omp.h>

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
#include "scan_kernels.h"
#include "scan_parts.h"

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

// Runs `work` with what is thrown, by FAISS for one, turned into values.
template <typename Work>
auto guarded(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("vector index: out of memory");
  } catch (const std::exception& error) {
    return Status::internal(std::string("vector index: ") + error.what());
  }
}

// A structure asked for one row more takes about as long as comparing the query with this many.
constexpr std::size_t kRowsPerStep = 64;

bool is_set(std::span<const std::uint8_t> bits, std::uint32_t i) {
  return bits.empty() || (bits[i / 8] >> (i % 8) & 1) != 0;
}

}  // namespace

struct VectorBlock::Impl {
  explicit Impl(std::size_t d) : dim(d) {}

  const std::size_t dim;
  AlignedVector<float> vectors;        // (size, dim)
  std::unique_ptr<const Graph> graph;  // one of these or neither
  std::unique_ptr<const InvertedLists> lists;

  // Of each kind of codes the first search that wants them makes them.
  struct Codes {
    std::once_flag once;
    ScanCodes codes;
  };
  std::array<Codes, 5> codes;

  const ScanCodes& codes_of(ScanKind kind) {
    Codes& of = codes[static_cast<std::size_t>(kind)];
    std::call_once(of.once, [&] { of.codes = make_codes(vectors, dim, kind); });
    return of.codes;
  }

  // The fp32 scores of `positions`, in their order.
  void rescore(std::span<const float> query, std::vector<ScoredPosition>& found) const {
    std::vector<std::uint32_t> positions(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) positions[i] = found[i].position;
    std::vector<float> scores(found.size());
    scan_kernels().score_rows(vectors.data(), positions.data(), positions.size(), dim, query.data(),
                              1, scores.data(), scores.size(), {});
    for (std::size_t i = 0; i < found.size(); ++i) found[i].score = scores[i];
    std::sort(found.begin(), found.end(), scores_better);
  }
};

VectorBlock::VectorBlock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VectorBlock::~VectorBlock() = default;

Result<std::unique_ptr<VectorBlock>> VectorBlock::create_exact(std::size_t dim) {
  return guarded([&]() -> Result<std::unique_ptr<VectorBlock>> {
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::make_unique<Impl>(dim)));
  });
}

Status VectorBlock::reserve(std::size_t rows) {
  return guarded([&] {
    impl_->vectors.reserve(rows * dim());
    return Status();
  });
}

Status VectorBlock::append(std::span<const float> rows) {
  return guarded([&] {
    impl_->vectors.insert(impl_->vectors.end(), rows.begin(), rows.end());
    return Status();
  });
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::build_graph(const VectorBlock& base,
                                                              std::span<const float> more,
                                                              const GraphOptions& options) {
  return guarded([&]() -> Result<std::unique_ptr<VectorBlock>> {
    COLLEGIUM_RETURN_IF_ERROR(options.validate());
    auto impl = std::make_unique<Impl>(base.dim());
    impl->vectors.reserve(base.vectors().size() + more.size());
    impl->vectors = base.impl_->vectors;
    impl->vectors.insert(impl->vectors.end(), more.begin(), more.end());
    impl->graph = std::make_unique<const Graph>(
        Graph::build(impl->codes_of(ScanKind::kInt8), options, base.graph()));
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::build_lists(const VectorBlock& base,
                                                              std::span<const float> more,
                                                              std::uint32_t lists) {
  return guarded([&]() -> Result<std::unique_ptr<VectorBlock>> {
    auto impl = std::make_unique<Impl>(base.dim());
    impl->vectors.reserve(base.vectors().size() + more.size());
    impl->vectors = base.impl_->vectors;
    impl->vectors.insert(impl->vectors.end(), more.begin(), more.end());
    const std::size_t rows = impl->vectors.size() / impl->dim;
    if (lists == 0) lists = InvertedLists::default_lists(rows);
    const OneOpenMpThread scope;
    impl->lists = std::make_unique<const InvertedLists>(
        InvertedLists::build(impl->vectors, impl->dim, lists, base.lists()));
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

std::size_t VectorBlock::dim() const noexcept { return impl_->dim; }
std::size_t VectorBlock::size() const noexcept { return impl_->vectors.size() / impl_->dim; }
const Graph* VectorBlock::graph() const noexcept { return impl_->graph.get(); }
const InvertedLists* VectorBlock::lists() const noexcept { return impl_->lists.get(); }
std::span<const float> VectorBlock::vectors() const noexcept { return impl_->vectors; }

IndexKind VectorBlock::kind() const noexcept {
  if (impl_->graph != nullptr) return IndexKind::kHnsw;
  return impl_->lists != nullptr ? IndexKind::kIvf : IndexKind::kExact;
}

std::uint64_t VectorBlock::structure_digest() const noexcept {
  if (impl_->graph != nullptr) return impl_->graph->digest();
  return impl_->lists != nullptr ? impl_->lists->digest() : 0;
}

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
  if (uses_codes(rows, kind, queries.size() / dim(), want))
    results = scan_codes(rows, impl_->codes_of(kind), queries, want);
  else
    results = scan_floats(rows, queries, want);
  const std::size_t k = std::min(want, num_live);
  for (const BlockResult& result : results)
    if (result.best.size() != k)  // cannot be: every live row has a finite score
      return Status::internal("vector index: a scan found " + std::to_string(result.best.size()) +
                              " of " + std::to_string(k) + " rows");
  return results;
}

bool VectorBlock::walk_graph(std::span<const float> query, std::size_t want, std::size_t ask,
                             std::span<const std::uint8_t> live, std::size_t breadth,
                             BlockResult& result) const {
  result.best = impl_->graph->walk(impl_->codes_of(ScanKind::kInt8), CodedQuery(query), breadth);
  const std::size_t found = result.best.size();
  impl_->rescore(query, result.best);
  if (found > 0) result.bound = result.best.back().score;
  std::erase_if(result.best,
                [&](const ScoredPosition& one) { return !is_set(live, one.position); });
  return found >= ask && result.best.size() >= want;
}

bool VectorBlock::search_lists(std::span<const float> query, std::size_t want,
                               std::span<const std::uint8_t> live, std::size_t probes,
                               BlockResult& result) const {
  // Codes are off by little: some more than are wanted have the best among them.
  const std::size_t keep = 2 * want + 32;
  result.best = impl_->lists->search(impl_->codes_of(ScanKind::kInt8), query, CodedQuery(query),
                                     probes, keep, live);
  impl_->rescore(query, result.best);
  if (!result.best.empty()) result.bound = result.best.back().score;
  return result.best.size() >= want;
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
  return guarded([&]() -> Result<std::vector<BlockResult>> {
    // Rows that died since the graph was built are walked through and dropped afterwards, so as
    // many more are asked for as there are dead ones among those found on average.
    const std::size_t ask = num_live == 0 ? size() : want * size() / num_live + 1;
    // Where a filter leaves few, comparing these is less work than walking past the others.
    const bool few = num_live * 2 < size() && num_live < kRowsPerStep * ask;
    if (!has_structure() || options.exact || few || ask > size() / 8 || ask > kMostBreadth)
      return search_exact(queries, want, live, num_live, options.scan);

    const std::size_t effort = kind() == IndexKind::kHnsw ? options.breadth : options.probes;
    const std::size_t num_queries = queries.size() / dim();
    std::vector<BlockResult> results(num_queries);
    std::vector<std::uint8_t> found_enough(num_queries);
    impl_->codes_of(ScanKind::kInt8);  // by all threads, not in a task
    core::default_pool().parallel_for(num_queries, [&](std::size_t q) {
      const auto query = queries.subspan(q * dim(), dim());
      if (kind() == IndexKind::kHnsw) {
        const std::size_t least = std::min(effort == 0 ? kDefaultBreadth : effort, kMostBreadth);
        found_enough[q] =
            walk_graph(query, want, ask, live, std::min(size(), std::max(ask, least)), results[q]);
      } else {
        found_enough[q] =
            search_lists(query, want, live, effort == 0 ? kDefaultProbes : effort, results[q]);
      }
    });
    // An unlucky entry point or a run of dead rows: the exact answer is always at hand.
    std::vector<std::size_t> others;
    std::vector<float> vectors_of_others;
    for (std::size_t q = 0; q < num_queries; ++q) {
      if (found_enough[q] != 0) continue;
      others.push_back(q);
      const auto query = queries.subspan(q * dim(), dim());
      vectors_of_others.insert(vectors_of_others.end(), query.begin(), query.end());
    }
    if (others.empty()) return results;
    COLLEGIUM_ASSIGN_OR_RETURN(auto exact,
                               search_exact(vectors_of_others, want, live, num_live, options.scan));
    for (std::size_t i = 0; i < others.size(); ++i) results[others[i]] = std::move(exact[i]);
    return results;
  });
}

// Block, little-endian: u64 rows, u8 structure (0 none, 1 graph, 2 lists),
// f32 vectors[rows][dim], then the graph (graph.cc) or the lists (inverted_lists.cc).
void VectorBlock::write(core::ByteWriter& out) const {
  out.write(static_cast<std::uint64_t>(size()));
  out.write<std::uint8_t>(impl_->graph != nullptr ? 1 : impl_->lists != nullptr ? 2 : 0);
  out.write_numbers(vectors());
  if (impl_->graph != nullptr) impl_->graph->write(out);
  if (impl_->lists != nullptr) impl_->lists->write(out);
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::read(core::ByteReader& in, std::size_t dim) {
  return guarded([&]() -> Result<std::unique_ptr<VectorBlock>> {
    const auto damaged = [](const std::string& what) {
      return Status::corruption("vector block: " + what);
    };
    std::uint64_t rows = 0;
    std::uint8_t structure = 0;
    std::size_t bytes = 0;
    if (!in.read(rows) || !in.read(structure) || structure > 2 ||
        rows > std::numeric_limits<std::int32_t>::max() ||
        !core::checked_multiply(rows, dim * sizeof(float), bytes))
      return damaged(std::to_string(rows) + " rows, structure " + std::to_string(structure));
    auto impl = std::make_unique<Impl>(dim);
    std::span<const std::byte> raw;
    if (!in.read_bytes(bytes, raw))
      return damaged("ends before its " + std::to_string(rows) + " rows do");
    impl->vectors.resize(bytes / sizeof(float));
    if (bytes != 0) std::memcpy(impl->vectors.data(), raw.data(), bytes);
    if (structure == 1) {
      COLLEGIUM_ASSIGN_OR_RETURN(Graph graph, Graph::read(in, rows));
      impl->graph = std::make_unique<const Graph>(std::move(graph));
    } else if (structure == 2) {
      COLLEGIUM_ASSIGN_OR_RETURN(InvertedLists lists, InvertedLists::read(in, rows, dim));
      impl->lists = std::make_unique<const InvertedLists>(std::move(lists));
    }
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

}  // namespace collegium::index
