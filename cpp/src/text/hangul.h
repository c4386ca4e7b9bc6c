#pragma once

namespace collegium::core {

// Hangul syllables decompose and compose by arithmetic (Unicode, section 3.12).
inline constexpr char32_t kHangulFirst = 0xAC00;
inline constexpr char32_t kHangulEnd = 0xD7A4;
inline constexpr char32_t kLeadFirst = 0x1100;
inline constexpr char32_t kLeads = 19;
inline constexpr char32_t kVowelFirst = 0x1161;
inline constexpr char32_t kVowels = 21;
inline constexpr char32_t kTailBefore = 0x11A7;
inline constexpr char32_t kTails = 28;

}  // namespace collegium::core
