#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace collegium::core {

// What the `tokenizers` package takes each code point for. Its tables agree with no single version
// of Unicode, so these are made from it (tools/make_unicode_tables.py).
class UnicodeTables {
 public:
  enum Flag : std::uint8_t {
    kRemoved = 1,       // control characters and the like: dropped before anything else
    kSpace = 2,         // white space
    kCjk = 4,           // an ideograph: a word of its own
    kMark = 8,          // a non-spacing mark: an accent
    kPunctuation = 16,  // a word of its own
    kDecomposes = 32,   // decompose() gives something else
    kCombines = 64,     // combining_class() is not 0
    kLowers = 128,      // lower() gives something else
  };

  // Built at the first call, about 100 KB; safe from any thread.
  static const UnicodeTables& get();

  // Flags, or'ed. `c` must be a code point (< 0x110000).
  std::uint8_t flags(char32_t c) const noexcept {
    return blocks_[std::size_t{block_of_[c >> kBlockBits]} << kBlockBits | (c & (kBlockSize - 1))];
  }
  // Full canonical decomposition (NFD), not yet ordered; returns how many were written.
  std::size_t decompose(char32_t c, std::span<char32_t, 4> out) const noexcept;
  std::uint8_t combining_class(char32_t c) const noexcept;
  // Lower case of one code point; U+0130 has two, all others one.
  std::size_t lower(char32_t c, std::span<char32_t, 2> out) const noexcept;

 private:
  static constexpr std::size_t kBlockBits = 8;
  static constexpr std::size_t kBlockSize = std::size_t{1} << kBlockBits;

  UnicodeTables();
  std::array<std::uint16_t, (0x110000 >> kBlockBits)> block_of_{};
  std::vector<std::uint8_t> blocks_;  // each distinct block once
};

}  // namespace collegium::core
