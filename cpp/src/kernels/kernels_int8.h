#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

// Products of 8-bit integers. A row of activations is quantised as it comes, x = s (q - z) with q
// in [0, 255], one s and z a row; an output's weights once, w = t v, one t an output. Then
//   c = bias + (sum_k q v - z sum_k v) s t,
// whose integers are exact in any order and whose float part is one product s t and one fused
// multiply-add: the same bits in any batch, on any number of threads, at every level.
//
// AVX2 multiplies bytes in pairs and sums pairs in 16 bits (vpmaddubsw), where 255 * 127 * 2 would
// saturate. Of the ways to stay exact, t is chosen such that any four weights that meet in one
// 16-bit sum have magnitudes of at most 128 together: 255 * 128 < 2^15. That costs half of what
// 7-bit activations cost (MiniLM-L6's mean cosine with fp32: 0.9979; 0.9968 with those; 0.9989 if
// nothing could saturate), and two products of pairs can be added before they are widened.
namespace collegium::core {

// Packed panels: panel p holds, for each four inputs, 16 outputs of 4 weights each (64 bytes).
// Inputs are padded with zero weights to int8_depth.
inline constexpr std::size_t int8_depth(std::size_t k) { return (k + 15) / 16 * 16; }

// Bytes of the panels of n outputs of k inputs, and how many scales and sums they have.
inline constexpr std::size_t int8_panel_bytes(std::size_t n, std::size_t k) {
  return num_panels(n) * kPanelWidth * int8_depth(k);
}
inline constexpr std::size_t int8_outputs(std::size_t n) { return num_panels(n) * kPanelWidth; }

// The four weights of a 16-bit sum: of every eight inputs 0, 1, 4, 5 and 2, 3, 6, 7.
inline constexpr int kMaxInt8Quad = 128;
// More inputs than this could overflow 32 bits; so many keep every sum of weights below 2^22.
inline constexpr std::size_t kMaxInt8Inputs = (std::size_t{1} << 17) - 4;

// Quantises and packs w (n, k), row-major with stride ldw, finite. Writes int8_panel_bytes(n, k)
// bytes, 64-byte aligned, and int8_outputs(n) scales and sums, zero beyond n.
void pack_panels_int8(const float* w, std::size_t ldw, std::size_t n, std::size_t k,
                      std::int8_t* panels, float* scales, std::int32_t* sums) noexcept;

// Whether numbers from a file are such as pack_panels_int8 writes: no four weights too heavy, the
// sums theirs, finite scales that are not negative, zeros beyond n and k.
bool valid_panels_int8(const Int8Panels& panels, std::size_t n, std::size_t k) noexcept;

// What one tile of the units computes: some rows with the 16 outputs of one panel.
struct Int8Tile {
  const std::uint8_t* a;
  std::size_t depth;  // of a row and of a panel
  const float* a_scales;
  const std::int32_t* a_zeros;
  const std::int8_t* panel;
  const float* scales;  // the panel's 16 outputs
  const std::int32_t* sums;
  const float* bias;
  float* c;
  std::size_t ldc;
  const std::int8_t* ahead;  // fetched into the L2 cache meanwhile
};

// The units of x86 behind Kernels::gemm_panels_int8.
void gemm_panels_int8_avx2(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept;
void gemm_panels_int8_vnni(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                           std::size_t n, std::size_t k, const float* bias, float* c,
                           std::size_t ldc) noexcept;

}  // namespace collegium::core
