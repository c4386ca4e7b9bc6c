#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::index {

class Filter;

// What an exact search reads of every row. kInt8 (a quarter of the bytes) and kBfloat16 (half)
// are followed by the fp32 rows that may be among the best by the largest possible error, so that
// hits and scores are those of kFloat32 to the bit. kBinary (a thirty-second) looks at the rows
// with the most signs in common and can miss some. The codes are made from the rows at the first
// search that wants them, and stay in memory beside them.
enum class ScanKind {
  kAuto = 0,  // kInt8 where there are rows enough for it to pay, else kFloat32
  kFloat32 = 1,
  kInt8 = 2,
  kBfloat16 = 3,
  kBinary = 4,
};

// How one search is done. Never kept as state of an index: two calls with the same options, query
// and commit (and index generation, see Hit) give the same hits whatever happened between them.
struct COLLEGIUM_API SearchOptions {
  // Only documents whose metadata it accepts; null: all. Applied before ranking, so a search gives
  // min(k, documents that match) hits.
  std::shared_ptr<const Filter> filter;
  // Leave a graph or lists aside and compare the query with every row.
  bool exact = false;
  // Of rows that neither covers, or with `exact`.
  ScanKind scan = ScanKind::kAuto;
  // How many rows a graph keeps in view while it is walked (efSearch of arXiv 1603.09320); more is
  // slower and finds more; at most 4096 count. 0: the index's own default, which is measured when
  // it is built (IndexSettings).
  std::size_t breadth = 0;
  // How many of its lists an IVF index looks at (nprobe); more is slower and finds more. 0: the
  // index's own default.
  std::size_t probes = 0;

  // The metadata field that says which source a document is from, a name as in Filter. Every hit
  // then carries its value. Empty: none.
  std::string source_field;
  // Hits of one source; 0: any number. A document without the field is a source of its own, and one
  // with an array there is of its first element. Needs source_field.
  std::size_t max_per_source = 0;
  // Drop a hit whose passage's stored vector has at least this inner product with a better hit's.
  // None: keep all. For vectors of length one, 1 drops copies and 0.95 what says nearly the same.
  std::optional<double> duplicate_similarity;
  // Both caps are applied while ranking (see ResultCaps), so that k hits come back if there are as
  // many: among all documents by exact search, with a graph among those it finds when it is asked
  // for more.

  // invalid_argument: max_per_source without source_field, a field's name that is too long, a
  // similarity that is no number.
  Status validate() const;
};

}  // namespace collegium::index
