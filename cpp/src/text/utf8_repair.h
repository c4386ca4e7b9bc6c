#pragma once

#include <string>
#include <string_view>

namespace collegium::core {

// Bytes in, valid UTF-8 out, whenever it is certain: a character is given out once its last byte
// is there, and each maximal part of what cannot become a character turns into one U+FFFD (Unicode
// 3.9, "substitution of maximal subparts"; what Rust and browsers do).
class Utf8Repair {
 public:
  // What is complete after `bytes`; may be empty.
  std::string push(std::string_view bytes);
  // The end: a character that was begun becomes U+FFFD.
  std::string finish();

 private:
  std::string pending_;  // the first bytes of a character, so far possible
};

std::string repair_utf8(std::string_view bytes);

}  // namespace collegium::core
