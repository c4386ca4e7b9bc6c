#pragma once

#include <string>
#include <string_view>

namespace collegium::router {

inline bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
inline bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Bytes beyond ASCII belong to words: no letter of UTF-8 is cut.
inline bool is_letter(char c) {
  return is_upper(c) || is_lower(c) || static_cast<unsigned char>(c) >= 0x80;
}

// Folds the letters that names are written with and that have two cases: Latin, Greek, Cyrillic,
// Armenian. Everything else, and what is not UTF-8, stays.
std::string lower(std::string_view text);
bool starts_upper(std::string_view text);  // "Chopin", "Ångström"; not empty

}  // namespace collegium::router
