#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "collegium/index/search_options.h"

namespace collegium::index {

// Parameters of the graph (arXiv 1603.09320): links a node, breadth of the search while building
// and while answering. Recall@10 is above 0.99 on
// clustered rows of 384 dimensions, and above 0.95 on rows without any clusters of 32.
inline constexpr int kGraphLinks = 32;
inline constexpr int kGraphBuildBreadth = 64;
inline constexpr int kGraphSearchBreadth = 96;

struct ScoredPosition {
  float score;  // inner product
  std::uint32_t position;
};

// What a search of one block found. Every position not in `best` scores at most `bound`;
// meaningless when `complete`, that is, when `best` holds every live position.
struct BlockResult {
  std::vector<ScoredPosition> best;
  bool complete = false;
  float bound = 0.0f;
};

// Vectors of one block of rows with FAISS over them, exact or with an HNSW graph. Filled by one
// thread, then immutable and read by any number. FAISS is only ever called with one query, on a
// thread that was told to use one OpenMP thread: its answers then depend on nothing else.
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

  // The block as bytes in our own layout (docs/formats.md), and back: everything is checked before
  // FAISS sees it, so a wrong byte is corruption and nothing worse.
  void write(core::ByteWriter& out) const;
  static Result<std::unique_ptr<VectorBlock>> read(core::ByteReader& in, std::size_t dim);

 private:
  struct Impl;
  explicit VectorBlock(std::unique_ptr<Impl> impl);
  Result<BlockResult> search_exact(std::span<const float> query, std::size_t want,
                                   std::span<const std::uint8_t> live, std::size_t num_live) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::index
