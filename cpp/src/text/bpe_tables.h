#pragma once

#include <cstddef>
#include <cstdint>

namespace collegium::core {

// Unicode classes as the pinned `tokenizers` package has them, a mask of these bits:
inline constexpr std::uint8_t kBpeLetter = 1;        // \p{L}
inline constexpr std::uint8_t kBpeNumber = 2;        // \p{N} of the regular expressions
inline constexpr std::uint8_t kBpeSpace = 4;         // \s
inline constexpr std::uint8_t kBpeDigit = 8;         // cut out alone by the Digits pre-tokenizer
inline constexpr std::uint8_t kBpeMark = 16;         // \p{M}
inline constexpr std::uint8_t kBpePunctuation = 32;  // \p{P}
inline constexpr std::uint8_t kBpeSymbol = 64;       // \p{S}

struct CodePointRange {
  std::uint32_t first;
  std::uint32_t last;  // inclusive
  std::uint8_t classes;
};

// Sorted, disjoint; code points outside are in no class. Made by tools/make_bpe_tables.py.
extern const CodePointRange kBpeRanges[];
extern const std::size_t kNumBpeRanges;

}  // namespace collegium::core
