// Run only where the machine has AMX and Linux lets this process use it (isa.cc). The instructions
// by hand, as in kernels_amx.cc.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

constexpr std::size_t kFusedRows = 8;
constexpr std::size_t kTileRows = 1;  // none: the tiles of AMX take what is not fused

#include "lm/packed_kernels_vnni.inc"

// Signed numbers, as they are meant.
template <typename F>
inline Bytes opened_bytes(Bytes bytes);

struct TileConfig;
inline void configure(const TileConfig& config);
inline void release() { __asm__ volatile("tilerelease"); }
template <int kTile>
inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
inline void load_tile(const void* p, std::size_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* p, std::size_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
}
// Signed bytes by signed ones.
template <int kSums, int kRows, int kWeights>
inline void multiply_bytes() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kWeights));
}

#include "lm/packed_kernels_amx.inc"

inline void configure(const TileConfig& config) { __asm__ volatile("ldtilecfg %0" ::"m"(config)); }

}  // namespace

extern const PackedKernels kPackedKernelsAmx;
const PackedKernels kPackedKernelsAmx = {kFusedRows + 1, round_rows, multiply};

}  // namespace collegium::core
