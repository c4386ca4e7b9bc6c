// Run only where the machine has AMX and Linux lets this process use it (isa.cc).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/kernels_bf16.h"
#include "kernels/kernels_int8.h"

namespace collegium::core {
namespace {

#include "kernels/amx_instructions.inc"
#include "kernels/kernels_amx.inc"
#include "kernels/kernels_amx_attention.inc"
#include "kernels/kernels_bf16.inc"

}  // namespace

void gemm_panels_int8_amx(const Int8Rows& a, std::size_t rows, const Int8Panels& panels,
                          std::size_t n, std::size_t k, const float* bias, float* c,
                          std::size_t ldc) noexcept {
  gemm_int8(a, rows, panels, n, k, bias, c, ldc);
}

void round_rows_bf16_amx(const float* x, std::size_t ldx, std::size_t rows, std::size_t k,
                         void* values) noexcept {
  round_rows_to_bf16(x, ldx, rows, k, values);
}

void gemm_panels_bf16_amx(const Bf16Rows& a, std::size_t rows, const std::uint16_t* panels,
                          std::size_t n, std::size_t k, const float* bias, float* c,
                          std::size_t ldc) noexcept {
  gemm_bf16(a, rows, panels, n, k, bias, c, ldc);
}

void attend_bf16_amx(const HeadsInput& in, std::size_t heads, float* scratch,
                     float* context) noexcept {
  attend(in, heads, scratch, context);
}

}  // namespace collegium::core
