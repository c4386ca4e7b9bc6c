#include "collegium/core/isa.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace collegium::core {
namespace {

constexpr std::array kNames = {"scalar", "avx2", "avx512", "vnni", "amx"};

#if defined(__x86_64__)
// Which register states the operating system saves (XCR0). By hand, since _xgetbv() would need
// -mxsave for the whole file.
std::uint64_t saved_states() {
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

bool all_set(std::uint64_t value, std::uint64_t mask) { return (value & mask) == mask; }

// Asks Linux (5.16 and newer) for the state of tiles, which it saves for processes that asked only.
bool tiles_permitted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa detect() {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return Isa::kScalar;
  constexpr std::uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  if (!all_set(ecx, kFma | kOsxsave | kAvx | kF16c)) return Isa::kScalar;

  constexpr std::uint64_t kYmmState = 0x6, kZmmState = 0xe6, kTileState = 0x60000;
  const std::uint64_t states = saved_states();
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return Isa::kScalar;
  constexpr std::uint32_t kAvx2 = 1u << 5;
  if (!all_set(states, kYmmState) || !all_set(ebx, kAvx2)) return Isa::kScalar;

  constexpr std::uint32_t kAvx512F = 1u << 16, kAvx512Dq = 1u << 17, kAvx512Bw = 1u << 30,
                          kAvx512Vl = 1u << 31;
  if (!all_set(states, kZmmState) || !all_set(ebx, kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl))
    return Isa::kAvx2;

  constexpr std::uint32_t kVnni = 1u << 11;  // of ecx
  if (!all_set(ecx, kVnni)) return Isa::kAvx512;

  constexpr std::uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;  // of edx
  if (!all_set(states, kTileState) || !all_set(edx, kAmxBf16 | kAmxTile | kAmxInt8))
    return Isa::kVnni;
  // AVX512_BF16, which rounds what goes into the tiles: every machine with AMX has it.
  constexpr std::uint32_t kBf16 = 1u << 5;  // of eax
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !all_set(eax, kBf16)) return Isa::kVnni;
  return tiles_permitted() ? Isa::kAmx : Isa::kVnni;
}
#else
Isa detect() { return Isa::kScalar; }
#endif

const std::string& requested_name() {
  static const std::string name = [] {
    const char* value = std::getenv("COLLEGIUM_ISA");
    return std::string(value == nullptr ? "" : value);
  }();
  return name;
}

}  // namespace

std::string_view isa_name(Isa isa) noexcept {
  const auto position = static_cast<std::size_t>(isa);
  return position < kNames.size() ? kNames[position] : "unknown";
}

Isa machine_isa() noexcept {
  static const Isa isa = detect();
  return isa;
}

Result<Isa> parse_isa(std::string_view name) {
  std::string allowed;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<Isa>(i);
    allowed += (i == 0 ? "" : ", ") + std::string(kNames[i]);
  }
  return Status::invalid_argument("instruction set level '" + std::string(name) + "' is none of " +
                                  allowed);
}

Result<Isa> requested_isa() {
  if (requested_name().empty()) return Isa::kAmx;
  auto isa = parse_isa(requested_name());
  if (!isa.ok()) return isa.status().with_context("COLLEGIUM_ISA");
  return isa;
}

Isa active_isa() noexcept {
  static const Isa isa = [] {
    const auto requested = requested_isa();
    return requested.ok() ? std::min(machine_isa(), *requested) : machine_isa();
  }();
  return isa;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (int i = 0; i <= static_cast<int>(machine_isa()); ++i) isas.push_back(static_cast<Isa>(i));
  return isas;
}

}  // namespace collegium::core
