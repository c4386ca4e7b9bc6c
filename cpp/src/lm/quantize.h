#pragma once

#include <cstddef>
#include <span>

namespace collegium::core {

// Weights of F32, F16 and BF16 made into GGUF's blocks of 32, for LmWeights::kInt8 and kInt4. Rows
// of k numbers, k a multiple of 32; none above kQuantizable in magnitude, all finite. noexcept, no
// allocation.
inline constexpr float kQuantizable = 65000.0f;  // scales are f16
bool quantizable(std::span<const float> x) noexcept;

// Q8_0: x is about d q, d = max|x| / 127, q from -127 to 127. Each q is the nearest to x / d as it
// is stored, so that no number is off by more than d / 2 (denormal d aside).
void quantize_q8_0(const float* x, std::size_t k, std::byte* blocks) noexcept;

// Q4_1: x is about d q + m, q from 0 to 15. Of a range of scales around the one that spans the
// block, each with the d and m of least squares for its q, that of the least squared error, as
// llama.cpp's make_qkx2_quants searches.
void quantize_q4_1(const float* x, std::size_t k, std::byte* blocks) noexcept;

}  // namespace collegium::core
