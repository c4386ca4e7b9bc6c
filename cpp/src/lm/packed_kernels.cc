#include "lm/packed_kernels.h"

#include <cstring>

namespace collegium::core {

extern const PackedKernels kPackedKernelsScalar;
#ifdef COLLEGIUM_X86_KERNELS
extern const PackedKernels kPackedKernelsAvx2;
extern const PackedKernels kPackedKernelsVnni;
extern const PackedKernels kPackedKernelsAmx;
#endif

namespace {

constexpr std::size_t kSuperBlock = 8;  // blocks of 32 that share d and dmin

// Where the parts of a block are, in file and panel.
struct Layout {
  bool super;                // of 256 numbers with one d
  bool minima;               // d and m, or d and dmin
  std::size_t scale_bytes;   // of one output in one block, minima not counted: 2, 1, or Q6_K's two
  std::size_t number_bytes;  // of the 16 outputs: halves or bytes
  std::size_t high_bytes;    // of the 16 outputs
};

Layout layout_of(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0:
      return {false, false, 2, 256, 0};
    case GgmlType::kQ4_1:
      return {false, true, 2, 256, 0};
    case GgmlType::kQ5_0:
      return {false, false, 2, 256, 64};
    case GgmlType::kQ5_1:
      return {false, true, 2, 256, 64};
    case GgmlType::kQ4_K:
      return {true, true, 1, 256, 0};
    case GgmlType::kQ5_K:
      return {true, true, 1, 256, 64};
    case GgmlType::kQ6_K:
      return {true, false, 2, 256, 128};
    default:
      return {false, false, 2, 512, 0};
  }
}

std::size_t header_bytes(const Layout& layout) {
  return layout.super ? (layout.minima ? 4 : 2) * kPanelWidth : 0;
}
std::size_t block_bytes(const Layout& layout) {
  return layout.scale_bytes * (layout.minima ? 2 : 1) * kPanelWidth + layout.number_bytes +
         layout.high_bytes;
}

int at(const std::byte* bytes, std::size_t i) { return std::to_integer<int>(bytes[i]); }

// Four neighbouring bytes: a group of numbers, or their halves or bits.
std::uint32_t load4(const std::byte* from) {
  std::uint32_t four;
  std::memcpy(&four, from, sizeof four);
  return four;
}
void store4(std::byte* to, std::uint32_t four) { std::memcpy(to, &four, sizeof four); }

constexpr std::uint32_t kLowHalves = 0x0f0f0f0f;

// The 32 stored numbers of block b of a row become output j of a panel's block. `row_block` is what
// the file has of it: a block, or one of 256 numbers.
void put_numbers(GgmlType type, const std::byte* row_block, std::size_t part, std::size_t j,
                 std::byte* numbers, std::byte* high) {
  numbers += 4 * j;
  high += 4 * j;
  // Bytes whose halves are numbers i and 16 + i, as a panel has them.
  const auto copy_halves = [&](const std::byte* packed) {
    for (std::size_t p = 0; p < 4; ++p) store4(numbers + 64 * p, load4(packed + 4 * p));
  };
  // 32 bits: bit i is the fifth one of number i.
  const auto spread_fifths = [&](std::uint32_t bits) {
    std::uint32_t out = 0;
    for (std::size_t g = 0; g < 8; ++g, bits >>= 4)
      out |= ((bits & 0x0f) * 0x00204081u & 0x01010101u) << g;
    store4(high, out);
  };
  // Low or high halves of 32 bytes.
  const auto join_halves = [&](const std::byte* packed, bool upper) {
    for (std::size_t p = 0; p < 4; ++p) {
      const std::uint32_t first = load4(packed + 4 * p), second = load4(packed + 16 + 4 * p);
      store4(numbers + 64 * p, upper ? (first >> 4 & kLowHalves) | (second & ~kLowHalves)
                                     : (first & kLowHalves) | (second & kLowHalves) << 4);
    }
  };
  switch (type) {
    case GgmlType::kQ4_0:
      return copy_halves(row_block + 2);
    case GgmlType::kQ4_1:
      return copy_halves(row_block + 4);
    case GgmlType::kQ5_0:
      spread_fifths(load4(row_block + 2));
      return copy_halves(row_block + 6);
    case GgmlType::kQ5_1:
      spread_fifths(load4(row_block + 4));
      return copy_halves(row_block + 8);
    case GgmlType::kQ4_K:
      return join_halves(row_block + 16 + part / 2 * 32, part % 2 != 0);
    case GgmlType::kQ5_K: {
      std::uint32_t out = 0;
      for (std::size_t g = 0; g < 8; ++g)
        out |= (load4(row_block + 16 + 4 * g) >> part & 0x01010101u) << g;
      store4(high, out);
      return join_halves(row_block + 48 + part / 2 * 32, part % 2 != 0);
    }
    case GgmlType::kQ6_K: {
      const std::size_t half = part / 4, quarter = part % 4;
      for (std::size_t h = 0; h < 2; ++h) {
        std::uint32_t out = 0;
        for (std::size_t g = 0; g < 4; ++g)
          out |=
              (load4(row_block + 128 + 32 * half + 16 * h + 4 * g) >> (2 * quarter) & 0x03030303u)
              << (2 * g);
        store4(high + 64 * h, out);
      }
      return join_halves(row_block + 64 * half + quarter % 2 * 32, quarter >= 2);
    }
    default:
      for (std::size_t g = 0; g < 8; ++g)
        store4(numbers + 64 * g, load4(row_block + 2 + 4 * g) ^ 0x80808080u);
  }
}

// Its scales, and minima.
void put_scales(GgmlType type, const Layout& layout, const std::byte* row_block, std::size_t part,
                std::size_t j, std::byte* header, std::byte* block) {
  if (!layout.super) {
    std::memcpy(block + 2 * j, row_block, 2);
    if (layout.minima) std::memcpy(block + 2 * kPanelWidth + 2 * j, row_block + 2, 2);
    return;
  }
  if (type == GgmlType::kQ6_K) {
    if (part == 0) std::memcpy(header + 2 * j, row_block + 208, 2);
    for (std::size_t i = 0; i < 2; ++i) block[i * kPanelWidth + j] = row_block[192 + 2 * part + i];
    return;
  }
  if (part == 0) {
    std::memcpy(header + 2 * j, row_block, 2);
    std::memcpy(header + 2 * kPanelWidth + 2 * j, row_block + 2, 2);
  }
  const std::byte* packed = row_block + 4;  // as part_scales() of gguf_types.cc reads them
  int scale, minimum;
  if (part < 4) {
    scale = at(packed, part) & 0x3f;
    minimum = at(packed, part + 4) & 0x3f;
  } else {
    scale = (at(packed, part + 4) & 0x0f) | (at(packed, part - 4) >> 2 & 0x30);
    minimum = at(packed, part + 4) >> 4 | (at(packed, part) >> 2 & 0x30);
  }
  block[j] = static_cast<std::byte>(scale);
  block[kPanelWidth + j] = static_cast<std::byte>(minimum);
}

}  // namespace

bool can_pack(GgmlType type) noexcept {
  return can_dequantize(type) && type != GgmlType::kF32 && type != GgmlType::kF16 &&
         type != GgmlType::kBF16;
}

PackedShape packed_shape(GgmlType type) noexcept {
  switch (type) {
    case GgmlType::kQ4_0:
      return {32, 8};
    case GgmlType::kQ5_0:
      return {32, 16};
    case GgmlType::kQ6_K:
      return {16, 32};
    case GgmlType::kQ8_0:
      return {32, 128};
    default:
      return {32, 0};
  }
}

std::size_t packed_panel_bytes(GgmlType type, std::size_t k) noexcept {
  const Layout layout = layout_of(type);
  const std::size_t blocks = k / kPackedBlock;
  return blocks * block_bytes(layout) + blocks / kSuperBlock * header_bytes(layout);
}

void pack_panel(GgmlType type, const std::byte* rows, std::size_t row_bytes, std::size_t outputs,
                std::size_t k, std::byte* panel) noexcept {
  const Layout layout = layout_of(type);
  const std::size_t row_block_bytes = ggml_block_bytes(type);
  if (outputs != kPanelWidth) std::memset(panel, 0, packed_panel_bytes(type, k));
  std::byte* header = panel;
  for (std::size_t b = 0; b < k / kPackedBlock; ++b) {
    const std::size_t part = b % kSuperBlock;
    if (layout.super && part == 0) {
      header = panel;
      panel += header_bytes(layout);
    }
    std::byte* numbers = panel + layout.scale_bytes * (layout.minima ? 2 : 1) * kPanelWidth;
    std::byte* high = numbers + layout.number_bytes;
    const std::byte* row_block = rows + (layout.super ? b / kSuperBlock : b) * row_block_bytes;
    for (std::size_t j = 0; j < outputs; ++j, row_block += row_bytes) {
      put_scales(type, layout, row_block, part, j, header, panel);
      put_numbers(type, row_block, part, j, numbers, high);
    }
    panel += block_bytes(layout);
  }
}

const PackedKernels& packed_kernels_for(Isa isa) noexcept {
#ifdef COLLEGIUM_X86_KERNELS
  if (isa >= Isa::kAmx) return kPackedKernelsAmx;
  if (isa >= Isa::kVnni) return kPackedKernelsVnni;
  if (isa >= Isa::kAvx2) return kPackedKernelsAvx2;
#endif
  static_cast<void>(isa);
  return kPackedKernelsScalar;
}

}  // namespace collegium::core
