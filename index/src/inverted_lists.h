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

// Rows in lists, each of the centre that its product is largest with (FAISS's IVF). The centres are
// FAISS's k-means, seeded, over our own scan, so that lists are a function of (rows, number of
// lists), and of where they were extended, for any number of threads. Immutable once built; any
// number of threads may search.
class InvertedLists {
 public:
  static constexpr std::uint32_t kMostLists = 65536;
  static std::uint32_t default_lists(std::size_t rows);

  // Of rows (n, dim), n at least one. With `base`, lists of the first of these rows, its centres
  // stay and the others are added. `lists` in [1, kMostLists], fewer when there are fewer rows.
  static InvertedLists build(std::span<const float> rows, std::size_t dim, std::uint32_t lists,
                             const InvertedLists* base = nullptr);

  std::size_t size() const noexcept { return positions_.size(); }
  std::uint32_t num_lists() const noexcept { return static_cast<std::uint32_t>(begin_.size() - 1); }
  std::uint64_t digest() const noexcept { return digest_; }  // never 0

  // Of the living rows in the `probes` lists nearest to the query the best `keep` by their codes:
  // (score of codes descending, position ascending).
  std::vector<ScoredPosition> search(const ScanCodes& codes, std::span<const float> query,
                                     const CodedQuery& coded, std::size_t probes, std::size_t keep,
                                     std::span<const std::uint8_t> live) const;

  // As bytes (docs/formats.md), and back; what is wrong is corruption.
  void write(core::ByteWriter& out) const;
  static Result<InvertedLists> read(core::ByteReader& in, std::size_t rows, std::size_t dim);

 private:
  void make_digest();

  std::size_t dim_ = 0;
  AlignedVector<float> centres_;          // (lists, dim)
  std::vector<std::uint32_t> begin_;      // (lists + 1,): of each list in positions_
  std::vector<std::uint32_t> positions_;  // (rows,): ascending within a list
  std::uint64_t digest_ = 0;
};

}  // namespace collegium::index
