#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::index {

enum class IndexKind {
  kAuto = 0,   // by size: kExact up to CorpusOptions::hnsw_threshold passages, above it kHnsw
  kExact = 1,  // every row is looked at
  kHnsw = 2,   // a graph of near rows that is walked (arXiv 1603.09320)
  kIvf = 3,    // rows in lists around centres; those of the nearest centres are looked at
};

// "auto", "exact", "hnsw", "ivf".
COLLEGIUM_API std::string_view index_kind_name(IndexKind kind) noexcept;
// invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<IndexKind> parse_index_kind(std::string_view name);

// What the index of a collection is, once Corpus::flush_indexes() has built it. Recorded in the
// store. Zeros leave a choice to what is measured when the index is built.
struct COLLEGIUM_API IndexSettings {
  IndexKind kind = IndexKind::kAuto;

  // kHnsw: links of a row on each level, twice as many on the ground, [4, 256]; more takes more
  // memory (8 bytes a link) and finds more. Rows kept in view while the links of a new one are
  // looked for, [1, 4096]; more takes longer to build and finds more.
  std::uint32_t links = 32;
  std::uint32_t build_breadth = 64;
  // kIvf: lists, [0, 65536] and never more than rows; 0: four times the root of the rows.
  std::uint32_t lists = 0;

  // The effort of a search that does not say one: SearchOptions::breadth of kHnsw, probes of kIvf.
  // 0: the least with which, when the index is built, recall@10 against exact search reaches
  // `target_recall` for 200 of the collection's own rows, perturbed. [0, 65536]
  std::uint32_t effort = 0;
  double target_recall = 0.99;  // (0, 1]

  // Why these, for people to read: what Corpus::tune() measured. At most 4096 bytes.
  std::string reason;

  Status validate() const;  // invalid_argument: out of range
  friend bool operator==(const IndexSettings&, const IndexSettings&) = default;
};

struct TuneOptions {
  IndexKind kind = IndexKind::kAuto;
  double target_recall = 0.99;  // of the `k` best passages that exact search finds, (0, 1]
  std::size_t k = 10;           // [1, 1000]
  // What is measured with, (n, dim), any n; questions as users ask them are best. Empty:
  // `num_samples` of the collection's rows, each moved so that its product with itself is about
  // 0.8 of what it was.
  std::span<const float> queries;
  std::size_t num_samples = 200;  // [1, 100000]
  std::uint64_t seed = 1;         // of what is sampled
};

// What a search of one effort found.
struct TuneTrial {
  std::uint32_t effort = 0;
  double recall = 0.0;
  double query_us = 0.0;  // time of a query in a batch, on this machine; decides nothing
};

struct TuneReport {
  IndexSettings settings;              // as recorded
  IndexKind kind = IndexKind::kExact;  // what kAuto became
  std::uint64_t passages = 0;
  std::uint64_t queries = 0;
  bool reached = true;  // the target
  double recall = 1.0;  // at settings.effort
  double exact_query_us = 0.0;
  std::vector<TuneTrial> trials;  // by ascending effort; none for kExact
};

}  // namespace collegium::index
