#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collegium/core/aligned_buffer.h"
#include "collegium/core/status.h"
#include "collegium/index/search_options.h"

namespace collegium::index {

struct ScoredPosition {
  float score;  // inner product
  std::uint32_t position;
};

// The order of every result: ties by position.
inline bool scores_better(const ScoredPosition& a, const ScoredPosition& b) {
  return a.score != b.score ? a.score > b.score : a.position < b.position;
}

// What a search of one block found. Every position not in `best` scores at most `bound`;
// meaningless when `complete`, that is, when `best` holds every live position.
struct BlockResult {
  std::vector<ScoredPosition> best;
  bool complete = false;
  float bound = 0.0f;
};

// The rows of one scan. Rows and queries are finite, and so short that products are too.
struct ScanRows {
  std::span<const float> vectors;      // (size, dim)
  std::size_t dim = 0;                 // > 0
  std::span<const std::uint8_t> live;  // bit i % 8 of byte i / 8; empty: all
  std::size_t num_live = 0;            // set bits

  std::size_t size() const { return vectors.size() / dim; }
  bool alive(std::size_t i) const { return live.empty() || (live[i / 8] >> (i % 8) & 1) != 0; }
};

// Rows in fewer bits, made from the floats, and how far they are off.
struct ScanCodes {
  ScanKind kind = ScanKind::kFloat32;
  std::size_t stride = 0;                     // elements a row, zeros after the last
  core::AlignedBuffer<std::int8_t> bytes;     // kInt8: (size, stride)
  core::AlignedBuffer<std::uint16_t> halves;  // kBfloat16: (size, stride)
  core::AlignedBuffer<std::uint64_t> words;   // kBinary: (size, stride), a bit a sign
  core::AlignedBuffer<float> scale;           // kInt8: (size,); row = scale * code, about
  core::AlignedBuffer<std::int32_t> sum;      // kInt8: (size,), of a row's codes
  // (size,), length of what is off; kFloat32: length of the row
  core::AlignedBuffer<float> error;
  float longest = 0.0f;  // at least the length of any row, exact or coded
};

// Codes of rows (n, dim); kAuto has none, kFloat32 only lengths. Uses the process's threads.
ScanCodes make_codes(std::span<const float> rows, std::size_t dim, ScanKind kind);

// The scans. For each of `queries` (any, dim) the min(want, num_live) best live rows by (score
// descending, position ascending), scored in fp32 by the kernels of this level of instructions. A
// query's result is the same bits alone, in any batch, and for any number of threads; rows are
// shared out among the process's threads when there are enough.
// They throw std::bad_alloc and nothing else.
std::vector<BlockResult> scan_floats(const ScanRows& rows, std::span<const float> queries,
                                     std::size_t want);

// Reads the codes, and of the floats only the rows that may be among the best. Except with kBinary
// the result is that of scan_floats() to the bit: a row is left out only if its code's score and
// the largest error that Cauchy and Schwarz allow put it below the best. With kBinary the rows with
// the fewest differing signs are looked at, which misses some. The codes of kFloat32 serve batches,
// whose products are summed in the order that is fastest, those that may be among the best once
// more.
std::vector<BlockResult> scan_codes(const ScanRows& rows, const ScanCodes& codes,
                                    std::span<const float> queries, std::size_t want);

// Whether scan_codes() reads codes of this kind, rather than call scan_floats().
bool uses_codes(const ScanRows& rows, ScanKind kind, std::size_t num_queries, std::size_t want);

}  // namespace collegium::index
