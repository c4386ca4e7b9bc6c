#pragma once

#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::core {

// Instruction set levels, in order. A level implies the ones before it, and counts only if the
// operating system saves its registers too.
//   kAvx2    AVX2, FMA, F16C
//   kAvx512  AVX-512 F, BW, DQ, VL
//   kVnni    AVX-512 VNNI
//   kAmx     AMX TILE, INT8, BF16, and Linux lets this process use tiles; asked once, by
//            machine_isa(), and kept until the process ends
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kVnni = 3, kAmx = 4 };

COLLEGIUM_API std::string_view isa_name(Isa isa) noexcept;  // "scalar", "avx2", ...

// The highest level of this machine.
COLLEGIUM_API Isa machine_isa() noexcept;

// The level in use: machine_isa() capped by the environment variable COLLEGIUM_ISA, read once at
// first call. An unknown value caps nothing; requested_isa() has the error to show.
COLLEGIUM_API Isa active_isa() noexcept;

// The level a name means. invalid_argument for any other text; the message lists the names.
COLLEGIUM_API Result<Isa> parse_isa(std::string_view name);

// What COLLEGIUM_ISA asked for at the first call of this or active_isa(): kAmx (no cap) when it is
// unset or empty, invalid_argument when it names no level.
COLLEGIUM_API Result<Isa> requested_isa();

// Every level this machine can run, lowest first.
COLLEGIUM_API std::vector<Isa> available_isas();

}  // namespace collegium::core
