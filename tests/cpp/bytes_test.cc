#include "collegium/core/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>

namespace collegium::core {
namespace {

TEST(Bytes, ReaderReadsWhatTheWriterWrote) {
  ByteWriter writer;
  writer.write<std::uint8_t>(7);
  writer.write<std::uint64_t>(1ull << 63);
  writer.write(-0.5f);
  writer.write_string("naïve");
  writer.write_numbers<std::int16_t>(std::array<std::int16_t, 3>{-1, 0, 300});

  ByteReader reader(writer.bytes());
  std::uint8_t small = 0;
  std::uint64_t large = 0;
  float number = 0;
  std::string text;
  std::vector<std::int16_t> numbers;
  EXPECT_TRUE(reader.read(small) && reader.read(large) && reader.read(number) &&
              reader.read_string(text) && reader.read_numbers(3, numbers));
  EXPECT_EQ(small, 7);
  EXPECT_EQ(large, 1ull << 63);
  EXPECT_EQ(number, -0.5f);
  EXPECT_EQ(text, "naïve");
  EXPECT_EQ(numbers, (std::vector<std::int16_t>{-1, 0, 300}));
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(Bytes, LayoutIsLittleEndianWithoutPadding) {
  ByteWriter writer;
  writer.write<std::uint32_t>(0x01020304);
  writer.write_string("a");
  const std::vector<std::byte> expected = {std::byte{4},  std::byte{3}, std::byte{2}, std::byte{1},
                                           std::byte{1},  std::byte{0}, std::byte{0}, std::byte{0},
                                           std::byte{0},  std::byte{0}, std::byte{0}, std::byte{0},
                                           std::byte{'a'}};
  EXPECT_EQ(writer.bytes(), expected);
}

TEST(Bytes, ReadsBeyondTheEndFailAndLeaveThePosition) {
  const std::array<std::byte, 7> bytes{};
  ByteReader reader(bytes);
  std::uint64_t large = 0;
  std::vector<float> numbers;
  std::string text;
  std::span<const std::byte> part;
  ASSERT_TRUE(reader.skip(1));
  EXPECT_FALSE(reader.read(large));
  EXPECT_FALSE(reader.read_numbers(2, numbers));
  EXPECT_FALSE(reader.read_string(text));
  EXPECT_FALSE(reader.read_bytes(7, part));
  EXPECT_EQ(reader.position(), 1u);
  EXPECT_TRUE(reader.read_bytes(6, part));
}

TEST(Bytes, HugeCountsAllocateNothing) {
  ByteWriter writer;
  writer.write(std::numeric_limits<std::uint64_t>::max());
  writer.write<std::uint64_t>(0);
  ByteReader reader(writer.bytes());
  std::vector<float> numbers;
  std::string text;
  EXPECT_FALSE(reader.read_numbers(std::numeric_limits<std::uint64_t>::max(), numbers));
  EXPECT_FALSE(reader.read_numbers((1ull << 62) + 1, numbers));  // its bytes wrap around to 4
  EXPECT_EQ(numbers.capacity(), 0u);
  EXPECT_FALSE(reader.read_string(text));
  EXPECT_EQ(reader.position(), 0u);
}

TEST(Bytes, MultiplicationNoticesOverflow) {
  std::size_t product = 0;
  EXPECT_TRUE(checked_multiply(1ull << 31, 1ull << 32, product));
  EXPECT_EQ(product, 1ull << 63);
  EXPECT_FALSE(checked_multiply(1ull << 32, 1ull << 32, product));
}

}  // namespace
}  // namespace collegium::core
