#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

// Products of bf16 numbers (the upper 16 bits of a float) with sums in fp32. Weights are rounded
// once, a row of activations as it comes, both to the nearest, ties to even.
//
// A level with AMX multiplies pairs in its tiles (kernels_amx.inc). On the others bf16 is a way to
// hold weights, in half the memory: they are widened on the way into the registers, and an output
// is the chain of fused multiply-adds that it is in fp32, of rounded numbers. So the levels below
// AMX give one another's bits, and AMX, whose sums have another order, has its own; either way a
// row is bit-equal alone and in any batch.
namespace collegium::core {

// Packed panels: panel p holds, for each two inputs, 16 outputs of 2 weights each (64 bytes).
// Inputs are padded with zero weights to bf16_depth, the inputs of one AMX tile.
inline constexpr std::size_t bf16_depth(std::size_t k) { return (k + 31) / 32 * 32; }

// Numbers in the panels of n outputs of k inputs.
inline constexpr std::size_t bf16_panel_size(std::size_t n, std::size_t k) {
  return num_panels(n) * kPanelWidth * bf16_depth(k);
}

// Rounds and packs w (n, k), row-major with stride ldw: bf16_panel_size(n, k) numbers, 64-byte
// aligned. A weight above 3.39e38 becomes infinite.
void pack_panels_bf16(const float* w, std::size_t ldw, std::size_t n, std::size_t k,
                      std::uint16_t* panels) noexcept;

// Whether all of the numbers are finite.
bool all_finite_bf16(const std::uint16_t* numbers, std::size_t count) noexcept;

// Floats of scratch that attend_bf16 wants: queries, keys, values, a block of scores and weights.
inline constexpr std::size_t attention_scratch_size(std::size_t tokens, std::size_t dim) {
  const std::size_t rows = (tokens + 31) / 32 * 32;
  return rows * bf16_depth(dim) + rows * num_panels(dim) * kPanelWidth / 2 + 48 * rows + 1024 + 32;
}

// The unit of AMX behind Kernels::gemm_panels_int8, round_rows_bf16 and gemm_panels_bf16.
void gemm_panels_int8_amx(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                          std::size_t n, std::size_t k, const float* bias, float* c,
                          std::size_t ldc) noexcept;
void round_rows_bf16_amx(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                         void* values) noexcept;
void gemm_panels_bf16_amx(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                          std::size_t n, std::size_t k, const float* bias, float* c,
                          std::size_t ldc) noexcept;
void attend_bf16_amx(const HeadsInput& in, std::size_t heads, float* scratch,
                     float* context) noexcept;

}  // namespace collegium::core
