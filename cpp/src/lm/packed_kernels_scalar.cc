// The scalar twin: what the other levels must equal to the last bit.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "io/half.h"
#include "lm/packed_kernels.h"

namespace collegium::core {
namespace {

struct V16 {
  float lane[16];
};
struct Ints {
  std::int32_t lane[16];
};
struct Bytes {
  std::uint8_t byte[64];
};
template <typename To, typename Make>
inline To make_lanes(Make make) {
  To to;
  for (std::size_t i = 0; i < 16; ++i) to.lane[i] = make(i);
  return to;
}
template <typename Make>
inline Bytes make_bytes(Make make) {
  Bytes to;
  for (std::size_t i = 0; i < 64; ++i) to.byte[i] = static_cast<std::uint8_t>(make(i));
  return to;
}

inline V16 load(const float* p) {
  return make_lanes<V16>([=](std::size_t i) { return p[i]; });
}
inline void store(float* p, const V16& x) { std::memcpy(p, x.lane, sizeof x.lane); }
inline V16 set1(float x) {
  return make_lanes<V16>([=](std::size_t) { return x; });
}
inline V16 fma(const V16& a, const V16& b, const V16& c) {
  return make_lanes<V16>([&](std::size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
inline V16 mul(const V16& a, const V16& b) {
  return make_lanes<V16>([&](std::size_t i) { return a.lane[i] * b.lane[i]; });
}
inline V16 negate(const V16& a) {
  return make_lanes<V16>([&](std::size_t i) { return -a.lane[i]; });
}
inline V16 widen_halves(const std::byte* p) {
  return make_lanes<V16>([=](std::size_t i) {
    std::uint16_t half;
    std::memcpy(&half, p + 2 * i, sizeof half);
    return half_to_float(half);
  });
}
inline V16 widen_unsigned(const std::byte* p) {
  return make_lanes<V16>(
      [=](std::size_t i) { return static_cast<float>(std::to_integer<int>(p[i])); });
}
inline V16 widen_signed(const std::byte* p) {
  return make_lanes<V16>(
      [=](std::size_t i) { return static_cast<float>(static_cast<std::int8_t>(p[i])); });
}

inline Bytes load_bytes(const std::byte* p) {
  Bytes bytes;
  std::memcpy(bytes.byte, p, sizeof bytes.byte);
  return bytes;
}
inline void store_bytes(std::byte* p, const Bytes& bytes) {
  std::memcpy(p, bytes.byte, sizeof bytes.byte);
}
inline Bytes low_halves(const Bytes& b) {
  return make_bytes([&](std::size_t i) { return b.byte[i] & 0x0f; });
}
inline Bytes high_halves(const Bytes& b) {
  return make_bytes([&](std::size_t i) { return b.byte[i] >> 4; });
}
template <int kShift, int kMask>
inline Bytes put_bits(const Bytes& low, const Bytes& high) {
  return make_bytes([&](std::size_t i) {
    const int bits = kShift >= 0 ? high.byte[i] << (kShift >= 0 ? kShift : 0)
                                 : high.byte[i] >> (kShift < 0 ? -kShift : 0);
    return low.byte[i] | (bits & kMask);
  });
}
inline Bytes flip(const Bytes& b) {
  return make_bytes([&](std::size_t i) { return b.byte[i] ^ 0x80; });
}

constexpr bool kSignedBytes = false;
constexpr std::size_t kFusedRows = 1, kTileRows = 1;
template <std::size_t kBytes>
inline void prefetch(const std::byte*) {}

inline Ints start(const std::int32_t* p) {
  return make_lanes<Ints>([=](std::size_t) { return *p; });
}
inline Ints no_sums() {
  return make_lanes<Ints>([](std::size_t) { return 0; });
}
inline V16 to_floats(const Ints& sums) {
  return make_lanes<V16>([&](std::size_t i) { return static_cast<float>(sums.lane[i]); });
}
template <int kLargest, std::size_t kRows, std::size_t kGroups, typename Get>
inline void add_products(const Get& get, const std::int8_t* x, std::size_t stride, Ints* sums) {
  const auto add_group = [&]<std::size_t kGroup>(std::integral_constant<std::size_t, kGroup> g) {
    const Bytes w = get(g);
    for (std::size_t r = 0; r < kRows; ++r)
      for (std::size_t i = 0; i < 64; ++i)
        sums[r].lane[i / 4] += w.byte[i] * x[r * stride + 4 * kGroup + i % 4];
  };
  [&]<std::size_t... kGroup>(std::index_sequence<kGroup...>) {
    (add_group(std::integral_constant<std::size_t, kGroup>()), ...);
  }(std::make_index_sequence<kGroups>());
}

inline float largest_magnitude(const float* x) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < kPackedBlock; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    if (bits > largest) largest = bits;
  }
  float result;
  std::memcpy(&result, &largest, sizeof result);
  return result;
}
inline void round_block(const float* x, float inverse, std::int8_t* values, std::int32_t sums[2]) {
  sums[0] = sums[1] = 0;
  for (std::size_t i = 0; i < kPackedBlock; ++i) {
    const float number = x[i] * inverse;
    values[i] = number == number ? static_cast<std::int8_t>(std::nearbyint(number))
                                 : static_cast<std::int8_t>(-128);
    sums[i / 16] += values[i];
  }
}

#include "lm/packed_kernels_rows.inc"

}  // namespace

extern const PackedKernels kPackedKernelsScalar;
const PackedKernels kPackedKernelsScalar = {SIZE_MAX, round_rows, multiply};

}  // namespace collegium::core
