#include "vector_block.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/utils/Heap.h>
#include <omp.h>
#include <xxhash.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <utility>

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

// The graph is walked by ascending distance: the negated inner product.
class NegatedProduct : public faiss::DistanceComputer {
 public:
  explicit NegatedProduct(const faiss::IndexFlat& rows) : product_(rows.get_distance_computer()) {}
  void set_query(const float* x) override { product_->set_query(x); }
  float operator()(idx_t i) override { return -(*product_)(i); }
  float symmetric_dis(idx_t i, idx_t j) override { return -product_->symmetric_dis(i, j); }

 private:
  std::unique_ptr<faiss::DistanceComputer> product_;
};

// Levels of new nodes are drawn from a generator seeded by where they begin, so that a graph that
// was saved and loaded grows as one that stayed in memory.
constexpr std::int64_t kLevelSeed = 12345;

}  // namespace

struct VectorBlock::Impl {
  // One of the two; a graph's storage is an IndexFlatIP too.
  std::unique_ptr<faiss::IndexFlatIP> exact;
  std::unique_ptr<faiss::IndexHNSWFlat> graph;
  std::uint64_t graph_digest = 0;

  void digest_graph() {
    const faiss::HNSW& hnsw = graph->hnsw;
    const std::uint64_t parts[] = {
        static_cast<std::uint64_t>(hnsw.entry_point), static_cast<std::uint64_t>(hnsw.max_level),
        XXH3_64bits(hnsw.levels.data(), hnsw.levels.size() * sizeof(hnsw.levels[0])),
        XXH3_64bits(hnsw.neighbors.data(), hnsw.neighbors.size() * sizeof(hnsw.neighbors[0]))};
    graph_digest = XXH3_64bits(parts, sizeof(parts)) | 1;  // never 0
  }

  // IndexHNSWFlat makes its storage itself: an IndexFlat (IndexFlatIP in later releases).
  const faiss::IndexFlat& rows() const {
    return exact ? *exact : *static_cast<const faiss::IndexFlat*>(graph->storage);
  }
};

VectorBlock::VectorBlock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VectorBlock::~VectorBlock() = default;

Result<std::unique_ptr<VectorBlock>> VectorBlock::create_exact(std::size_t dim) {
  return with_faiss([&]() -> Result<std::unique_ptr<VectorBlock>> {
    auto impl = std::make_unique<Impl>();
    impl->exact = std::make_unique<faiss::IndexFlatIP>(static_cast<faiss::Index::idx_t>(dim));
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

Status VectorBlock::reserve(std::size_t rows) {
  return with_faiss([&] {
    impl_->exact->codes.reserve(rows * dim() * sizeof(float));
    return Status();
  });
}

Status VectorBlock::append(std::span<const float> rows) {
  return with_faiss([&] {
    if (!rows.empty())
      impl_->exact->add(static_cast<faiss::Index::idx_t>(rows.size() / dim()), rows.data());
    return Status();
  });
}

Result<std::unique_ptr<VectorBlock>> VectorBlock::build_graph(const VectorBlock& base,
                                                              std::span<const float> more) {
  return with_faiss([&]() -> Result<std::unique_ptr<VectorBlock>> {
    using Id = faiss::Index::idx_t;
    const Id dim = static_cast<Id>(base.dim());
    auto impl = std::make_unique<Impl>();
    impl->graph = std::make_unique<faiss::IndexHNSWFlat>(static_cast<int>(dim), kGraphLinks,
                                                         faiss::METRIC_INNER_PRODUCT);
    faiss::IndexHNSWFlat& graph = *impl->graph;
    auto& storage = static_cast<faiss::IndexFlat&>(*graph.storage);
    storage.codes.reserve((base.vectors().size() + more.size()) * sizeof(float));
    const auto add = [&](std::span<const float> rows) {
      if (rows.empty()) return;
      graph.hnsw.efConstruction = kGraphBuildBreadth;
      graph.hnsw.rng = faiss::RandomGenerator(kLevelSeed + graph.ntotal);
      graph.add(static_cast<Id>(rows.size()) / dim, rows.data());
    };
    if (base.has_graph()) {
      const faiss::IndexHNSWFlat& from = *base.impl_->graph;
      graph.hnsw = from.hnsw;
      storage.codes.insert(storage.codes.end(), base.impl_->rows().codes.begin(),
                           base.impl_->rows().codes.end());
      storage.ntotal = graph.ntotal = from.ntotal;
    } else {
      add(base.vectors());
    }
    add(more);
    impl->digest_graph();
    return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
  });
}

std::size_t VectorBlock::dim() const noexcept { return static_cast<std::size_t>(impl_->rows().d); }
std::size_t VectorBlock::size() const noexcept {
  return static_cast<std::size_t>(impl_->rows().ntotal);
}
std::uint64_t VectorBlock::graph_digest() const noexcept { return impl_->graph_digest; }
bool VectorBlock::has_graph() const noexcept { return impl_->graph != nullptr; }
std::span<const float> VectorBlock::vectors() const noexcept {
  return {impl_->rows().get_xb(), size() * dim()};
}

Result<BlockResult> VectorBlock::search_exact(std::span<const float> query, std::size_t want,
                                              std::span<const std::uint8_t> live,
                                              std::size_t num_live) const {
  const std::size_t k = std::min(want, num_live);
  BlockResult result;
  result.complete = k == num_live;
  if (k == 0) return result;
  std::vector<float> scores(k);
  std::vector<faiss::Index::idx_t> positions(k);
  const faiss::IDSelectorBitmap selector(live.size(), live.data());
  faiss::SearchParameters parameters;
  if (!live.empty()) parameters.sel = const_cast<faiss::IDSelectorBitmap*>(&selector);
  impl_->rows().search(1, query.data(), static_cast<faiss::Index::idx_t>(k), scores.data(),
                       positions.data(), &parameters);
  result.best.reserve(k);
  for (std::size_t i = 0; i < k; ++i) {
    if (positions[i] < 0)  // cannot be: every live row has a finite score
      return Status::internal("vector index: FAISS returned " + std::to_string(i) + " of " +
                              std::to_string(k) + " rows");
    result.best.push_back({scores[i], static_cast<std::uint32_t>(positions[i])});
  }
  result.bound = scores[k - 1];
  return result;
}

Result<BlockResult> VectorBlock::search(std::span<const float> query, std::size_t want,
                                        std::span<const std::uint8_t> live, std::size_t num_live,
                                        const SearchOptions& options) const {
  return with_faiss([&]() -> Result<BlockResult> {
    // Rows that died since the graph was built are walked through and dropped afterwards, so as
    // many more are asked for as there are dead ones among those found on average.
    const std::size_t ask = num_live == 0 ? 0 : want * size() / num_live + 1;
    if (!has_graph() || options.exact || ask > size() / 8)
      return search_exact(query, want, live, num_live);

    // The breadth is given as the number of results: FAISS 1.7.3 widens its queue to that, but
    // not to SearchParametersHNSW::efSearch. HNSW::search and not IndexHNSW::search, because the
    // latter adds to a global counter.
    const std::size_t least =
        options.breadth == 0 ? static_cast<std::size_t>(kGraphSearchBreadth) : options.breadth;
    const std::size_t breadth = std::min(size(), std::max(ask, least));
    const faiss::HNSW& hnsw = impl_->graph->hnsw;
    faiss::SearchParametersHNSW parameters;
    parameters.efSearch = static_cast<int>(breadth);
    NegatedProduct distance(impl_->rows());
    distance.set_query(query.data());
    faiss::VisitedTable visited(static_cast<int>(size()));
    std::vector<float> distances(breadth);
    std::vector<faiss::Index::idx_t> positions(breadth);
    faiss::maxheap_heapify(breadth, distances.data(), positions.data());
    hnsw.search(distance, static_cast<int>(breadth), positions.data(), distances.data(), visited,
                &parameters);

    BlockResult result;
    std::size_t found = 0;
    for (std::size_t i = 0; i < breadth; ++i) {
      if (positions[i] < 0) continue;
      const auto position = static_cast<std::uint32_t>(positions[i]);
      const float score = -distances[i];
      result.bound = found++ == 0 ? score : std::min(result.bound, score);
      if (live.empty() || (live[position / 8] >> (position % 8) & 1) != 0)
        result.best.push_back({score, position});
    }
    // An unlucky entry point or a run of dead rows: the exact answer is always at hand.
    if (found < ask || result.best.size() < want) return search_exact(query, want, live, num_live);
    std::sort(result.best.begin(), result.best.end(),
              [](const ScoredPosition& a, const ScoredPosition& b) {
                return a.score != b.score ? a.score > b.score : a.position < b.position;
              });
    return result;
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
    auto impl = std::make_unique<Impl>();
    const auto fill = [&](faiss::IndexFlat& flat) {
      flat.ntotal = static_cast<faiss::Index::idx_t>(rows);
      return in.read_numbers(bytes, flat.codes);
    };
    const auto too_short = [&] {
      return damaged("ends before its " + std::to_string(rows) + " rows do");
    };
    if (graph_flag == 0) {
      impl->exact = std::make_unique<faiss::IndexFlatIP>(static_cast<faiss::Index::idx_t>(dim));
      if (!fill(*impl->exact)) return too_short();
      return std::unique_ptr<VectorBlock>(new VectorBlock(std::move(impl)));
    }
    impl->graph = std::make_unique<faiss::IndexHNSWFlat>(static_cast<int>(dim), kGraphLinks,
                                                         faiss::METRIC_INNER_PRODUCT);
    impl->graph->ntotal = static_cast<faiss::Index::idx_t>(rows);
    faiss::HNSW& hnsw = impl->graph->hnsw;
    std::uint32_t links = 0;
    std::uint64_t num_neighbors = 0;
    if (!fill(static_cast<faiss::IndexFlat&>(*impl->graph->storage)) || !in.read(links) ||
        !in.read(hnsw.entry_point) || !in.read(hnsw.max_level) || !in.read(num_neighbors) ||
        !in.read_numbers(rows, hnsw.levels) || !in.read_numbers(num_neighbors, hnsw.neighbors))
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
