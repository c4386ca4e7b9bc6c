#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "collegium/core/isa.h"
#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(generator);
  return out;
}

// Levels with a unit of their own that this machine can run.
inline std::vector<const Kernels*> levels() {
  std::vector<const Kernels*> out;
  for (Isa isa : available_isas()) {
    const Kernels* kernels = &kernels_for(isa);
    if (out.empty() || out.back() != kernels) out.push_back(kernels);
  }
  return out;
}

#ifdef COLLEGIUM_EMULATED_KERNELS
// The units of levels that few machines have, over emulated instructions: see emulated/.
extern const Kernels kKernelsAvx512Emulated;
void gemm_panels_int8_vnni_emulated(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                                    std::size_t n, std::size_t k, const float* bias, float* c,
                                    std::size_t ldc) noexcept;
void gemm_panels_int8_amx_emulated(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                                   std::size_t n, std::size_t k, const float* bias, float* c,
                                   std::size_t ldc) noexcept;
void round_rows_bf16_amx_emulated(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                                  void* values) noexcept;
void gemm_panels_bf16_amx_emulated(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                                   std::size_t n, std::size_t k, const float* bias, float* c,
                                   std::size_t ldc) noexcept;
void attend_bf16_amx_emulated(const HeadsInput& in, std::size_t heads, float* scratch,
                              float* context) noexcept;
bool emulated_tiles_are_released();  // on this thread

inline std::vector<const Kernels*> emulated_levels() {
  static const std::vector<Kernels> tables = [] {
    Kernels avx512 = kKernelsAvx512Emulated;
    avx512.gemm_panels_int8 = kernels_for(Isa::kScalar).gemm_panels_int8;  // AVX2's, not emulated
    Kernels vnni = avx512;
    vnni.isa = Isa::kVnni;
    vnni.gemm_panels_int8 = gemm_panels_int8_vnni_emulated;
    Kernels amx = avx512;
    amx.isa = Isa::kAmx;
    amx.gemm_panels_int8 = gemm_panels_int8_amx_emulated;
    amx.round_rows_bf16 = round_rows_bf16_amx_emulated;
    amx.gemm_panels_bf16 = gemm_panels_bf16_amx_emulated;
    amx.attend_bf16 = attend_bf16_amx_emulated;
    return std::vector{avx512, vnni, amx};
  }();
  std::vector<const Kernels*> out;
  for (const Kernels& kernels : tables) out.push_back(&kernels);
  return out;
}
#else
inline std::vector<const Kernels*> emulated_levels() { return {}; }
#endif

inline std::string level_name(const testing::TestParamInfo<const Kernels*>& level) {
  return std::string(isa_name(level.param->isa));
}

}  // namespace collegium::core
