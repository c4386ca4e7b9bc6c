#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "collegium/index/index_settings.h"
#include "collegium/index/search_options.h"
#include "graph.h"
#include "inverted_lists.h"
#include "scan.h"

namespace collegium::index {

// The effort of an approximate search when neither the call nor what was measured says one.
inline constexpr std::size_t kDefaultBreadth = 96;
inline constexpr std::size_t kDefaultProbes = 32;
// Rows kept in view are kept in order: beyond so many, looking at every row is no slower.
inline constexpr std::size_t kMostBreadth = 4096;

// Blocks of so many rows are scanned by their codes (ScanKind::kAuto).
inline constexpr std::size_t kRowsForCodes = 8192;

// Vectors of one block of rows, scanned exactly or through a structure over them: a graph or lists.
// Filled by one thread, then immutable and read by any number. Searches and builds share their work
// among the process's threads; no result depends on how many.
class VectorBlock {
 public:
  static Result<std::unique_ptr<VectorBlock>> create_exact(std::size_t dim);
  ~VectorBlock();
  VectorBlock(const VectorBlock&) = delete;
  VectorBlock& operator=(const VectorBlock&) = delete;

  // `rows` (n, dim), n any number. Only on a block without a structure.
  Status reserve(std::size_t rows);
  Status append(std::span<const float> rows);

  // A block with a graph over the vectors of `base` and then `more` (n, dim), inserted in this
  // order: the result is a function of what it is given. The graph of `base` is extended if it has
  // one; `options` then are its own.
  static Result<std::unique_ptr<VectorBlock>> build_graph(const VectorBlock& base,
                                                          std::span<const float> more,
                                                          const GraphOptions& options = {});
  // The same with lists; 0: as many as suit the rows.
  static Result<std::unique_ptr<VectorBlock>> build_lists(const VectorBlock& base,
                                                          std::span<const float> more,
                                                          std::uint32_t lists = 0);

  std::size_t dim() const noexcept;
  std::size_t size() const noexcept;
  IndexKind kind() const noexcept;  // kExact, kHnsw or kIvf
  bool has_structure() const noexcept { return kind() != IndexKind::kExact; }
  const Graph* graph() const noexcept;          // null: none
  const InvertedLists* lists() const noexcept;  // null: none
  // Of the graph or the lists: two over the same rows answer alike if these are equal. 0: neither.
  std::uint64_t structure_digest() const noexcept;
  std::span<const float> vectors() const noexcept;  // (size, dim)

  // About the `want` best positions for `query` (dim,), best first, among those whose bit is set
  // in `live` (bit i % 8 of byte i / 8; empty: all). `num_live` is the number of set bits. Exact
  // unless has_structure(); a structure is left aside when `options` say so, when `want` is a large
  // share of the block, when a filter leaves few rows, or when it found fewer than it should.
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

  // The block as bytes in our own layout (docs/formats.md), and back: everything is checked, so a
  // wrong byte is corruption and nothing worse.
  void write(core::ByteWriter& out) const;
  static Result<std::unique_ptr<VectorBlock>> read(core::ByteReader& in, std::size_t dim);

 private:
  struct Impl;
  explicit VectorBlock(std::unique_ptr<Impl> impl);
  Result<std::vector<BlockResult>> search_exact(std::span<const float> queries, std::size_t want,
                                                std::span<const std::uint8_t> live,
                                                std::size_t num_live, ScanKind kind) const;
  // False if it gave fewer than `ask` rows, or fewer than `want` live ones.
  bool walk_graph(std::span<const float> query, std::size_t want, std::size_t ask,
                  std::span<const std::uint8_t> live, std::size_t breadth,
                  BlockResult& result) const;
  // False if it gave fewer than `want` rows.
  bool search_lists(std::span<const float> query, std::size_t want,
                    std::span<const std::uint8_t> live, std::size_t probes,
                    BlockResult& result) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace collegium::index
