// Run only where the machine has AMX and Linux lets this process use it (core's isa.cc). Tiles are
// written as assembly: GCC 12's intrinsics want a literal for a tile. Compiled with -mavx512f
// -mavx512bw -mavx512dq -mavx512vl for what follows the products.
#include <immintrin.h>

#include "scan_int8.h"
#include "scan_kernels.h"

namespace collegium::index {
namespace {

#include "scan_512.inc"
#include "scan_ahead.inc"
#include "scan_batch.inc"

constexpr std::size_t kTileRows = 16;
constexpr std::size_t kTileBytes = 64;  // of a row
constexpr std::size_t kTileSize = kTileRows * kTileBytes;

// As LDTILECFG reads it. Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 panels of queries.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

void configure(std::size_t rows) {
  TileConfig config;
  for (std::size_t tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? rows : kTileRows);
    config.row_bytes[tile] = kTileBytes;
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}
template <int kTile>
inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
inline void load_tile(const void* p, std::size_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* p) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(kTileBytes), "i"(kTile)
                   : "memory");
}

struct Bytes {
  // Signed bytes of rows by unsigned ones of queries.
  template <int kSums, int kRows, int kQueries>
  static void multiply() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows),
                     "i"(kQueries));
  }
  const float* row_scale;
  const std::int32_t* row_sum;

  V score(const void* sums, std::size_t row) const {
    const __m512i offset = _mm512_set1_epi32(kWideQueryOffset * row_sum[row]);
    return mul(splat(row_scale[row]),
               _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(sums), offset)));
  }
};

struct Halves {
  template <int kSums, int kRows, int kQueries>
  static void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows),
                     "i"(kQueries));
  }
  V score(const void* sums, std::size_t) const { return _mm512_load_ps(sums); }
};

// Writes the sums of one or two tiles of rows and one or two panels: tile (row tile, panel) is
// sums[2 * row tile + panel].
template <typename Product, std::size_t kRowTiles, std::size_t kPanels>
inline void multiply_tiles(const char* rows, std::size_t row_bytes, const char* panels,
                           std::size_t panel_bytes, char* sums) {
  clear_tile<0>();
  if constexpr (kPanels == 2) clear_tile<1>();
  if constexpr (kRowTiles == 2) clear_tile<2>();
  if constexpr (kRowTiles == 2 && kPanels == 2) clear_tile<3>();
  for (std::size_t at = 0; at < row_bytes; at += kTileBytes) {
    load_tile<4>(rows + at, row_bytes);
    load_tile<6>(panels + at * kTileRows, kTileBytes);
    Product::template multiply<0, 4, 6>();
    if constexpr (kPanels == 2) {
      load_tile<7>(panels + panel_bytes + at * kTileRows, kTileBytes);
      Product::template multiply<1, 4, 7>();
    }
    if constexpr (kRowTiles == 2) {
      load_tile<5>(rows + kTileRows * row_bytes + at, row_bytes);
      Product::template multiply<2, 5, 6>();
      if constexpr (kPanels == 2) Product::template multiply<3, 5, 7>();
    }
  }
  store_tile<0>(sums);
  if constexpr (kPanels == 2) store_tile<1>(sums + kTileSize);
  if constexpr (kRowTiles == 2) store_tile<2>(sums + 2 * kTileSize);
  if constexpr (kRowTiles == 2 && kPanels == 2) store_tile<3>(sums + 3 * kTileSize);
}

template <typename Product>
struct Scan {
  const Product& product;
  const char* rows;
  std::size_t row_bytes;  // a multiple of kTileBytes
  const float* error;
  const PanelQueries& queries;
  Survivor* out;
  std::size_t count = 0;

  template <std::size_t kRowTiles, std::size_t kPanels>
  void scan_tiles(std::size_t first, std::size_t tile_rows, std::size_t panel) {
    alignas(64) char sums[4 * kTileSize];
    const std::size_t panel_bytes = row_bytes * kTileRows;
    multiply_tiles<Product, kRowTiles, kPanels>(
        rows + first * row_bytes, row_bytes,
        static_cast<const char*>(queries.panels) + panel * panel_bytes, panel_bytes, sums);
    const Limits<kPanels> limits(queries, panel * kPanelWidth);
    for (std::size_t t = 0; t < kRowTiles; ++t) {
      for (std::size_t r = 0; r < tile_rows; ++r) {
        const std::size_t row = first + t * kTileRows + r;
        V scores[kPanels];
        for (std::size_t p = 0; p < kPanels; ++p)
          scores[p] = product.score(sums + (2 * t + p) * kTileSize + r * kTileBytes, row);
        count = limits.keep(scores, error[row], row, out, count);
      }
    }
  }

  template <std::size_t kPanels>
  void scan_panels(std::size_t n, std::size_t panel, Fetcher& fetcher) {
    std::size_t i = 0;
    for (; i + 2 * kTileRows <= n; i += 2 * kTileRows) {
      fetcher.fetch(2 * kTileRows);
      scan_tiles<2, kPanels>(i, kTileRows, panel);
    }
    for (; i + kTileRows <= n; i += kTileRows) {
      fetcher.fetch(kTileRows);
      scan_tiles<1, kPanels>(i, kTileRows, panel);
    }
  }

  std::size_t scan(std::size_t n, FetchAhead ahead) {
    const std::size_t rest = n % kTileRows;
    Fetcher fetcher(ahead, (n - rest) * ((queries.num_panels + 1) / 2));
    if (n > rest) {
      configure(kTileRows);
      std::size_t panel = 0;
      for (; panel + 2 <= queries.num_panels; panel += 2) scan_panels<2>(n, panel, fetcher);
      if (panel < queries.num_panels) scan_panels<1>(n, panel, fetcher);
    }
    if (rest != 0) {
      configure(rest);
      for (std::size_t panel = 0; panel < queries.num_panels; ++panel)
        scan_tiles<1, 1>(n - rest, rest, panel);
    }
    __asm__ volatile("tilerelease");
    return count;
  }
};

}  // namespace

std::size_t select_int8_amx(const std::int8_t* rows, const float* row_scale,
                            const std::int32_t* row_sum, const float* error, std::size_t n,
                            std::size_t dim, const PanelQueries& queries, Survivor* out,
                            FetchAhead ahead) noexcept {
  const Bytes product{row_scale, row_sum};
  Scan<Bytes> scan{product, reinterpret_cast<const char*>(rows), dim, error, queries, out};
  return scan.scan(n, ahead);
}

std::size_t select_bf16_amx(const std::uint16_t* rows, const float* error, std::size_t n,
                            std::size_t dim, const PanelQueries& queries, Survivor* out,
                            FetchAhead ahead) noexcept {
  const Halves product;
  Scan<Halves> scan{product, reinterpret_cast<const char*>(rows), 2 * dim, error, queries, out};
  return scan.scan(n, ahead);
}

}  // namespace collegium::index
