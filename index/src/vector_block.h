#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "collegium/index/search_options.h"
#include "scan.h"

namespace collegium::index {

// Parameters of the graph (arXiv 1603.09320): links a node, breadth of the search while building
// and while answering. Recall@10 is above 0.99 on
// clustered rows of 384 dimensions, and above 0.95 on rows without any clusters of 32.
inline constexpr int kGraphLinks = 32;
inline constexpr int kGraphBuildBreadth = 64;
inline constexpr int kGraphSearchBreadth = 96;

// Blocks of so many rows are scanned by their codes (ScanKind::kAuto).
inline constexpr std::size_t kRowsForCodes = 8192;

// Vectors of one block of rows, scanned exactly or with one of FAISS's HNSW graphs over them.
// Filled by one thread, then immutable and read by any number. FAISS is only ever called with one
// query, on a thread that was told to use one OpenMP thread: its answers then depend on nothing
// else. Searches share their work among the process's threads; no result depends on how many.
class VectorBlock {
 public:
  static Result<std::unique_ptr<VectorBlock>> create_exact(std::size_t dim);
  ~VectorBlock();
  VectorBlock(const VectorBlock&) = delete;
  VectorBlock& operator=(const VectorBlock&) = delete;

  // `rows` (n, dim), n any number. Only on a block without a graph.
  Status reserve(std::size_t rows);
  Status append(std::span<const float> rows);

  // A block with a graph over the vectors of `base` (its graph is extended if it has one) and then
  // `more` (n, dim), inserted in this order: the result is a function of what it is given.
  static Result<std::unique_ptr<VectorBlock>> build_graph(const VectorBlock& base,
                                                          std::span<const float> more);

  std::size_t dim() const noexcept;
  std::size_t size() const noexcept;
  bool has_graph() const noexcept;
  // Of levels and links: two graphs over the same rows answer alike if these are equal. 0: no
  // graph.
  std::uint64_t graph_digest() const noexcept;
  std::span<const float> vectors() const noexcept;  // (size, dim)

  // About the `want` best positions for `query` (dim,), best first, among those whose bit is set
  // in `live` (bit i % 8 of byte i / 8; empty: all). `num_live` is the number of set bits. Exact
  // unless has_graph(); a graph is left aside when `options` say so, when `want` is a large share
  // of the block or when it found fewer than it should.
  Result<BlockResult> search(std::span<const float> query, std::size_t want,
                             std::span<const std::uint8_t> live, std::size_t num_live,
                             const SearchOptions& options = {}) const;

  // The same for each of `queries` (n, dim), n any number: to the bit what search() gives for it
  // alone. Rows are read once for a dozen queries.
  Result<std::vector<BlockResult>> search_batch(std::span<const float> queries, std::size_t want,
                                                std::span<const std::uint8_t> live,
                                                std::size_t num_live,
                                                const SearchOptions& options = {}) const;

  // What an exact search reads when `wanted` is asked for and nearly all rows are alive; never
  // kAuto.
  ScanKind scan_kind(ScanKind wanted = ScanKind::kAuto) const noexcept;

  // The block as bytes in our own layout (docs/formats.md), and back: everything is checked before
  // FAISS sees it, so a wrong byte is corruption and nothing worse.
  void write(core::ByteWriter& out) const;
  static Result<std::unique_ptr<VectorBlock>> read(core::ByteReader& in, std::size_t dim);

 private:
  struct Impl;
  explicit VectorBlock(std::unique_ptr<Impl> impl);
  Result<std::vector<BlockResult>> search_exact(std::span<const float> queries, std::size_t want,
                                                std::span<const std::uint8_t> live,
                                                std::size_t num_live, ScanKind kind) const;
  // False if the graph gave fewer than `ask` rows, or fewer than `want` live ones.
  bool walk_graph(const float* query, std::size_t want, std::size_t ask,
                  std::span<const std::uint8_t> live, std::size_t breadth,
                  BlockResult& result) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::index
