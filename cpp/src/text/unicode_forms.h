#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace collegium::core {

// What normalisation forms and the like need to know of code points, beyond UnicodeTables; from the
// `tokenizers` package too. Code points must be below 0x110000.
class UnicodeForms {
 public:
  // Built at the first call, about 600 KB; safe from any thread.
  static const UnicodeForms& get();

  static constexpr std::size_t kMaxParts = 18;
  // Full compatibility decomposition (NFKD), not yet ordered; returns how many were written.
  std::size_t decompose_compatible(char32_t c, std::span<char32_t, kMaxParts> out) const;
  // The code point NFC makes of two, or 0.
  char32_t compose(char32_t first, char32_t second) const;
  // False if text of such code points alone may not be in NFC.
  bool keeps_nfc(char32_t c) const noexcept { return !(flags_[c] & kMayChangeNfc); }
  bool is_mark(char32_t c) const noexcept { return flags_[c] & kMark; }
  // \w of Rust's regular expressions.
  bool is_word(char32_t c) const noexcept { return flags_[c] & kWord; }

  // The end of the extended grapheme cluster that starts at `begin` < text.size(). Pre: UTF-8.
  std::size_t cluster_end(std::string_view text, std::size_t begin) const;

 private:
  enum Flag : std::uint8_t { kMayChangeNfc = 1, kMark = 2, kWord = 4, kHasCompatible = 8 };

  UnicodeForms();
  std::vector<std::uint8_t> flags_;     // (0x110000,)
  std::vector<std::uint8_t> clusters_;  // (0x110000,): the class, as the tables have it
  std::unordered_map<char32_t, std::size_t> compatible_;  // where in the table
  std::unordered_map<std::uint64_t, char32_t> compositions_;
};

}  // namespace collegium::core
