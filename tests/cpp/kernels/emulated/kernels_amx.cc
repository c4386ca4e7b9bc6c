// The kernels of AMX over emulated tiles, after Intel's manual (volume 2: LDTILECFG, TILELOADD,
// TDPBUSD, TDPBF16PS). What would fault on the machine ends the test here.
#include <immintrin.h>  // of this folder

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

struct TileConfig;
inline void configure(const TileConfig& config);

struct EmulatedTile {
  std::size_t rows = 0;
  std::size_t row_bytes = 0;
  std::uint8_t bytes[16][64] = {};
};
thread_local bool configured = false;
thread_local EmulatedTile tiles[8];

void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "emulated AMX would fault: %s\n", what);
  std::abort();
}

inline void release() {
  for (EmulatedTile& tile : tiles) tile = {};
  configured = false;
}

EmulatedTile& tile_of(int number) {
  require(configured, "no tiles are configured");
  require(number >= 0 && number < 8, "no such tile");
  return tiles[number];
}

template <int kTile>
inline void clear_tile() {
  std::memset(tile_of(kTile).bytes, 0, sizeof(EmulatedTile::bytes));
}
template <int kTile>
inline void load_tile(const void* p, std::size_t stride) {
  EmulatedTile& tile = tile_of(kTile);
  std::memset(tile.bytes, 0, sizeof tile.bytes);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    std::memcpy(tile.bytes[r], static_cast<const std::uint8_t*>(p) + r * stride, tile.row_bytes);
  }
}
template <int kTile>
inline void store_tile(void* p, std::size_t stride) {
  const EmulatedTile& tile = tile_of(kTile);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    std::memcpy(static_cast<std::uint8_t*>(p) + r * stride, tile.bytes[r], tile.row_bytes);
  }
}

void require_shapes(const EmulatedTile& c, const EmulatedTile& a, const EmulatedTile& b) {
  require(a.row_bytes % 4 == 0 && b.row_bytes % 4 == 0 && c.row_bytes % 4 == 0,
          "a tile's row is no whole number of elements");
  require(a.rows == c.rows && b.row_bytes == c.row_bytes && a.row_bytes / 4 == b.rows,
          "the shapes of a product's tiles");
}

template <int kSums, int kRows, int kWeights>
inline void multiply_bytes() {
  EmulatedTile& c = tile_of(kSums);
  const EmulatedTile &a = tile_of(kRows), &b = tile_of(kWeights);
  require_shapes(c, a, b);
  for (std::size_t m = 0; m < c.rows; ++m) {
    for (std::size_t n = 0; n < c.row_bytes / 4; ++n) {
      std::int32_t total;
      std::memcpy(&total, &c.bytes[m][4 * n], 4);
      for (std::size_t k = 0; k < 4 * b.rows; ++k) {
        total += a.bytes[m][k] * static_cast<std::int8_t>(b.bytes[k / 4][4 * n + k % 4]);
      }
      std::memcpy(&c.bytes[m][4 * n], &total, 4);
    }
  }
}

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

float bf16_at(const std::uint8_t* bytes) {
  std::uint32_t bits = 0;
  std::memcpy(reinterpret_cast<std::uint8_t*>(&bits) + 2, bytes, 2);
  float value;
  std::memcpy(&value, &bits, 4);
  return flushed(value);
}

// The even and the odd elements are summed apart, then together, then to the sum so far.
template <int kSums, int kRows, int kWeights>
inline void multiply_bf16() {
  EmulatedTile& c = tile_of(kSums);
  const EmulatedTile &a = tile_of(kRows), &b = tile_of(kWeights);
  require_shapes(c, a, b);
  for (std::size_t m = 0; m < c.rows; ++m) {
    for (std::size_t n = 0; n < c.row_bytes / 4; ++n) {
      float part[2] = {};
      for (std::size_t k = 0; k < 2 * b.rows; ++k) {
        const float x = bf16_at(&a.bytes[m][2 * k]);
        const float y = bf16_at(&b.bytes[k / 2][4 * n + 2 * (k % 2)]);
        part[k % 2] = flushed(std::fma(x, y, part[k % 2]));
      }
      float total;
      std::memcpy(&total, &c.bytes[m][4 * n], 4);
      total = flushed(flushed(total) + flushed(part[0] + part[1]));
      std::memcpy(&c.bytes[m][4 * n], &total, 4);
    }
  }
}

#include "kernels/kernels_amx.inc"
#include "kernels/kernels_amx_attention.inc"
#include "kernels/kernels_bf16.inc"

inline void configure(const TileConfig& config) {
  require(config.palette == 1 && config.start_row == 0, "the palette of a configuration");
  release();
  std::uint8_t bytes[sizeof config];
  std::memcpy(bytes, &config, sizeof bytes);
  for (std::size_t t = 0; t < 8; ++t) {  // by the manual's offsets, not by the struct's names
    tiles[t].row_bytes = bytes[16 + 2 * t] + std::size_t{256} * bytes[17 + 2 * t];
    tiles[t].rows = bytes[48 + t];
    require(tiles[t].rows <= 16 && tiles[t].row_bytes <= 64, "the size of a tile");
    require((tiles[t].rows == 0) == (tiles[t].row_bytes == 0), "half a tile");
  }
  for (std::size_t i = 2; i < 16; ++i) require(bytes[i] == 0, "a reserved byte");
  for (std::size_t i = 32; i < 48; ++i) require(bytes[i] == 0, "a reserved byte");
  for (std::size_t i = 56; i < 64; ++i) require(bytes[i] == 0, "a reserved byte");
  configured = true;
}

}  // namespace

bool emulated_tiles_are_released() { return !configured; }

void gemm_panels_int8_amx_emulated(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                                   std::size_t n, std::size_t k, const float* bias, float* c,
                                   std::size_t ldc) noexcept {
  gemm_int8(a, rows, panels, n, k, bias, c, ldc);
}

void round_rows_bf16_amx_emulated(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                                  void* values) noexcept {
  round_rows_to_bf16(x, ldx, rows, k, values);
}

void gemm_panels_bf16_amx_emulated(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                                   std::size_t n, std::size_t k, const float* bias, float* c,
                                   std::size_t ldc) noexcept {
  gemm_bf16(a, rows, panels, n, k, bias, c, ldc);
}

void attend_bf16_amx_emulated(const HeadsInput& in, std::size_t heads, float* scratch,
                              float* context) noexcept {
  attend(in, heads, scratch, context);
}

}  // namespace collegium::core
