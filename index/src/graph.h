#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "aligned_allocator.h"
#include "coded_query.h"
#include "collegium/core/bytes.h"
#include "collegium/core/status.h"
#include "scan.h"

namespace collegium::index {

struct GraphOptions {
  std::uint32_t links = 32;          // a node on every level, twice as many on the ground
  std::uint32_t build_breadth = 64;  // rows kept in view while the links of a row are looked for

  static constexpr std::uint32_t kFewestLinks = 4;
  static constexpr std::uint32_t kMostLinks = 256;
  static constexpr std::uint32_t kMostBuildBreadth = 4096;
  Status validate() const;  // invalid_argument: out of range
  friend bool operator==(const GraphOptions&, const GraphOptions&) = default;
};

// A hierarchical navigable small world (arXiv 1603.09320) over rows of codes: rows are its nodes,
// linked to rows with large products, so that a walk to ever better neighbours ends near the best.
// Distances are products of codes, an eighth of the work and a quarter of the memory traffic of
// floats; they are exact integers, so that a graph does not depend on the machine.
//
// Built by any number of threads. Rows are added in batches: those of a batch look for neighbours
// in the graph as it was before, and among the earlier ones of their batch; links are then
// written in the order of the rows. So a graph is a function of (rows, options), and of where it
// was extended. Immutable once built; any number of threads may walk it.
class Graph {
 public:
  // Over all rows of `codes` (of kind kInt8). The links of the first rows are those of `base`,
  // which was built of the same rows, if there is one.
  static Graph build(const ScanCodes& codes, const GraphOptions& options,
                     const Graph* base = nullptr);

  std::size_t size() const noexcept { return levels_.size(); }
  const GraphOptions& options() const noexcept { return options_; }
  // Of levels and links. Never 0.
  std::uint64_t digest() const noexcept { return digest_; }

  // The up to `breadth` rows that a walk keeps in view, best first by (score of codes descending,
  // position ascending).
  std::vector<ScoredPosition> walk(const ScanCodes& codes, const CodedQuery& query,
                                   std::size_t breadth) const;

  // As bytes (docs/formats.md), and back: everything is checked, so that a wrong byte is
  // corruption and nothing worse.
  void write(core::ByteWriter& out) const;
  static Result<Graph> read(core::ByteReader& in, std::size_t rows);

 private:
  friend class GraphBuilder;
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint8_t kMostLevels = 16;

  // The links of `node` on `level`, none after the first kNone.
  std::span<std::uint32_t> links(std::uint32_t node, std::size_t level) {
    const std::size_t m = options_.links;
    if (level == 0) return {ground_.data() + node * 2 * m, 2 * m};
    return {upper_.data() + (upper_begin_[node] + level - 1) * m, m};
  }
  std::span<const std::uint32_t> links(std::uint32_t node, std::size_t level) const {
    return const_cast<Graph*>(this)->links(node, level);
  }
  void lay_out(std::size_t rows);  // for so many rows in all; keeps what there is
  void make_digest();

  GraphOptions options_;
  std::uint32_t entry_ = kNone;
  std::vector<std::uint8_t> levels_;        // (rows,): the highest level a row is on
  AlignedVector<std::uint32_t> ground_;     // (rows, 2 * links)
  std::vector<std::uint32_t> upper_begin_;  // (rows,): in units of links
  std::vector<std::uint32_t> upper_;
  std::uint64_t digest_ = 0;
};

}  // namespace collegium::index
