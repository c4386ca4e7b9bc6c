// Put before the sources of llama.cpp where GCC compiles them for AMX (-include): GCC 12's own
// _tile_loadconfig tells the compiler that it reads 8 of the 64 bytes, so that the rest are never
// written and the first tile raises an illegal instruction.
#pragma once
#include <immintrin.h>
#ifdef __AMX_TILE__
#undef _tile_loadconfig
#define _tile_loadconfig(config) \
  __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])(config)))
#endif
