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

// The 32 stored numbers of block b of a row.
void read_numbers(GgmlType type, const std::byte* row, std::size_t b, std::uint8_t out[32]) {
  const auto put = [out](std::size_t i, int q) { out[i] = static_cast<std::uint8_t>(q); };
  const std::byte* block = row + b * ggml_block_bytes(type);  // of the types of 32 numbers
  const std::size_t part = b % kSuperBlock;
  const std::byte* super = row + b / kSuperBlock * ggml_block_bytes(type);
  // 16 bytes of halves, the low ones first, with `high` bits on top of them.
  const auto read_halves = [&](const std::byte* packed, std::uint32_t high) {
    for (std::size_t i = 0; i < 32; ++i)
      put(i, (at(packed, i % 16) >> (i / 16 * 4) & 0x0f) | static_cast<int>(high >> i & 1) << 4);
  };
  const auto load32 = [](const std::byte* p) {
    std::uint32_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return bits;
  };
  switch (type) {
    case GgmlType::kQ4_0:
      return read_halves(block + 2, 0);
    case GgmlType::kQ4_1:
      return read_halves(block + 4, 0);
    case GgmlType::kQ5_0:
      return read_halves(block + 6, load32(block + 2));
    case GgmlType::kQ5_1:
      return read_halves(block + 8, load32(block + 4));
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K: {
      const bool fifth = type == GgmlType::kQ5_K;
      const std::byte* packed = super + (fifth ? 48 : 16) + part / 2 * 32;
      for (std::size_t i = 0; i < 32; ++i)
        put(i, (at(packed, i) >> (part % 2 * 4) & 0x0f) |
                   (fifth ? (at(super, 16 + i) >> part & 1) << 4 : 0));
      return;
    }
    case GgmlType::kQ6_K: {
      const std::size_t half = part / 4, quarter = part % 4;
      const std::byte* low = super + 64 * half + quarter % 2 * 32;
      const std::byte* high = super + 128 + 32 * half;
      for (std::size_t i = 0; i < 32; ++i)
        put(i, (at(low, i) >> (quarter / 2 * 4) & 0x0f) | (at(high, i) >> (2 * quarter) & 3) << 4);
      return;
    }
    default:
      for (std::size_t i = 0; i < 32; ++i) put(i, at(block, 2 + i) ^ 0x80);
  }
}

// Scales of block b of a row, and minima, as they are laid for output j.
void put_scales(GgmlType type, const Layout& layout, const std::byte* row, std::size_t b,
                std::size_t j, std::byte* header, std::byte* block) {
  if (!layout.super) {
    const std::byte* from = row + b * ggml_block_bytes(type);
    std::memcpy(block + 2 * j, from, 2);
    if (layout.minima) std::memcpy(block + 2 * kPanelWidth + 2 * j, from + 2, 2);
    return;
  }
  const std::size_t part = b % kSuperBlock;
  const std::byte* super = row + b / kSuperBlock * ggml_block_bytes(type);
  if (type == GgmlType::kQ6_K) {
    if (part == 0) std::memcpy(header + 2 * j, super + 208, 2);
    for (std::size_t i = 0; i < 2; ++i) block[i * kPanelWidth + j] = super[192 + 2 * part + i];
    return;
  }
  if (part == 0) {
    std::memcpy(header + 2 * j, super, 2);
    std::memcpy(header + 2 * kPanelWidth + 2 * j, super + 2, 2);
  }
  const std::byte* packed = super + 4;  // as part_scales() of gguf_types.cc reads them
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
  std::memset(panel, 0, packed_panel_bytes(type, k));
  std::byte* header = panel;
  for (std::size_t b = 0; b < k / kPackedBlock; ++b) {
    if (layout.super && b % kSuperBlock == 0) {
      header = panel;
      panel += header_bytes(layout);
    }
    std::byte* numbers = panel + layout.scale_bytes * (layout.minima ? 2 : 1) * kPanelWidth;
    std::byte* high = numbers + layout.number_bytes;
    for (std::size_t j = 0; j < outputs; ++j) {
      const std::byte* row = rows + j * row_bytes;
      put_scales(type, layout, row, b, j, header, panel);
      std::uint8_t q[32];
      read_numbers(type, row, b, q);
      for (std::size_t i = 0; i < 32; ++i) {
        const std::size_t group = i / 4, place = 4 * j + i % 4;
        if (layout.number_bytes == 512) {
          numbers[64 * group + place] = static_cast<std::byte>(q[i]);
          continue;
        }
        numbers[64 * (group % 4) + place] |=
            static_cast<std::byte>((q[i] & 0x0f) << (group / 4 * 4));
        if (layout.high_bytes == 64)
          high[place] |= static_cast<std::byte>(q[i] >> 4 << group);
        else if (layout.high_bytes == 128)
          high[64 * (group / 4) + place] |= static_cast<std::byte>(q[i] >> 4 << (2 * (group % 4)));
      }
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
