#include "text/utf8_repair.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "collegium/core/text/tokenizer.h"

namespace collegium::core {
namespace {

const std::string kR = "\xEF\xBF\xBD";

// The examples of the Unicode standard, 3.9, tables 3-8 to 3-11, and the borders of the encoding.
TEST(Utf8Repair, ReplacesMaximalSubparts) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"plain", "plain"},
      {"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80", "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", kR + kR + kR + kR + kR + kR + kR + kR + "A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", kR + kR + kR + kR + kR + kR + kR + kR + "A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", kR + kR + kR + kR + kR + "A" + kR + kR + "B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", kR + kR + kR + kR + "A"},
      {"\xE4\xB8", kR},
      {"\xF0\x9F\x98", kR},
  };
  for (const auto& [bytes, expected] : cases) EXPECT_EQ(repair_utf8(bytes), expected);
}

TEST(Utf8Repair, GivesTheSameHoweverTheBytesComeAndOnlyWholeCharacters) {
  std::string bytes;
  std::uint32_t state = 1;
  for (int i = 0; i < 4000; ++i) {
    state = state * 1664525u + 1013904223u;
    // Mostly from bytes that begin or continue characters.
    bytes.push_back(
        static_cast<char>(state >> 30 == 0 ? state >> 20 : 0x80 + (state >> 24) % 0x78));
  }
  const std::string whole = repair_utf8(bytes);
  EXPECT_TRUE(check_utf8(whole, "whole").ok());
  for (const std::size_t step : {1u, 2u, 3u, 7u}) {
    Utf8Repair repair;
    std::string pieces;
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      const std::string piece = repair.push(std::string_view(bytes).substr(at, step));
      ASSERT_TRUE(check_utf8(piece, "piece").ok());
      pieces += piece;
    }
    EXPECT_EQ(pieces + repair.finish(), whole) << step;
  }
}

}  // namespace
}  // namespace collegium::core
