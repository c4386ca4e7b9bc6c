#pragma once

#include <cstddef>
#include <cstdint>

#include "collegium/core/gguf.h"
#include "collegium/core/isa.h"
#include "kernels/kernels.h"

// Quantised weights times activations rounded to bytes: the products of compute="fast".
//
// Weights keep the very numbers of the file; pack_panel() only lays those of 16 outputs side by
// side. Activations are rounded per row and 32 inputs: x = s q, s = max|x| / 127, q in [-127, 127].
// The products of a block (32 inputs, of Q6_K 16, which share a scale) are summed as whole numbers,
// so exactly, and the blocks in fp32 from the first to the last:
//   y = fma(float(sum of w q), scale * s, y), and where the type has minima
//   y = fma(minimum, s * sum of q, y).
// So a row has the same bits alone, in any company, and at every level, the scalar twin included.
// No allocation but of the stack, noexcept, single-threaded.
namespace collegium::core {

inline constexpr std::size_t kPackedBlock = 32;  // inputs

// Whether a type's tensors can be packed: those of whole numbers with scales.
bool can_pack(GgmlType type) noexcept;

// Bytes of 16 outputs of k inputs. Pre: k is a multiple of the type's block.
std::size_t packed_panel_bytes(GgmlType type, std::size_t k) noexcept;

// Lays `outputs` (1 to 16) rows of k inputs, row_bytes apart, into a panel; the rest of it is
// zeros. Per block of 32 inputs, b:
//   of Q4_K, Q5_K and Q6_K, before each eighth: 16 f16 d and, but for Q6_K, 16 f16 dmin;
//   the outputs' scales, then minima: f16, of Q4_K and Q5_K a byte, of Q6_K two signed ones;
//   256 bytes: byte 64 p + 4 j + i has in its low half the low four bits of number 4 p + i of
//   output j, in its high half those of number 16 + 4 p + i (Q8_0: 512 bytes, byte
//   64 g + 4 j + i is number 4 g + i of output j, plus 128);
//   Q5: 64 bytes, bit g of byte 4 j + i is the fifth one of number 4 g + i of output j;
//   Q6_K: 128 bytes, bits 2 g of byte 64 h + 4 j + i are the upper two of number 16 h + 4 g + i.
void pack_panel(GgmlType type, const std::byte* rows, std::size_t row_bytes, std::size_t outputs,
                std::size_t k, std::byte* panel) noexcept;

// What a type's blocks have in common.
struct PackedShape {
  std::size_t inputs;  // that share a scale: 32, of Q6_K 16
  int offset;          // what is taken from the stored numbers
  friend bool operator==(const PackedShape&, const PackedShape&) = default;
};
PackedShape packed_shape(GgmlType type) noexcept;

// A block whose numbers are all smaller is zeros.
inline constexpr float kPackedSmallest = 0x1p-100f;
inline constexpr float kPackedLargest = 0x1.fffffep127f;

// Rounded rows, with room for packed_room(rows) of them: what is behind the last one may be read.
inline constexpr std::size_t packed_room(std::size_t rows) {
  return rows <= 4 ? rows : (rows + 15) / 16 * 16;
}
struct PackedRows {
  const std::int8_t* values;   // (rows, k)
  const float* scales;         // (rows, k / 32)
  const float* sums;           // (rows, k / 32): scale times the sum of the values
  const std::int32_t* starts;  // (rows, k / inputs): -offset times the sum of the values
};
// From PackedKernels::tiled_from rows on they are in tiles of 16, block by block: values
// (rows / 16, k / 32, 16, 32), scales and sums (rows / 16, k / 32, 16), and there are no starts.

struct PackedKernels {
  std::size_t tiled_from;
  // Rounds x (rows, k), dense, for a type of `shape`; `tiled`: there are tiled_from rows at least,
  // of which these are some, from a multiple of 16 on. A row's block with a number that is not
  // finite gets a scale that is none.
  void (*round_rows)(const float* x, std::size_t rows, std::size_t k, PackedShape shape, bool tiled,
                     std::int8_t* values, float* scales, float* sums,
                     std::int32_t* starts) noexcept;
  // y[r, j] = x[r] . w[j], of the panels that hold outputs 0 to n - 1. `scratch`:
  // packed_scratch_bytes(rows), 64-byte aligned.
  void (*multiply)(GgmlType type, const std::byte* panels, std::size_t n, std::size_t k,
                   const PackedRows& x, std::size_t rows, std::byte* scratch, float* y,
                   std::size_t ldy) noexcept;
};

// Inputs of a panel that are opened at a time.
inline constexpr std::size_t kPackedPart = 1024;
// Their numbers, and scales and minima of each block.
inline constexpr std::size_t kPackedScratch =
    kPackedPart * kPanelWidth + kPackedPart / 16 * kPanelWidth * 2 * sizeof(float);
inline constexpr std::size_t packed_scratch_bytes(std::size_t rows) {
  return kPackedScratch + packed_room(rows) * kPanelWidth * sizeof(float);
}

// The table of a level; a level without a unit of its own gives the next lower one's.
const PackedKernels& packed_kernels_for(Isa isa) noexcept;

}  // namespace collegium::core
